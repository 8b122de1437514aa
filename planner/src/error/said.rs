//! What PostgreSQL says where the planner refuses a statement, or a value, in words of its own.
//!
//! In: the planner's message; out: SQLSTATE and message, if it is one of those that are known here.

use std::str::FromStr as _;

use datafusion::arrow::datatypes::DataType;

use super::report::Report;
use crate::functions::type_name;

/// How messages begin, and what is said instead.
const KNOWN: [(&str, &str, &str); 16] = [
    (
        "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
        "42P10",
        "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
    ),
    (
        "Too many columns! The subquery should only return one column",
        "42601",
        "subquery must return only one column",
    ),
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
        "Unsupported LIMIT expression",
        "0A000",
        "LIMIT of what is no constant is not supported",
    ),
    (
        "Unsupported OFFSET expression",
        "0A000",
        "OFFSET of what is no constant is not supported",
    ),
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

/// Values of VALUES that Arrow has texts for, beside others: their types are told by what marks their fields, alone.
fn other_marks(message: &str) -> Option<Report> {
    let rest = message.strip_prefix("Inconsistent metadata across values list at ")?;
    let (first, other) = rest.split_once(" but found ")?;
    let (json, uuid) = ("\"arrow.json\"", "\"auspex.uuid\"");
    let name = |marks: &str| match marks {
        marks if marks.contains(uuid) => Some("uuid"),
        marks if marks.contains(json) && marks.contains("\"jsonb\"") => Some("jsonb"),
        marks if marks.contains(json) => Some("json"),
        _ => None,
    };
    Some(match (name(first), name(other)) {
        (Some(first), Some(other)) => {
            let said = format!("VALUES could not convert type {other} to {first}");
            Report::new("42846", said)
        }
        // What nothing marks may be of any other type.
        (Some(known), None) | (None, Some(known)) => {
            let said = format!("VALUES types {known} and others cannot be matched");
            Report::new("42804", said)
        }
        (None, None) => Report::new("42804", "VALUES types cannot be matched".to_owned()),
    })
}

/// A number of rows that is of another type.
fn row_count_type(message: &str) -> Option<Report> {
    let rest = message.strip_prefix("Expected ")?;
    let (clause, found) = rest.split_once(" to be an integer or null, but got ")?;
    let found = type_name(&DataType::from_str(found).ok()?);
    let said = format!("argument of {clause} must be type bigint, not type {found}");
    Some(Report::new("42804", said))
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

/// An object that is looked up by its name and not there, or one that has the name of another.
fn looked_up(message: &str) -> Option<Report> {
    if message.starts_with("WITH query name ") && message.ends_with(" specified more than once") {
        return Some(Report::new("42712", message.to_owned()));
    }
    if let Some(name) = message.strip_prefix("Unsupported SQL type ") {
        return unknown_type(name);
    }
    let (kind, rest) = message.split_once(" \"")?;
    let sqlstate = match kind {
        "type" | "role" => "42704",
        "schema" => "3F000",
        "function" => "42883",
        _ => return None,
    };
    let is_missing = rest.ends_with("\" does not exist");
    is_missing.then(|| Report::new(sqlstate, message.to_owned()))
}

/// The types of PostgreSQL that have no values here.
const LACKING: [&str; 61] = [
    "aclitem",
    "bit",
    "box",
    "char",
    "cid",
    "circle",
    "cstring",
    "datemultirange",
    "daterange",
    "int2vector",
    "int4multirange",
    "int4range",
    "int8multirange",
    "int8range",
    "interval",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "nummultirange",
    "numrange",
    "oid",
    "oidvector",
    "path",
    "pg_lsn",
    "pg_node_tree",
    "pg_snapshot",
    "point",
    "polygon",
    "record",
    "refcursor",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "tid",
    "time",
    "timestamp",
    "timetz",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "unknown",
    "varbit",
    "void",
    "xid",
    "xid8",
    "xml",
];

/// A type that PostgreSQL does not have either, unless it is spelt with more than a name.
fn unknown_type(name: &str) -> Option<Report> {
    let folded = match name.contains('"') {
        true => name.to_owned(),
        false => name.to_lowercase(),
    };
    let short = folded.strip_prefix("pg_catalog.").unwrap_or(&folded);
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"');
    if !short.chars().all(is_name) || LACKING.contains(&short) {
        return None;
    }
    let said = format!("type \"{}\" does not exist", folded.replace('"', ""));
    Some(Report::new("42704", said))
}

/// Values of a type that stand where another one is wanted, or beside one.
fn wrong_type(message: &str) -> Option<Report> {
    let name = |text: &str| DataType::from_str(text).ok().map(|found| type_name(&found));
    let condition = message
        .strip_prefix("Unary operator 'NOT' requires a boolean expression, got ")
        .map(|found| ("NOT", found))
        .or_else(|| {
            let rest = message.strip_prefix("Cannot create filter with non-boolean predicate '")?;
            let (_, found) = rest.rsplit_once("' returning ")?;
            Some(("WHERE", found))
        });
    if let Some((place, found)) = condition {
        let found = name(found)?;
        let said = format!("argument of {place} must be type boolean, not type {found}");
        return Some(Report::new("42804", said));
    }
    let types =
        message.strip_prefix("Cannot infer common argument type for comparison operation ")?;
    let operators = [" = ", " != ", " <> ", " <= ", " >= ", " < ", " > "];
    let mut pairs = operators.into_iter().filter_map(|operator| {
        let (left, right) = types.split_once(operator)?;
        Some((name(left)?, operator, name(right)?))
    });
    let (left, operator, right) = pairs.next()?;
    let operator = operator.replace("!=", "<>");
    let said = format!("operator does not exist: {left}{operator}{right}");
    Some(Report::new("42883", said))
}

/// A regular expression that is none; the last line tells why.
fn bad_pattern(message: &str) -> Option<Report> {
    let begins = ["Regular expression did not compile: ", "regex parse error:"];
    begins.iter().find(|begin| message.starts_with(**begin))?;
    if message.contains("CompiledTooBig(") {
        let said = "invalid regular expression: regular expression is too complex";
        return Some(Report::new("2201B", said.to_owned()));
    }
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
    let others = [
        unknown_name,
        bad_pattern,
        looked_up,
        wrong_type,
        row_count_type,
        other_marks,
    ];
    if let Some(found) = others.into_iter().find_map(|found| found(message)) {
        return Some(found);
    }
    if let Some(rest) = message.strip_prefix("Percentile value must be between 0.0 and 1.0 ") {
        let value = rest
            .strip_prefix("inclusive, ")?
            .strip_suffix(" is invalid")?;
        let said = format!("percentile value {value} is not between 0 and 1");
        return Some(Report::new("22003", said));
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

    fn said(message: &str) -> Option<(&'static str, String)> {
        report(message).map(|found| (found.sqlstate, found.message))
    }

    fn told(sqlstate: &'static str, message: &str) -> Option<(&'static str, String)> {
        Some((sqlstate, message.to_owned()))
    }

    #[test]
    fn marks_of_values_are_told_as_types() {
        let json = r#"FieldMetadata { inner: {"ARROW:extension:name": "arrow.json"} }"#;
        let jsonb = r#"FieldMetadata { inner: {"ARROW:extension:name": "arrow.json", "pg.type": "jsonb"} }"#;
        let differ = |first: &str, other: &str| {
            let begin = "Inconsistent metadata across values list at row 1 column 0. Was";
            said(&format!("{begin} {first} but found {other}"))
        };
        assert_eq!(
            differ(jsonb, json),
            told("42846", "VALUES could not convert type json to jsonb")
        );
        assert_eq!(
            differ("FieldMetadata { inner: {} }", json),
            told("42804", "VALUES types json and others cannot be matched")
        );
    }

    #[test]
    fn words_are_those_of_postgresql() {
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
            said("Regular expression did not compile: CompiledTooBig(10485760)"),
            told(
                "2201B",
                "invalid regular expression: regular expression is too complex"
            )
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
        assert_eq!(
            said("Cannot infer common argument type for comparison operation Int32 = Boolean"),
            told("42883", "operator does not exist: integer = boolean")
        );
        assert_eq!(
            said("Cannot create filter with non-boolean predicate 'ra.k' returning Int32"),
            told(
                "42804",
                "argument of WHERE must be type boolean, not type integer"
            )
        );
        assert_eq!(
            said("Unsupported SQL type Nope"),
            told("42704", "type \"nope\" does not exist")
        );
        assert_eq!(said("Unsupported SQL type macaddr"), None);
        assert_eq!(said("Unsupported SQL type INTERVAL SECOND"), None);
        assert_eq!(said("something else"), None);
    }
}
