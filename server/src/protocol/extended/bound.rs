//! The values and the formats of a bind message.
//!
//! In: what the client sent for the parameters of a statement; out: their values, and a format for each value or column.

use bytes::Bytes;
use datafusion::common::ScalarValue;
use pgwire::api::results::FieldFormat;

use super::Prepared;
use crate::protocol::types::decode_parameter;
use crate::sqlstate::Failure;

/// One format for each of `n`: none written is text, one written is for all.
pub(super) fn spread(codes: &[i16], n: usize) -> Option<Vec<FieldFormat>> {
    match codes {
        [] => Some(vec![FieldFormat::Text; n]),
        [code] => Some(vec![FieldFormat::from(*code); n]),
        codes if codes.len() == n => Some(codes.iter().map(|c| FieldFormat::from(*c)).collect()),
        _ => None,
    }
}

/// The values of a statement's parameters.
pub(super) fn bound_parameters(
    prepared: &Prepared,
    values: &[Option<Bytes>],
    formats: &[i16],
    zone: &str,
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
        let (known, format) = (&prepared.parameters[index], formats[index]);
        parameters.push(decode_parameter(
            value.as_deref(),
            known,
            format,
            &needed[index],
            zone,
        )?);
    }
    Ok(parameters)
}
