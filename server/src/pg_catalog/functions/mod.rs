//! The functions of `pg_catalog` that clients call.
//!
//! In: the session's facts and a look at its catalog; out: functions for the planner. A function that
//! asks for what Auspex has none of (partitions, triggers) answers
//! as PostgreSQL does of a database without them.

mod acl_items;
mod as_text;
mod elements;
mod expand_array;
mod json;
mod lookups;
mod names;
mod privileges;
mod scalar;
mod server_files;
mod settings;
mod signatures;
mod table_functions;
mod text;
mod type_names;

use std::sync::Arc;

use auspex_planner::{SessionFacts, ValueFunction};
use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ScalarUDF;
use datafusion_pg_catalog::pg_catalog::array_bounds_udf::{
    create_array_lower_udf, create_array_upper_udf,
};
use datafusion_pg_catalog::pg_catalog::quote_ident_udf::create_parse_ident_udf;

use super::domain_rows::base_types;
use super::objects::Objects;
use super::own_types;
use super::roles::{comments, roles};
use super::server_tables::UTF8;
pub(super) use acl_items::{COLUMNS as ACL_COLUMNS, NAME as ACL_ITEMS};
pub(super) use as_text::register as register_texts;
pub(super) use expand_array::NAME as EXPAND_ARRAY;
pub(super) use json::{MEMBER as JSON_MEMBER, VALUE as JSON_VALUE};
pub(super) use lookups::looks_up;
pub(crate) use names::procedure_name;
pub(super) use names::{column, identifier_parts, quoted};
use scalar::{Call, function, text_of_oid};
pub(super) use table_functions::register;
pub(crate) use type_names::shown_type;
pub(super) use type_names::{is_catalog_type, type_text};

use crate::protocol::types::field_type;

/// PostgreSQL's encodings of texts in the order of their numbers.
const ENCODINGS: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

/// The functions that need nothing of a session: those of json and texts, and what casts to text become.
pub(super) fn of_values() -> Vec<ValueFunction> {
    let families = [json::functions(), text::functions(), as_text::functions()];
    let functions = families.into_iter().flatten();
    functions
        .map(|function| ValueFunction {
            reads_marks: !json::takes_texts(function.name()),
            function,
        })
        .collect()
}

/// The functions of a session beside those of values.
pub(super) fn all(session: &SessionFacts, objects: &Objects) -> Vec<ScalarUDF> {
    let mut functions = vec![
        create_array_upper_udf(),
        create_array_lower_udf(),
        create_parse_ident_udf(),
        size_pretty(),
        type_of(objects),
        base_type(objects),
        expand_array::expand_array(),
    ];
    functions.extend(lookups::functions(objects));
    functions.extend(settings::functions(objects));
    functions.extend(identity(session));
    functions.extend(clock(session, objects));
    functions.extend(path(objects));
    functions.extend(visibility(objects));
    functions.extend(privileges::functions(session, objects));
    functions.extend(acl_items::functions(session));
    functions.extend(absent());
    functions.extend(names::functions(session, objects));
    functions.extend(signatures::functions());
    functions.extend(server_files::functions(objects));
    functions
}

/// A function that gives the same value for every row.
fn constant(name: &'static str, arities: &[usize], value: impl Into<ScalarValue>) -> ScalarUDF {
    let value = value.into();
    function(name, arities, value.data_type(), move |call| {
        value.to_array_of_size(call.n_rows)
    })
}

/// Who and where the session is.
fn identity(session: &SessionFacts) -> Vec<ScalarUDF> {
    let version = concat!("PostgreSQL 15.0, Auspex ", env!("CARGO_PKG_VERSION"));
    let users = ["current_user", "session_user", "user", "current_role"];
    let mut functions: Vec<ScalarUDF> = users
        .into_iter()
        .map(|name| {
            let identity = Arc::clone(&session.identity);
            function(name, &[0], DataType::Utf8, move |call| {
                let user = match name {
                    "session_user" => identity.session_user(),
                    _ => identity.current_user(),
                };
                ScalarValue::from(user.as_str()).to_array_of_size(call.n_rows)
            })
        })
        .collect();
    functions.push(shared_comment(session));
    let known = session.clone();
    functions.extend([
        constant("version", &[0], version),
        constant("current_database", &[0], session.database),
        constant("current_catalog", &[0], session.database),
        constant("pg_backend_pid", &[0], session.process_id),
        constant("pg_is_in_recovery", &[0], false),
        constant("pg_is_wal_replay_paused", &[0], false),
        constant("getdatabaseencoding", &[0], "UTF8"),
        constant("pg_char_to_encoding", &[1], UTF8),
        text_of_oid("pg_encoding_to_char", &[1], |code| {
            let place = usize::try_from(code).ok();
            let name = place.and_then(|place| ENCODINGS.get(place)).unwrap_or(&"");
            Some((*name).to_owned())
        }),
        text_of_oid("pg_get_userbyid", &[1], move |oid| {
            let found = roles(&known).into_iter().find(|(known, _)| *known == oid);
            Some(found.map_or_else(|| format!("unknown (OID={oid})"), |(_, name)| name.clone()))
        }),
    ]);
    functions
}

/// Where names without a schema are looked for.
fn path(objects: &Objects) -> Vec<ScalarUDF> {
    let (first, all, temporary) = (objects.clone(), objects.clone(), objects.clone());
    let texts = DataType::new_list(DataType::Utf8, true);
    vec![
        function("current_schema", &[0], DataType::Utf8, move |call| {
            let schema = first.first_schema()?;
            ScalarValue::Utf8(schema).to_array_of_size(call.n_rows)
        }),
        function("current_schemas", &[1], texts, move |call| {
            let flags = call.args.first().and_then(|array| array.as_boolean_opt());
            let implicit = flags.is_some_and(|flags| !flags.is_empty() && flags.value(0));
            let path = match implicit {
                true => all.whole_path()?,
                false => all.named_path()?,
            };
            let schemas: Vec<ScalarValue> = path.into_iter().map(ScalarValue::from).collect();
            ScalarValue::List(ScalarValue::new_list(&schemas, &DataType::Utf8, true))
                .to_array_of_size(call.n_rows)
        }),
        function("pg_my_temp_schema", &[0], DataType::Int32, move |call| {
            ScalarValue::from(temporary.temporary_schema()?).to_array_of_size(call.n_rows)
        }),
    ]
}

/// Whether an object is found without naming its schema.
fn visibility(objects: &Objects) -> Vec<ScalarUDF> {
    let known = objects.clone();
    let tables = function(
        "pg_table_is_visible",
        &[1],
        DataType::Boolean,
        move |call| {
            let visible = |oid: Option<i32>| oid.map_or(Ok(None), |oid| known.is_visible(oid));
            let oids = call.oids(0)?;
            let answers = oids.iter().map(visible);
            let answers = answers.collect::<Result<BooleanArray, DataFusionError>>()?;
            Ok(Arc::new(answers) as ArrayRef)
        },
    );
    let rest = [
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_collation_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_conversion_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
        "pg_statistics_obj_is_visible",
    ];
    // These live in pg_catalog alone, which is always looked in.
    let mut functions: Vec<ScalarUDF> = rest
        .into_iter()
        .map(|name| constant(name, &[1], true))
        .collect();
    functions.extend([tables, visible_types(objects)]);
    functions
}

/// Whether a type is found without naming its schema.
fn visible_types(objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    function("pg_type_is_visible", &[1], DataType::Boolean, move |call| {
        let is_visible = |oid: i32| match type_names::is_visible(oid) {
            None => own_types::is_visible(&objects, oid),
            known => Ok(known),
        };
        let oids = call.oids(0)?;
        let answers = oids.iter().map(|oid| oid.map_or(Ok(None), is_visible));
        let answers = answers.collect::<Result<BooleanArray, DataFusionError>>()?;
        Ok(Arc::new(answers) as ArrayRef)
    })
}

/// `shobj_description(number, catalog)`: the comment of a role, which is the one shared object that may have one.
fn shared_comment(session: &SessionFacts) -> ScalarUDF {
    let session = session.clone();
    function("shobj_description", &[2], DataType::Utf8, move |call| {
        let (oids, catalogs) = (call.oids(0)?, call.texts(1)?);
        let comments = comments(&session);
        let texts = oids.iter().zip(catalogs.iter()).map(|(oid, catalog)| {
            let oid = oid.filter(|_| catalog == Some("pg_authid"))?;
            comments.get(&oid)
        });
        Ok(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
    })
}

/// Functions about what Auspex has none of.
fn absent() -> Vec<ScalarUDF> {
    let texts: [(&'static str, &[usize]); 8] = [
        ("inet_server_addr", &[0]),
        ("inet_client_addr", &[0]),
        ("pg_get_triggerdef", &[1, 2]),
        ("pg_get_ruledef", &[1, 2]),
        ("pg_get_partkeydef", &[1]),
        ("pg_get_statisticsobjdef_columns", &[1]),
        ("pg_get_function_sqlbody", &[1]),
        ("pg_tablespace_location", &[1]),
    ];
    let mut functions: Vec<ScalarUDF> = texts
        .into_iter()
        .map(|(name, arities)| constant(name, arities, ScalarValue::Utf8(None)))
        .collect();
    // Indexes keep nothing of their own; the size of files in an object store is not known without asking it.
    let sizes = [("pg_indexes_size", Some(0)), ("pg_tablespace_size", None)];
    functions.extend(
        sizes
            .into_iter()
            .map(|(name, size)| constant(name, &[1], ScalarValue::Int64(size))),
    );
    functions.push(function("pg_get_expr", &[2, 3], DataType::Utf8, |call| {
        // What PostgreSQL keeps as a tree is kept as text here.
        Ok(Arc::new(call.texts(0)?) as ArrayRef)
    }));
    // Nobody waits for another's locks but for advisory ones.
    let nobody = ScalarValue::new_list(&[], &DataType::Int32, true);
    functions.push(constant(
        "pg_blocking_pids",
        &[1],
        ScalarValue::List(nobody),
    ));
    functions.push(constant("inet_server_port", &[0], ScalarValue::Int32(None)));
    functions.push(constant("inet_client_port", &[0], ScalarValue::Int32(None)));
    functions.push(constant("pg_relation_is_publishable", &[1], false));
    functions.push(constant("pg_is_other_temp_schema", &[1], false));
    functions.push(constant(
        "pg_partition_ancestors",
        &[1],
        ScalarValue::Int32(None),
    ));
    functions
}

/// The type of a value, as SQL writes it.
fn type_of(objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    function("pg_typeof", &[1], DataType::Utf8, move |call| {
        let name = match call.fields.first() {
            Some(field) => {
                let of_rows = own_types::row_type_of(&objects, field)?;
                Some(of_rows.unwrap_or_else(|| shown_type(&field_type(field))))
            }
            None => None,
        };
        ScalarValue::Utf8(name).to_array_of_size(call.n_rows)
    })
}

/// The type that a domain is made of in the end; that of any other type is itself.
fn base_type(objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    function("pg_basetype", &[1], DataType::Int32, move |call| {
        let bases = base_types(&objects)?;
        let base = |oid: i32| bases.get(&oid).copied().unwrap_or(oid);
        let oids = call.oids(0)?;
        let answers: Int32Array = oids.iter().map(|oid| oid.map(base)).collect();
        Ok(Arc::new(answers) as ArrayRef)
    })
}

/// What a server tells of its own time.
fn clock(session: &SessionFacts, objects: &Objects) -> Vec<ScalarUDF> {
    let started =
        ScalarValue::TimestampMicrosecond(Some(session.started_at_us), Some("UTC".into()));
    let mut functions: Vec<ScalarUDF> = ["pg_postmaster_start_time", "pg_conf_load_time"]
        .into_iter()
        .map(|name| constant(name, &[0], started.clone()))
        .collect();
    for name in [
        "txid_current",
        "pg_current_xact_id",
        "txid_current_if_assigned",
    ] {
        let objects = objects.clone();
        functions.push(function(name, &[0], DataType::Int64, move |call| {
            // Lossless: so many changes are never made.
            let generation = objects
                .facts()
                .generation()
                .map_err(DataFusionError::from)?;
            ScalarValue::from(generation as i64).to_array_of_size(call.n_rows)
        }));
    }
    functions
}

fn size_pretty() -> ScalarUDF {
    function("pg_size_pretty", &[1], DataType::Utf8, |call: &Call| {
        let answers: StringArray = call
            .bigints(0)?
            .iter()
            .map(|size| size.map(pretty))
            .collect();
        Ok(Arc::new(answers) as ArrayRef)
    })
}

/// A size as PostgreSQL shows it: in the unit in which it stays below 10240.
fn pretty(bytes: i64) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB", "TB"] {
        if size.abs() < 10_240.0 {
            return format!("{size:.0} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.0} PB")
}
