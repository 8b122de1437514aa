//! What `\df` shows of a function: the types of its result and arguments.
//!
//! In: a function's number; out: text such as `integer, text`. Read once from `pg_proc`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::logical_expr::ScalarUDF;

use super::super::ml_functions::numbered;
use super::super::schema::fresh_rows;
use super::names::{column, type_text};
use super::scalar::text_of_oid;

struct FunctionTypes {
    result: String,
    arguments: String,
}

static SIGNATURES: LazyLock<BTreeMap<i32, FunctionTypes>> = LazyLock::new(|| {
    let mut signatures = BTreeMap::new();
    for batch in fresh_rows("pg_proc") {
        let oids = column(batch, "oid", &DataType::Int32);
        let results = column(batch, "prorettype", &DataType::Int32);
        let options = FormatOptions::default();
        let arguments = batch
            .column_by_name("proargtypes")
            .and_then(|array| ArrayFormatter::try_new(array.as_ref(), &options).ok());
        let (Some(oids), Some(results), Some(arguments)) = (oids, results, arguments) else {
            continue;
        };
        for row in 0..batch.num_rows() {
            let oid = oids.as_primitive::<Int32Type>().value(row);
            let result = results.as_primitive::<Int32Type>().value(row);
            // Whatever the column's type, its text holds the numbers of the argument types.
            let text = arguments.value(row).to_string();
            let numbers = text.split(|c: char| !c.is_ascii_digit());
            let types: Vec<String> = numbers
                .filter_map(|number| number.parse().ok())
                .map(|number| type_text(number, -1))
                .collect();
            let types = FunctionTypes {
                result: type_text(result, -1),
                arguments: types.join(", "),
            };
            signatures.insert(oid, types);
        }
    }
    for (oid, _, arguments) in numbered() {
        let types = FunctionTypes {
            result: "SETOF record".to_owned(),
            arguments: arguments.to_owned(),
        };
        signatures.insert(oid, types);
    }
    signatures
});

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
        text_of_oid("pg_get_function_arguments", &[1], arguments),
        text_of_oid("pg_get_function_identity_arguments", &[1], arguments),
    ]
}
