//! What `\df` shows of a function: the types of its result and arguments.
//!
//! In: a function's number; out: text such as `integer, text`. Read once from `pg_proc`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::super::PG_CATALOG;
use super::super::fresh;
use super::super::ml_functions;
use super::super::oids::ML_SCHEMA;
use super::names::{column, procedure_name};
use super::scalar::{Call, function, text_of_oid};
use super::type_names::type_text;

struct FunctionTypes {
    result: String,
    arguments: String,
}

static SIGNATURES: LazyLock<BTreeMap<i32, FunctionTypes>> = LazyLock::new(|| {
    let mut signatures = BTreeMap::new();
    if let Some(batch) = fresh::rows("pg_proc")
        && let Some(found) = types_of(batch)
    {
        signatures.extend(found);
    }
    for function in ml_functions::all() {
        let types = FunctionTypes {
            result: function.result.to_owned(),
            arguments: function.arguments.to_owned(),
        };
        signatures.insert(function.oid, types);
    }
    signatures
});

/// The types of each function of `pg_proc`.
fn types_of(batch: &RecordBatch) -> Option<Vec<(i32, FunctionTypes)>> {
    let oids = column(batch, "oid", &DataType::Int32)?;
    let results = column(batch, "prorettype", &DataType::Int32)?;
    let sets = batch.column_by_name("proretset")?.as_boolean_opt()?;
    let arguments = batch.column_by_name("proargtypes")?.as_list_opt::<i32>()?;
    let (oids, results) = (
        oids.as_primitive::<Int32Type>(),
        results.as_primitive::<Int32Type>(),
    );
    let row = |row: usize| {
        let set = if sets.value(row) { "SETOF " } else { "" };
        let arguments = arguments.value(row);
        let arguments = arguments.as_primitive_opt::<Int32Type>();
        let types = arguments.into_iter().flat_map(|types| types.values());
        let types: Vec<String> = types.map(|oid| type_text(*oid, -1)).collect();
        let types = FunctionTypes {
            result: format!("{set}{}", type_text(results.value(row), -1)),
            arguments: types.join(", "),
        };
        (oids.value(row), types)
    };
    Some((0..batch.num_rows()).map(row).collect())
}

/// A statement that would make the function, were its language open.
fn definition(oid: i32) -> Option<String> {
    let signature = SIGNATURES.get(&oid)?;
    let name = procedure_name(oid);
    let schema = match ml_functions::all().iter().find(|ours| ours.oid == oid) {
        Some(ours) if ours.schema_oid == ML_SCHEMA => "ml",
        _ => PG_CATALOG,
    };
    Some(format!(
        "CREATE OR REPLACE FUNCTION {schema}.{name}({})\n RETURNS {}\n LANGUAGE internal\n\
         AS $function${name}$function$\n",
        signature.arguments, signature.result
    ))
}

/// `oidvectortypes(vector)`: the types of a vector of numbers.
fn type_names(call: &Call) -> Result<ArrayRef> {
    let vectors = DataType::new_list(DataType::Int32, true);
    let vectors = match call.args.first() {
        Some(vectors_given) => cast(vectors_given, &vectors)?,
        None => return Ok(Arc::new(StringArray::new_null(call.n_rows))),
    };
    let names = |row: usize| {
        let vector = vectors.as_list::<i32>();
        let oids = vector.is_valid(row).then(|| vector.value(row))?;
        let oids = oids.as_primitive::<Int32Type>().iter().flatten();
        let names: Vec<String> = oids.map(|oid| type_text(oid, -1)).collect();
        Some(names.join(", "))
    };
    let names: StringArray = (0..vectors.len()).map(names).collect();
    Ok(Arc::new(names))
}

/// The functions that `\df` calls.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let arguments = |oid: i32| {
        SIGNATURES
            .get(&oid)
            .map(|signature| signature.arguments.clone())
    };
    vec![
        text_of_oid("pg_get_function_result", &[1], |oid| {
            SIGNATURES
                .get(&oid)
                .map(|signature| signature.result.clone())
        }),
        function("oidvectortypes", &[1], DataType::Utf8, type_names),
        text_of_oid("pg_get_functiondef", &[1], definition),
        text_of_oid("pg_get_function_arguments", &[1], arguments),
        text_of_oid("pg_get_function_identity_arguments", &[1], arguments),
    ]
}
