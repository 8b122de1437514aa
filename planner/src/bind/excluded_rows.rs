//! The rows that an `ON CONFLICT` calls `excluded`: those that the statement gives, as the table would have them.
//!
//! In: the statement and the table's definition; out: a relation of the given rows, and the columns to select of it. Values
//! are of the columns' types, cut off and rounded as these demand, columns that are not given have their defaults, and
//! generated ones are computed. A table whose columns demand none of it has casts alone.

use std::borrow::Cow;

use auspex_storage::{TableShape, TextLimit, clock_digits, marks_of};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, SelectItem, SetExpr, TableAliasColumnDef, TableFactor,
};

use super::assignments::marked;
use super::change::{alone, table_alias};
use super::column_rules::{
    cast_as_column, column_type, computed_of, default_of, generated_value, is_default, value_for,
};
use super::excluded_numbers::Number;
use super::insert::{Overriding, counts_differ, overriding};
use super::upsert::{GIVEN, ReadRows};
use crate::error::{Error, Result};
use crate::functions::{spelt_float_key, spelt_within};

/// Digits of seconds that a clock has without a column that says less.
const MOST_DIGITS: u8 = 6;

/// The rows as a statement gives them.
pub(super) struct Given {
    /// A relation of the name [`GIVEN`], whose columns have the names of those that are filled.
    rows: TableFactor,
    /// The places of these in the table.
    pub(super) places: Vec<usize>,
    /// Whether the planner has yet to look at the types of the values.
    is_checked: bool,
}

/// The rows as they would be in the table.
pub(super) struct Proposed {
    /// A relation of the name [`GIVEN`].
    pub(super) given: TableFactor,
    /// All columns of the table, over it.
    pub(super) columns: Vec<SelectItem>,
}

impl Given {
    /// Rows that were read without the planner, all values of which are of their columns.
    pub(super) fn read(read: ReadRows) -> Given {
        Given {
            rows: read.relation,
            places: read.places,
            is_checked: false,
        }
    }

    /// The rows of a statement that fills the columns at these places; `numbers` stand for DEFAULT in theirs.
    pub(super) fn written(
        insert: &ast::Insert,
        shape: &TableShape,
        places: Vec<usize>,
        numbers: &[Number],
    ) -> Result<Given> {
        Ok(Given {
            rows: written(insert, shape, &places, numbers)?,
            places,
            is_checked: true,
        })
    }

    /// The same with all columns of the table; `numbers` are taken for rows that have none.
    pub(super) fn proposed(self, shape: &TableShape, numbers: &[Number]) -> Result<Proposed> {
        let columns = self.stored_columns(shape, numbers)?;
        let is_computed = |field: &FieldRef| shape.generated_of(field).is_some();
        if !shape.columns().iter().any(is_computed) {
            let given = self.rows;
            return Ok(Proposed { given, columns });
        }
        // What is computed reads the other columns as they are stored.
        let mut query = auspex_sql::parse_query("SELECT 1", auspex_sql::Dialect::Postgres)?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection = columns;
            select.from = vec![alone(self.rows)];
        }
        let mut columns = Vec::with_capacity(shape.columns().len());
        for field in shape.columns() {
            let alias = Ident::with_quote('"', field.name());
            let expr = match computed_of(shape, field)? {
                Some(value) => stored(cast_as_column(value, field), field),
                None => Expr::Identifier(alias.clone()),
            };
            columns.push(SelectItem::ExprWithAlias { expr, alias });
        }
        Ok(Proposed {
            given: derived(query, table_alias(Ident::new(GIVEN))),
            columns,
        })
    }

    /// The columns of the table, but for what is computed of others.
    fn stored_columns(&self, shape: &TableShape, numbers: &[Number]) -> Result<Vec<SelectItem>> {
        let mut columns = Vec::with_capacity(shape.columns().len());
        for (idx, field) in shape.columns().iter().enumerate() {
            let alias = Ident::with_quote('"', field.name());
            let given = Expr::Identifier(alias.clone());
            let value = match self.places.contains(&idx) {
                true if self.is_checked => marked(given, field),
                true => given,
                false => missing(shape, idx, numbers)?,
            };
            // What Arrow has as a text must still be of the column's type where the clause reads it.
            let expr = stored(cast_as_column(value, field), field);
            columns.push(SelectItem::ExprWithAlias { expr, alias });
        }
        Ok(columns)
    }
}

pub(super) fn derived(subquery: Box<ast::Query>, alias: ast::TableAlias) -> TableFactor {
    TableFactor::Derived {
        lateral: false,
        subquery,
        alias: Some(alias),
        sample: None,
    }
}

/// The statement without the columns that are DEFAULT in each of its rows, and the places of the others.
pub(super) fn without_defaults(
    insert: &ast::Insert,
    mut places: Vec<usize>,
) -> (Cow<'_, ast::Insert>, Vec<usize>) {
    let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|source| source.body.as_ref())
    else {
        return (Cow::Borrowed(insert), places);
    };
    let is_left_out = |at: usize| {
        let mut cells = values.rows.iter().map(|row| row.content.get(at));
        cells.all(|cell| cell.is_some_and(is_default))
    };
    let is_left_out: Vec<bool> = (0..places.len()).map(is_left_out).collect();
    // A row has some column.
    if !is_left_out.contains(&true) || !is_left_out.contains(&false) {
        return (Cow::Borrowed(insert), places);
    }
    let mut insert = insert.clone();
    let source = insert.source.as_mut().map(|source| source.body.as_mut());
    if let Some(SetExpr::Values(values)) = source {
        for row in &mut values.rows {
            let mut at = is_left_out.iter();
            row.content.retain(|_| at.next() != Some(&true));
        }
    }
    let mut at = is_left_out.iter();
    places.retain(|_| at.next() != Some(&true));
    (Cow::Owned(insert), places)
}

/// What a row has in a column that it is not given: a number that is taken for it, else the default.
fn missing(shape: &TableShape, idx: usize, numbers: &[Number]) -> Result<Expr> {
    match numbers.iter().find(|number| number.place == idx) {
        Some(number) => Ok(number.call.clone()),
        None => default_of(shape, &shape.columns()[idx]),
    }
}

/// A value of a column's type as the column takes it: of as many digits or characters as it says, with one zero and one NaN.
fn stored(value: Expr, column: &Field) -> Expr {
    if let Some(digits) = clock_digits(column).filter(|digits| *digits < MOST_DIGITS)
        && let Some(data_type) = column_type(column)
    {
        return Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(value),
            data_type: with_digits(data_type, u64::from(digits)),
            array: false,
            format: None,
        };
    }
    if column.data_type().is_floating() {
        return spelt_float_key(value);
    }
    let is_text = *column.data_type() == DataType::Utf8;
    match TextLimit::of_field(column).filter(|_| is_text) {
        Some(limit) => spelt_within(value, limit),
        None => value,
    }
}

/// The type of a clock with so many digits of seconds.
fn with_digits(data_type: ast::DataType, digits: u64) -> ast::DataType {
    match data_type {
        ast::DataType::Timestamp(_, zone) => ast::DataType::Timestamp(Some(digits), zone),
        ast::DataType::Time(_, zone) => ast::DataType::Time(Some(digits), zone),
        ast::DataType::Interval { fields, .. } => ast::DataType::Interval {
            fields,
            precision: Some(digits),
        },
        other => other,
    }
}

/// The statement's own source under the names of the columns that it fills.
fn written(
    insert: &ast::Insert,
    shape: &TableShape,
    places: &[usize],
    numbers: &[Number],
) -> Result<TableFactor> {
    let Some(mut source) = insert.source.clone() else {
        return Err(Error::unsupported("DEFAULT VALUES with ON CONFLICT"));
    };
    let fields: Vec<_> = places.iter().map(|idx| &shape.columns()[*idx]).collect();
    let overriding = overriding(insert);
    if overriding == Some(Overriding::User) {
        return Err(Error::unsupported("OVERRIDING USER VALUE with ON CONFLICT"));
    }
    let fixed = fields.iter().find(|field| {
        let is_always = shape
            .identity_of(field)
            .is_some_and(|identity| identity.is_always() && overriding.is_none());
        is_always || shape.generated_of(field).is_some()
    });
    if let Some(field) = fixed {
        return Err(generated_value(field.name(), false));
    }
    if let SetExpr::Values(values) = source.body.as_mut() {
        for row in &mut values.rows {
            if row.content.len() != fields.len() {
                return Err(counts_differ(row.content.len(), fields.len()));
            }
            for ((value, field), idx) in row.content.iter_mut().zip(&fields).zip(places) {
                *value = match is_default(value) {
                    true => cell(missing(shape, *idx, numbers)?, field),
                    false => cell(marked(value.clone(), field), field),
                };
            }
        }
    }
    let mut alias = table_alias(Ident::new(GIVEN));
    let names = fields
        .iter()
        .map(|field| Ident::with_quote('"', field.name()));
    alias.columns = names
        .map(|name| TableAliasColumnDef {
            name,
            data_type: None,
        })
        .collect();
    Ok(derived(source, alias))
}

/// A value of VALUES: a parameter has the type of its column, and all values of a column that Arrow has as texts are marked
/// alike.
fn cell(value: Expr, column: &Field) -> Expr {
    match marks_of(column).is_empty() {
        true => value_for(value, column),
        false => cast_as_column(value, column),
    }
}
