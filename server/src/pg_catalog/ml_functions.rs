//! The functions about models as rows of `pg_proc`, so that `\df ml.*` and every tool that lists
//! functions shows them.
//!
//! In: the planner's list, and the forms of `PREDICT` that are expressions; out: rows with argument names and types.

use std::sync::LazyLock;

use super::cells::{Cell, Row};
use super::oids::{ML_SCHEMA, PG_CATALOG_OID};
use super::roles::SUPERUSER_OID;

/// PostgreSQL's numbers of types.
const TEXT: i32 = 25;
const ANY: i32 = 2276;
const RECORD: i32 = 2249;
/// PostgreSQL's number of the language `internal`.
const INTERNAL: i32 = 12;
/// What a planner of PostgreSQL expects of a set, for want of better.
const EXPECTED_ROWS: i64 = 1000;

/// The functions that are expressions: schema, name, arguments, result and its number.
const SCALARS: &[(i32, &str, &str, &str, i32)] = &[
    (
        ML_SCHEMA,
        "predict",
        "model text, VARIADIC features \"any\"",
        "anyelement",
        2283,
    ),
    (ML_SCHEMA, "train", "model text", "text", TEXT),
    (
        PG_CATALOG_OID,
        "predict",
        "model text, VARIADIC features \"any\"",
        "anyelement",
        2283,
    ),
    (
        PG_CATALOG_OID,
        "predict_proba",
        "model text, label text, VARIADIC features \"any\"",
        "double precision",
        701,
    ),
];

/// A function.
pub(super) struct MlFunction {
    pub(super) oid: i32,
    pub(super) schema_oid: i32,
    pub(super) name: &'static str,
    /// As `\df` shows them.
    pub(super) arguments: &'static str,
    /// As `\df` shows it.
    pub(super) result: &'static str,
    result_oid: i32,
}

static FUNCTIONS: LazyLock<Vec<MlFunction>> = LazyLock::new(|| {
    let sets = auspex_planner::ml_functions()
        .map(|(name, arguments)| (ML_SCHEMA, name, arguments, "SETOF record", RECORD));
    let numbers = ML_SCHEMA + 1..;
    let function = |(oid, (schema_oid, name, arguments, result, result_oid))| MlFunction {
        oid,
        schema_oid,
        name,
        arguments,
        result,
        result_oid,
    };
    let all = sets.chain(SCALARS.iter().copied());
    numbers.zip(all).map(function).collect()
});

/// The functions.
pub(super) fn all() -> &'static [MlFunction] {
    &FUNCTIONS
}

/// Their rows of `pg_proc`.
pub(super) fn rows() -> Vec<Row> {
    all().iter().map(row).collect()
}

fn row(function: &MlFunction) -> Row {
    let arguments: Vec<&str> = function.arguments.split(", ").collect();
    let is_variadic = function.arguments.contains("VARIADIC");
    let names = arguments.iter().map(|argument| {
        let argument = argument.trim_start_matches("VARIADIC ");
        argument.split(' ').next().unwrap_or(argument).to_owned()
    });
    let types = arguments
        .iter()
        .map(|argument| {
            if argument.contains("\"any\"") {
                ANY
            } else {
                TEXT
            }
        })
        .map(i64::from);
    let types: Vec<i64> = types.collect();
    let n_defaults = function.arguments.matches(" DEFAULT ").count();
    let mut modes = vec!["i".to_owned(); arguments.len()];
    if let Some(last) = modes.last_mut().filter(|_| is_variadic) {
        "v".clone_into(last);
    }
    let is_set = function.result_oid == RECORD;
    let variadic = if is_variadic { ANY } else { 0 };
    let all_types = if is_variadic {
        Cell::Ints(types.clone())
    } else {
        Cell::Null
    };
    vec![
        ("oid", function.oid.into()),
        ("proname", function.name.into()),
        ("pronamespace", function.schema_oid.into()),
        ("proowner", SUPERUSER_OID.into()),
        ("prolang", INTERNAL.into()),
        ("procost", Cell::Int(1)),
        ("prorows", Cell::Int(if is_set { EXPECTED_ROWS } else { 0 })),
        ("provariadic", variadic.into()),
        ("prosupport", 0.into()),
        ("prokind", "f".into()),
        ("prosecdef", false.into()),
        ("proleakproof", false.into()),
        ("proisstrict", false.into()),
        ("proretset", is_set.into()),
        ("provolatile", "s".into()),
        ("proparallel", "s".into()),
        ("pronargs", arguments.len().into()),
        ("pronargdefaults", n_defaults.into()),
        ("prorettype", function.result_oid.into()),
        ("proargtypes", Cell::Ints(types)),
        ("proallargtypes", all_types),
        (
            "proargmodes",
            if is_variadic {
                Cell::Texts(modes)
            } else {
                Cell::Null
            },
        ),
        ("proargnames", Cell::Texts(names.collect())),
        ("prosrc", function.name.into()),
    ]
}
