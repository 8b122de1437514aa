//! Which types become which when they are assigned to a column, and the mark of a value that is to be:
//! `as_assigned(value, 'column', 'type')`.
//!
//! In: a value of any type; out: the same value, or the error that the column takes none of its type. `bind/assignments.rs`
//! writes the mark, and takes it out of the plan once all types are settled.

use std::sync::Arc;

use auspex_storage::{
    AddressKind, BitKind, EnumType, JsonKind, is_uuid, marked_element, type_name,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::call::failure;
use crate::error::Error;

const NUMBERS: &[&str] = &[
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
];
const TEXT: &str = "text";
const TIME: &str = "time without time zone";
const TIMESTAMP: &str = "timestamp without time zone";
const TIMESTAMPTZ: &str = "timestamp with time zone";

/// What becomes what when it is assigned: the casts whose `pg_cast.castcontext` is `i` or `a`. Anything becomes a text;
/// literals in quotes, which have no type, become anything.
const ASSIGNMENT_CASTS: &[(&[&str], &[&str])] = &[
    (NUMBERS, NUMBERS),
    (&["date"], &[TIMESTAMP, TIMESTAMPTZ]),
    (&[TIMESTAMP, TIMESTAMPTZ], &["date", TIMESTAMP, TIMESTAMPTZ]),
    (&[TIMESTAMP, TIMESTAMPTZ, "interval"], &[TIME]),
    (&[TIME], &["interval"]),
    (&["json"], &["jsonb"]),
    (&["jsonb"], &["json"]),
    // Unlike in PostgreSQL, since these are texts in files: what is none fails when it is read.
    (&[TEXT], &["json", "jsonb", "uuid", "inet", "cidr"]),
    (&["inet"], &["cidr"]),
    (&["cidr"], &["inet"]),
];

/// The types that Arrow has, too. Arrays of texts may be of any other: a CASE or an aggregate loses what marks their elements.
const OF_ARROW: [&str; 14] = [
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "boolean",
    "bytea",
    "date",
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    "interval",
    "record",
];

/// PostgreSQL's name of the type of a column or value.
pub(crate) fn type_of(field: &Field) -> String {
    if let DataType::List(item) = field.data_type() {
        let element = marked_element(field);
        let element = element.as_ref().map_or_else(|| type_of(item), type_of);
        return format!("{}[]", element.trim_end_matches("[]"));
    }
    match JsonKind::of(field) {
        Some(JsonKind::Json) => "json".to_owned(),
        Some(JsonKind::Jsonb) => "jsonb".to_owned(),
        None if is_uuid(field) => "uuid".to_owned(),
        None => match EnumType::of(field) {
            Some(known) => known.name,
            None => match BitKind::of(field) {
                Some(kind) => kind.name().to_owned(),
                None => match AddressKind::of(field) {
                    Some(kind) => kind.name().to_owned(),
                    None => type_name(field.data_type()),
                },
            },
        },
    }
}

/// Whether a column of a type takes values of another.
fn is_assignable(found: &str, wanted: &str) -> bool {
    if let (Some(found), Some(wanted)) = (found.strip_suffix("[]"), wanted.strip_suffix("[]")) {
        return is_assignable(found, wanted) || found == TEXT && !OF_ARROW.contains(&wanted);
    }
    let is_cast = |(from, to): &(&[&str], &[&str])| from.contains(&found) && to.contains(&wanted);
    found == wanted || wanted == TEXT || found == "unknown" || ASSIGNMENT_CASTS.iter().any(is_cast)
}

/// Whether a column takes values of another one on its own.
pub(crate) fn can_be_assigned(found: &Field, wanted: &Field) -> bool {
    is_assignable(&type_of(found), &type_of(wanted))
}

/// Fails for a value of a type that is not cast to that of a column on its own.
pub(crate) fn check_assignment(column: &str, wanted: &str, found: &Field) -> Result<()> {
    check(column, wanted, "expression", found)
}

/// The same of what a table's definition gives a column.
pub(crate) fn check_default(column: &Field, found: &Field) -> Result<()> {
    check(column.name(), &type_of(column), "default expression", found)
}

fn check(column: &str, wanted: &str, what: &str, found: &Field) -> Result<()> {
    let found = type_of(found);
    if is_assignable(&found, wanted) {
        return Ok(());
    }
    let message = format!("column \"{column}\" is of type {wanted} but {what} is of type {found}");
    let hint = "You will need to rewrite or cast the expression.";
    Err(Error::invalid("42804", message, Some(hint)).into())
}

/// The function's name.
pub(crate) const MARK: &str = "as_assigned";

/// The function.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(AssignedValue {
        signature: Signature::any(3, Volatility::Immutable),
    })
}

/// Whether a value looks like a text, or an array of texts.
fn is_of_texts(value: &Field) -> bool {
    value.data_type().is_string() || marked_element(value).is_some()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AssignedValue {
    signature: Signature,
}

impl ScalarUDFImpl for AssignedValue {
    fn name(&self) -> &str {
        MARK
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let found = Arc::clone(&args.arg_fields[0]);
        let text = |idx: usize| match args.scalar_arguments.get(idx).copied().flatten() {
            Some(ScalarValue::Utf8(Some(text))) => Some(text.as_str()),
            _ => None,
        };
        // A CASE that looks like a text may be none when all its branches are known.
        if let (Some(column), Some(wanted), false) = (text(1), text(2), is_of_texts(&found)) {
            check_assignment(column, wanted, &found)?;
        }
        Ok(found)
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match args.first() {
            Some(value) => ExprSimplifyResult::Simplified(value.clone()),
            None => ExprSimplifyResult::Original(args),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let value = args.args.into_iter().next();
        value.ok_or_else(|| failure("XX000", "a function was called without its argument"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_are_those_that_postgresql_makes_of_assignments() {
        for (found, wanted) in [
            ("numeric", "integer"),
            ("bigint", "smallint"),
            ("date", TIMESTAMP),
            (TIMESTAMPTZ, "date"),
            (TIMESTAMP, TIME),
            (TIME, "interval"),
            ("boolean", TEXT),
            ("integer[]", "bigint[]"),
            ("unknown", "date"),
            ("unknown[]", "date[]"),
            ("text[]", "mood[]"),
        ] {
            assert!(is_assignable(found, wanted), "{found} to {wanted}");
        }
        for (found, wanted) in [
            ("integer", "date"),
            ("boolean", "integer"),
            ("integer", "boolean"),
            ("integer", TIME),
            (TIME, TIMESTAMP),
            ("integer", "interval"),
            (TEXT, "integer"),
            ("date", "integer"),
            ("integer", "uuid"),
            ("integer[]", "date[]"),
            ("integer", "integer[]"),
            (TEXT, "text[]"),
            (TEXT, "mood"),
            ("text[]", "date[]"),
            ("bytea", "integer"),
        ] {
            assert!(!is_assignable(found, wanted), "{found} to {wanted}");
        }
    }
}
