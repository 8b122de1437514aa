//! Names of types as PostgreSQL shows them behind `::`.
//!
//! In: the type of a cast or of a column; out: its name without lengths and digits.

use auspex_planner::{AddressKind, TextLimit};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, ExactNumberInfo, TimezoneInfo};

use super::super::PG_CATALOG;
use super::super::functions::shown_type;
use super::super::objects::Objects;
use super::super::own_types;
use super::typed::{
    BIGINT, BOOLEAN, BPCHAR, DATE, DOUBLE, INTEGER, INTERVAL, NUMERIC, TEXT, TIMESTAMP,
    TIMESTAMP_TZ, VARCHAR,
};
use crate::protocol::types::WireColumn;

/// The type of a column, of which lengths of texts are noted apart.
pub(in super::super) fn shown_name(
    objects: &Objects,
    limit: Option<TextLimit>,
    column: &WireColumn,
) -> String {
    match limit {
        // PostgreSQL's own name, since `character` alone has one character.
        Some(limit) if limit.is_fixed => BPCHAR.to_owned(),
        Some(_) => VARCHAR.to_owned(),
        None if column.pg_type.schema() == PG_CATALOG => shown_type(&column.pg_type),
        None => {
            // Lossless: numbers of types fit. An enum has its schema where the session would not find it without.
            let own = own_types::name_of(objects, column.pg_type.oid() as i32);
            own.ok()
                .flatten()
                .unwrap_or_else(|| shown_type(&column.pg_type))
        }
    }
}

/// The type of a cast; `None` for one that has lengths or digits, or is not known here.
pub(super) fn named(data_type: &DataType) -> Option<String> {
    use DataType as T;
    let name = match data_type {
        T::Text => TEXT,
        T::Varchar(None) | T::CharVarying(None) | T::CharacterVarying(None) => VARCHAR,
        T::SmallInt(None) | T::Int2(None) => "smallint",
        T::Int(None) | T::Integer(None) | T::Int4(None) => INTEGER,
        T::BigInt(None) | T::Int8(None) => BIGINT,
        T::Numeric(ExactNumberInfo::None)
        | T::Decimal(ExactNumberInfo::None)
        | T::Dec(ExactNumberInfo::None) => NUMERIC,
        T::DoublePrecision | T::Float8 | T::Float(ExactNumberInfo::None) => DOUBLE,
        T::Real | T::Float4 => "real",
        T::Boolean | T::Bool => BOOLEAN,
        T::Date => DATE,
        T::Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => TIMESTAMP,
        T::Timestamp(None, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => TIMESTAMP_TZ,
        T::Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            "time without time zone"
        }
        T::Interval {
            fields: None,
            precision: None,
        } => INTERVAL,
        T::JSON => "json",
        T::JSONB => "jsonb",
        T::Uuid => "uuid",
        T::Bytea => "bytea",
        // PostgreSQL's own name, which the parser knows as little as one of the users'.
        T::Custom(name, modifiers)
            if modifiers.is_empty() && name.to_string().eq_ignore_ascii_case(BPCHAR) =>
        {
            BPCHAR
        }
        T::Custom(name, modifiers) if modifiers.is_empty() => {
            AddressKind::named(&name.to_string().to_lowercase())?.name()
        }
        T::Array(ArrayElemTypeDef::SquareBracket(element, None)) => {
            return Some(format!("{}[]", named(element)?));
        }
        _ => return None,
    };
    Some(name.to_owned())
}
