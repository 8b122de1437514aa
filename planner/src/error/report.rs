//! What a client is told of an error.
//!
//! In: errors of any stage, those of the query engine by their kind and words; out: SQLSTATE, message, detail, hint and position.

use auspex_ml::error::Error as MlError;
use auspex_sql::without_url_secrets;
use auspex_storage::{Error as StorageError, ErrorPlace};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use super::{Error, nearest, said};
use crate::functions::type_name;
use crate::workload::hint_of_memory;

/// What a client is told of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// The message.
    pub message: String,
    /// More about the cause.
    pub detail: Option<String>,
    /// What may help.
    pub hint: Option<String>,
    /// Byte offset in the statement's own text.
    pub position: Option<usize>,
    /// The table, column or constraint that it is about.
    pub place: ErrorPlace,
}

impl Report {
    pub(crate) fn new(sqlstate: &'static str, message: String) -> Report {
        Report {
            sqlstate,
            message,
            detail: None,
            hint: None,
            position: None,
            place: ErrorPlace::default(),
        }
    }

    pub(super) fn of_storage(error: &StorageError) -> Report {
        Report {
            detail: error.detail(),
            hint: error.hint(),
            place: error.place(),
            ..Report::new(error.sqlstate(), error.to_string())
        }
    }

    /// The same without secrets of URLs that its texts quote.
    pub(super) fn without_secrets(mut self) -> Report {
        let texts = [
            Some(&mut self.message),
            self.detail.as_mut(),
            self.hint.as_mut(),
        ];
        for text in texts.into_iter().flatten() {
            let shown = without_url_secrets(text).into_owned();
            *text = shown;
        }
        self
    }
}

/// What a client is told of an error that came out of a plan or a stream.
pub fn report_of(error: &DataFusionError) -> Report {
    let report = report_in_full(error);
    if shows_plan(&report.message) {
        let text = error.to_string();
        tracing::error!(error = %without_url_secrets(&text), "a plan was refused");
        let message = "the statement failed because of an internal error";
        return Report {
            hint: Some("The server's log tells more. Please report this.".to_owned()),
            ..Report::new("XX000", message.to_owned())
        };
    }
    report.without_secrets()
}

/// Whether a message has operators of a plan in it, which tell the server's paths of files.
fn shows_plan(message: &str) -> bool {
    message.starts_with("plan: [\"") || message.contains("file_groups={")
}

fn report_in_full(error: &DataFusionError) -> Report {
    let root = error.find_root();
    if let Some(error) = StorageError::found_in(root) {
        return Report::of_storage(&error);
    }
    if let DataFusionError::External(source) = root {
        if let Some(error) = source.downcast_ref::<Error>() {
            return error.report();
        }
        if let Some(error) = source.downcast_ref::<MlError>() {
            return Report {
                hint: error.hint(),
                ..Report::new(error.sqlstate(), error.to_string())
            };
        }
        if let Some(error) = source.downcast_ref::<StorageError>() {
            return Report::of_storage(error);
        }
    }
    if is_disk_full(root) {
        return spill_disk_full();
    }
    use datafusion::arrow::error::ArrowError;
    match root {
        DataFusionError::SQL(..) => Report::new("42601", plain_message(root)),
        DataFusionError::SchemaError(cause, _) => Report {
            position: position_of(error),
            ..schema_report(cause, plain_message(root))
        },
        DataFusionError::ArrowError(cause, _) => match cause.as_ref() {
            ArrowError::DivideByZero => Report::new("22012", "division by zero".to_owned()),
            ArrowError::CastError(message) => crate::cast_errors::report(message)
                .unwrap_or_else(|| Report::new("22P02", lower_first(message))),
            ArrowError::ArithmeticOverflow(message) => Report::new("22003", lower_first(message)),
            ArrowError::CsvError(message) => Report::new("22P04", lower_first(message)),
            ArrowError::JsonError(message) => Report::new("22P02", lower_first(message)),
            ArrowError::ParseError(message) => Report::new("22P02", lower_first(message)),
            ArrowError::InvalidArgumentError(message) => invalid_argument(message),
            ArrowError::ComputeError(message) => computed(message),
            other => Report::new("XX000", other.to_string()),
        },
        DataFusionError::NotImplemented(message) => said::report(message)
            .or_else(|| crate::functions::unsupported_subquery(message))
            .unwrap_or_else(|| Report::new("0A000", lower_first(message))),
        DataFusionError::ResourcesExhausted(message) => Report {
            hint: Some(hint_of_memory(message).to_owned()),
            ..Report::new("53200", lower_first(message))
        },
        DataFusionError::Plan(message) if message.starts_with(UNKNOWN_FUNCTION) => Report {
            position: position_of(error),
            ..plan_report(message)
        },
        DataFusionError::Plan(message) => plan_report(message),
        DataFusionError::Execution(message) => computed(message),
        DataFusionError::Configuration(message) => Report::new("22023", lower_first(message)),
        DataFusionError::IoError(source) => Report::new("58030", source.to_string()),
        _ => {
            // The planner's library of patterns has errors of its own.
            let message = plain_message(root);
            said::report(&message).unwrap_or_else(|| Report::new("XX000", message))
        }
    }
}

/// The system's words for it.
const NO_SPACE: &str = "No space left on device";

/// Whether a disk is full on which a query puts what it has no memory for; that of files and tables is the store's to tell.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};

    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            // Compressing writers make a text of the system's error.
            return matches!(io.kind(), StorageFull | QuotaExceeded)
                || io.to_string().contains(NO_SPACE);
        }
        next = error.source();
    }
    false
}

fn spill_disk_full() -> Report {
    let hint = "Free space in the folder that --spill-dir names, or that of the system for temporary files, or raise \
                --memory-limit, so that less is written there.";
    Report {
        hint: Some(hint.to_owned()),
        ..Report::new(
            "53100",
            "could not write a temporary file: no space left on device".to_owned(),
        )
    }
}

/// Where the planner met a name; our tokens carry their byte offset as a column of line 1.
fn position_of(error: &DataFusionError) -> Option<usize> {
    let span = error.diagnostic()?.span?;
    usize::try_from(span.start.column).ok()?.checked_sub(1)
}

/// What to do without a column that each table of PostgreSQL has; `None`: it is none of these.
fn no_system_column(name: &str) -> Option<String> {
    let hint = match name {
        "xmax" => {
            "Tables have no system columns. Whether a row was inserted or updated is told by \
             merge_action() in MERGE ... RETURNING."
        }
        "cmax" | "cmin" | "ctid" | "tableoid" | "xmin" => "Tables have no system columns.",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// A column that the planner did not find.
fn schema_report(error: &SchemaError, message: String) -> Report {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let names: Vec<&str> = valid_fields.iter().map(|column| column.name()).collect();
            let hint = no_system_column(field.name()).or_else(|| {
                let name = nearest(field.name(), names.into_iter())?;
                Some(format!(
                    "Perhaps you meant to reference the column \"{name}\"."
                ))
            });
            let message = format!("column \"{}\" does not exist", field.name());
            Report {
                hint,
                ..Report::new("42703", message)
            }
        }
        SchemaError::AmbiguousReference { field } => {
            let message = format!("column reference \"{}\" is ambiguous", field.name());
            Report::new("42702", message)
        }
        SchemaError::DuplicateUnqualifiedField { name } => Report::new(
            "42701",
            format!("column name \"{name}\" appears more than once"),
        ),
        SchemaError::DuplicateQualifiedField { name, .. } => Report::new(
            "42701",
            format!("column name \"{name}\" appears more than once"),
        ),
        #[allow(unreachable_patterns, reason = "the enum may grow")]
        _ => Report::new("42000", message),
    }
}

/// A batch that does not fit its schema: a NULL where there may be none.
fn invalid_argument(message: &str) -> Report {
    let column = message
        .strip_prefix("Column '")
        .and_then(|rest| rest.split('\'').next());
    if message.contains(" is too large to store in a Decimal") {
        let (_, limit) = message.rsplit_once("Max is ").unwrap_or_default();
        let detail = format!("The largest value of the type is {limit}.");
        return Report {
            detail: Some(detail),
            ..Report::new("22003", "numeric field overflow".to_owned())
        };
    }
    match column.filter(|_| message.contains("non-nullable")) {
        Some(column) => {
            let message = format!("null value in column \"{column}\" violates not-null constraint");
            Report::new("23502", message)
        }
        None => Report::new("22023", lower_first(message)),
    }
}

/// A function that has no value for its arguments.
fn computed(message: &str) -> Report {
    let message = message.strip_prefix("Execution error: ").unwrap_or(message);
    if let Some(report) = said::report(message) {
        return report;
    }
    let is_about = |words: &str| message.contains(words);
    if is_about("Scalar subquery returned more than one row") {
        let message = "more than one row returned by a subquery used as an expression";
        return Report::new("21000", message.to_owned());
    }
    let sqlstate = match () {
        () if is_about("square root of a negative") || is_about("raised to a") => "2201F",
        () => "22000",
    };
    Report::new(sqlstate, lower_first(message))
}

/// Functions of windows alone.
const WINDOW_FUNCTIONS: [&str; 8] = [
    "cume_dist",
    "dense_rank",
    "lag",
    "lead",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// How the planner's message of a function begins that there is not.
const UNKNOWN_FUNCTION: &str = "Invalid function '";

/// How the names end of functions that rewritten calls alone have: nobody means them.
const OWN_FUNCTION: &str = "_of";

/// The planner has one variant for many causes; its fixed phrases tell them apart.
fn plan_report(message: &str) -> Report {
    if let Some(rest) = message.strip_prefix("table '")
        && let Some(name) = rest.strip_suffix("' not found")
    {
        let short = name.rsplit('.').next().unwrap_or(name);
        return Report::new("42P01", format!("relation \"{short}\" does not exist"));
    }
    let table_function = message.strip_prefix("table function '");
    if let Some(name) = table_function.and_then(|rest| rest.strip_suffix("' not found")) {
        let hint = nearest(name, ["generate_series", "range"].into_iter())
            .map(|name| format!("Did you mean \"{name}\"?"));
        let message = format!("function {name} does not exist");
        return Report {
            hint,
            ..Report::new("42883", message)
        };
    }
    if let Some(rest) = message.strip_prefix(UNKNOWN_FUNCTION) {
        let name = rest.split('\'').next().unwrap_or(rest);
        if WINDOW_FUNCTIONS.contains(&name) {
            let message = format!("window function {name} requires an OVER clause");
            return Report::new("42809", message);
        }
        let nearest = rest
            .split("Did you mean '")
            .nth(1)
            .and_then(|tail| tail.split('\'').next());
        // The planner names some function, however unlike it is.
        let nearest = nearest.filter(|known| !known.ends_with(OWN_FUNCTION));
        let nearest = nearest.and_then(|known| super::nearest(name, [known].into_iter()));
        let hint = nearest.map(|name| format!("Did you mean \"{name}\"?"));
        let message = format!("function {name} does not exist");
        return Report {
            hint,
            ..Report::new("42883", message)
        };
    }
    let known = said::report(message).or_else(|| not_grouped(message));
    let known = known.or_else(|| no_operator(message));
    if let Some(report) = known.or_else(|| no_function(message)) {
        return report;
    }
    // Functions of rows take their arguments when the statement is planned.
    if message.contains("got Column(Column {") {
        let message = "a function in FROM cannot take columns of other relations".to_owned();
        return Report {
            hint: Some("Call it in the SELECT list, where each row may have its own.".to_owned()),
            ..Report::new("0A000", message)
        };
    }
    // `generate_series` is the one function of rows that names its arguments so, with their trees.
    if message.starts_with("Argument #") && message.contains(" must be an INTEGER") {
        let message = "function generate_series has no form with such arguments".to_owned();
        let hint = "They are whole numbers, numerics or times; a cast such as x::bigint may help.";
        return Report {
            hint: Some(hint.to_owned()),
            ..Report::new("42883", message)
        };
    }
    let sqlstate = if message.contains("must be in the GROUP BY") || message.contains("GROUP BY") {
        "42803"
    } else if message.contains("coerce") || message.contains("type") {
        "42804"
    } else {
        "42000"
    };
    Report::new(sqlstate, lower_first(message))
}

/// A column that is neither grouped by nor aggregated.
fn not_grouped(message: &str) -> Option<Report> {
    let (_, rest) = message.split_once("While expanding wildcard, column \"")?;
    let (column, _) = rest.split_once("\" must appear in the GROUP BY clause")?;
    let message = format!(
        "column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
    );
    Some(Report::new("42803", message))
}

/// Operands of types that have no such operator.
fn no_operator(message: &str) -> Option<Report> {
    let rest = message.strip_prefix("Cannot coerce arithmetic expression ")?;
    let rest = rest.strip_suffix(" to valid types")?;
    let (operator, left, right) = ["+", "-", "*", "/", "%"].iter().find_map(|operator| {
        let (left, right) = rest.split_once(&format!(" {operator} "))?;
        Some((operator, left, right))
    })?;
    let (left, right) = (shown_type(left), shown_type(right));
    let message = format!("operator does not exist: {left} {operator} {right}");
    let hint = "No operator has these types; a cast such as x::bigint may help.".to_owned();
    Some(Report {
        hint: Some(hint),
        ..Report::new("42883", message)
    })
}

/// A type as PostgreSQL calls it.
fn shown_type(text: &str) -> String {
    let known = text.parse::<DataType>().ok();
    known.map_or_else(|| text.to_lowercase(), |known| type_name(&known))
}

/// A function that takes no arguments of such types.
fn no_function(message: &str) -> Option<Report> {
    const OF_ONE_TYPE: [&str; 3] = ["coalesce", "greatest", "least"];
    let (_, rest) =
        message.split_once("No function matches the given name and argument types '")?;
    let (call, _) = rest.split_once("'. You might need to add explicit type casts")?;
    let (name, types) = call.strip_suffix(')')?.split_once('(')?;
    // Types of arrays have commas of their own.
    let mut depth = 0_usize;
    let types = types.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    let types = types.map(str::trim).filter(|text| !text.is_empty());
    let types: Vec<String> = types.map(shown_type).collect();
    if OF_ONE_TYPE.contains(&name)
        && let Some(first) = types.first()
        && let Some(other) = types.iter().find(|other| *other != first)
    {
        let name = name.to_uppercase();
        let message = format!("{name} types {first} and {other} cannot be matched");
        return Some(Report::new("42804", message));
    }
    let message = format!("function {name}({}) does not exist", types.join(", "));
    let hint = "No function has this name and these types of arguments; a cast may help.";
    Some(Report {
        hint: Some(hint.to_owned()),
        ..Report::new("42883", message)
    })
}

/// An error's message without DataFusion's prefixes and backtraces.
fn plain_message(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = [
        "SQL error: ",
        "Schema error: ",
        "Arrow error: ",
        "External error: ",
    ]
    .iter()
    .fold(text.as_str(), |text, prefix| {
        text.strip_prefix(prefix).unwrap_or(text)
    });
    lower_first(text)
}

/// Messages start with a lower-case letter, unless the word is a name in capitals.
fn lower_first(message: &str) -> String {
    let mut chars = message.trim_end_matches('.').chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        (Some(first), _) => std::iter::once(first).chain(chars).collect(),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::Column;

    use super::*;

    #[test]
    fn system_columns_have_a_hint() {
        let hint = |name: &str| {
            let error = SchemaError::FieldNotFound {
                field: Box::new(Column::from_name(name)),
                valid_fields: Vec::new(),
            };
            schema_report(&error, String::new()).hint
        };
        assert!(hint("xmax").is_some_and(|hint| hint.contains("merge_action()")));
        let expected = "Tables have no system columns.";
        assert_eq!(hint("ctid").as_deref(), Some(expected));
        assert_eq!(hint("name"), None);
    }

    #[test]
    fn nobody_is_pointed_to_functions_of_rewritten_calls() {
        let hint = |near: &str| {
            let message = format!("{UNKNOWN_FUNCTION}json_object_agg'.\nDid you mean '{near}'?");
            plan_report(&message).hint
        };
        assert_eq!(hint("json_object_agg_of"), None);
        let expected = "Did you mean \"json_object_ag\"?";
        assert_eq!(hint("json_object_ag").as_deref(), Some(expected));
    }

    #[test]
    fn no_message_shows_a_plan() {
        let scan = "DataSourceExec: file_groups={1 group: [[srv/wh/part-0.parquet]]}";
        let refused = format!("Plan: [\"SortExec: expr=[a@0]\", \"{scan}\"] does not satisfy");
        for error in [
            DataFusionError::Plan(refused),
            DataFusionError::Internal(format!("no child of {scan}")),
        ] {
            let report = report_of(&error);
            assert_eq!(report.sqlstate, "XX000");
            assert_eq!(
                report.message,
                "the statement failed because of an internal error"
            );
        }
    }
}
