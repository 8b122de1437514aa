//! Arithmetic that fails where its result does not fit, instead of wrapping or becoming infinite.
//!
//! In: numbers that a chain such as `a + b - c` joins; out: one number of the wider type, or PostgreSQL's
//! "out of range". Texts joined by `||` are chains as well. A chain is one call, however long, so that planning it is linear in its length.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{ExprSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable as _, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::call::failure;
use super::quotients::PRECISION;
use super::sized::ask_for_joined;

/// What the names of chains begin with.
const PREFIX: &str = "chain_of ";
/// The operators that are checked.
const SYMBOLS: [&str; 4] = ["+", "-", "*", "||"];

/// Operators of one width, applied from left to right.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Checked {
    /// Tells the whole: `chain_of + - Int64`.
    name: String,
    symbols: Vec<&'static str>,
    data_type: DataType,
    signature: Signature,
}

/// The chain of operators that a function of this name is, as another machine sent it.
pub(crate) fn chain_of_name(name: &str) -> Option<ScalarUDF> {
    let mut words: Vec<&str> = name.strip_prefix(PREFIX)?.split(' ').collect();
    let data_type = words.pop()?.parse().ok()?;
    let known = |word| SYMBOLS.into_iter().find(|symbol| *symbol == word);
    let symbols = words.into_iter().map(known).collect::<Option<Vec<_>>>()?;
    Some(ScalarUDF::from(Checked::new(symbols, data_type)))
}

/// Whether a function is a chain of operators, which its name tells whole.
pub(crate) fn is_chain(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<Checked>().is_some()
}

/// Whether a function is a chain of texts.
pub(super) fn is_chain_of_texts(function: &ScalarUDF) -> bool {
    let chain = function.inner().downcast_ref::<Checked>();
    chain.is_some_and(|chain| chain.data_type == DataType::Utf8)
}

/// Whether a chain has a result for all operands in these bounds; `None`: an operand may be any value.
pub(crate) fn always_fits(function: &ScalarUDF, operands: &[Option<(i128, i128)>]) -> bool {
    let Some(chain) = function.inner().downcast_ref::<Checked>() else {
        return false;
    };
    if chain.data_type == DataType::Utf8 {
        return true;
    }
    let mut operands = operands.iter().copied();
    let (Some((least, most)), Some(Some(mut result))) =
        (whole_numbers(&chain.data_type), operands.next())
    else {
        return false;
    };
    for (symbol, operand) in chain.symbols.iter().zip(operands) {
        let Some((low, high)) = operand else {
            return false;
        };
        result = match *symbol {
            "+" => (result.0 + low, result.1 + high),
            "-" => (result.0 - high, result.1 - low),
            _ => {
                let (a, b) = (result.0 * low, result.0 * high);
                let (c, d) = (result.1 * low, result.1 * high);
                (a.min(b).min(c).min(d), a.max(b).max(c).max(d))
            }
        };
        // What fits has 64 bits, so that the next step cannot leave 128.
        if result.0 < least || result.1 > most {
            return false;
        }
    }
    true
}

/// The least and the largest value of a type of whole numbers.
pub(crate) fn whole_numbers(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

impl Checked {
    fn new(symbols: Vec<&'static str>, data_type: DataType) -> Checked {
        let signature = match &data_type {
            DataType::Utf8 => {
                let types = vec![data_type.clone()];
                Signature::uniform(symbols.len() + 1, types, Volatility::Immutable)
            }
            // Operands may turn out wider than they were told: those of CASE and UNION are, once all branches are seen.
            _ => Signature::user_defined(Volatility::Immutable),
        };
        Checked {
            name: format!("{PREFIX}{} {data_type}", symbols.join(" ")),
            signature,
            symbols,
            data_type,
        }
    }

    /// The type of an expression that is a checked chain already: known without asking its parts.
    pub(super) fn type_of(expr: &Expr) -> Option<DataType> {
        match expr {
            Expr::ScalarFunction(call) => Some(Checked::in_call(call)?.data_type.clone()),
            _ => None,
        }
    }

    fn in_call(call: &ScalarFunction) -> Option<&Checked> {
        call.func.inner().downcast_ref::<Checked>()
    }

    /// The symbol and the type of the checked operator for two types; `None` where the planner's own will do.
    pub(super) fn of(
        op: &BinaryOperator,
        left: &DataType,
        right: &DataType,
    ) -> Option<(&'static str, DataType)> {
        let is_text = |data_type: &DataType| *data_type == DataType::Utf8;
        // A whole number becomes the text that the planner makes of it.
        let is_told =
            |data_type: &DataType| is_text(data_type) || whole_numbers(data_type).is_some();
        if *op == BinaryOperator::StringConcat
            && (is_text(left) || is_text(right))
            && is_told(left)
            && is_told(right)
        {
            return Some(("||", DataType::Utf8));
        }
        let data_type = wider(left, right)?;
        let symbol = match op {
            BinaryOperator::Plus => "+",
            BinaryOperator::Minus => "-",
            BinaryOperator::Multiply => "*",
            _ => return None,
        };
        Some((symbol, data_type))
    }

    /// The call on two operands, of which the left one may be a chain that becomes longer.
    pub(super) fn call(
        symbol: &'static str,
        data_type: DataType,
        left: Expr,
        right: Expr,
        schema: &dyn ExprSchema,
    ) -> Result<Expr> {
        // What a chain of doubles is of is left as it was written: a cast would look like one of the statement, by which a
        // whole number is a double to PostgreSQL (see `bind/number_kinds.rs`).
        let operand = |operand: Expr| match data_type.is_floating() {
            true => Ok(operand),
            false => operand.cast_to(&data_type, schema),
        };
        let right = operand(right)?;
        match left {
            Expr::ScalarFunction(mut call)
                if Checked::in_call(&call).is_some_and(|chain| chain.data_type == data_type) =>
            {
                let mut symbols = Checked::in_call(&call)
                    .map(|chain| chain.symbols.clone())
                    .unwrap_or_default();
                symbols.push(symbol);
                call.args.push(right);
                Ok(ScalarUDF::from(Checked::new(symbols, data_type)).call(call.args))
            }
            left => {
                let left = operand(left)?;
                let chain = Checked::new(vec![symbol], data_type);
                Ok(ScalarUDF::from(chain).call(vec![left, right]))
            }
        }
    }

    fn spelled(&self, args: impl Iterator<Item = String>) -> String {
        let mut text = String::new();
        let symbols = std::iter::once("").chain(self.symbols.iter().copied());
        for (symbol, arg) in symbols.zip(args) {
            if !symbol.is_empty() {
                text = text + " " + symbol + " ";
            }
            text.push_str(&arg);
        }
        text
    }
}

/// The type in which two numbers are computed with.
fn wider(left: &DataType, right: &DataType) -> Option<DataType> {
    let (left, right) = (signed(left)?, signed(right)?);
    Some(match (&left, &right) {
        (DataType::Float32, DataType::Float32) => DataType::Float32,
        (left, right) if left.is_floating() || right.is_floating() => DataType::Float64,
        (left, right) if left.primitive_width() >= right.primitive_width() => left.clone(),
        (_, right) => right.clone(),
    })
}

/// The same where a number turned out to be a decimal.
fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::Decimal128;
    match (left, right) {
        (Decimal128(_, a), Decimal128(_, b)) => Some(Decimal128(PRECISION, *a.max(b))),
        (Decimal128(_, scale), other) | (other, Decimal128(_, scale)) => {
            match signed(other)?.is_floating() {
                true => Some(DataType::Float64),
                false => Some(Decimal128(PRECISION, *scale)),
            }
        }
        (left, right) => wider(left, right),
    }
}

/// The signed type in which the numbers of a type are computed with; `None` for what is no such number.
pub(super) fn signed(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float32 | DataType::Float64 => data_type.clone(),
        whole if whole.is_signed_integer() => whole.clone(),
        _ => return None,
    })
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        &self.name
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.spelled(args.iter().map(ToString::to_string)))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.spelled(args.iter().map(|arg| arg.schema_name().to_string())))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let mut known = types.iter().filter(|data_type| !data_type.is_null());
        let wide = known.try_fold(self.data_type.clone(), |wide, found| common(&wide, found));
        let wide = wide.ok_or_else(|| {
            let names: Vec<String> = types.iter().map(auspex_storage::type_name).collect();
            let operator = self.symbols.first().copied().unwrap_or_default();
            let names = names.join(&format!(" {operator} "));
            failure("42883", format!("operator does not exist: {names}"))
        })?;
        Ok(vec![wide; types.len()])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let is_narrow = |found: &DataType| self.data_type.is_floating() && found.is_integer();
        let found = types.first();
        let found = found.filter(|found| found.is_numeric() && !is_narrow(found));
        Ok(found.unwrap_or(&self.data_type).clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.data_type == DataType::Utf8 {
            return joined(&args.args, args.number_rows);
        }
        let data_type = args.return_field.data_type();
        let mut operands = args.args.into_iter();
        let mut result = operands
            .next()
            .ok_or_else(|| failure("XX000", "a chain of operators without operands"))?;
        for (symbol, operand) in self.symbols.iter().zip(operands) {
            result = apply(symbol, &result, &operand, data_type)?;
        }
        Ok(result)
    }
}

/// Texts one after the other; NULL if one of them is.
fn joined(texts: &[ColumnarValue], n_rows: usize) -> Result<ColumnarValue> {
    let is_scalar = |text: &ColumnarValue| matches!(text, ColumnarValue::Scalar(_));
    let is_constant = texts.iter().all(is_scalar);
    let n_rows = if is_constant { 1 } else { n_rows };
    ask_for_joined(texts, n_rows)?;
    let columns: Vec<ArrayRef> = texts
        .iter()
        .map(|text| text.to_array(n_rows))
        .collect::<Result<_>>()?;
    let columns: Vec<_> = columns
        .iter()
        .map(|column| column.as_string::<i32>())
        .collect();
    let of_row = |row: usize| {
        let parts = columns
            .iter()
            .map(|column| column.is_valid(row).then(|| column.value(row)));
        parts.collect::<Option<String>>()
    };
    let joined: StringArray = (0..n_rows).map(of_row).collect();
    Ok(match is_constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?),
        false => ColumnarValue::Array(Arc::new(joined)),
    })
}

fn apply(
    symbol: &str,
    left: &ColumnarValue,
    right: &ColumnarValue,
    data_type: &DataType,
) -> Result<ColumnarValue> {
    let kernel = match symbol {
        "+" => add,
        "-" => sub,
        _ => mul,
    };
    let checked =
        |left: &dyn Datum, right: &dyn Datum| -> std::result::Result<ArrayRef, ArrowError> {
            let result = kernel(left, right)?;
            match data_type {
                DataType::Float32 => fitting::<Float32Type>(result, (left, right), f32::NAN),
                DataType::Float64 => fitting::<Float64Type>(result, (left, right), f64::NAN),
                DataType::Decimal128(..) => cast(&result, data_type),
                _ => Ok(result),
            }
        };
    let applied = datafusion::physical_expr_common::datum::apply(left, right, checked);
    applied.map_err(|error| match data_type.is_floating() {
        true => error,
        false => {
            let name = auspex_storage::type_name(data_type);
            failure("22003", format!("{name} out of range"))
        }
    })
}

/// Fails where finite numbers gave an infinite one. Quotients stay infinite: a condition that keeps zeros away from a
/// division does not keep the planner from dividing first. NaN becomes `nan`, since processors give it a sign, by which it
/// would be less than every number.
fn fitting<T: ArrowPrimitiveType>(
    computed: ArrayRef,
    (left, right): (&dyn Datum, &dyn Datum),
    nan: T::Native,
) -> std::result::Result<ArrayRef, ArrowError>
where
    T::Native: Into<f64>,
{
    let result = computed.as_primitive::<T>();
    let is_finite = |value: T::Native| {
        let value: f64 = value.into();
        value.is_finite()
    };
    // What is not finite is rare, so one pass without branches over all values decides.
    if result.values().iter().all(|value| is_finite(*value)) {
        return Ok(computed);
    }
    let ((left, one_left), (right, one_right)) = (left.get(), right.get());
    let (left, right) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    for row in (0..result.len()).filter(|row| result.is_valid(*row)) {
        let value: f64 = result.value(row).into();
        let a: f64 = left.value(if one_left { 0 } else { row }).into();
        let b: f64 = right.value(if one_right { 0 } else { row }).into();
        if value.is_infinite() && a.is_finite() && b.is_finite() {
            let message = "value out of range: overflow".to_owned();
            return Err(ArrowError::ArithmeticOverflow(message));
        }
    }
    let of_one_kind = |value: T::Native| match Into::<f64>::into(value).is_nan() {
        true => nan,
        false => value,
    };
    Ok(Arc::new(result.unary::<_, T>(of_one_kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_numbers_fit_into_wide_sums() {
        let chain = |symbols, data_type| ScalarUDF::from(Checked::new(symbols, data_type));
        let int = whole_numbers(&DataType::Int32);
        let sum = chain(vec!["+", "-"], DataType::Int64);
        assert!(always_fits(&sum, &[int, int, Some((1, 1))]));
        assert!(!always_fits(&sum, &[int, None, int]));
        let product = chain(vec!["*"], DataType::Int32);
        assert!(always_fits(&product, &[int, Some((1, 1))]));
        assert!(!always_fits(&product, &[int, Some((-1, -1))]));
        assert!(!always_fits(
            &chain(vec!["+"], DataType::Float64),
            &[None, None]
        ));
        assert!(always_fits(
            &chain(vec!["||"], DataType::Utf8),
            &[None, None]
        ));
    }
}
