//! The short name of a type, as PostgreSQL calls the column of a cast: `SELECT 1::int` is `int4`.
//!
//! In: a type as it is written; out: the name in `pg_type`, of an array that of its elements.

use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, TimezoneInfo};

/// The name of the column of a cast to a type.
pub(super) fn short_name(data_type: &DataType) -> String {
    if let DataType::Array(
        ArrayElemTypeDef::SquareBracket(item, _) | ArrayElemTypeDef::AngleBracket(item),
    ) = data_type
    {
        return short_name(item);
    }
    let text = data_type.to_string();
    let zoned = match data_type {
        DataType::Timestamp(_, zone) => Some(("timestamp", "timestamptz", zone)),
        DataType::Time(_, zone) => Some(("time", "timetz", zone)),
        _ => None,
    };
    if let Some((plain, with_zone, zone)) = zoned {
        let has_zone = matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone);
        return if has_zone { with_zone } else { plain }.to_owned();
    }
    let text = text
        .split('(')
        .next()
        .unwrap_or(&text)
        .trim()
        .to_lowercase();
    let short = match text.as_str() {
        "boolean" => "bool",
        "smallint" | "int2" => "int2",
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "real" => "float4",
        "float" if is_short(data_type) => "float4",
        "float" | "double" | "double precision" => "float8",
        "decimal" | "dec" => "numeric",
        "char" | "character" => "bpchar",
        "character varying" | "char varying" => "varchar",
        "bit varying" => "varbit",
        // A type with its schema has the name alone.
        text => text.rsplit('.').next().unwrap_or(text).trim_matches('"'),
    };
    short.to_owned()
}

/// `float(24)` and less is a real.
fn is_short(data_type: &DataType) -> bool {
    let text = data_type.to_string();
    let digits = text.split(['(', ')']).nth(1);
    digits
        .and_then(|digits| digits.parse::<u32>().ok())
        .is_some_and(|digits| digits <= 24)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr};

    use super::*;

    #[test]
    fn types_have_the_names_of_pg_type() {
        for (written, expected) in [
            ("boolean", "bool"),
            ("int", "int4"),
            ("int8", "int8"),
            ("bigint", "int8"),
            ("varchar(3)", "varchar"),
            ("char(3)", "bpchar"),
            ("numeric(4,2)", "numeric"),
            ("decimal", "numeric"),
            ("float(10)", "float4"),
            ("double precision", "float8"),
            ("timestamp with time zone", "timestamptz"),
            ("timestamp(3)", "timestamp"),
            ("text[]", "text"),
            ("jsonb", "jsonb"),
            ("pg_catalog.regclass", "regclass"),
        ] {
            let text = format!("SELECT 1::{written}");
            let query = auspex_sql::parse_query(&text, auspex_sql::Dialect::Postgres).unwrap();
            let SetExpr::Select(select) = *query.body else {
                unreachable!("a SELECT")
            };
            let Some(SelectItem::UnnamedExpr(Expr::Cast { data_type, .. })) =
                select.projection.first()
            else {
                unreachable!("a cast")
            };
            assert_eq!(short_name(data_type), expected, "{written}");
        }
    }
}
