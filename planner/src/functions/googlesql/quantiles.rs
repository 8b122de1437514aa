//! Aggregates of whole groups: `APPROX_QUANTILES` and `APPROX_TOP_COUNT`, both exact here.
//!
//! In: a column and a number; out: an array, for each group. The values of a group are kept until it ends, and merged
//! in any order, since neither depends on one.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, StructArray, UInt64Array, new_empty_array,
};
use datafusion::arrow::compute::{concat, filter, is_not_null, sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::super::call::failure;

/// The functions of this family.
pub(in crate::functions) fn aggregates() -> Vec<AggregateUDF> {
    [Choice::Quantiles, Choice::TopCount]
        .map(|choice| AggregateUDF::from(Gathered::new(choice)))
        .into()
}

/// Both may have so many elements.
const MAX_ELEMENTS: i64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Choice {
    /// The least, the greatest, and the bounds between equal shares.
    Quantiles,
    /// The most frequent values with their counts.
    TopCount,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gathered {
    choice: Choice,
    signature: Signature,
}

impl Gathered {
    fn new(choice: Choice) -> Gathered {
        Gathered {
            choice,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

fn counted(value: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("value", value.clone(), true),
        Field::new("count", DataType::Int64, true),
    ])
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

impl AggregateUDFImpl for Gathered {
    fn name(&self) -> &str {
        match self.choice {
            Choice::Quantiles => "approx_quantiles",
            Choice::TopCount => "approx_top_count",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.choice {
            Choice::Quantiles => list_of(types[0].clone()),
            Choice::TopCount => list_of(DataType::Struct(counted(&types[0]))),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Values {
            choice: self.choice,
            data_type: args.expr_fields[0].data_type().clone(),
            is_distinct: args.is_distinct,
            keeps_nulls: match self.choice {
                Choice::Quantiles => false,
                Choice::TopCount => true,
            },
            values: Vec::new(),
            n_elements: None,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let values = list_of(args.input_fields[0].data_type().clone());
        Ok(vec![
            Arc::new(Field::new("values", values, true)),
            Arc::new(Field::new("n_elements", DataType::Int64, true)),
        ])
    }
}

#[derive(Debug)]
struct Values {
    choice: Choice,
    data_type: DataType,
    is_distinct: bool,
    keeps_nulls: bool,
    values: Vec<ArrayRef>,
    n_elements: Option<i64>,
}

impl Values {
    fn keep(&mut self, column: &ArrayRef) -> Result<()> {
        let column = match self.keeps_nulls || column.logical_null_count() == 0 {
            true => Arc::clone(column),
            false => filter(column, &is_not_null(column)?)?,
        };
        if !column.is_empty() {
            self.values.push(column);
        }
        Ok(())
    }

    /// All values, in order, NULL first.
    fn sorted(&self) -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = self.values.iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        let all = concat(&parts)?;
        let order = sort_to_indices(&all, None, None)?;
        Ok(take(&all, &order, None)?)
    }

    /// Where each run of equal values of a sorted column starts, and its end.
    fn runs(sorted: &ArrayRef) -> Result<Vec<std::ops::Range<usize>>> {
        let ranges = datafusion::arrow::compute::partition(&[Arc::clone(sorted)])?;
        Ok(ranges.ranges())
    }

    fn quantiles(&self, n: i64) -> Result<ArrayRef> {
        let mut sorted = self.sorted()?;
        if self.is_distinct {
            let starts = Self::runs(&sorted)?.into_iter().map(|run| run.start as u64);
            sorted = take(&sorted, &starts.collect::<UInt64Array>(), None)?;
        }
        let length = sorted.len() as i64;
        let place = |idx: i64| {
            // The first value at or behind the share; whole numbers, so that no rounding moves it.
            let place = (i128::from(idx) * i128::from(length) + i128::from(n) - 1) / i128::from(n);
            (place as u64).saturating_sub(1)
        };
        let places: UInt64Array = (0..=n).map(place).collect();
        Ok(take(&sorted, &places, None)?)
    }

    fn top(&self, n: i64) -> Result<ArrayRef> {
        let sorted = self.sorted()?;
        let mut runs = Self::runs(&sorted)?;
        runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        runs.truncate(usize::try_from(n).unwrap_or(usize::MAX));
        let starts: UInt64Array = runs.iter().map(|run| run.start as u64).collect();
        let counts: Int64Array = runs.iter().map(|run| run.len() as i64).collect();
        let columns: Vec<ArrayRef> = vec![take(&sorted, &starts, None)?, Arc::new(counts)];
        let fields = counted(&self.data_type);
        Ok(Arc::new(StructArray::try_new(fields, columns, None)?))
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        if columns[0].is_empty() {
            return Ok(());
        }
        let n = ScalarValue::try_from_array(&columns[1], 0)?.cast_to(&DataType::Int64)?;
        if let ScalarValue::Int64(n) = n {
            self.n_elements = n;
        }
        self.keep(&columns[0])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let null = || {
            let item = match self.choice {
                Choice::Quantiles => self.data_type.clone(),
                Choice::TopCount => DataType::Struct(counted(&self.data_type)),
            };
            ScalarValue::try_from(&list_of(item))
        };
        if self.values.is_empty() {
            return null();
        }
        let n = self.n_elements.unwrap_or(0);
        if !(1..=MAX_ELEMENTS).contains(&n) {
            let message = format!(
                "the number of quantiles or values must be between 1 and {MAX_ELEMENTS}, got {n}"
            );
            return Err(failure("22023", message));
        }
        let found = match self.choice {
            Choice::Quantiles => self.quantiles(n)?,
            Choice::TopCount => self.top(n)?,
        };
        Ok(SingleRowListArrayBuilder::new(found).build_list_scalar())
    }

    fn size(&self) -> usize {
        let values: usize = self.values.iter().map(|v| v.get_array_memory_size()).sum();
        size_of_val(self) + values
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let parts: Vec<&dyn Array> = self.values.iter().map(AsRef::as_ref).collect();
        let all = match parts.is_empty() {
            true => new_empty_array(&self.data_type),
            false => concat(&parts)?,
        };
        let values = SingleRowListArrayBuilder::new(all).build_list_scalar();
        Ok(vec![values, ScalarValue::Int64(self.n_elements)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list_opt::<i32>().ok_or_else(|| {
            DataFusionError::Internal("the state of an aggregate is no list".to_owned())
        })?;
        for row in 0..lists.len() {
            if let ScalarValue::Int64(Some(n)) = ScalarValue::try_from_array(&states[1], row)? {
                self.n_elements = Some(n);
            }
            if lists.is_valid(row) {
                let values = lists.value(row);
                self.keep(&values)?;
            }
        }
        Ok(())
    }
}
