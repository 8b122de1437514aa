//! A catalog function: a name, numbers of arguments, a result type and a body over columns.
//!
//! In: any argument types, since clients pass object identifiers as numbers and as text; out: a
//! function for the planner.

use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use crate::protocol::types::TimeZone;

/// The arguments of a call.
pub(super) struct Call {
    pub(super) args: Vec<ArrayRef>,
    pub(super) fields: Vec<FieldRef>,
    pub(super) n_rows: usize,
    pub(super) config: Arc<ConfigOptions>,
}

impl Call {
    /// An argument as object identifiers; what is none is NULL.
    pub(super) fn oids(&self, idx: usize) -> Result<Int32Array> {
        Ok(self
            .converted(idx, &DataType::Int32)?
            .as_primitive::<Int32Type>()
            .clone())
    }

    /// An argument as whole numbers.
    pub(super) fn bigints(&self, idx: usize) -> Result<Int64Array> {
        Ok(self
            .converted(idx, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone())
    }

    /// An argument as text.
    pub(super) fn texts(&self, idx: usize) -> Result<StringArray> {
        Ok(self
            .converted(idx, &DataType::Utf8)?
            .as_string::<i32>()
            .clone())
    }

    /// The session's time zone.
    pub(super) fn zone(&self) -> TimeZone {
        let zone = self.config.execution.time_zone.as_deref();
        TimeZone::of(zone.unwrap_or("UTC"))
    }

    fn converted(&self, idx: usize, data_type: &DataType) -> Result<ArrayRef> {
        let argument = self.args.get(idx).ok_or_else(|| {
            DataFusionError::Internal(
                "a catalog function was called without its argument".to_owned(),
            )
        })?;
        Ok(cast(argument, data_type)?)
    }
}

type Body = Arc<dyn Fn(&Call) -> Result<ArrayRef> + Send + Sync>;

/// A function of `name` that takes any of `arities` arguments.
pub(super) fn function(
    name: &'static str,
    arities: &[usize],
    returns: DataType,
    body: impl Fn(&Call) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    returning(name, arities, Field::new(name, returns, true), body)
}

/// The same with the field of the result.
pub(super) fn returning(
    name: &'static str,
    arities: &[usize],
    returns: Field,
    body: impl Fn(&Call) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let arity = |n: &usize| match n {
        0 => TypeSignature::Nullary,
        n => TypeSignature::Any(*n),
    };
    let signature = Signature::one_of(arities.iter().map(arity).collect(), Volatility::Stable);
    ScalarUDF::from(CatalogFunction {
        name,
        signature,
        returns: Arc::new(returns),
        body: Arc::new(body),
    })
}

/// A function of `name` that takes any number of arguments, and whose result has a type of its own.
pub(super) fn variadic(
    name: &'static str,
    returns: Field,
    body: impl Fn(&Call) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let any = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
    ScalarUDF::from(CatalogFunction {
        name,
        signature: Signature::one_of(any, Volatility::Stable),
        returns: Arc::new(returns),
        body: Arc::new(body),
    })
}

/// A function that gives a text for an object identifier, its first argument.
pub(super) fn text_of_oid(
    name: &'static str,
    arities: &[usize],
    text: impl Fn(i32) -> Option<String> + Send + Sync + 'static,
) -> ScalarUDF {
    function(name, arities, DataType::Utf8, move |call| {
        let answers: StringArray = call.oids(0)?.iter().map(|oid| text(oid?)).collect();
        Ok(Arc::new(answers) as ArrayRef)
    })
}

struct CatalogFunction {
    name: &'static str,
    signature: Signature,
    returns: FieldRef,
    body: Body,
}

impl Debug for CatalogFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogFunction")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// A session has one function of a name.
impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&self.returns))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n_rows = args.number_rows;
        let config = args.config_options;
        let args_fields = args.arg_fields;
        let args = args.args.into_iter().map(|value| value.into_array(n_rows));
        let call = Call {
            args: args.collect::<Result<_>>()?,
            fields: args_fields,
            n_rows,
            config,
        };
        (self.body)(&call).map(ColumnarValue::Array)
    }
}
