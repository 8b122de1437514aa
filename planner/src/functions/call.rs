//! One function of SQL: a name, the numbers of its arguments, the type of its result and a body over columns.
//!
//! In: columns of any type, since PostgreSQL casts what is written; out: a function for the planner.
//! Knows no function itself.

use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, IntervalMonthDayNanoArray, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use crate::error::Error;

/// An interval as Arrow holds it.
pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The arguments of a call.
pub(super) struct Call<'a> {
    pub(super) args: Vec<ArrayRef>,
    pub(super) n_rows: usize,
    pub(super) config: &'a ConfigOptions,
}

impl Call<'_> {
    /// An argument as text.
    pub(super) fn texts(&self, idx: usize) -> Result<StringArray> {
        let array = self.converted(idx, &DataType::Utf8)?;
        Ok(array.as_string::<i32>().clone())
    }

    /// An argument as whole numbers.
    pub(super) fn integers(&self, idx: usize) -> Result<Int64Array> {
        let array = self.converted(idx, &DataType::Int64)?;
        Ok(array.as_primitive::<Int64Type>().clone())
    }

    /// An argument as numbers.
    pub(super) fn floats(&self, idx: usize) -> Result<Float64Array> {
        let array = self.converted(idx, &DataType::Float64)?;
        Ok(array.as_primitive::<Float64Type>().clone())
    }

    /// An argument as intervals; a text as PostgreSQL writes them.
    pub(super) fn intervals(&self, idx: usize) -> Result<IntervalMonthDayNanoArray> {
        let array = self.arg(idx)?;
        if array.data_type().is_string() {
            return self
                .texts(idx)?
                .iter()
                .map(|text| text.map(super::interval::parse).transpose())
                .collect();
        }
        let array = match super::moment::is_time(array.data_type()) {
            true => super::moment::since_midnight(array)?,
            false => cast(array, &INTERVAL)?,
        };
        Ok(array.as_primitive::<IntervalMonthDayNanoType>().clone())
    }

    /// An argument.
    pub(super) fn arg(&self, idx: usize) -> Result<&ArrayRef> {
        self.args.get(idx).ok_or_else(|| {
            DataFusionError::Internal("a function was called without its argument".to_owned())
        })
    }

    /// An argument in another type.
    pub(super) fn converted(&self, idx: usize, data_type: &DataType) -> Result<ArrayRef> {
        Ok(cast(self.arg(idx)?, data_type)?)
    }

    /// The client's time zone.
    pub(super) fn time_zone(&self) -> &str {
        let zone = self.config.execution.time_zone.as_deref();
        zone.unwrap_or("UTC")
    }
}

type Body = dyn Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync;
type Returns = dyn Fn(&ReturnFieldArgs) -> Result<Field> + Send + Sync;

/// A function that is being described.
pub(super) struct Function {
    name: &'static str,
    aliases: Vec<String>,
    arities: &'static [usize],
    volatility: Volatility,
    returns: Arc<Returns>,
    body: Arc<Body>,
}

/// Any number of arguments, at least one.
pub(super) const ANY: &[usize] = &[usize::MAX];

/// A function that takes any of `arities` arguments.
pub(super) fn function(
    name: &'static str,
    arities: &'static [usize],
    returns: DataType,
    body: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Function {
    function_of(name, arities, move |_| Ok(returns.clone()), body)
}

/// The same when the type of the result depends on those of the arguments.
pub(super) fn function_of(
    name: &'static str,
    arities: &'static [usize],
    returns: impl Fn(&[DataType]) -> Result<DataType> + Send + Sync + 'static,
    body: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Function {
    let returns = move |args: &ReturnFieldArgs| {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        Ok(Field::new("value", returns(&types)?, true))
    };
    Function {
        name,
        aliases: Vec::new(),
        arities,
        volatility: Volatility::Immutable,
        returns: Arc::new(returns),
        body: Arc::new(body),
    }
}

impl Function {
    /// Another name, which must replace the planner's function of that name as well.
    pub(super) fn alias(mut self, name: &str) -> Function {
        self.aliases.push(name.to_owned());
        self
    }

    /// Its result is the same only within one statement: it reads the clock or the session.
    pub(super) fn stable(mut self) -> Function {
        self.volatility = Volatility::Stable;
        self
    }

    /// Each row has a value of its own.
    pub(super) fn volatile(mut self) -> Function {
        self.volatility = Volatility::Volatile;
        self
    }

    /// Decides the result's field, with its metadata, from the arguments.
    pub(super) fn returning(
        mut self,
        returns: impl Fn(&ReturnFieldArgs) -> Result<Field> + Send + Sync + 'static,
    ) -> Function {
        self.returns = Arc::new(returns);
        self
    }

    /// The function for the planner.
    pub(super) fn build(self) -> ScalarUDF {
        let arity = |n: &usize| match *n {
            0 => TypeSignature::Nullary,
            usize::MAX => TypeSignature::VariadicAny,
            n => TypeSignature::Any(n),
        };
        let signatures = self.arities.iter().map(arity).collect();
        ScalarUDF::from(SqlFunction {
            signature: Signature::one_of(signatures, self.volatility),
            function: self,
        })
    }
}

struct SqlFunction {
    signature: Signature,
    function: Function,
}

impl Debug for SqlFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlFunction")
            .field("name", &self.function.name)
            .finish_non_exhaustive()
    }
}

// There is one function of a name.
impl PartialEq for SqlFunction {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for SqlFunction {}

impl Hash for SqlFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for SqlFunction {
    fn name(&self) -> &str {
        self.function.name
    }

    fn aliases(&self) -> &[String] {
        &self.function.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(DataFusionError::Internal(
            "the result's field was not asked for".to_owned(),
        ))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = (self.function.returns)(&args)?;
        Ok(Arc::new(field.with_name(self.function.name)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // What is the same for every row is computed once.
        let is_constant = !args.args.is_empty()
            && self.signature.volatility != Volatility::Volatile
            && args
                .args
                .iter()
                .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if is_constant { 1 } else { args.number_rows };
        let config = Arc::clone(&args.config_options);
        let columns = args.args.into_iter().map(|value| value.into_array(n_rows));
        let call = Call {
            args: columns.collect::<Result<_>>()?,
            n_rows,
            config: &config,
        };
        let result = (self.function.body)(&call)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &result, 0,
            )?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// An error of the data that a function was given.
pub(super) fn failure(sqlstate: &'static str, message: impl Into<String>) -> DataFusionError {
    Error::invalid(sqlstate, message.into(), None).into()
}

/// The error that there is no function for these types.
pub(super) fn no_function(name: &str, types: &[DataType]) -> DataFusionError {
    let types: Vec<String> = types.iter().map(auspex_storage::type_name).collect();
    failure(
        "42883",
        format!("function {name}({}) does not exist", types.join(", ")),
    )
}
