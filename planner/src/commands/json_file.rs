//! JSON files of `COPY … TO 'file'`: an object a line, in which floats that are no JSON numbers are PostgreSQL's texts.
//!
//! In: options; out: what makes lines of rows. DataFusion's own writer would have NULL for NaN and the infinities.

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
        let builder = WriterBuilder::new().with_encoder_factory(Arc::new(Floats));
        let mut writer = builder.build::<_, LineDelimited>(&mut lines);
        writer.write(&rows)?;
        writer.finish()?;
        drop(writer);
        Ok(Bytes::from(lines))
    }
}

/// Writes floats, also those within lists and structs.
#[derive(Debug)]
struct Floats;

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        Ok(match array.data_type() {
            DataType::Float32 => Some(encoder::<Float32Type>(field, array)?),
            DataType::Float64 => Some(encoder::<Float64Type>(field, array)?),
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
    static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Float32Array, Float64Array, ListArray};

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
}
