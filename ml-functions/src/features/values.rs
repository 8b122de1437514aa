//! A few rows whose features are single values, as parameters of a statement are, encoded without arrays.
//!
//! In: the values, row by row; out: what [`BatchEncoder::encode`] gives for arrays of them, to the bit. An array a feature
//! costs more than a prediction.

use datafusion::common::ScalarValue;

use super::Dense;
use super::columns::Element;
use super::encoder::{BatchEncoder, ColumnEncoder};

/// Integers up to here are exact as f64, so that going to f32 through it rounds once.
const EXACT_IN_F64: i64 = 1 << 53;

/// A value as a number, `Some(None)` for NULL; `None` if only an array of it tells.
fn number(value: &ScalarValue) -> Option<Option<f64>> {
    Some(match value {
        ScalarValue::Null => None,
        ScalarValue::Float64(number) => *number,
        ScalarValue::Float32(number) => number.map(f64::from),
        ScalarValue::Int16(number) => number.map(f64::from),
        ScalarValue::Int32(number) => number.map(f64::from),
        ScalarValue::Int64(Some(number)) if number.abs() > EXACT_IN_F64 => return None,
        ScalarValue::Int64(number) => number.map(|number| number as f64),
        _ => return None,
    })
}

/// A value as a category, `Some(None)` for NULL; `None` if only an array of it tells.
fn category(value: &ScalarValue) -> Option<Option<&str>> {
    Some(match value {
        ScalarValue::Null => None,
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
            text.as_deref()
        }
        ScalarValue::Boolean(flag) => flag.map(|flag| if flag { "true" } else { "false" }),
        _ => return None,
    })
}

/// Whether a value is NULL or NaN.
pub(crate) fn is_missing(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float64(Some(number)) => number.is_nan(),
        ScalarValue::Float32(Some(number)) => number.is_nan(),
        value => value.is_null(),
    }
}

impl BatchEncoder {
    /// The dense part and the codes of rows of values, each row in schema order; `None` if a value is of a type that only
    /// arrays are read of.
    pub(crate) fn encode_values(
        &self,
        rows: &[Vec<&ScalarValue>],
    ) -> Option<(Dense, Vec<Vec<u32>>)> {
        let dense = match self.is_f32 {
            true => Dense::F32(self.dense_values(rows)?),
            false => Dense::F64(self.dense_values(rows)?),
        };
        let mut all_codes = Vec::new();
        for (idx, column) in self.columns.iter().enumerate() {
            if let ColumnEncoder::Categorical { codes, null_code } = column {
                let code = |row: &Vec<&ScalarValue>| {
                    let text = category(row.get(idx)?)?;
                    Some(text.map_or(*null_code, |text| {
                        codes.get(text).copied().unwrap_or(null_code + 1)
                    }))
                };
                all_codes.push(rows.iter().map(code).collect::<Option<Vec<u32>>>()?);
            }
        }
        Some((dense, all_codes))
    }

    fn dense_values<T: Element>(&self, rows: &[Vec<&ScalarValue>]) -> Option<Vec<T>> {
        let mut values = Vec::with_capacity(self.columns.len() * rows.len());
        for (idx, column) in self.columns.iter().enumerate() {
            if let ColumnEncoder::Numeric { missing } = column {
                for row in rows {
                    let number = number(row.get(idx)?)?.filter(|number| !number.is_nan());
                    values.push(T::from_f64(number.unwrap_or(*missing)));
                }
            }
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::ArrayRef;

    use super::super::columns::Rows;
    use super::*;

    fn encoder(is_f32: bool) -> BatchEncoder {
        let codes = [("a".to_owned(), 0), ("true".to_owned(), 1)];
        let categories = || ColumnEncoder::Categorical {
            codes: codes.iter().cloned().collect(),
            null_code: 2,
        };
        BatchEncoder {
            columns: vec![
                ColumnEncoder::Numeric { missing: 0.1 },
                categories(),
                ColumnEncoder::Numeric { missing: f64::NAN },
                categories(),
            ],
            is_f32,
        }
    }

    fn rows() -> Vec<Vec<ScalarValue>> {
        let text = |text: &str| ScalarValue::from(text);
        vec![
            vec![1.3_f64.into(), text("a"), 7_i32.into(), true.into()],
            vec![
                f64::NAN.into(),
                text("never"),
                (-3_i32).into(),
                false.into(),
            ],
            vec![
                ScalarValue::Float64(None),
                ScalarValue::Utf8(None),
                ScalarValue::Int32(None),
                ScalarValue::Boolean(None),
            ],
        ]
    }

    /// The bits, since NaN is no number like itself.
    fn bits(dense: &Dense) -> Vec<u64> {
        match dense {
            Dense::F32(values) => values.iter().map(|v| u64::from(v.to_bits())).collect(),
            Dense::F64(values) => values.iter().map(|v| v.to_bits()).collect(),
        }
    }

    #[test]
    fn values_are_encoded_as_arrays_of_them() {
        let rows = rows();
        let columns: Vec<ArrayRef> = (0..4)
            .map(|idx| ScalarValue::iter_to_array(rows.iter().map(|row| row[idx].clone())).unwrap())
            .collect();
        let of_values: Vec<Vec<&ScalarValue>> =
            rows.iter().map(|row| row.iter().collect()).collect();
        for is_f32 in [false, true] {
            let encoder = encoder(is_f32);
            let all = Rows::all([rows.len()].into_iter());
            let (dense, codes) = encoder.encode(&[columns.as_slice()], &all).unwrap();
            let (found, found_codes) = encoder.encode_values(&of_values).unwrap();
            assert_eq!(bits(&found), bits(&dense));
            assert_eq!(found_codes, codes);
        }
        assert!(is_missing(&rows[1][0]));
        assert!(!is_missing(&rows[0][0]));
    }

    #[test]
    fn what_only_arrays_are_read_of_is_left_to_them() {
        let day = ScalarValue::Date32(Some(3));
        let large = ScalarValue::Int64(Some(EXACT_IN_F64 + 1));
        for number in [day, large] {
            let (text, seven, yes) = (ScalarValue::from("a"), 7_i32.into(), true.into());
            let row = vec![&number, &text, &seven, &yes];
            assert!(encoder(false).encode_values(&[row]).is_none());
        }
    }
}
