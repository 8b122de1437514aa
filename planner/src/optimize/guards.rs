//! Computes what can fail only of the rows that the conditions before it let pass.
//!
//! In: a physical plan; out: the same plan, in which `b <> 0 AND a / b > 1` divides by no zero. DataFusion's AND and OR
//! compute both operands of all rows of a batch unless few rows are left; its optimizer puts cheap conditions first,
//! whatever they guard. Here conditions that cannot fail come first, in filters as a filter of their own, elsewhere as
//! branches of a CASE, which computes a branch of its rows alone. What cannot fail is left as it is, scans keep the
//! conditions by which they skip files. Keys of sorts, groups and windows are not guarded.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, LambdaExpr, case, lit, not};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule as _;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::PhysicalRule;
use super::failing::may_fail;
use super::node_rule::NodeRule;
use crate::physical::BarrierExec;

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

/// Filters of one condition that may fail are stacked so high; the other conditions share the last one.
const MAX_FILTERS: usize = 4;
/// How deep CASEs of ours stand in one another: making one makes those in it anew, so that depth costs exponentially.
/// What is deeper is computed as DataFusion does.
const MAX_DEPTH: usize = 8;

/// The rules with these guards among them.
pub(crate) fn with_guards(mut rules: Vec<PhysicalRule>) -> Vec<PhysicalRule> {
    // Scans know the filters by which they skip files. The filters that operators make while they run are handed out
    // next, which binds operators to one another.
    let last = FilterPushdown::new_post_optimization();
    let place = rules.iter().rposition(|rule| rule.name() == last.name());
    let guards = NodeRule {
        name: "Guards",
        rewrite: guarded,
    };
    rules.insert(place.unwrap_or(rules.len()), Arc::new(guards));
    // Scans take in the columns that are computed of theirs, where nobody guards them any more.
    let taken_in = rules
        .iter()
        .position(|rule| rule.name() == "ProjectionPushdown");
    let columns = NodeRule {
        name: "GuardedColumns",
        rewrite: guarded_columns,
    };
    rules.insert(taken_in.unwrap_or(0), Arc::new(columns));
    rules
}

/// The same of the columns that are computed of rows.
fn guarded_columns(node: &Plan) -> Result<Option<Plan>> {
    let projection = node.downcast_ref::<ProjectionExec>();
    let guarded = projection.map(guarded_projection).transpose()?;
    Ok(guarded.flatten())
}

/// The operator with guards; `None`: it needs none. Barriers go, which kept the rules before from moving conditions into views.
fn guarded(node: &Plan) -> Result<Option<Plan>> {
    if let Some(barrier) = node.downcast_ref::<BarrierExec>() {
        return Ok(Some(Arc::clone(barrier.input())));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        return guarded_filter(filter);
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        return guarded_aggregate(aggregate);
    }
    guarded_join(node)
}

/// A filter for each condition that may fail, above one for those that cannot: filters say more about their rows (which
/// columns are equal, or constant) than a CASE would.
fn guarded_filter(filter: &FilterExec) -> Result<Option<Plan>> {
    let schema = filter.input().schema();
    let conditions = split_conjunction(filter.predicate()).into_iter();
    let conditions = conditions.map(|condition| guard(condition, Reader::Filter, &schema));
    let conditions: Vec<Guarded> = conditions.collect::<Result<_>>()?;
    let may_fail = conditions.iter().any(|condition| condition.may_fail);
    let is_same = conditions.len() == 1 && !conditions.iter().any(|condition| condition.is_new);
    if !may_fail || is_same {
        return Ok(None);
    }
    let mut steps = steps(conditions, Operator::And);
    let rest = steps.split_off(steps.len().min(MAX_FILTERS));
    if let Some(last) = ending(rest, Operator::And, Reader::Filter, &schema)? {
        steps.push(last);
    }
    let Some(last) = steps.pop() else {
        return Ok(None);
    };
    let mut input = Arc::clone(filter.input());
    for step in steps {
        let below = FilterExecBuilder::new(step, input)
            .with_batch_size(filter.batch_size())
            .with_default_selectivity(filter.default_selectivity());
        input = Arc::new(below.build()?);
    }
    let above = FilterExecBuilder::from(filter).with_input(input);
    Ok(Some(Arc::new(above.with_predicate(last).build()?)))
}

fn guarded_projection(projection: &ProjectionExec) -> Result<Option<Plan>> {
    let schema = projection.input().schema();
    let mut is_new = false;
    let mut columns = Vec::with_capacity(projection.expr().len());
    for column in projection.expr() {
        let guarded = guard(&column.expr, Reader::Value, &schema)?;
        is_new |= guarded.is_new;
        columns.push(ProjectionExpr::new(guarded.expr, column.alias.clone()));
    }
    if !is_new {
        return Ok(None);
    }
    let guarded = ProjectionExec::try_new(columns, Arc::clone(projection.input()))?;
    let is_same = guarded.schema() == projection.schema();
    Ok(is_same.then(|| Arc::new(guarded) as Plan))
}

/// Guards arguments and `FILTER (WHERE …)`.
fn guarded_aggregate(aggregate: &AggregateExec) -> Result<Option<Plan>> {
    if !matches!(aggregate.mode().input_mode(), AggregateInputMode::Raw) {
        return Ok(None);
    }
    let schema = aggregate.input().schema();
    let mut is_new = false;
    let mut functions = Vec::with_capacity(aggregate.aggr_expr().len());
    for function in aggregate.aggr_expr() {
        let guarded = guarded_function(function, &schema)?;
        is_new |= guarded.is_some();
        functions.push(guarded.map_or_else(|| Arc::clone(function), Arc::new));
    }
    let mut filters = Vec::with_capacity(aggregate.filter_expr().len());
    for filter in aggregate.filter_expr() {
        let filter = filter.as_ref();
        let filter = filter.map(|filter| guard(filter, Reader::Filter, &schema));
        let filter = filter.transpose()?;
        is_new |= filter.as_ref().is_some_and(|filter| filter.is_new);
        filters.push(filter.map(|filter| filter.expr));
    }
    if !is_new {
        return Ok(None);
    }
    let guarded = AggregateExec::try_new(
        *aggregate.mode(),
        aggregate.group_expr().clone(),
        functions,
        filters,
        Arc::clone(aggregate.input()),
        aggregate.input_schema(),
    )?;
    let guarded = guarded.with_limit_options(aggregate.limit_options());
    let is_same = guarded.schema() == aggregate.schema();
    Ok(is_same.then(|| Arc::new(guarded) as Plan))
}

fn guarded_function(
    function: &AggregateFunctionExpr,
    schema: &Schema,
) -> Result<Option<AggregateFunctionExpr>> {
    let parts = function.all_expressions();
    let args = parts.args.iter();
    let args = args.map(|arg| guard(arg, Reader::Value, schema));
    let args: Vec<Guarded> = args.collect::<Result<_>>()?;
    if function.is_reversed() || !args.iter().any(|arg| arg.is_new) {
        return Ok(None);
    }
    let args = args.into_iter().map(|arg| arg.expr).collect();
    Ok(function.with_new_expressions(args, parts.order_by_exprs))
}

fn guarded_join(node: &Plan) -> Result<Option<Plan>> {
    if let Some(join) = node.downcast_ref::<HashJoinExec>()
        && let Some(condition) = join.filter()
        && let Some(guarded) = guarded_condition(condition)?
    {
        let join = join.builder().with_filter(Some(guarded));
        return join.build_exec().map(Some);
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
        && let Some(condition) = join.filter()
        && let Some(guarded) = guarded_condition(condition)?
    {
        let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
        let join = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
            .with_projection_ref(join.projection().clone())
            .with_filter(Some(guarded))
            .build()?;
        return Ok(Some(Arc::new(join)));
    }
    Ok(None)
}

fn guarded_condition(condition: &JoinFilter) -> Result<Option<JoinFilter>> {
    let guarded = guard(condition.expression(), Reader::Filter, condition.schema())?;
    let columns = || condition.column_indices().to_vec();
    let schema = || Arc::clone(condition.schema());
    Ok(guarded
        .is_new
        .then(|| JoinFilter::new(guarded.expr, columns(), schema())))
}

/// What reads a condition's value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Takes NULL as false.
    Filter,
    /// Tells them apart.
    Value,
}

/// An expression whose conditions guard one another.
struct Guarded {
    expr: Expr,
    may_fail: bool,
    is_new: bool,
    /// How deep CASEs of ours stand in it.
    depth: usize,
}

fn guard(expr: &Expr, reader: Reader, schema: &Schema) -> Result<Guarded> {
    if let Some(op) = connective(expr) {
        return guard_operands(expr, op, reader, schema);
    }
    // A lambda's own columns are none of the schema.
    let children = match expr.is::<LambdaExpr>() {
        true => Vec::new(),
        false => expr.children(),
    };
    let children = children.into_iter();
    let children = children.map(|child| guard(child, Reader::Value, schema));
    let children: Vec<Guarded> = children.collect::<Result<_>>()?;
    let is_new = children.iter().any(|child| child.is_new);
    let depth = children.iter().map(|child| child.depth).max();
    let may_fail = children.iter().any(|child| child.may_fail) || may_fail(expr, schema);
    let expr = match is_new {
        true => {
            let children = children.into_iter().map(|child| child.expr);
            Arc::clone(expr).with_new_children(children.collect())?
        }
        false => Arc::clone(expr),
    };
    Ok(Guarded {
        expr,
        may_fail,
        is_new,
        depth: depth.unwrap_or(0),
    })
}

/// Guards the operands of a chain of ANDs, or of ORs.
fn guard_operands(expr: &Expr, op: Operator, reader: Reader, schema: &Schema) -> Result<Guarded> {
    let operands = operands(expr, op).into_iter();
    let operands = operands.map(|operand| guard(operand, reader, schema));
    let operands: Vec<Guarded> = operands.collect::<Result<_>>()?;
    let depth = operands.iter().map(|operand| operand.depth).max();
    let depth = depth.unwrap_or(0);
    let same = |may_fail| Guarded {
        expr: Arc::clone(expr),
        may_fail,
        is_new: false,
        depth: 0,
    };
    if !operands.iter().any(|operand| operand.may_fail) {
        return Ok(same(false));
    }
    let steps = steps(operands, op);
    let (joined, depth) = match depth < MAX_DEPTH {
        true => (ending(steps, op, reader, schema)?, depth + 1),
        false => (all(steps, op), depth),
    };
    Ok(match joined {
        Some(expr) => Guarded {
            expr,
            may_fail: true,
            is_new: true,
            depth,
        },
        None => same(true),
    })
}

/// AND or OR, if the expression is one.
fn connective(expr: &Expr) -> Option<Operator> {
    let op = *expr.downcast_ref::<BinaryExpr>()?.op();
    matches!(op, Operator::And | Operator::Or).then_some(op)
}

/// The operands of a chain of one operator, from left to right.
fn operands(expr: &Expr, op: Operator) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut left = vec![expr];
    while let Some(expr) = left.pop() {
        match expr.downcast_ref::<BinaryExpr>() {
            Some(binary) if *binary.op() == op => left.extend([binary.right(), binary.left()]),
            _ => found.push(expr),
        }
    }
    found
}

/// What cannot fail as one condition, then each that may, in order.
fn steps(conditions: Vec<Guarded>, op: Operator) -> Vec<Expr> {
    let (risky, sure): (Vec<_>, Vec<_>) = conditions
        .into_iter()
        .partition(|condition| condition.may_fail);
    let exprs = |conditions: Vec<Guarded>| conditions.into_iter().map(|condition| condition.expr);
    let sure = all(exprs(sure), op);
    sure.into_iter().chain(exprs(risky)).collect()
}

fn all(exprs: impl IntoIterator<Item = Expr>, op: Operator) -> Option<Expr> {
    let joined = |left, right| Arc::new(BinaryExpr::new(left, op, right)) as Expr;
    exprs.into_iter().reduce(joined)
}

/// Conditions of which each is computed of the rows that those before it do not decide.
///
/// `a OR b` is `CASE WHEN a THEN true ELSE a OR b END` and `a AND b` is `CASE WHEN NOT a THEN false ELSE a AND b END`:
/// beyond the branches, `a` is NULL or decides nothing. Where it is never NULL, or who reads the value takes NULL as
/// false, `b` alone is the value there.
fn ending(
    mut steps: Vec<Expr>,
    op: Operator,
    reader: Reader,
    schema: &Schema,
) -> Result<Option<Expr>> {
    let Some(last) = steps.pop() else {
        return Ok(None);
    };
    if steps.is_empty() {
        return Ok(Some(last));
    }
    let is_or = op == Operator::Or;
    let mut is_told = true;
    let mut branches = Vec::with_capacity(steps.len());
    for step in &steps {
        is_told &= reader == Reader::Filter || !step.nullable(schema)?;
        let step = Arc::clone(step);
        let decides = match reader {
            _ if is_or => step,
            Reader::Value => not(step)?,
            Reader::Filter => {
                Arc::new(BinaryExpr::new(step, Operator::IsDistinctFrom, lit(true))) as Expr
            }
        };
        branches.push((decides, lit(is_or)));
    }
    let rest = match is_told {
        true => Some(last),
        false => all(steps.into_iter().chain([last]), op),
    };
    let rest = rest.ok_or_else(|| DataFusionError::Internal("no condition is left".to_owned()))?;
    case(None, branches, Some(rest)).map(Some)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;

    fn schema() -> Arc<Schema> {
        let number = |name| Field::new(name, DataType::Int64, true);
        Arc::new(Schema::new(vec![number("x"), number("y")]))
    }

    fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
        Arc::new(BinaryExpr::new(left, op, right))
    }

    fn compared(name: &str, op: Operator, value: i64) -> Expr {
        binary(col(name, &schema()).unwrap(), op, lit(value))
    }

    /// `10 / x > 1`
    fn division() -> Expr {
        let x = col("x", &schema()).unwrap();
        let quotient = binary(lit(10_i64), Operator::Divide, x);
        binary(quotient, Operator::Gt, lit(1_i64))
    }

    fn values(expr: &Expr) -> Vec<Option<bool>> {
        let x = Int64Array::from(vec![Some(0), Some(5), None, Some(20)]);
        let y = Int64Array::from(vec![1, 2, 3, 4]);
        let batch = RecordBatch::try_new(schema(), vec![Arc::new(x), Arc::new(y)]).unwrap();
        let values = expr.evaluate(&batch).unwrap().into_array(4).unwrap();
        values.as_boolean().iter().collect()
    }

    #[test]
    fn both_connectives_guard_their_right_side() {
        let and = binary(compared("x", Operator::NotEq, 0), Operator::And, division());
        let or = binary(compared("x", Operator::Eq, 0), Operator::Or, division());
        let guarded = |expr: &Expr, reader| guard(expr, reader, &schema()).unwrap().expr;
        let expected = [Some(false), Some(true), None, Some(false)];
        assert_eq!(values(&guarded(&and, Reader::Value)), expected);
        let expected = [Some(true), Some(true), None, Some(false)];
        assert_eq!(values(&guarded(&or, Reader::Value)), expected);
        let passes = |expr: &Expr| {
            let values = values(&guarded(expr, Reader::Filter));
            values.into_iter().map(|value| value == Some(true))
        };
        assert!(passes(&and).eq([false, true, false, false]));
        assert!(passes(&or).eq([true, true, false, false]));
    }

    #[test]
    fn what_cannot_fail_comes_first_and_is_never_changed() {
        let sure = binary(
            compared("y", Operator::Gt, 0),
            Operator::And,
            compared("x", Operator::NotEq, 0),
        );
        let same = guard(&sure, Reader::Value, &schema()).unwrap();
        assert!(!same.is_new && !same.may_fail);
        let late = binary(division(), Operator::And, sure);
        let guarded = guard(&late, Reader::Value, &schema()).unwrap().expr;
        let expected = [Some(false), Some(true), None, Some(false)];
        assert_eq!(values(&guarded), expected);
    }

    #[test]
    fn a_filter_is_divided_where_it_may_fail() {
        let rows: Plan = Arc::new(EmptyExec::new(schema()));
        let filtered = |predicate| -> Plan {
            Arc::new(FilterExec::try_new(predicate, Arc::clone(&rows)).unwrap())
        };
        let optimized = |plan: Plan| guarded(&plan).unwrap().unwrap_or(plan);
        let sure = filtered(compared("x", Operator::NotEq, 0));
        assert!(Arc::ptr_eq(&optimized(Arc::clone(&sure)), &sure));
        let both = binary(division(), Operator::And, compared("x", Operator::NotEq, 0));
        let plan = optimized(filtered(both));
        let above = plan.downcast_ref::<FilterExec>().unwrap();
        assert_eq!(above.predicate().to_string(), division().to_string());
        let below = above.input().downcast_ref::<FilterExec>().unwrap();
        assert_eq!(below.predicate().to_string(), "x@0 != 0");
    }
}
