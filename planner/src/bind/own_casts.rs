//! Casts of a value to the type that its column has anyway, as drivers write them: `'2026-01-31'::date`, `$1::varchar`.
//!
//! In: syntax trees; out: what stands within the casts, and which of them change nothing.

use auspex_storage::{AddressKind, EnumType, JsonKind, is_uuid, marks_of};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType as Written, ExactNumberInfo, Expr, Parens, TimezoneInfo,
    Value,
};

use crate::functions::{address_of_type, enum_of_type};

/// What stands within casts and brackets, and the types of the casts, the outermost first.
pub(super) fn within_casts(expr: &Expr) -> (&Expr, Vec<&Written>) {
    let (mut inner, mut casts) = (expr, Vec::new());
    loop {
        inner = match inner {
            Expr::Nested(nested) => nested,
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr,
                data_type,
                array: false,
                format: None,
            } => {
                casts.push(data_type);
                expr
            }
            _ => return (inner, casts),
        };
    }
}

/// Whether a written type is that of a column.
pub(super) fn is_own(written: &Written, column: &Field) -> bool {
    if let Written::Array(ArrayElemTypeDef::SquareBracket(element, _)) = written {
        return match column.data_type() {
            DataType::List(item) => {
                // The array says what its elements are.
                let item = Field::new("", item.data_type().clone(), true);
                is_own(element, &item.with_metadata(column.metadata().clone()))
            }
            _ => false,
        };
    }
    match written {
        Written::JSON => JsonKind::of(column) == Some(JsonKind::Json),
        Written::JSONB => JsonKind::of(column) == Some(JsonKind::Jsonb),
        Written::Uuid => is_uuid(column),
        // What a client declared a parameter as.
        Written::Custom(..) => {
            let address = address_of_type(written);
            let (told, own) = (enum_of_type(written), EnumType::of(column));
            told.is_some_and(|told| own.is_some_and(|own| own.id == told.id))
                || address.is_some() && address == AddressKind::of(column)
        }
        _ => marks_of(column).is_empty() && is_of(written, column.data_type()),
    }
}

/// The same of a type that nothing marks.
fn is_of(written: &Written, data_type: &DataType) -> bool {
    use TimezoneInfo::{None as NoZone, Tz, WithTimeZone, WithoutTimeZone};
    match written {
        Written::Boolean | Written::Bool => *data_type == DataType::Boolean,
        Written::Text | Written::Varchar(None) | Written::CharacterVarying(None) => {
            *data_type == DataType::Utf8
        }
        Written::Real | Written::Float4 => *data_type == DataType::Float32,
        Written::DoublePrecision
        | Written::Float8
        | Written::Float(ExactNumberInfo::None)
        | Written::Double(ExactNumberInfo::None) => *data_type == DataType::Float64,
        Written::Bytea => *data_type == DataType::Binary,
        Written::Date => *data_type == DataType::Date32,
        Written::Time(None, NoZone | WithoutTimeZone) => matches!(data_type, DataType::Time64(_)),
        Written::Timestamp(None, NoZone | WithoutTimeZone) => {
            *data_type == DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        Written::Timestamp(None, Tz | WithTimeZone) => {
            matches!(
                data_type,
                DataType::Timestamp(TimeUnit::Microsecond, Some(_))
            )
        }
        Written::Interval {
            fields: None,
            precision: None,
        } => matches!(data_type, DataType::Interval(_)),
        Written::Numeric(info) | Written::Decimal(info) | Written::Dec(info) => {
            match (info, data_type) {
                (
                    ExactNumberInfo::PrecisionAndScale(precision, scale),
                    DataType::Decimal128(of_column, behind_point),
                ) => *precision == u64::from(*of_column) && *scale == i64::from(*behind_point),
                _ => false,
            }
        }
        written => whole(written).as_ref() == Some(data_type),
    }
}

/// Whether a value of a column that Arrow has texts for is cast in some row to the column's type, or to another that Arrow has texts
/// for: the planner takes no others beside it.
pub(super) fn is_cast_somewhere(rows: &[Parens<Vec<Expr>>], at: usize, column: &Field) -> bool {
    let is_cast = |row: &Parens<Vec<Expr>>| {
        let cell = row.content.get(at).map(within_casts);
        let cast = cell.and_then(|(_, casts)| casts.first().copied());
        cast.is_some_and(|cast| is_own(cast, column) || is_marked(cast))
    };
    !marks_of(column).is_empty() && rows.iter().any(is_cast)
}

/// Whether a value is cast to another type than a column's that Arrow has texts for.
pub(super) fn is_cast_to_other(value: &Expr, column: &Field) -> bool {
    let (_, casts) = within_casts(value);
    let cast = casts.first();
    cast.is_some_and(|cast| is_marked(cast) && !is_own(cast, column))
}

/// Whether Arrow has texts for the values of a written type, which are marked.
fn is_marked(written: &Written) -> bool {
    matches!(written, Written::JSON | Written::JSONB | Written::Uuid)
        || address_of_type(written).is_some()
}

/// Whether a value has no type of its own: a parameter, a text or NULL.
pub(super) fn is_untyped(value: &Expr) -> bool {
    matches!(value, Expr::Value(value) if matches!(
        value.value,
        Value::Placeholder(_)
            | Value::Null
            | Value::SingleQuotedString(_)
            | Value::EscapedStringLiteral(_)
    ))
}

/// The type of whole numbers that a written type is.
pub(super) fn whole(written: &Written) -> Option<DataType> {
    match written {
        Written::SmallInt(None) | Written::Int2(None) => Some(DataType::Int16),
        Written::Integer(None) | Written::Int(None) | Written::Int4(None) => Some(DataType::Int32),
        Written::BigInt(None) | Written::Int8(None) => Some(DataType::Int64),
        _ => None,
    }
}

/// Whether a written type is a numeric that tells no digits.
pub(super) fn is_numeric(written: &Written) -> bool {
    matches!(
        written,
        Written::Numeric(ExactNumberInfo::None)
            | Written::Decimal(ExactNumberInfo::None)
            | Written::Dec(ExactNumberInfo::None)
    )
}

/// Whether the values of a written type are numbers whose digits are all kept.
pub(super) fn is_exact(written: &Written) -> bool {
    let is_decimal = matches!(
        written,
        Written::Numeric(_) | Written::Decimal(_) | Written::Dec(_)
    );
    is_decimal || whole(written).is_some()
}

/// Whether a written type is PostgreSQL's own, or an array of such, so that no catalog says what it is.
pub(super) fn is_built_in(written: &Written) -> bool {
    match written {
        Written::Array(ArrayElemTypeDef::SquareBracket(element, _)) => is_built_in(element),
        Written::Boolean
        | Written::Bool
        | Written::Text
        | Written::Varchar(_)
        | Written::CharacterVarying(_)
        | Written::CharVarying(_)
        | Written::Char(_)
        | Written::Character(_)
        | Written::Real
        | Written::Float4
        | Written::DoublePrecision
        | Written::Float8
        | Written::Float(ExactNumberInfo::None)
        | Written::Double(ExactNumberInfo::None)
        | Written::Bytea
        | Written::Date
        | Written::Time(..)
        | Written::Timestamp(..)
        | Written::Interval { .. }
        | Written::JSON
        | Written::JSONB
        | Written::Uuid => true,
        written => is_exact(written) || address_of_type(written).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::parse_expr;

    fn own(cast: &str, column: &Field) -> bool {
        let expr = parse_expr(cast).unwrap();
        let (inner, casts) = within_casts(&expr);
        assert!(matches!(inner, Expr::Value(_)), "{cast}");
        casts.iter().all(|written| is_own(written, column))
    }

    #[test]
    fn casts_to_the_type_of_a_column_are_its_own() {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let clock = DataType::Timestamp(TimeUnit::Microsecond, None);
        let texts = DataType::new_list(DataType::Utf8, true);
        for (cast, data_type) in [
            ("'1'::int4", DataType::Int32),
            ("CAST('1' AS bigint)", DataType::Int64),
            ("('1'::smallint)", DataType::Int16),
            ("'x'::varchar", DataType::Utf8),
            ("'x'::character varying", DataType::Utf8),
            ("('x'::text)::varchar", DataType::Utf8),
            ("1::float", DataType::Float64),
            ("1::float8", DataType::Float64),
            ("'t'::bool", DataType::Boolean),
            ("1.5::numeric(5, 2)", DataType::Decimal128(5, 2)),
            ("''::bytea", DataType::Binary),
            ("'2026-01-31'::date", DataType::Date32),
            ("'2026-01-31 10:00'::timestamp without time zone", clock),
            ("'2026-01-31 10:00'::timestamptz", moment),
            ("'{a}'::text[]", texts),
        ] {
            let column = Field::new("x", data_type, true);
            assert!(own(cast, &column), "{cast}");
        }
        let json = Field::new("x", DataType::Utf8, true).with_metadata(JsonKind::Jsonb.marks());
        assert!(own("'1'::jsonb", &json));
    }

    #[test]
    fn other_casts_are_not() {
        let clock = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (cast, data_type) in [
            ("'1'::int4", DataType::Int64),
            ("'x'::varchar(1)", DataType::Utf8),
            ("'x'::char", DataType::Utf8),
            ("'1'::jsonb", DataType::Utf8),
            ("1::float", DataType::Float32),
            ("1.5::numeric", DataType::Decimal128(5, 2)),
            ("1.5::numeric(5, 1)", DataType::Decimal128(5, 2)),
            ("'2026-01-31 10:00'::timestamp(0)", clock.clone()),
            ("'2026-01-31 10:00'::timestamptz", clock),
            ("'{a}'::text[]", DataType::Utf8),
        ] {
            let column = Field::new("x", data_type, true);
            assert!(!own(cast, &column), "{cast}");
        }
        let json = Field::new("x", DataType::Utf8, true).with_metadata(JsonKind::Json.marks());
        assert!(!own("'1'::jsonb", &json) && !own("'1'::text", &json));
    }

    #[test]
    fn types_of_the_catalog_are_not_built_in() {
        let innermost = |cast: &str| {
            let expr = parse_expr(cast).unwrap();
            let (_, casts) = within_casts(&expr);
            (is_exact(casts[0]), is_built_in(casts[0]))
        };
        for (cast, expected) in [
            ("$1::smallint", (true, true)),
            ("$1::numeric(5, 2)", (true, true)),
            ("$1::float8", (false, true)),
            ("$1::varchar(3)", (false, true)),
            ("$1::timestamptz(3)", (false, true)),
            ("$1::jsonb[]", (false, true)),
            ("$1::mood", (false, false)),
            ("$1::regclass", (false, false)),
            ("$1::mood[]", (false, false)),
        ] {
            assert_eq!(innermost(cast), expected, "{cast}");
        }
    }
}
