//! Names of types that the planner lacks.
//!
//! In: a type as it is written; out: the Arrow type that holds its values. `json` and `uuid` are text
//! with a mark that tells clients the type; a `timestamp` counts microseconds, as in PostgreSQL and in tables: in
//! nanoseconds it could hold neither the year 1600 nor 2300.

use std::sync::Arc;

use auspex_storage::{JsonKind, uuid_marks};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast;

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
            ast::DataType::JSON => JsonKind::Json.marks(),
            ast::DataType::JSONB => JsonKind::Jsonb.marks(),
            ast::DataType::Uuid => uuid_marks(),
            _ => return Ok(None),
        };
        let field = Field::new("", DataType::Utf8, true).with_metadata(mark);
        Ok(Some(Arc::new(field)))
    }
}
