//! `array_agg(DISTINCT x)` of values that are told apart and ordered by keys: `distinct_by_keys(x, 'a', key of x)`.
//!
//! In: values, a letter for the order of each key, and the keys (`bind/distinct_keys.rs` writes such calls); out: an array of
//! the values whose keys differ, the first one of each, in the order of the keys. Keys are compared as Arrow orders rows, but
//! for floats, which have one zero.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, RecordBatch, new_empty_array,
};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, Signature, Volatility, lit,
};

use super::{array_agg, float_key};

/// The place of the first key among the arguments.
const FIRST_KEY: usize = 2;

/// The function.
pub(crate) fn distinct_by_keys() -> Arc<AggregateUDF> {
    static FUNCTION: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
        Arc::new(AggregateUDF::from(DistinctByKeys {
            gathering: array_agg::function(),
            signature: Signature::variadic_any(Volatility::Immutable),
        }))
    });
    Arc::clone(&FUNCTION)
}

/// The arguments of a call for a value and its keys, each with its direction and whether NULLs come first.
pub(crate) fn arguments(value: Expr, keys: Vec<(Expr, SortOptions)>) -> Vec<Expr> {
    let letters: String = keys.iter().map(|(_, order)| letter(*order)).collect();
    let keys = keys.into_iter().map(|(key, _)| key);
    [value, lit(letters)].into_iter().chain(keys).collect()
}

/// Ascending or descending, a capital where NULLs come first.
fn letter(order: SortOptions) -> char {
    match (order.descending, order.nulls_first) {
        (false, false) => 'a',
        (false, true) => 'A',
        (true, false) => 'd',
        (true, true) => 'D',
    }
}

fn order_of(letter: char) -> SortOptions {
    SortOptions::new(
        letter.eq_ignore_ascii_case(&'d'),
        letter.is_ascii_uppercase(),
    )
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DistinctByKeys {
    gathering: AggregateUDF,
    signature: Signature,
}

impl AggregateUDFImpl for DistinctByKeys {
    fn name(&self) -> &str {
        "\u{1e}distinct by keys"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let value = types.first().cloned().ok_or_else(no_value)?;
        Ok(DataType::new_list(value, true))
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let value = fields.first().ok_or_else(no_value)?;
        self.gathering.return_field(std::slice::from_ref(value))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = args.input_fields.first().ok_or_else(no_value)?;
        let list = |part: &str, items: &DataType| -> FieldRef {
            let name = format!("{}[{part}]", args.name);
            Arc::new(Field::new(
                name,
                DataType::new_list(items.clone(), true),
                true,
            ))
        };
        Ok(vec![
            list("keys", &DataType::Binary),
            list("values", value.data_type()),
        ])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.gathering.supports_null_handling_clause()
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let letters = args.exprs.get(1).ok_or_else(no_value)?;
        // A literal needs no row.
        let no_rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let letters = match letters.evaluate(&no_rows)? {
            ColumnarValue::Scalar(letters) => letters,
            ColumnarValue::Array(_) => return Err(no_value()),
        };
        let letters = letters.try_as_str().flatten().unwrap_or_default();
        let keys = args.expr_fields.iter().skip(FIRST_KEY).zip(letters.chars());
        let fields = keys.map(|(key, letter)| {
            SortField::new_with_options(key.data_type().clone(), order_of(letter))
        });
        let value = args.expr_fields.first().ok_or_else(no_value)?;
        Ok(Box::new(Values {
            converter: RowConverter::new(fields.collect())?,
            data_type: value.data_type().clone(),
            leaves_nulls: args.ignore_nulls,
            by_key: BTreeMap::new(),
            bytes: 0,
        }))
    }
}

fn no_value() -> DataFusionError {
    DataFusionError::Internal("distinct values have keys in an order".to_owned())
}

/// The values of one group.
#[derive(Debug)]
struct Values {
    converter: RowConverter,
    data_type: DataType,
    leaves_nulls: bool,
    by_key: BTreeMap<Box<[u8]>, ScalarValue>,
    bytes: usize,
}

impl Values {
    /// Keeps a value unless there is one of its key.
    fn add(&mut self, key: &[u8], values: &ArrayRef, row: usize) -> Result<()> {
        if self.by_key.contains_key(key) {
            return Ok(());
        }
        // A value of a batch would keep all of it.
        let value = ScalarValue::try_from_array(values, row)?.compacted();
        self.bytes += key.len() + value.size() + size_of::<Box<[u8]>>();
        self.by_key.insert(key.into(), value);
        Ok(())
    }

    fn values(&self) -> Result<ArrayRef> {
        match self.by_key.is_empty() {
            true => Ok(new_empty_array(&self.data_type)),
            false => ScalarValue::iter_to_array(self.by_key.values().cloned()),
        }
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let values = columns.first().ok_or_else(no_value)?;
        let keys = columns.iter().skip(FIRST_KEY).map(float_key::keys);
        let keys: Vec<ArrayRef> = keys.collect();
        let rows = self.converter.convert_columns(&keys)?;
        let nulls = values.logical_nulls().filter(|_| self.leaves_nulls);
        for row in 0..values.len() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            self.add(rows.row(row).as_ref(), values, row)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [keys, values] = states else {
            return Err(no_value());
        };
        let lists = keys.as_list_opt::<i32>().zip(values.as_list_opt::<i32>());
        let (keys, values) = lists.ok_or_else(no_value)?;
        for (keys, values) in keys.iter().zip(values.iter()) {
            let Some((keys, values)) = keys.zip(values) else {
                continue;
            };
            let keys = keys.as_binary_opt::<i32>().ok_or_else(no_value)?;
            for row in 0..keys.len() {
                self.add(keys.value(row), &values, row)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let keys = BinaryArray::from_iter_values(self.by_key.keys());
        let list = |items: ArrayRef| SingleRowListArrayBuilder::new(items).build_list_scalar();
        Ok(vec![list(Arc::new(keys)), list(self.values()?)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.by_key.is_empty() {
            let data_type = self.data_type.clone();
            return Ok(ScalarValue::new_null_list(data_type, true, 1));
        }
        Ok(SingleRowListArrayBuilder::new(self.values()?).build_list_scalar())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.converter.size() + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, StringArray};

    use super::*;

    fn values(letters: &str) -> Values {
        let fields = letters
            .chars()
            .map(|letter| SortField::new_with_options(DataType::Float64, order_of(letter)));
        Values {
            converter: RowConverter::new(fields.collect()).unwrap(),
            data_type: DataType::Utf8,
            leaves_nulls: false,
            by_key: BTreeMap::new(),
            bytes: 0,
        }
    }

    fn batch(texts: Vec<&str>, keys: Vec<Option<f64>>) -> Vec<ArrayRef> {
        let letters = StringArray::from(vec!["-"; texts.len()]);
        vec![
            Arc::new(StringArray::from(texts)),
            Arc::new(letters),
            Arc::new(Float64Array::from(keys)),
        ]
    }

    fn found(values: &mut Values) -> Vec<String> {
        let ScalarValue::List(list) = values.evaluate().unwrap() else {
            unreachable!("values are gathered in a list");
        };
        let texts = list.value(0);
        let texts = texts.as_string::<i32>().iter().flatten();
        texts.map(str::to_owned).collect()
    }

    #[test]
    fn the_first_value_of_each_key_comes_in_the_order_of_keys() {
        let rows = batch(
            vec!["zero", "null", "minus zero", "one"],
            vec![Some(0.0), None, Some(-0.0), Some(1.0)],
        );
        for (letter, wanted) in [
            ("a", ["zero", "one", "null"]),
            ("A", ["null", "zero", "one"]),
            ("d", ["one", "zero", "null"]),
            ("D", ["null", "one", "zero"]),
        ] {
            let mut whole = values(letter);
            whole.update_batch(&rows).unwrap();
            assert_eq!(found(&mut whole), wanted);
            let mut part = values(letter);
            part.update_batch(&batch(vec!["naught"], vec![Some(-0.0)]))
                .unwrap();
            let states = whole.state().unwrap();
            let states: Vec<ArrayRef> = states.iter().map(|s| s.to_array().unwrap()).collect();
            part.merge_batch(&states).unwrap();
            let wanted = wanted.map(|text| if text == "zero" { "naught" } else { text });
            assert_eq!(found(&mut part), wanted);
        }
        assert!(values("a").evaluate().unwrap().is_null());
    }
}
