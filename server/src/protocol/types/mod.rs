//! How Arrow's values travel: PostgreSQL's types, their text and binary forms, both ways.
//!
//! In: record batches and parameter bytes; out: data rows and scalar values. Code map: `wire_type`
//! chooses the type of a column; `encode` writes rows; `text`, `numeric`, `moments`, `arrays`, `json` and `record` are the
//! forms that take thought; `decode` reads parameters, `moment_bytes` their dates and times. Knows no connection and no session beyond its
//! time zone.

mod arrays;
mod decode;
mod encode;
mod json;
mod moment_bytes;
mod moments;
mod numeric;
mod record;
mod text;
mod text_forms;
mod wire_type;

pub(crate) use decode::{ParameterError, ZERO_IN_TEXT, decode_parameter};
pub(crate) use encode::{RowEncoder, put_message, wire_texts};
pub(crate) use json::{json_texts, quoted};
pub(crate) use text::TimeZone;
pub(crate) use text_forms::TextForms;
pub(crate) use wire_type::{
    Nested, TYPE_KEY, WireColumn, are_described, declared_field, element_type, field_type,
    has_own_digits, is_taken, n_dimensions, pg_type, row_description, wire_columns,
    wire_columns_as,
};
