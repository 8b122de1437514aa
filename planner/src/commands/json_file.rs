//! JSON files of `COPY … TO 'file'`: an object a line, in which floats that are no JSON numbers are PostgreSQL's texts, as
//! are moments and days before the year 1 and behind the year 9999.
//!
//! In: options; out: what makes lines of rows. DataFusion's own writer would have NULL for NaN and the infinities, and years
//! with signs, which no reader of PostgreSQL's moments takes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use datafusion::arrow::array::{Array, AsArray as _, PrimitiveArray, RecordBatch};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
    make_encoder,
};
use datafusion::common::file_options::json_writer::JsonWriterOptions;
use datafusion::config::{ConfigFileType, TableOptions};
use datafusion::datasource::file_format::write::BatchSerializer;
use datafusion::error::Result as DfResult;

use super::text_file::TextForm;
use crate::error::Result;

/// How rows become JSON.
pub(super) fn form(
    mut defaults: TableOptions,
    options: &HashMap<String, String>,
) -> Result<TextForm> {
    defaults.set_config_format(ConfigFileType::JSON);
    defaults.alter_with_string_hash_map(options)?;
    let options = JsonWriterOptions::try_from(&defaults.json)?;
    Ok(TextForm {
        serializer: Arc::new(JsonLines),
        compression: options.compression,
        compression_level: options.compression_level,
    })
}

/// Lines of objects.
struct JsonLines;

impl BatchSerializer for JsonLines {
    fn serialize(&self, rows: RecordBatch, _initial: bool) -> DfResult<Bytes> {
        let mut lines = Vec::with_capacity(4096);
        let builder = WriterBuilder::new().with_encoder_factory(Arc::new(Texts));
        let mut writer = builder.build::<_, LineDelimited>(&mut lines);
        writer.write(&rows)?;
        writer.finish()?;
        drop(writer);
        Ok(Bytes::from(lines))
    }
}

/// The library's options, which writers of single values refer to.
static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

/// Writes floats, moments and days, also those within lists and structs.
#[derive(Debug)]
struct Texts;

impl EncoderFactory for Texts {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        Ok(match array.data_type() {
            DataType::Float32 => Some(encoder::<Float32Type>(field, array)?),
            DataType::Float64 => Some(encoder::<Float64Type>(field, array)?),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                let texts = make_encoder(field, array, &PLAIN)?;
                let moments = MomentEncoder { texts };
                Some(NullableEncoder::new(
                    Box::new(moments),
                    array.nulls().cloned(),
                ))
            }
            _ => None,
        })
    }
}

fn encoder<'a, T: ArrowPrimitiveType>(
    field: &'a FieldRef,
    array: &'a dyn Array,
) -> std::result::Result<NullableEncoder<'a>, ArrowError>
where
    T::Native: Into<f64>,
{
    let numbers = make_encoder(field, array, &PLAIN)?;
    let floats = FloatEncoder::<T> {
        values: array.as_primitive::<T>(),
        numbers,
    };
    Ok(NullableEncoder::new(
        Box::new(floats),
        array.nulls().cloned(),
    ))
}

struct FloatEncoder<'a, T: ArrowPrimitiveType> {
    values: &'a PrimitiveArray<T>,
    numbers: NullableEncoder<'a>,
}

impl<T: ArrowPrimitiveType> Encoder for FloatEncoder<'_, T>
where
    T::Native: Into<f64>,
{
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let value: f64 = self.values.value(idx).into();
        let text: &[u8] = match value {
            value if value.is_finite() => return self.numbers.encode(idx, out),
            value if value.is_nan() => b"\"NaN\"",
            f64::INFINITY => b"\"Infinity\"",
            _ => b"\"-Infinity\"",
        };
        out.extend_from_slice(text);
    }
}

struct MomentEncoder<'a> {
    texts: NullableEncoder<'a>,
}

impl Encoder for MomentEncoder<'_> {
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let start = out.len();
        self.texts.encode(idx, out);
        spell_year(out, start);
    }
}

/// Spells the year of the text that begins at `start` without a sign: there is no year 0, since 1 BC comes before 1.
fn spell_year(out: &mut Vec<u8>, start: usize) {
    let sign = out.get(start + 1).copied();
    let is_signed = matches!(sign, Some(b'+' | b'-'));
    let from = start + 1 + usize::from(is_signed);
    let digits = out
        .iter()
        .skip(from)
        .take_while(|byte| byte.is_ascii_digit());
    let (year, n_digits) = digits.fold((0_u32, 0), |(year, n), digit| {
        let digit = u32::from(digit - b'0');
        (year.saturating_mul(10).saturating_add(digit), n + 1)
    });
    if sign == Some(b'-') || year == 0 {
        let before_christ = format!("{:04}", year.saturating_add(1));
        out.splice(start + 1..from + n_digits, before_christ.into_bytes());
        // The closing quote comes after all of the text.
        out.pop();
        out.extend_from_slice(b" BC\"");
    } else if is_signed {
        out.remove(start + 1);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        ArrayRef, Date32Array, Float32Array, Float64Array, ListArray, TimestampMicrosecondArray,
    };

    use super::*;

    #[test]
    fn floats_that_are_no_numbers_are_texts() {
        let doubles = Float64Array::from(vec![Some(f64::NAN), Some(1.0), None]);
        let singles = Float32Array::from(vec![f32::INFINITY, 0.5, f32::NEG_INFINITY]);
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(f64::NEG_INFINITY), None, Some(2.5)]),
            None,
            Some(vec![]),
        ]);
        let columns: [(&str, ArrayRef); 3] = [
            ("d", Arc::new(doubles)),
            ("s", Arc::new(singles)),
            ("l", Arc::new(lists)),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let lines = JsonLines.serialize(rows, true).unwrap();
        assert_eq!(
            std::str::from_utf8(&lines).unwrap(),
            "{\"d\":\"NaN\",\"s\":\"Infinity\",\"l\":[\"-Infinity\",null,2.5]}\n\
             {\"d\":1.0,\"s\":0.5}\n\
             {\"s\":\"-Infinity\",\"l\":[]}\n"
        );
    }

    #[test]
    fn years_have_no_signs() {
        let seconds = [Some(253_402_318_799), Some(0), None];
        let micros = seconds.map(|seconds: Option<i64>| Some(seconds? * 1_000_000));
        let plain = TimestampMicrosecondArray::from(micros.to_vec());
        let zoned = plain.clone().with_timezone("UTC");
        let days = Date32Array::from(vec![-719_528, -719_529, -719_162]);
        let columns: [(&str, ArrayRef); 3] = [
            ("t", Arc::new(plain)),
            ("z", Arc::new(zoned)),
            ("d", Arc::new(days)),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let lines = JsonLines.serialize(rows, true).unwrap();
        assert_eq!(
            std::str::from_utf8(&lines).unwrap(),
            "{\"t\":\"10000-01-01T04:59:59\",\"z\":\"10000-01-01T04:59:59Z\",\"d\":\"0001-01-01 BC\"}\n\
             {\"t\":\"1970-01-01T00:00:00\",\"z\":\"1970-01-01T00:00:00Z\",\"d\":\"0002-12-31 BC\"}\n\
             {\"d\":\"0001-01-01\"}\n"
        );
    }
}
