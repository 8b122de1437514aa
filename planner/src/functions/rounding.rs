//! `round`, `ceil` and `floor` with PostgreSQL's types of results.
//!
//! In: a number, for `round` also how many digits stay; out: of a numeric one with these digits alone, of a whole number a
//! double. The planner's own `round` has another type once its second argument is a constant of the type that it asks for,
//! which is after what stands beside it was typed; its `ceil` and `floor` have no room for one digit more.
//!
//! Halves are rounded away from zero, as PostgreSQL does with numerics and GoogleSQL with all numbers. What `round` is of a
//! double of PostgreSQL, of which halves become even, is another function, which `bind/rounded_numbers.rs` puts in its place.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, Decimal128Array};
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::call::no_function;
use super::math;

/// PostgreSQL's `round`, and GoogleSQL's.
const ROUND: &str = "round";
const GOOGLESQL: &str = "googlesql.round";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Round,
    Ceil,
    Floor,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Rounding {
    name: &'static str,
    kind: Kind,
    inner: Arc<ScalarUDF>,
    aliases: Vec<String>,
    signature: Signature,
}

/// The functions of this family.
pub(super) fn functions() -> Vec<ScalarUDF> {
    use datafusion::functions::math::{ceil, floor, round};
    vec![
        rounding(ROUND, Kind::Round, round(), &[]),
        rounding(GOOGLESQL, Kind::Round, round(), &[]),
        rounding("ceil", Kind::Ceil, ceil(), &["ceiling"]),
        rounding("floor", Kind::Floor, floor(), &[]),
    ]
}

fn rounding(name: &'static str, kind: Kind, inner: Arc<ScalarUDF>, aliases: &[&str]) -> ScalarUDF {
    ScalarUDF::from(Rounding {
        name,
        kind,
        inner,
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

/// Whether a call is `round(x)`, which knows two ways to treat halves.
pub(crate) fn is_round(call: &ScalarFunction) -> bool {
    call.func.name() == ROUND && call.args.len() == 1
}

/// A number as a whole one, halves to even.
pub(crate) fn half_to_even(number: Expr) -> Expr {
    math::half_to_even().build().call(vec![number])
}

/// A number as a whole one, halves away from zero.
pub(crate) fn half_away(number: Expr) -> Expr {
    let inner = datafusion::functions::math::round();
    rounding(ROUND, Kind::Round, inner, &[]).call(vec![number])
}

/// The type of the whole number next to a numeric; `None`: that of the number itself.
fn whole_type(kind: Kind, number: &DataType) -> Option<DataType> {
    match number {
        DataType::Decimal128(precision, scale) if kind != Kind::Round && *scale > 0 => {
            let n_whole = precision.saturating_sub(scale.unsigned_abs());
            Some(DataType::Decimal128(n_whole + 1, 0))
        }
        _ => None,
    }
}

/// The type of a rounded numeric without digits before the point that its number never had, but for one: the planner's has
/// as many in all, and one of the most digits leaves what is compared with it no room. `None`: there is room.
fn without_spare(number: &DataType, rounded: &DataType) -> Option<DataType> {
    const MOST: u8 = DECIMAL128_MAX_PRECISION;
    match (number, rounded) {
        (DataType::Decimal128(p, s), DataType::Decimal128(MOST, to)) if *s > *to && *to >= 0 => {
            let n_whole = p.saturating_sub(s.unsigned_abs()) + 1;
            Some(DataType::Decimal128(
                (n_whole + to.unsigned_abs()).min(MOST),
                *to,
            ))
        }
        _ => None,
    }
}

impl Rounding {
    fn whole(&self, value: &ColumnarValue, n_rows: usize, to: &DataType) -> Result<ColumnarValue> {
        let is_scalar = matches!(value, ColumnarValue::Scalar(_));
        let array = value.to_array(if is_scalar { 1 } else { n_rows })?;
        let numbers = array.as_primitive::<Decimal128Type>();
        let unit = 10_i128.pow(numbers.scale().unsigned_abs().into());
        let whole: Decimal128Array = numbers.unary(|number| match self.kind {
            Kind::Floor => number.div_euclid(unit),
            // Where a row is NULL, there may be any number.
            Kind::Ceil | Kind::Round => number.wrapping_neg().div_euclid(unit).wrapping_neg(),
        });
        let whole = whole.with_data_type(to.clone());
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&whole, 0)?),
            false => ColumnarValue::Array(Arc::new(whole)),
        })
    }
}

impl ScalarUDFImpl for Rounding {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let number = |value: &DataType, digits: Option<&DataType>| match value {
            // Rounded to digits it stays what it is.
            value if value.is_integer() && digits.is_some() => Some(value.clone()),
            value if value.is_integer() || value.is_null() => Some(DataType::Float64),
            value if value.is_numeric() => Some(value.clone()),
            _ => None,
        };
        let coerced = match types {
            [value] => number(value, None).map(|value| vec![value]),
            [value, digits] if self.kind == Kind::Round => number(value, Some(digits))
                .filter(|_| digits.is_integer() || digits.is_null())
                .map(|value| vec![value, digits.clone()]),
            _ => None,
        };
        coerced.ok_or_else(|| no_function(self.name(), types))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [number] => match whole_type(self.kind, number) {
                Some(whole) => Ok(whole),
                None => self.inner.return_type(types),
            },
            _ => self.inner.return_type(types),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let whole = match args.arg_fields {
            [number] => whole_type(self.kind, number.data_type()),
            _ => None,
        };
        match whole {
            Some(whole) => Ok(Arc::new(Field::new(self.name(), whole, true))),
            None => {
                let number = args
                    .arg_fields
                    .first()
                    .map(|field| field.data_type().clone());
                let field = self.inner.return_field_from_args(args)?;
                let tight = number.and_then(|number| without_spare(&number, field.data_type()));
                Ok(match tight {
                    Some(tight) => Arc::new(field.as_ref().clone().with_data_type(tight)),
                    None => field,
                })
            }
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [value] = args.args.as_slice()
            && whole_type(self.kind, &value.data_type()).is_some()
        {
            return self.whole(value, args.number_rows, args.return_field.data_type());
        }
        if let Some(digits) = args.args.get_mut(1) {
            *digits = digits.cast_to(&DataType::Int32, None)?;
        }
        self.inner.invoke_with_args(args)
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        let is_numeric = match args {
            [number] => info.get_data_type(number)?.is_decimal(),
            _ => false,
        };
        match is_numeric {
            true => Ok(PreimageResult::None),
            false => self.inner.preimage(args, literal, info),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_room_for_a_digit_more() {
        let whole =
            |precision, scale| whole_type(Kind::Ceil, &DataType::Decimal128(precision, scale));
        assert_eq!(whole(10, 2), Some(DataType::Decimal128(9, 0)));
        assert_eq!(whole(38, 38), Some(DataType::Decimal128(1, 0)));
        assert_eq!(whole(10, 0), None);
        assert_eq!(whole_type(Kind::Round, &DataType::Decimal128(10, 2)), None);
    }
}
