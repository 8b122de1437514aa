//! Parameters of given rows that are of another type than their column: those within the same casts stand in a column of their own,
//! which is cast at once.
//!
//! In: the cells of a column; out: columns of given rows, and an expression over them that is of the column's type. The planner says
//! what the casts mean, once for all rows; what it refuses is left to it, with all rows of the statement.

use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{self, CastKind, DataType as Written, Ident, Value};

use super::column_rules::{cast_as_column, cast_ast, planned};
use super::insert::{is_fitted, is_fitted_array};
use super::own_casts::is_own;
use super::plain_cells::PlainCell;
use crate::functions::{assigned, can_be_assigned};
use crate::logical::GivenCell;
use crate::parameter_types::type_told;

/// In how many ways the parameters of one column may be cast. Each takes a cell in all rows.
const MAX_CASTS: usize = 8;

/// A column of given rows.
pub(super) type GivenColumn = (Field, Vec<GivenCell>);

/// The cells of one column, those within the same casts apart.
pub(super) struct SortedCells<'a> {
    column: &'a Field,
    n_rows: usize,
    /// Those of the column's type; NULL where another has the cell.
    own: Vec<GivenCell>,
    casts: Vec<Casts<'a>>,
}

/// Parameters within the same casts, by their rows.
struct Casts<'a> {
    written: Vec<&'a Written>,
    parameters: Vec<(usize, &'a str)>,
}

/// Where the values of a column are among the columns of the given rows.
pub(super) struct Places<'a> {
    column: &'a Field,
    own: Option<usize>,
    casts: Vec<(usize, Vec<&'a Written>)>,
}

impl<'a> SortedCells<'a> {
    /// The cells of a column; `None`: they are cast in too many ways, or the column has no NULL.
    pub(super) fn new(column: &'a Field, cells: Vec<PlainCell<'a>>) -> Option<SortedCells<'a>> {
        let mut sorted = SortedCells {
            column,
            n_rows: cells.len(),
            own: Vec::with_capacity(cells.len()),
            casts: Vec::new(),
        };
        for (row, cell) in cells.into_iter().enumerate() {
            match cell {
                PlainCell::Own(cell) => sorted.own.push(cell),
                PlainCell::Cast(name, written) => {
                    let null = ScalarValue::try_from(column.data_type()).ok()?;
                    sorted.own.push(GivenCell::Value(null));
                    sorted.note(row, name, written)?;
                }
            }
        }
        Some(sorted)
    }

    /// Adds a parameter to those within the same casts. `None`: there are too many others.
    fn note(&mut self, row: usize, name: &'a str, written: Vec<&'a Written>) -> Option<()> {
        if let Some(known) = self.casts.iter_mut().find(|known| known.written == written) {
            known.parameters.push((row, name));
            return Some(());
        }
        if self.casts.len() == MAX_CASTS {
            return None;
        }
        self.casts.push(Casts {
            written,
            parameters: vec![(row, name)],
        });
        Some(())
    }

    /// Adds the columns of given rows that hold the cells. `None`: the planner must read them.
    pub(super) fn give(
        self,
        state: &SessionState,
        given: &mut Vec<GivenColumn>,
    ) -> Option<Places<'a>> {
        let mut add = |data_type: &DataType, cells: Vec<GivenCell>| {
            // Texts are read as json, uuids and labels where they are cast or assigned.
            let name = format!("column{}", given.len() + 1);
            given.push((Field::new(name, data_type.clone(), true), cells));
            given.len() - 1
        };
        let n_cast: usize = self.casts.iter().map(|casts| casts.parameters.len()).sum();
        let has_own = n_cast < self.n_rows || self.casts.is_empty();
        let own = has_own.then(|| add(self.column.data_type(), self.own));
        let mut places = Vec::with_capacity(self.casts.len());
        for Casts {
            mut written,
            parameters,
        } in self.casts
        {
            let field = parameter_field(state, &written)?;
            let null = ScalarValue::try_from(field.data_type()).ok()?;
            let mut cells = vec![GivenCell::Value(null); self.n_rows];
            for (row, name) in parameters {
                let field = Some(Arc::clone(&field));
                let parameter = Placeholder::new_with_field(name.to_owned(), field);
                cells[row] = GivenCell::Parameter(parameter);
            }
            // What the column of given rows is anyway, but for texts that are to be read.
            let is_given =
                |cast: &mut &Written| is_own(cast, &field) && marks_of(&field).is_empty();
            written.pop_if(is_given);
            places.push((add(field.data_type(), cells), written));
        }
        Some(Places {
            column: self.column,
            own,
            casts: places,
        })
    }
}

impl Places<'_> {
    /// Whether all values are of the column's type as they are given.
    pub(super) fn are_own(&self) -> bool {
        self.casts.is_empty()
    }

    /// The values over the given rows. `None`: the planner must say what is wrong with them.
    pub(super) fn values(&self, state: &SessionState, rows: &DFSchema) -> Option<Expr> {
        let given = |place: usize| Column::from(rows.qualified_field(place));
        let mut values: Vec<Expr> = self.own.iter().map(|own| given(*own).into()).collect();
        for (place, written) in &self.casts {
            let name = Ident::with_quote('"', given(*place).name);
            let cast = within(written, ast::Expr::Identifier(name));
            values.push(assigned_cast(state, cast, self.column, rows)?);
        }
        match values.len() {
            // One of them has a value in each row, unless that is NULL.
            2.. => Some(coalesce(values)),
            _ => values.pop(),
        }
    }
}

/// What a statement takes for a parameter within casts.
fn parameter_field(state: &SessionState, written: &[&Written]) -> Option<FieldRef> {
    const NAME: &str = "$1";
    let parameter = Value::Placeholder(NAME.to_owned());
    let cast = within(written, ast::Expr::value(parameter));
    let cast = planned(state, cast, &DFSchema::empty()).ok()?;
    let row = LogicalPlanBuilder::empty(true).project([cast]).ok()?;
    type_told(&row.build().ok()?, NAME).ok()?
}

/// A value within casts, as the planner of an INSERT assigns it to a column.
fn assigned_cast(
    state: &SessionState,
    cast: ast::Expr,
    column: &Field,
    rows: &DFSchema,
) -> Option<Expr> {
    let value = planned(state, cast.clone(), rows).ok()?;
    let (_, found) = value.to_field(rows).ok()?;
    if !can_be_assigned(&found, column) {
        return None;
    }
    let to = column.data_type();
    let fitted = if is_fitted(&cast, to) {
        Some(cast_ast(cast, to))
    } else if is_fitted_array(&cast, to) {
        Some(cast_as_column(cast, column))
    } else {
        None
    };
    let value = match fitted {
        Some(fitted) => planned(state, fitted, rows).ok()?,
        None => value,
    };
    assigned(value, column, rows).ok()
}

/// A value within casts, the outermost first.
fn within(written: &[&Written], value: ast::Expr) -> ast::Expr {
    let casts = written.iter().rev();
    casts.fold(value, |value, data_type| ast::Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(value),
        data_type: (*data_type).clone(),
        array: false,
        format: None,
    })
}
