//! `SAFE.f(x)`: the function `f`, which gives NULL where it fails.
//!
//! In: a function; out: the same under `safe.`. A batch that fails as a whole is computed again row by row.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, new_null_array};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The functions that may fail on what they are given, without `googlesql.`.
const SAFE: [&str; 47] = [
    "chr",
    "concat",
    "date",
    "date_add",
    "date_diff",
    "date_from_unix_date",
    "date_trunc",
    "datetime",
    "datetime_add",
    "datetime_diff",
    "datetime_trunc",
    "decode",
    "div",
    "divide",
    "exp",
    "extract",
    "format",
    "format_date",
    "format_datetime",
    "format_timestamp",
    "int64",
    "json_extract",
    "json_extract_scalar",
    "json_query",
    "json_value",
    "last_day",
    "ln",
    "log",
    "log10",
    "parse_date",
    "parse_datetime",
    "parse_time",
    "parse_timestamp",
    "regexp_contains",
    "regexp_extract",
    "regexp_replace",
    "repeat",
    "sqrt",
    "substr",
    "time",
    "time_add",
    "time_diff",
    "time_trunc",
    "timestamp",
    "timestamp_add",
    "timestamp_diff",
    "timestamp_trunc",
];

/// Whether `SAFE.` may stand before a function.
pub(in crate::functions) fn is_safe(name: &str) -> bool {
    SAFE.contains(&name)
}

/// `safe.f` for each function that is known, GoogleSQL's meaning first.
pub(super) fn functions(known: &dyn Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let wrapped = |name: &&str| {
        let inner = known(&format!("googlesql.{name}")).or_else(|| known(name))?;
        Some(ScalarUDF::from(Safe {
            name: format!("safe.{name}"),
            inner,
        }))
    };
    SAFE.iter().filter_map(wrapped).collect()
}

#[derive(Debug)]
struct Safe {
    name: String,
    inner: Arc<ScalarUDF>,
}

// There is one function of a name.
impl PartialEq for Safe {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Safe {}

impl Hash for Safe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Safe {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (n_rows, data_type) = (args.number_rows, args.return_field.data_type().clone());
        if let Ok(values) = self.inner.invoke_with_args(args.clone()) {
            return Ok(values);
        }
        let columns: Vec<ArrayRef> = args
            .args
            .iter()
            .map(|value| value.to_array(n_rows))
            .collect::<Result<_>>()?;
        let of_row = |row: usize| {
            let one = columns
                .iter()
                .map(|column| ColumnarValue::Array(column.slice(row, 1)));
            let call = ScalarFunctionArgs {
                args: one.collect(),
                number_rows: 1,
                ..args.clone()
            };
            let value = self.inner.invoke_with_args(call);
            let value = value.and_then(|value| value.into_array(1));
            value.unwrap_or_else(|_| new_null_array(&data_type, 1))
        };
        let rows: Vec<ArrayRef> = (0..n_rows).map(of_row).collect();
        let rows: Vec<&dyn datafusion::arrow::array::Array> =
            rows.iter().map(AsRef::as_ref).collect();
        Ok(match rows.is_empty() {
            true => ColumnarValue::Array(new_null_array(&data_type, 0)),
            false => ColumnarValue::Array(concat(&rows)?),
        })
    }
}
