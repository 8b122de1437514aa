//! Operators that the planner lacks, or computes otherwise than PostgreSQL.
//!
//! In: an operator and its operands; out: a call of the function that computes it, or the operator
//! itself for the planner to plan.

use std::sync::Arc;

use auspex_storage::JsonKind;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::utils::list_ndims;
use datafusion::common::{DFSchema, ExprSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::functions_nested::array_has::{array_has_all_udf, array_has_any_udf};
use datafusion::functions_nested::concat::{array_append_udf, array_concat_udf, array_prepend_udf};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable as _, Operator, ScalarUDF, binary_expr, lit, when,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::arrays::WITHOUT_NULLS;
use super::checked::Checked;
use super::dimensions::FLAT;
use super::interval::is_interval;
use super::json::{kept, read_as};
use super::json_operators::{self, holds_json, is_jsonb, joins_text, of_json};
use super::literals;
use super::moment::{TIMESTAMP, is_time, timestamptz};
use super::quantified::{self, QUANTIFIED};
use super::{
    addresses, array_comparisons, array_elements, bare_fields, bits, case_marks, cast_keys,
    day_sums, element_marks, joined_arrays, order_keys, quotients, time_sums, unknown, value_marks,
};

/// Plans operators.
#[derive(Debug)]
pub(super) struct Operators {
    /// The functions of `functions`, by name.
    functions: Vec<Arc<ScalarUDF>>,
}

/// Plans whether lists hold one another; NULL is like nothing, NULL neither. What is joined with a list gets its type.
#[derive(Debug)]
pub(super) struct Lists(pub(super) Operators);

impl ExprPlanner for Lists {
    fn plan_binary_op(
        &self,
        mut raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{ArrowAt, AtArrow, PGOverlap, StringConcat};
        // A long chain of texts is no list, and would be asked for its type again and again.
        let is_chain = |expr: &Expr| Checked::type_of(expr).is_some();
        let may_join = raw.op == StringConcat && !is_chain(&raw.left) && !is_chain(&raw.right);
        if !may_join && !matches!(raw.op, ArrowAt | AtArrow | PGOverlap) {
            return Ok(PlannerResult::Original(raw));
        }
        unknown::resolve(&mut raw, schema);
        if may_join {
            return Ok(self.0.joined(raw, schema));
        }
        let is_list = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::List(_)));
        let is_null = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Null));
        let pairs = [(&raw.left, &raw.right), (&raw.right, &raw.left)];
        let is_unknown = |&(list, other): &(&Expr, &Expr)| is_list(list) && is_null(other);
        if pairs.iter().any(is_unknown) {
            // What is shared with no array, or held by none, is unknown, whatever the other one holds.
            return Ok(PlannerResult::Planned(lit(ScalarValue::Boolean(None))));
        }
        if !is_list(&raw.left) || !is_list(&raw.right) {
            return Ok(PlannerResult::Original(raw));
        }
        // Their elements are looked at, whatever the dimensions.
        for list in [&mut raw.left, &mut raw.right] {
            if array_comparisons::has_dimensions(list, schema)
                && let Some(flat) = self.0.call(FLAT, vec![list.clone()])
            {
                *list = flat;
            }
        }
        let operands = [&raw.left, &raw.right];
        let keys = order_keys::keys_of(&operands, order_keys::Key::of_equality, schema)?;
        let keyed = keys.map(|(_, keys)| <[Expr; 2]>::try_from(keys));
        let planned = match keyed {
            Some(Ok([left, right])) => self.0.lists(&RawBinaryExpr {
                op: raw.op.clone(),
                left,
                right,
            }),
            _ => self.0.lists(&raw),
        };
        Ok(match planned {
            Some(expr) => PlannerResult::Planned(expr),
            None => PlannerResult::Original(raw),
        })
    }
}

impl Operators {
    pub(super) fn new(functions: Vec<Arc<ScalarUDF>>) -> Operators {
        Operators { functions }
    }

    fn function(&self, name: &str) -> Option<&Arc<ScalarUDF>> {
        self.functions.iter().find(|known| known.name() == name)
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> Option<Expr> {
        Some(self.function(name)?.call(args))
    }

    /// `a || b` of arrays, or of an array and an element.
    fn joined(&self, raw: RawBinaryExpr, schema: &DFSchema) -> PlannerResult<RawBinaryExpr> {
        let [left, right] = [&raw.left, &raw.right].map(|expr| expr.get_type(schema).ok());
        if let (Some(left), Some(right)) = (&left, &right)
            && joined_arrays::is_joined(left, right)
            && let Some(function) = self.function(joined_arrays::ARRAY_JOINED)
        {
            return PlannerResult::Planned(function.call(vec![raw.left, raw.right]));
        }
        let n_dimensions = |found: Option<DataType>| found.map_or(0, |found| list_ndims(&found));
        let function = match (n_dimensions(left), n_dimensions(right)) {
            (0, 0) => return PlannerResult::Original(raw),
            (left, right) if left == right => array_concat_udf(),
            (left, right) if left > right => array_append_udf(),
            _ => array_prepend_udf(),
        };
        PlannerResult::Planned(kept(function).call(vec![raw.left, raw.right]))
    }

    /// Quotients of decimals, and products that the planner would give too many digits.
    fn fine_decimals(
        &self,
        raw: &RawBinaryExpr,
        left: &DataType,
        right: &DataType,
    ) -> Option<Expr> {
        let name = match &raw.op {
            BinaryOperator::Divide => quotients::QUOTIENT,
            BinaryOperator::Multiply if quotients::is_fine_product(left, right) => {
                quotients::PRODUCT
            }
            _ => return None,
        };
        (is_decimal(left) || is_decimal(right)).then_some(())?;
        let exact = |expr: &Expr, data_type: &DataType| match quotients::is_exact(data_type) {
            true => Some(expr.clone()),
            false => decimal_literal(expr),
        };
        let args = vec![exact(&raw.left, left)?, exact(&raw.right, right)?];
        self.call(name, args)
    }

    /// A list without its NULLs.
    fn without_nulls(&self, list: &Expr) -> Option<Expr> {
        self.call(WITHOUT_NULLS, vec![list.clone()])
    }

    /// Whether lists hold one another; NULL is like nothing, NULL neither.
    fn lists(&self, raw: &RawBinaryExpr) -> Option<Expr> {
        let known = |expr: &Expr| self.without_nulls(expr);
        // Of no list it is unknown what it holds, also whether nothing, and what no list holds.
        let is_unknown = raw.left.clone().is_null().or(raw.right.clone().is_null());
        let mut answer = when(is_unknown, lit(ScalarValue::Boolean(None)));
        let mut holds = |list: &Expr, sought: &Expr| {
            let found = array_has_all_udf().call(vec![known(list)?, sought.clone()]);
            let has_nulls = known(sought)?.not_eq(sought.clone());
            answer.when(has_nulls, lit(false)).otherwise(found).ok()
        };
        match raw.op {
            BinaryOperator::PGOverlap => {
                let shares = vec![known(&raw.left)?, raw.right.clone()];
                answer.otherwise(array_has_any_udf().call(shares)).ok()
            }
            BinaryOperator::AtArrow => holds(&raw.left, &raw.right),
            BinaryOperator::ArrowAt => holds(&raw.right, &raw.left),
            _ => None,
        }
    }

    /// A moment and a time of day, which counts as the interval since midnight.
    fn times_of_day(
        &self,
        raw: &RawBinaryExpr,
        left: &DataType,
        right: &DataType,
        schema: &dyn ExprSchema,
    ) -> Option<Expr> {
        let op = match &raw.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            _ => return None,
        };
        let (moment, data_type, time) = match (left, right) {
            (moment, time) if is_moment(moment) && is_time(time) => (&raw.left, left, &raw.right),
            (time, moment) if is_time(time) && is_moment(moment) && op == Operator::Plus => {
                (&raw.right, right, &raw.left)
            }
            _ => return None,
        };
        let moment = match is_date(data_type) {
            true => moment.clone().cast_to(&TIMESTAMP, schema).ok()?,
            false => moment.clone(),
        };
        let interval = self.call("to_interval", vec![time.clone()])?;
        Some(binary_expr(moment, op, interval))
    }

    /// A date so many days before or after another one, and a time of day so long.
    fn day_sums(&self, raw: &RawBinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
        let (first, second) = (raw.left.clone(), raw.right.clone());
        match &raw.op {
            BinaryOperator::Plus if is_date(left) && right.is_integer() => {
                self.call(day_sums::LATER, vec![first, second])
            }
            BinaryOperator::Plus if left.is_integer() && is_date(right) => {
                self.call(day_sums::LATER, vec![second, first])
            }
            BinaryOperator::Minus if is_date(left) && right.is_integer() => {
                self.call(day_sums::EARLIER, vec![first, second])
            }
            BinaryOperator::Plus if is_time(left) && is_interval(right) => {
                self.call(time_sums::LATER, vec![first, second])
            }
            BinaryOperator::Plus if is_interval(left) && is_time(right) => {
                self.call(time_sums::LATER, vec![second, first])
            }
            BinaryOperator::Minus if is_time(left) && is_interval(right) => {
                self.call(time_sums::EARLIER, vec![first, second])
            }
            _ => None,
        }
    }

    /// `'[1]' || document`: what has no type is a document before one.
    fn merged_behind(&self, raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Option<Expr> {
        let is_open = raw.op == BinaryOperator::StringConcat && unknown::is_unknown(&raw.left);
        // A chain of texts is no document, and would be asked for its type again and again.
        if !is_open || Checked::type_of(&raw.right).is_some() || !is_jsonb(&raw.right, schema) {
            return None;
        }
        let document = read_as(JsonKind::Jsonb, raw.left.clone());
        self.call("json_merged", vec![document, raw.right.clone()])
    }

    fn planned(
        &self,
        raw: &RawBinaryExpr,
        left: &DataType,
        right: &DataType,
        schema: &dyn ExprSchema,
    ) -> Option<Expr> {
        if let Some(expr) = moments(raw, left, right, schema) {
            return Some(expr);
        }
        let of_days = self.times_of_day(raw, left, right, schema);
        if let Some(expr) = of_days.or_else(|| self.day_sums(raw, left, right)) {
            return Some(expr);
        }
        if let Some(expr) = single_quotient(raw, left, right) {
            return Some(expr);
        }
        if let Some(expr) = self.fine_decimals(raw, left, right) {
            return Some(expr);
        }
        if let Some(expr) = decimals(raw, left, right).or_else(|| remainder(raw, left, right)) {
            return Some(expr);
        }
        let args = || vec![raw.left.clone(), raw.right.clone()];
        let swapped = || vec![raw.right.clone(), raw.left.clone()];
        if left.is_string() || left.is_null() {
            let name = of_json(raw, right, schema);
            let is_reversed = raw.op == BinaryOperator::ArrowAt;
            if let Some(call) = self.call(name, if is_reversed { swapped() } else { args() }) {
                return Some(call);
            }
        }
        match &raw.op {
            // So many days that an integer holds them. Each date is a count of days before they are subtracted, since
            // what the planner knows of a filter's values takes the difference of two dates for a duration.
            BinaryOperator::Minus if is_date(left) && is_date(right) => {
                let days =
                    |date: &Expr| Expr::Cast(Cast::new(Box::new(date.clone()), DataType::Int32));
                Some(binary_expr(
                    days(&raw.left),
                    Operator::Minus,
                    days(&raw.right),
                ))
            }
            // The planner's own is 0 for two equal operands, also where they are NULL.
            BinaryOperator::PGBitwiseXor if is_whole(left) && is_whole(right) => {
                self.call("bitwise_xor", args())
            }
            BinaryOperator::Minus if is_moment(left) && is_moment(right) => {
                self.call("moments_apart", alike(raw, left, right))
            }
            BinaryOperator::Multiply if is_interval(left) && right.is_numeric() => {
                self.call("interval_times", args())
            }
            BinaryOperator::Multiply if is_interval(right) && left.is_numeric() => {
                self.call("interval_times", swapped())
            }
            BinaryOperator::Divide if is_interval(left) && right.is_numeric() => {
                self.call("interval_divided", args())
            }
            _ => None,
        }
    }
}

/// Operators that may mean something else here. The types of the others are not asked for, which costs as much as their
/// operands are large.
fn is_ours(op: &BinaryOperator) -> bool {
    use BinaryOperator as B;
    matches!(
        op,
        B::Eq
            | B::NotEq
            | B::Lt
            | B::LtEq
            | B::Gt
            | B::GtEq
            | B::Spaceship
            | B::Plus
            | B::Minus
            | B::Multiply
            | B::Divide
            | B::Modulo
            | B::StringConcat
            | B::Arrow
            | B::LongArrow
            | B::HashArrow
            | B::HashLongArrow
            | B::AtArrow
            | B::ArrowAt
            | B::Question
            | B::QuestionPipe
            | B::QuestionAnd
            | B::AtQuestion
            | B::AtAt
            | B::HashMinus
            | B::BitwiseAnd
            | B::BitwiseOr
            | B::PGBitwiseXor
    )
}

fn is_whole(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_null()
}

pub(super) fn comparison(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::Spaceship => Operator::IsNotDistinctFrom,
        _ => return None,
    })
}

fn is_date(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Date64)
}

fn is_moment(data_type: &DataType) -> bool {
    is_date(data_type) || matches!(data_type, DataType::Timestamp(..))
}

/// A date and an interval are a time stamp; a date compared with a date and whole days stays a date, beside another moment
/// it is its beginning.
fn moments(
    raw: &RawBinaryExpr,
    left: &DataType,
    right: &DataType,
    schema: &dyn ExprSchema,
) -> Option<Expr> {
    let at_midnight = |date: &Expr| date.clone().cast_to(&TIMESTAMP, schema).ok();
    match &raw.op {
        BinaryOperator::Plus if is_date(left) && is_interval(right) => Some(binary_expr(
            at_midnight(&raw.left)?,
            Operator::Plus,
            raw.right.clone(),
        )),
        BinaryOperator::Plus if is_interval(left) && is_date(right) => Some(binary_expr(
            raw.left.clone(),
            Operator::Plus,
            at_midnight(&raw.right)?,
        )),
        BinaryOperator::Minus if is_date(left) && is_interval(right) => Some(binary_expr(
            at_midnight(&raw.left)?,
            Operator::Minus,
            raw.right.clone(),
        )),
        op if is_date(left) => {
            let op = comparison(op)?;
            Some(match days_later(&raw.right, schema) {
                Some(date) => binary_expr(raw.left.clone(), op, date),
                None => binary_expr(beginning(&raw.left, right)?, op, raw.right.clone()),
            })
        }
        op if is_date(right) => {
            let op = comparison(op)?;
            Some(match days_later(&raw.left, schema) {
                Some(date) => binary_expr(date, op, raw.right.clone()),
                None => binary_expr(raw.left.clone(), op, beginning(&raw.right, left)?),
            })
        }
        _ => None,
    }
}

/// A date beside a moment: the planner would count nanoseconds, which end in 2262.
fn beginning(date: &Expr, beside: &DataType) -> Option<Expr> {
    let to = match beside {
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => timestamptz(),
        _ => return None,
    };
    Some(Expr::Cast(Cast::new(Box::new(date.clone()), to)))
}

/// A date and an interval of whole days, as a date: files are skipped by comparing dates alone.
fn days_later(sum: &Expr, schema: &dyn ExprSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = sum else {
        return None;
    };
    let (Expr::Cast(cast), Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _)) =
        (left.as_ref(), right.as_ref())
    else {
        return None;
    };
    let is_date = cast
        .expr
        .get_type(schema)
        .is_ok_and(|found| is_date(&found));
    let sums = matches!(op, Operator::Plus | Operator::Minus);
    (is_date && sums && interval.nanoseconds == 0)
        .then(|| binary_expr(cast.expr.as_ref().clone(), *op, right.as_ref().clone()))
}

/// Two moments, of which what the client's clock shows is a moment with a zone beside such a one.
fn alike(raw: &RawBinaryExpr, left: &DataType, right: &DataType) -> Vec<Expr> {
    let beside = |moment: &Expr, own: &DataType, other: &DataType| match (own, other) {
        (DataType::Timestamp(_, None) | DataType::Date32, DataType::Timestamp(_, Some(_))) => {
            Expr::Cast(Cast::new(Box::new(moment.clone()), other.clone()))
        }
        _ => moment.clone(),
    };
    vec![
        beside(&raw.left, left, right),
        beside(&raw.right, right, left),
    ]
}

/// The quotient of a real and a whole number, which is a double.
fn single_quotient(raw: &RawBinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    let is_mixed =
        |one: &DataType, other: &DataType| *one == DataType::Float32 && other.is_integer();
    let is_ours =
        raw.op == BinaryOperator::Divide && (is_mixed(left, right) || is_mixed(right, left));
    let double = |expr: &Expr| Expr::Cast(Cast::new(Box::new(expr.clone()), DataType::Float64));
    is_ours.then(|| binary_expr(double(&raw.left), Operator::Divide, double(&raw.right)))
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..))
}

/// What is written as a number with a fraction means that decimal number beside a decimal one.
fn decimals(raw: &RawBinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    let op = match &raw.op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        op => comparison(op)?,
    };
    if is_decimal(left) {
        let right = decimal_literal(&raw.right)?;
        return Some(binary_expr(raw.left.clone(), op, right));
    }
    if is_decimal(right) {
        let left = decimal_literal(&raw.left)?;
        return Some(binary_expr(left, op, raw.right.clone()));
    }
    None
}

/// A remainder of exact numbers, of which one at least has a fraction: what is written with one is a decimal.
fn remainder(raw: &RawBinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    if raw.op != BinaryOperator::Modulo || (left.is_integer() && right.is_integer()) {
        return None;
    }
    let exact =
        |expr: &Expr, data_type: &DataType| match is_decimal(data_type) || data_type.is_integer() {
            true => Some(expr.clone()),
            false => decimal_literal(expr),
        };
    let operands = [exact(&raw.left, left)?, exact(&raw.right, right)?];
    let has_digits = |(expr, data_type): (&Expr, &DataType)| match expr {
        Expr::Literal(ScalarValue::Decimal128(_, _, scale), _) => *scale > unknown::DIGITS,
        _ => quotients::scale_of(data_type) > unknown::DIGITS,
    };
    let is_wide = operands.iter().zip([left, right]).any(has_digits);
    let is_numeric = [left, right].contains(&&unknown::NUMERIC);
    let [left, right] = operands;
    let remainder = binary_expr(left, Operator::Modulo, right);
    Some(match is_numeric && !is_wide {
        // With fewer digits before the point it would be no numeric whose digits are those of each value.
        true => Expr::Cast(Cast::new(Box::new(remainder), unknown::NUMERIC)),
        false => remainder,
    })
}

/// The decimal number that a number with a fraction is written as.
pub(super) fn decimal_literal(expr: &Expr) -> Option<Expr> {
    // Beyond these, digits may have been lost when the number was read.
    const DIGITS: usize = 15;
    let Expr::Literal(ScalarValue::Float64(Some(value)), _) = expr else {
        return None;
    };
    let written = value.to_string();
    let n_decimals = written
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    let digits = written.replace(['.', '-'], "");
    (digits.len() <= DIGITS).then_some(())?;
    let value: i128 = written.replace('.', "").parse().ok()?;
    let scale = i8::try_from(n_decimals).ok()?;
    let precision = u8::try_from(digits.len().max(n_decimals).max(1)).ok()?;
    Some(lit(ScalarValue::Decimal128(Some(value), precision, scale)))
}

fn type_of(expr: &Expr, schema: &dyn ExprSchema) -> Option<DataType> {
    Checked::type_of(expr).or_else(|| expr.get_type(schema).ok())
}

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        mut raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if let Some(marked) = literals::planned(&raw).or_else(|| cast_keys::planned(&raw)) {
            return Ok(PlannerResult::Planned(marked));
        }
        let marked =
            case_marks::planned(&raw, schema).or_else(|| element_marks::planned(&raw, schema));
        let marked = marked.or_else(|| value_marks::planned(&raw, schema));
        if let Some(expr) = marked.or_else(|| bare_fields::planned(&raw, schema)) {
            return Ok(PlannerResult::Planned(expr));
        }
        let called = |name: &str, array: &Expr| self.call(name, vec![array.clone()]);
        if let Some(comparison) = array_comparisons::planned(&raw, schema, called)? {
            return Ok(PlannerResult::Planned(comparison));
        }
        let call = |args| self.call(QUANTIFIED, args);
        if let Some(comparison) = quantified::planned(&raw, schema, call)? {
            return Ok(PlannerResult::Planned(comparison));
        }
        if let Some(call) = array_elements::planned(&raw, schema, called) {
            return Ok(PlannerResult::Planned(call));
        }
        if let Some(expr) = bits::planned(&raw, schema)? {
            return Ok(PlannerResult::Planned(expr));
        }
        if let Some(expr) = addresses::planned(&raw, schema)? {
            return Ok(PlannerResult::Planned(expr));
        }
        if !is_ours(&raw.op) {
            return Ok(PlannerResult::Original(raw));
        }
        let comparison = comparison(&raw.op);
        if comparison.is_some() {
            order_keys::check(&raw, schema)?;
        }
        literals::settle(&mut raw, &|expr| type_of(expr, schema));
        unknown::resolve(&mut raw, schema);
        if let Some(op) = comparison
            && let Some(expr) = order_keys::compared(&raw.left, op, &raw.right, schema)?
        {
            return Ok(PlannerResult::Planned(expr));
        }
        if let Some(merged) = self.merged_behind(&raw, schema) {
            return Ok(PlannerResult::Planned(merged));
        }
        // Chains of texts are no documents, and would be asked for their types again and again.
        if Checked::type_of(&raw.left).is_none() {
            json_operators::check(&raw, schema)?;
        }
        // A parameter has no type yet: the planner infers it from the operator.
        let (Some(left), Some(right)) = (type_of(&raw.left, schema), type_of(&raw.right, schema))
        else {
            return Ok(PlannerResult::Original(raw));
        };
        let is_json = || Checked::type_of(&raw.left).is_none() && holds_json(&raw.left, schema);
        if let Some((symbol, data_type)) = Checked::of(&raw.op, &left, &right)
            && (data_type != DataType::Utf8 || !is_json() || joins_text(&raw, &right, schema))
        {
            let call = Checked::call(symbol, data_type, raw.left, raw.right, schema)?;
            return Ok(PlannerResult::Planned(call));
        }
        Ok(match self.planned(&raw, &left, &right, schema) {
            Some(expr) => PlannerResult::Planned(expr),
            None => PlannerResult::Original(raw),
        })
    }
}
