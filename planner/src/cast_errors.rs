//! What a client is told of a value that does not fit the type it is cast to.
//!
//! In: Arrow's message; out: PostgreSQL's, with its SQLSTATE. A message in another form stays as it is.

use crate::error::Report;

/// The report of a failed cast.
pub(crate) fn report(message: &str) -> Option<Report> {
    // Can't cast value 3000000000 to type Int32
    if let Some(rest) = message.strip_prefix("Can't cast value ") {
        let (_, data_type) = rest.rsplit_once(" to type ")?;
        let message = format!("{} out of range", type_name(data_type)?);
        return Some(Report::new("22003", message));
    }
    // Cannot cast string 'abc' to value of Int32 type
    let rest = message
        .strip_prefix("Cannot cast string '")
        .or_else(|| message.strip_prefix("Cannot cast value '"))?;
    let (value, rest) = rest.rsplit_once("' to value of ")?;
    let name = type_name(rest.strip_suffix(" type")?)?;
    if matches!(name, "smallint" | "integer" | "bigint") && is_whole(value) {
        let message = format!("value \"{value}\" is out of range for type {name}");
        return Some(Report::new("22003", message));
    }
    let sqlstate = match name {
        "date" | "timestamp" | "timestamp with time zone" | "time" | "interval" => "22007",
        _ => "22P02",
    };
    let message = format!("invalid input syntax for type {name}: \"{value}\"");
    Some(Report::new(sqlstate, message))
}

/// Whether a text is a whole number, which then does not fit the type.
fn is_whole(text: &str) -> bool {
    let word = text.trim();
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

fn type_name(arrow: &str) -> Option<&'static str> {
    let name = arrow.split('(').next().unwrap_or(arrow);
    Some(match name {
        "Boolean" => "boolean",
        "Int8" | "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" => "bigint",
        "Float16" | "Float32" => "real",
        "Float64" => "double precision",
        "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" => "numeric",
        "Date32" | "Date64" => "date",
        "Time32" | "Time64" => "time",
        "Timestamp" => "timestamp",
        "Interval" => "interval",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_casts_are_told_as_postgresql_tells_them() {
        let told = |message: &str| report(message).map(|told| (told.sqlstate, told.message));
        assert_eq!(
            told("Cannot cast string 'it's' to value of Int32 type"),
            Some((
                "22P02",
                "invalid input syntax for type integer: \"it's\"".to_owned()
            ))
        );
        assert_eq!(
            told("Can't cast value 3000000000 to type Int16"),
            Some(("22003", "smallint out of range".to_owned()))
        );
        assert_eq!(
            told("Cannot cast string '-9999999999' to value of Int32 type"),
            Some((
                "22003",
                "value \"-9999999999\" is out of range for type integer".to_owned()
            ))
        );
        assert_eq!(told("something else"), None);
    }
}
