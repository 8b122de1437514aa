//! Rows whose columns have no names, `ROW(1, 'x')` and `(1, 'x')`, as values of a STRUCT.
//!
//! In: such a row and the fields of a struct; out: a struct of its values, each assigned to the field in its place, as
//! PostgreSQL casts rows. Structs whose fields have names are cast by these, which is the planner's own way.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{DFSchema, ExprSchema};
use datafusion::error::Result;
use datafusion::functions::core::{get_field, named_struct};
use datafusion::logical_expr::expr::{Case, ScalarFunction};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _, lit};
use datafusion::sql::sqlparser::ast;

use super::cast_rules::cast_of;
use super::fitted::assigned;
use super::syntax::row_fields;
use crate::commands::declared_type;
use crate::error::Error;

/// The planner's function for a row that is written out. It calls the columns `c0`, `c1`, ….
const ROW: &str = "struct";

/// Puts structs in the place of rows that are cast to them.
pub(super) fn cast_by_place(cast: &Cast, schema: &DFSchema) -> Result<Option<Expr>> {
    let DataType::Struct(to) = cast.field.data_type() else {
        return Ok(None);
    };
    let row = by_place(&cast.expr, to, schema)?;
    Ok(row.map(|row| cast_of(row, cast)))
}

/// A row as a struct with these fields; `None`: it is none, or its columns have names. Errors: 42846 if it has more
/// columns or fewer.
pub(super) fn by_place(value: &Expr, to: &Fields, schema: &dyn ExprSchema) -> Result<Option<Expr>> {
    let Ok(DataType::Struct(from)) = value.get_type(schema) else {
        return Ok(None);
    };
    let written = match value {
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == ROW => Some(args),
        _ => None,
    };
    if written.is_none() && !is_nameless(&from, to) {
        return Ok(None);
    }
    if from.len() != to.len() {
        return Err(other_width(from.len(), to).into());
    }
    let mut args = Vec::with_capacity(to.len() * 2);
    for (idx, (from, to)) in from.iter().zip(to).enumerate() {
        let column = match written.and_then(|written| written.get(idx)) {
            Some(column) => column.clone(),
            None => get_field().call(vec![value.clone(), lit(from.name().as_str())]),
        };
        args.push(lit(to.name().as_str()));
        args.push(assigned(column, to, schema)?);
    }
    let row = named_struct().call(args);
    Ok(Some(match written {
        Some(_) => row,
        // NULL stays NULL rather than becoming a struct of NULLs.
        None => {
            let is_there = Box::new(value.clone().is_not_null());
            Expr::Case(Case::new(None, vec![(is_there, Box::new(row))], None))
        }
    }))
}

/// Whether the fields of a struct are called as those of a row that was written out, none of them as one of `to`.
fn is_nameless(from: &Fields, to: &Fields) -> bool {
    let is_place = |(idx, field): (usize, &FieldRef)| {
        let is_wanted = to.iter().any(|to| to.name() == field.name());
        *field.name() == format!("c{idx}") && !is_wanted
    };
    from.iter().enumerate().all(is_place)
}

/// Fails for a row in VALUES that has more columns or fewer than the struct that a column holds.
pub(crate) fn check_row_width(value: &ast::Expr, column: &Field) -> crate::error::Result<()> {
    let DataType::Struct(to) = column.data_type() else {
        return Ok(());
    };
    match row_fields(value) {
        Some(found) if found.len() != to.len() => Err(other_width(found.len(), to)),
        _ => Ok(()),
    }
}

fn other_width(n_found: usize, to: &Fields) -> Error {
    let hint = match n_found < to.len() {
        true => "The row has too few columns.",
        false => "The row has too many columns.",
    };
    let to = Field::new("", DataType::Struct(to.clone()), true);
    let message = format!("cannot cast type record to {}", declared_type(&to));
    Error::invalid("42846", message, Some(hint))
}
