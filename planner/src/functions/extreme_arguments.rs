//! `greatest` and `least` of values that have keys (see `order_keys`): `greatest_by_key(x, y, key of x, key of y)`.
//!
//! In: values, and behind them their keys; out: in each row the first value whose key is the greatest, or the least. A NULL
//! has no key and is passed over.

use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::array::{Array, ArrayRef, new_null_array};
use datafusion::arrow::compute::{cast, interleave};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;

use super::call::{ANY, Call, Function, failure, function};

const GREATEST: &str = "greatest_by_key";
const LEAST: &str = "least_by_key";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![extreme(GREATEST), extreme(LEAST)]
}

/// The planner's `greatest` or `least` of values with these keys.
pub(crate) fn extreme_by_key(name: &str, mut values: Vec<Expr>, keys: Vec<Expr>) -> Expr {
    values.extend(keys);
    let name = match name {
        "greatest" => GREATEST,
        _ => LEAST,
    };
    extreme(name).build().call(values)
}

fn extreme(name: &'static str) -> Function {
    let body = move |call: &Call<'_>| chosen(call, name == GREATEST);
    function(name, ANY, DataType::Null, body).returning(move |args| {
        let (values, _) = args.arg_fields.split_at(args.arg_fields.len() / 2);
        let typed = values.iter().find(|field| !field.data_type().is_null());
        let typed: Option<&FieldRef> = typed.or(values.first());
        let typed = typed.ok_or_else(|| failure("42601", "values are missing"))?;
        let mut marks = values.iter().map(|field| marks_of(field));
        let marks = marks.find(|marks| !marks.is_empty());
        let field = Field::new(name, typed.data_type().clone(), true);
        Ok(field.with_metadata(marks.unwrap_or_default()))
    })
}

/// Columns in the type of the first of them that has one.
fn alike(columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let mut types = columns.iter().map(|column| column.data_type());
    let wanted = types.find(|found| !found.is_null());
    let wanted = wanted.unwrap_or(&DataType::Null);
    let columns = columns.iter().map(|column| Ok(cast(column, wanted)?));
    columns.collect()
}

fn chosen(call: &Call<'_>, is_greatest: bool) -> Result<ArrayRef> {
    let (values, keys) = call.args.split_at(call.args.len() / 2);
    let (values, keys) = (alike(values)?, alike(keys)?);
    let Some(first) = keys.first() else {
        return Err(failure("42601", "values are missing"));
    };
    let converter = RowConverter::new(vec![SortField::new(first.data_type().clone())])?;
    let rows = keys.iter().map(|column| {
        let rows = converter.convert_columns(&[Arc::clone(column)])?;
        Ok((column, rows))
    });
    let rows: Vec<(&ArrayRef, Rows)> = rows.collect::<Result<_>>()?;
    let place = |row: usize| {
        let present = rows.iter().enumerate();
        let present = present.filter(|(_, (column, _))| column.is_valid(row));
        let best = present.reduce(|best, next| {
            let order = next.1.1.row(row).cmp(&best.1.1.row(row));
            match is_greatest {
                true if order.is_gt() => next,
                false if order.is_lt() => next,
                _ => best,
            }
        });
        // Behind the values stands a NULL.
        best.map_or((values.len(), 0), |(idx, _)| (idx, row))
    };
    let places: Vec<(usize, usize)> = (0..call.n_rows).map(place).collect();
    let null = new_null_array(values[0].data_type(), 1);
    let columns = values.iter().chain([&null]);
    let columns: Vec<&dyn Array> = columns.map(|column| column.as_ref()).collect();
    Ok(interleave(&columns, &places)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray as _, Int32Array, StringArray};
    use datafusion::config::ConfigOptions;

    use super::*;

    #[test]
    fn the_value_of_the_extreme_key_is_chosen_and_the_first_of_equals() {
        let texts =
            |texts: [Option<&str>; 3]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
        let keys =
            |keys: [Option<i32>; 3]| -> ArrayRef { Arc::new(Int32Array::from(keys.to_vec())) };
        let config = ConfigOptions::new();
        let call = Call {
            args: vec![
                texts([Some("a"), Some("a"), None]),
                texts([Some("b"), Some("b"), None]),
                keys([Some(1), Some(7), None]),
                keys([Some(2), Some(7), None]),
            ],
            n_rows: 3,
            config: &config,
        };
        let found = |is_greatest| {
            let found = chosen(&call, is_greatest).unwrap();
            let texts = found.as_string::<i32>().iter();
            let texts: Vec<&str> = texts.map(|text| text.unwrap_or("NULL")).collect();
            texts.join(" ")
        };
        assert_eq!(found(true), "b a NULL");
        assert_eq!(found(false), "a a NULL");
    }
}
