//! Reads Arrow columns as numbers, as text or as booleans, whatever their physical type.
//!
//! In: arrays and the runs of rows that are wanted; out: primitive arrays (dates as days, timestamps
//! as seconds) and one code a row. Never copies a column that already has the type asked for.

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, StringArrayType,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Float32Type, Float64Type, Int64Type, TimeUnit, UInt64Type,
};

use crate::error::{Error, Result};

/// Consecutive rows of one batch of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The batch in the chunk.
    pub(crate) batch: usize,
    /// The first row in the batch.
    pub(crate) start: usize,
    /// Number of rows.
    pub(crate) len: usize,
    /// The first row in the chunk.
    pub(crate) chunk_row: usize,
}

/// Some rows of a chunk, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) runs: Vec<Run>,
    pub(crate) n_rows: usize,
}

impl Rows {
    /// All rows of batches of these lengths.
    pub(crate) fn all(batch_lengths: impl Iterator<Item = usize>) -> Rows {
        let mut rows = Rows::default();
        for (batch, len) in batch_lengths.enumerate().filter(|(_, len)| *len > 0) {
            rows.runs.push(Run {
                batch,
                start: 0,
                len,
                chunk_row: rows.n_rows,
            });
            rows.n_rows += len;
        }
        rows
    }

    /// Adds a row that lies behind all others.
    pub(crate) fn push(&mut self, batch: usize, row: usize, chunk_row: usize) {
        self.n_rows += 1;
        match self.runs.last_mut() {
            Some(run) if run.batch == batch && run.start + run.len == row => run.len += 1,
            _ => self.runs.push(Run {
                batch,
                start: row,
                len: 1,
                chunk_row,
            }),
        }
    }

    /// The runs of each batch that has any.
    pub(crate) fn by_batch(&self) -> impl Iterator<Item = (usize, &[Run])> {
        self.runs
            .chunk_by(|a, b| a.batch == b.batch)
            .map(|runs| (runs[0].batch, runs))
    }

    /// The numbers of the rows in the chunk.
    pub(crate) fn chunk_rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.runs
            .iter()
            .flat_map(|run| run.chunk_row..run.chunk_row + run.len)
    }

    /// The elements of a slice with one element for each row of the chunk.
    pub(crate) fn gather<T: Copy>(&self, of_chunk: &[T]) -> Vec<T> {
        let mut values = Vec::with_capacity(self.n_rows);
        for run in &self.runs {
            values.extend_from_slice(&of_chunk[run.chunk_row..run.chunk_row + run.len]);
        }
        values
    }
}

/// The element type of a dense block.
pub(crate) trait Element: ArrowNativeTypeOp {
    /// Its Arrow type.
    type Arrow: ArrowPrimitiveType<Native = Self>;
    /// The nearest element to an f64.
    fn from_f64(value: f64) -> Self;
    /// The element as f64.
    fn to_f64(self) -> f64;
}

impl Element for f32 {
    type Arrow = Float32Type;
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Element for f64 {
    type Arrow = Float64Type;
    fn from_f64(value: f64) -> f64 {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// A numeric column as elements; dates as days, timestamps as seconds since 1970.
pub(crate) fn numbers<T: Element>(array: &ArrayRef) -> Result<PrimitiveArray<T::Arrow>> {
    let of_float = |array: &ArrayRef| -> Result<PrimitiveArray<T::Arrow>> {
        let floats = cast(array, &T::Arrow::DATA_TYPE)?;
        Ok(floats.as_primitive::<T::Arrow>().clone())
    };
    let scaled = |units_per_step: f64| -> Result<PrimitiveArray<T::Arrow>> {
        let ticks = cast(array, &DataType::Int64)?;
        Ok(ticks
            .as_primitive::<Int64Type>()
            .unary(|tick| T::from_f64(tick as f64 / units_per_step)))
    };
    match array.data_type() {
        data_type if *data_type == T::Arrow::DATA_TYPE => {
            Ok(array.as_primitive::<T::Arrow>().clone())
        }
        DataType::Null => Ok(PrimitiveArray::new_null(array.len())),
        DataType::Dictionary(_, values) => numbers::<T>(&cast(array, values)?),
        DataType::Date32 => of_float(&cast(array, &DataType::Int32)?),
        DataType::Date64 => scaled(86_400_000.0),
        DataType::Timestamp(TimeUnit::Second, _) => scaled(1.0),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled(1e3),
        DataType::Timestamp(TimeUnit::Microsecond, _) => scaled(1e6),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => scaled(1e9),
        _ => of_float(array),
    }
}

/// Appends the code of each row of `runs` to `codes`; `code` is asked once a row, or for a dictionary
/// array once for each of its values that occurs.
pub(crate) fn append_codes(
    array: &ArrayRef,
    runs: &[Run],
    codes: &mut Vec<u32>,
    code: &mut impl FnMut(Option<&str>) -> u32,
) -> Result<()> {
    match array.data_type() {
        DataType::Utf8 => text_codes(array.as_string::<i32>(), runs, codes, code),
        DataType::LargeUtf8 => text_codes(array.as_string::<i64>(), runs, codes, code),
        DataType::Utf8View => text_codes(array.as_string_view(), runs, codes, code),
        DataType::Boolean => {
            let flags = array.as_boolean();
            let (yes, no) = (code(Some("true")), code(Some("false")));
            let null = if flags.null_count() > 0 {
                code(None)
            } else {
                no
            };
            for row in rows_of(runs) {
                let flag = if flags.value(row) { yes } else { no };
                codes.push(if flags.is_null(row) { null } else { flag });
            }
        }
        DataType::Dictionary(..) => return dictionary_codes(array, runs, codes, code),
        DataType::Null => {
            let null = code(None);
            codes.extend(rows_of(runs).map(|_| null));
        }
        other => {
            return Err(Error::Internal {
                what: format!("{other} was read as a category"),
            });
        }
    }
    Ok(())
}

fn rows_of(runs: &[Run]) -> impl Iterator<Item = usize> + '_ {
    runs.iter().flat_map(|run| run.start..run.start + run.len)
}

fn text_codes<'a>(
    texts: impl StringArrayType<'a>,
    runs: &[Run],
    codes: &mut Vec<u32>,
    code: &mut impl FnMut(Option<&str>) -> u32,
) {
    for row in rows_of(runs) {
        codes.push(code(texts.is_valid(row).then(|| texts.value(row))));
    }
}

/// The code of each dictionary value is looked up when its key first occurs.
fn dictionary_codes(
    array: &ArrayRef,
    runs: &[Run],
    codes: &mut Vec<u32>,
    code: &mut impl FnMut(Option<&str>) -> u32,
) -> Result<()> {
    let dictionary = array.as_any_dictionary();
    let keys = cast(dictionary.keys(), &DataType::UInt64)?;
    let keys = keys.as_primitive::<UInt64Type>();
    let mut code_of_key: Vec<Option<u32>> = vec![None; dictionary.values().len() + 1];
    let null_key = dictionary.values().len();
    let mut one = Vec::with_capacity(1);
    for row in rows_of(runs) {
        let key = if keys.is_null(row) {
            null_key
        } else {
            keys.value(row) as usize
        };
        let found = match code_of_key[key] {
            Some(found) => found,
            None if key == null_key => code(None),
            None => {
                one.clear();
                let run = Run {
                    batch: 0,
                    start: key,
                    len: 1,
                    chunk_row: 0,
                };
                append_codes(dictionary.values(), &[run], &mut one, code)?;
                one[0]
            }
        };
        code_of_key[key] = Some(found);
        codes.push(found);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Int16Array, StringArray,
        StringViewArray, TimestampMillisecondArray,
    };
    use datafusion::arrow::datatypes::Int8Type;

    use super::*;

    fn as_f64(array: ArrayRef) -> Vec<Option<f64>> {
        numbers::<f64>(&array).unwrap().iter().collect()
    }

    #[test]
    fn every_numeric_type_becomes_numbers() {
        assert_eq!(
            as_f64(Arc::new(Int16Array::from(vec![Some(3), None]))),
            [Some(3.0), None]
        );
        assert_eq!(as_f64(Arc::new(Date32Array::from(vec![-1]))), [Some(-1.0)]);
        assert_eq!(
            as_f64(Arc::new(TimestampMillisecondArray::from(vec![1500, -500]))),
            [Some(1.5), Some(-0.5)]
        );
        let decimals = Decimal128Array::from(vec![125])
            .with_precision_and_scale(5, 2)
            .unwrap();
        assert_eq!(as_f64(Arc::new(decimals)), [Some(1.25)]);
    }

    fn codes_of(array: ArrayRef) -> (Vec<u32>, usize) {
        let rows = Rows::all([array.len()].into_iter());
        let (mut codes, mut n_asked) = (Vec::new(), 0);
        let mut code = |text: Option<&str>| {
            n_asked += 1;
            text.map_or(99, |text| text.len() as u32)
        };
        append_codes(&array, &rows.runs, &mut codes, &mut code).unwrap();
        (codes, n_asked)
    }

    #[test]
    fn every_text_type_becomes_codes() {
        let texts = vec![Some("a"), None, Some("bcd"), Some("a")];
        let expected = vec![1, 99, 3, 1];
        assert_eq!(
            codes_of(Arc::new(StringArray::from(texts.clone()))).0,
            expected
        );
        assert_eq!(
            codes_of(Arc::new(StringViewArray::from(texts.clone()))).0,
            expected
        );
        let dictionary: DictionaryArray<Int8Type> = texts.into_iter().collect();
        assert_eq!(codes_of(Arc::new(dictionary)), (expected, 3));
        let flags = BooleanArray::from(vec![Some(true), None, Some(false)]);
        assert_eq!(codes_of(Arc::new(flags)).0, [4, 99, 5]);
    }

    #[test]
    fn rows_join_into_runs() {
        let mut rows = Rows::default();
        for row in [0, 1, 4] {
            rows.push(0, row, row);
        }
        rows.push(1, 0, 5);
        assert_eq!(rows.runs.len(), 3);
        assert_eq!(rows.gather(&[0, 1, 2, 3, 4, 5]), [0, 1, 4, 5]);
        assert_eq!(rows.by_batch().count(), 2);
    }
}
