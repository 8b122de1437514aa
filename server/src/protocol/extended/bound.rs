//! The values and the formats of a bind message.
//!
//! In: what the client sent for the parameters of a statement; out: their values, and a format for each value or column.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::ScalarValue;
use pgwire::api::results::FieldFormat;
use pgwire::messages::data::{FORMAT_CODE_BINARY, FORMAT_CODE_TEXT};

use super::Prepared;
use crate::protocol::client_encoding::ClientEncoding;
use crate::protocol::types::decode_parameter;
use crate::sqlstate::Failure;

/// The formats of a portal's columns; of one without rows nobody asks for them.
pub(super) fn result_formats(
    prepared: &Prepared,
    codes: &[i16],
) -> Result<Arc<[FieldFormat]>, Failure> {
    let Some(columns) = prepared.told_columns() else {
        return Ok([].into());
    };
    let codes = spread(codes, columns.len()).ok_or_else(|| {
        Failure::protocol(format!(
            "bind message has {} result formats but query has {} columns",
            codes.len(),
            columns.len()
        ))
    })?;
    codes.into_iter().map(format_of).collect()
}

/// One code for each of `n`: none written is text, one written is for all.
fn spread(codes: &[i16], n: usize) -> Option<Vec<i16>> {
    match codes {
        [] => Some(vec![FORMAT_CODE_TEXT; n]),
        [code] => Some(vec![*code; n]),
        codes if codes.len() == n => Some(codes.to_vec()),
        _ => None,
    }
}

fn format_of(code: i16) -> Result<FieldFormat, Failure> {
    match code {
        FORMAT_CODE_TEXT => Ok(FieldFormat::Text),
        FORMAT_CODE_BINARY => Ok(FieldFormat::Binary),
        code => Err(Failure::error(
            "22023",
            format!("unsupported format code: {code}"),
        )),
    }
}

/// The values of a statement's parameters.
pub(super) fn bound_parameters(
    prepared: &Prepared,
    values: &[Option<Bytes>],
    formats: &[i16],
    (zone, encoding): (&str, Option<ClientEncoding>),
) -> Result<Vec<ScalarValue>, Failure> {
    let needed = prepared
        .plan
        .as_ref()
        .map_or(&[][..], |plan| plan.parameter_types());
    if values.len() != needed.len() {
        return Err(Failure::protocol(format!(
            "bind message supplies {} parameters, but prepared statement requires {}",
            values.len(),
            needed.len()
        )));
    }
    let formats = spread(formats, values.len()).ok_or_else(|| {
        Failure::protocol(format!(
            "bind message has {} parameter formats but {} parameters",
            formats.len(),
            values.len()
        ))
    })?;
    let mut parameters = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let (known, needed) = (&prepared.parameters[index], &needed[index]);
        let format = format_of(formats[index])?;
        let value = match (value.as_deref(), encoding) {
            (Some(value), Some(encoding)) => Some(encoding.parameter(value, known, format)?),
            (value, _) => value.map(Cow::Borrowed),
        };
        parameters.push(decode_parameter(
            value.as_deref(),
            known,
            format,
            needed,
            zone,
        )?);
    }
    Ok(parameters)
}
