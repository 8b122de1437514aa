//! Names of types that the planner lacks.
//!
//! In: a type as it is written; out: the Arrow type that holds its values. `json`, `uuid`, addresses and enums are text
//! with a mark that tells clients the type, and arrays of them arrays of text with that mark; a `timestamp` with a zone or without counts microseconds, as in PostgreSQL and in tables: in
//! nanoseconds it could hold neither the year 1600 nor 2300. So does a `time`.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_storage::{JsonKind, uuid_marks};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast;

use super::addresses::address_of_type;
use super::enums::enum_of_type;
use super::moment::{TIME, timestamptz};
use crate::error::Error;

/// Plans types.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        use ast::TimezoneInfo;
        let mark = match sql_type {
            ast::DataType::Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                let data_type = DataType::Timestamp(TimeUnit::Microsecond, None);
                return Ok(Some(Arc::new(Field::new("", data_type, true))));
            }
            ast::DataType::Timestamp(None, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
                return Ok(Some(Arc::new(Field::new("", timestamptz(), true))));
            }
            // Digits beyond those of the type are rounded by the cast (see `syntax`).
            ast::DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                return Ok(Some(Arc::new(Field::new("", TIME, true))));
            }
            sql_type if is_bits(element_type(sql_type).0) => return Err(no_bits(sql_type)),
            sql_type => match marks(element_type(sql_type).0) {
                Some(marks) => marks,
                None => return Ok(None),
            },
        };
        let (_, n_dimensions) = element_type(sql_type);
        let list = |item, _| DataType::List(Arc::new(Field::new_list_field(item, true)));
        let data_type = (0..n_dimensions).fold(DataType::Utf8, list);
        let field = Field::new("", data_type, true).with_metadata(mark);
        Ok(Some(Arc::new(field)))
    }
}

fn is_bits(sql_type: &ast::DataType) -> bool {
    use ast::DataType::{Bit, BitVarying, VarBit};
    matches!(sql_type, Bit(_) | BitVarying(_) | VarBit(_))
}

/// The error of a column of bit strings or an array of them. Casts to bit strings are functions (see `syntax`).
fn no_bits(sql_type: &ast::DataType) -> DataFusionError {
    let sql_type = sql_type.to_string().to_lowercase();
    let message = format!("columns and arrays of type {sql_type} are not supported");
    let hint = "Keep the digits as text, and cast it to bit(n) where it is read.";
    Error::invalid("0A000", message, Some(hint)).into()
}

/// The mark of a type that is kept as text.
fn marks(sql_type: &ast::DataType) -> Option<HashMap<String, String>> {
    Some(match sql_type {
        ast::DataType::JSON => JsonKind::Json.marks(),
        ast::DataType::JSONB => JsonKind::Jsonb.marks(),
        ast::DataType::Uuid => uuid_marks(),
        other => match address_of_type(other) {
            Some(kind) => kind.marks(),
            None => enum_of_type(other)?.marks(),
        },
    })
}

/// The innermost elements of an array type, and how many dimensions it is written with.
pub(super) fn element_type(sql_type: &ast::DataType) -> (&ast::DataType, usize) {
    let (mut element, mut n) = (sql_type, 0);
    while let ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(inner, _)) = element {
        (element, n) = (inner, n + 1);
    }
    (element, n)
}
