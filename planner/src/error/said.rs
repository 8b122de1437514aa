//! What PostgreSQL says where the planner refuses a statement, or a value, in words of its own.
//!
//! In: the planner's message; out: SQLSTATE and message, if it is one of those that are known here.

use std::str::FromStr as _;

use datafusion::arrow::datatypes::DataType;

use super::report::Report;
use crate::functions::type_name;

/// How messages begin, and what is said instead.
const KNOWN: [(&str, &str, &str); 12] = [
    (
        "For SELECT DISTINCT, ORDER BY expressions ",
        "42P10",
        "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
    ),
    (
        "Aggregate function calls cannot be nested",
        "42803",
        "aggregate function calls cannot be nested",
    ),
    (
        "Window function calls cannot be nested",
        "42P20",
        "window function calls cannot be nested",
    ),
    (
        "Aggregate functions are not allowed in the WHERE clause",
        "42803",
        "aggregate functions are not allowed in WHERE",
    ),
    (
        "Physical plan does not support logical expression WindowFunction(",
        "42P20",
        "window functions are allowed only in the SELECT list and in ORDER BY",
    ),
    ("LIMIT must be >= 0", "2201W", "LIMIT must not be negative"),
    ("OFFSET must be >=0", "2201X", "OFFSET must not be negative"),
    (
        "NTILE requires a positive integer",
        "22014",
        "argument of ntile must be greater than zero",
    ),
    (
        "field position must not be zero",
        "22023",
        "field position must not be zero",
    ),
    (
        "null values cannot be formatted as an SQL identifier",
        "22004",
        "null values cannot be formatted as an SQL identifier",
    ),
    ("Timestamp out of range", "22008", "timestamp out of range"),
    ("Date arithmetic overflow", "22008", "date out of range"),
];

/// A cast of types that the planner names as Arrow does.
fn refused_cast(types: &str) -> Option<Report> {
    let (from, to) = types.split_once(" to ")?;
    let name = |text: &str| DataType::from_str(text).ok().map(|found| type_name(&found));
    let said = format!("cannot cast type {} to {}", name(from)?, name(to)?);
    Some(Report::new("42846", said))
}

/// A relation, a column's number or a unit of time that there is not.
fn unknown_name(message: &str) -> Option<Report> {
    if let Some(relation) = message.strip_prefix("Invalid qualifier ") {
        let said = format!("missing FROM-clause entry for table \"{relation}\"");
        return Some(Report::new("42P01", said));
    }
    if let Some(rest) = message.strip_prefix("Cannot find column with position ") {
        let (position, _) = rest.split_once(' ')?;
        let said = format!("GROUP BY position {position} is not in select list");
        return Some(Report::new("42P10", said));
    }
    let unit = message
        .strip_prefix("Unsupported date_trunc granularity: '")
        .or_else(|| message.strip_prefix("Date part '"))?;
    let (unit, _) = unit.split_once('\'')?;
    let said = format!("unit \"{unit}\" not recognized");
    Some(Report::new("22023", said))
}

/// A regular expression that is none; the last line tells why.
fn bad_pattern(message: &str) -> Option<Report> {
    let begins = ["Regular expression did not compile: ", "regex parse error:"];
    begins.iter().find(|begin| message.starts_with(**begin))?;
    let mut lines = message.lines().rev();
    let cause = lines.find_map(|line| line.trim().strip_prefix("error: "))?;
    let said = format!("invalid regular expression: {cause}");
    Some(Report::new("2201B", said))
}

/// PostgreSQL's words for a message.
pub(super) fn report(message: &str) -> Option<Report> {
    let mut known = KNOWN.into_iter();
    if let Some((_, sqlstate, said)) = known.find(|(begin, ..)| message.starts_with(*begin)) {
        return Some(Report::new(sqlstate, said.to_owned()));
    }
    if let Some((operator, _)) = message.split_once(" queries have different number of columns") {
        let said = format!("each {operator} query must have the same number of columns");
        return Some(Report::new("42601", said));
    }
    if let Some(rest) = message.strip_prefix("Order by column out of bounds, specified: ") {
        let (position, _) = rest.split_once(',')?;
        let said = format!("ORDER BY position {position} is not in select list");
        return Some(Report::new("42P10", said));
    }
    if let Some(found) = unknown_name(message).or_else(|| bad_pattern(message)) {
        return Some(found);
    }
    if let Some(types) = message.strip_prefix("Unsupported CAST from ") {
        return refused_cast(types);
    }
    if let Some(count) = message.strip_prefix("negative count not allowed: ") {
        let said = format!("negative substring length not allowed: {count}");
        return Some(Report::new("22011", said));
    }
    // Functions that choose their arguments' types say themselves that they take none of these.
    if let Some((_, said)) = message.split_once(" user-defined coercion failed with: ") {
        let said = said.strip_prefix("External error: ").unwrap_or(said);
        // Where the types follow, they are told with PostgreSQL's names elsewhere.
        let (said, has_types) = match said.split_once(". No function matches") {
            Some((said, _)) => (said, true),
            None => (said, false),
        };
        let is_told = said.starts_with("operator does not exist")
            || !has_types && said.ends_with(" does not exist");
        return is_told.then(|| Report::new("42883", said.to_owned()));
    }
    let date = message.strip_prefix("Unable to parse date from ")?;
    let mut numbers = date.split(", ").map(str::parse::<i32>);
    let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        return None;
    };
    let said = format!("date field value out of range: {year}-{month:02}-{day:02}");
    Some(Report::new("22008", said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_postgresql() {
        let said = |message: &str| report(message).map(|found| (found.sqlstate, found.message));
        let told = |sqlstate, message: &str| Some((sqlstate, message.to_owned()));
        assert_eq!(
            said(
                "Aggregate function calls cannot be nested: 'sum(a)' is nested inside 'max(sum(a))'"
            ),
            told("42803", "aggregate function calls cannot be nested")
        );
        assert_eq!(
            said("EXCEPT queries have different number of columns"),
            told(
                "42601",
                "each EXCEPT query must have the same number of columns"
            )
        );
        assert_eq!(
            said("Order by column out of bounds, specified: 5, max: 1"),
            told("42P10", "ORDER BY position 5 is not in select list")
        );
        assert_eq!(
            said("Cannot find column with position 9 in SELECT clause. Valid columns: 1 to 1"),
            told("42P10", "GROUP BY position 9 is not in select list")
        );
        assert_eq!(
            said(
                "Regular expression did not compile: Syntax(\n~~~\nregex parse error:\n    (\n    ^\nerror: unclosed group\n~~~\n)"
            ),
            told("2201B", "invalid regular expression: unclosed group")
        );
        assert_eq!(
            said("Unable to parse date from 2024, 2, 30"),
            told("22008", "date field value out of range: 2024-02-30")
        );
        assert_eq!(
            said(
                "Function 'lag' user-defined coercion failed with: External error: function lag() does not exist"
            ),
            told("42883", "function lag() does not exist")
        );
        assert_eq!(said("something else"), None);
    }
}
