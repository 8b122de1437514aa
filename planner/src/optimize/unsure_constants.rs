//! Keeps columns from counting as constant by what is computed of them: `WHERE n / 10 = 3 ORDER BY n`.
//!
//! In: a physical plan; out: the same in which conditions that several values of a column meet are not looked into. DataFusion
//! computes backwards from such a condition which values a column may have, as if no two values gave the same result: 30 of
//! `n / 10 = 3`, midnight of `at::date = '2024-01-01'`. It found one value, and left out the sorts by that column. Conditions
//! that compare columns themselves are looked into.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Literal, NegativeExpr};
use datafusion::physical_expr::intervals::utils::check_support;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule as _;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

use super::PhysicalRule;
use super::node_rule::NodeRule;
use crate::functions::{condition, whole_numbers};

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

/// The rules with this one where scans know the conditions by which they skip files, and before sorts are left out.
pub(super) fn with_unsure_constants(mut rules: Vec<PhysicalRule>) -> Vec<PhysicalRule> {
    let pushing = FilterPushdown::new();
    let place = rules.iter().position(|rule| rule.name() == pushing.name());
    let rule = NodeRule {
        name: "UnsureConstants",
        rewrite: without_constants,
    };
    rules.insert(place.map_or(0, |place| place + 1), Arc::new(rule));
    rules
}

fn without_constants(node: &Plan) -> Result<Option<Plan>> {
    let Some(filter) = node.downcast_ref::<FilterExec>() else {
        return Ok(None);
    };
    let schema = filter.input().schema();
    // The others are not looked into in any case.
    if !check_support(filter.predicate(), &schema) {
        return Ok(None);
    }
    let conditions = split_conjunction(filter.predicate());
    if conditions.iter().all(|known| is_sure(known, &schema)) {
        return Ok(None);
    }
    let conditions = conditions
        .into_iter()
        .map(|known| match is_sure(known, &schema) {
            true => Ok(Arc::clone(known)),
            false => hidden(known, &schema),
        });
    let predicate = conjunction(conditions.collect::<Result<Vec<Expr>>>()?);
    let filter = FilterExecBuilder::from(filter).with_predicate(predicate);
    Ok(Some(Arc::new(filter.build()?)))
}

/// A condition that is not looked into.
fn hidden(known: &Expr, schema: &Schema) -> Result<Expr> {
    let args = vec![Arc::clone(known)];
    // The function asks for no option.
    let options = Arc::new(ConfigOptions::default());
    let call = ScalarFunctionExpr::try_new(condition(), args, schema, options)?;
    Ok(Arc::new(call))
}

/// Whether each result of an expression, or of what it compares, comes of one value of its column.
fn is_sure(expr: &Expr, schema: &Schema) -> bool {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let computes = binary.op().is_numerical_operators();
        return !computes && is_sure(binary.left(), schema) && is_sure(binary.right(), schema);
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(schema);
        let keeps = from.is_ok_and(|from| keeps_apart(&from, cast.cast_type()));
        return keeps && is_sure(cast.expr(), schema);
    }
    if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
        return is_sure(negative.arg(), schema);
    }
    let literal = expr.downcast_ref::<Literal>();
    !literal.is_some_and(|literal| is_negative_zero(literal.value()))
}

/// Whether no two values of a type are cast to the same value.
fn keeps_apart(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    match (from, to) {
        (from, to) if from == to => true,
        (D::Int8 | D::Int16 | D::UInt8 | D::UInt16, D::Float32 | D::Float64) => true,
        (D::Int32 | D::UInt32 | D::Float32, D::Float64) => true,
        (D::Date32, D::Timestamp(..)) => true,
        (D::Timestamp(from, zone), D::Timestamp(to, other)) => zone == other && from <= to,
        (from, to) => whole_numbers(from).is_some() && whole_numbers(to).is_some(),
    }
}

/// Whether a literal is -0, which is equal to 0, but not in the bounds of what may be.
fn is_negative_zero(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float32(Some(value)) => *value == 0.0 && value.is_sign_negative(),
        ScalarValue::Float64(Some(value)) => *value == 0.0 && value.is_sign_negative(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, TimeUnit};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{binary, cast, col, lit};
    use datafusion::physical_plan::ExecutionPlanProperties as _;
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;

    fn schema() -> Schema {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        Schema::new(vec![
            Field::new("n", DataType::Int32, true),
            Field::new("at", moment, true),
            Field::new("x", DataType::Float64, true),
        ])
    }

    /// The filter of a condition by this rule, and the number of columns that it takes for constant.
    fn constants(predicate: Expr) -> usize {
        let rows = Arc::new(EmptyExec::new(Arc::new(schema())));
        let filter: Plan = Arc::new(FilterExec::try_new(predicate, rows).unwrap());
        let filter = without_constants(&filter).unwrap().unwrap_or(filter);
        let known = filter.equivalence_properties();
        let columns = ["n", "at", "x"].map(|name| col(name, &schema()).unwrap());
        let columns = columns.into_iter();
        columns
            .filter(|column| known.is_expr_constant(column).is_some())
            .count()
    }

    #[test]
    fn what_is_computed_of_a_column_tells_no_value_of_it() {
        let schema = schema();
        let n = || col("n", &schema).unwrap();
        let is = |left: Expr, right: Expr| binary(left, Operator::Eq, right, &schema).unwrap();
        let tenth = binary(n(), Operator::Divide, lit(10), &schema).unwrap();
        assert_eq!(constants(is(tenth.clone(), lit(3))), 0);
        assert_eq!(constants(is(n(), lit(3))), 1);
        let both = binary(is(tenth, lit(3)), Operator::And, is(n(), lit(31)), &schema);
        assert_eq!(constants(both.unwrap()), 1);
        let day = cast(col("at", &schema).unwrap(), &schema, DataType::Date32).unwrap();
        let first = Literal::new(ScalarValue::Date32(Some(19_000)));
        assert_eq!(constants(is(day, Arc::new(first))), 0);
        let whole = cast(col("x", &schema).unwrap(), &schema, DataType::Int32).unwrap();
        assert_eq!(constants(is(whole, lit(3))), 0);
        let wide = cast(n(), &schema, DataType::Int64).unwrap();
        assert_eq!(constants(is(wide, lit(3_i64))), 1);
    }
}
