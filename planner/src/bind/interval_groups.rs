//! Groups and distinct values of intervals go by their length: `1 day` and `24:00:00` are one.
//!
//! In: a plan in which GROUP BY, DISTINCT, PARTITION BY or `count(DISTINCT …)` compare intervals field by field; out: the same
//! over keys of their lengths, with one of the intervals of each group in the result.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry as _, SessionState};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Distinct, Expr, ExprSchemable as _, LogicalPlan, Projection,
    ScalarUDF, Window,
};

/// Rewrites a plan.
pub(super) fn grouped(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let lengths = Lengths {
        key: state.udf("interval_key")?,
        least: state.udaf("min")?,
    };
    let grouped = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => lengths.aggregated(aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            let columns: Vec<Expr> = columns.collect();
            if !columns
                .iter()
                .any(|column| is_interval(column, input.schema()))
            {
                return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
            }
            lengths.aggregated(Aggregate::try_new(input, columns, Vec::new())?)
        }
        LogicalPlan::Window(window) => lengths.parted(window),
        node => Ok(Transformed::no(node)),
    })?;
    Ok(grouped.data)
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    // A parameter has no type yet.
    matches!(expr.get_type(schema), Ok(DataType::Interval(_)))
}

struct Lengths {
    key: Arc<ScalarUDF>,
    least: Arc<AggregateUDF>,
}

impl Lengths {
    fn of(&self, interval: Expr) -> Expr {
        self.key.call(vec![interval])
    }

    /// An aggregate with the lengths of intervals among its groups, and what it had as columns.
    fn aggregated(&self, node: Aggregate) -> Result<Transformed<LogicalPlan>> {
        let schema = Arc::clone(node.input.schema());
        let is_ours = |expr: &&Expr| is_interval(expr, &schema);
        let has_sets = node
            .group_expr
            .iter()
            .any(|expr| matches!(expr, Expr::GroupingSet(_)));
        let counted = node
            .aggr_expr
            .iter()
            .map(|expr| self.counted(expr, &schema));
        let counted: Vec<Option<Expr>> = counted.collect();
        let n_groups = match has_sets {
            true => 0,
            false => node.group_expr.iter().filter(is_ours).count(),
        };
        if n_groups == 0 && counted.iter().all(Option::is_none) {
            return Ok(Transformed::no(LogicalPlan::Aggregate(node)));
        }
        let wanted = node.schema.columns();
        let n_keys = node.group_expr.len();
        let mut columns = Vec::with_capacity(wanted.len());
        let mut groups = Vec::with_capacity(n_keys);
        let mut values = Vec::new();
        let preserver = NamePreserver::new_for_projection();
        for (expr, counted) in node.aggr_expr.iter().zip(counted) {
            values.push(match counted {
                Some(counted) => preserver.save(expr).restore(counted),
                None => expr.clone(),
            });
        }
        for (idx, expr) in node.group_expr.iter().enumerate() {
            if has_sets || !is_interval(expr, &schema) {
                groups.push(expr.clone());
                continue;
            }
            let name = format!("__auspex_interval_{idx}");
            groups.push(
                self.of(expr.clone().unalias())
                    .alias(format!("{name}_length")),
            );
            values.push(self.least.call(vec![expr.clone().unalias()]).alias(name));
        }
        let aggregate = Aggregate::try_new(Arc::clone(&node.input), groups, values)?;
        let given = aggregate.schema.columns();
        let mut n_found = 0;
        for (idx, column) in wanted.iter().enumerate() {
            let is_length = !has_sets
                && node
                    .group_expr
                    .get(idx)
                    .is_some_and(|expr| is_interval(expr, &schema));
            // The intervals stand behind all other columns.
            let from = match is_length {
                true => given.get(wanted.len() + n_found),
                false => given.get(idx),
            };
            n_found += usize::from(is_length);
            if let Some(from) = from {
                let from = Expr::Column(from.clone());
                columns.push(from.alias_qualified(column.relation.clone(), column.name.clone()));
            }
        }
        let input = Arc::new(LogicalPlan::Aggregate(aggregate));
        let projection = Projection::try_new(columns, input)?;
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    }

    /// `count(DISTINCT interval)` of lengths.
    fn counted(&self, expr: &Expr, schema: &DFSchema) -> Option<Expr> {
        let Expr::AggregateFunction(function) = expr.clone().unalias() else {
            return None;
        };
        let params = &function.params;
        let [value] = params.args.as_slice() else {
            return None;
        };
        let is_ours =
            function.func.name() == "count" && params.distinct && is_interval(value, schema);
        is_ours.then(|| {
            let mut params = params.clone();
            params.args = vec![self.of(value.clone())];
            Expr::AggregateFunction(AggregateFunction {
                func: Arc::clone(&function.func),
                params,
            })
        })
    }

    fn parted(&self, window: Window) -> Result<Transformed<LogicalPlan>> {
        let schema = Arc::clone(window.input.schema());
        let by_length = |expr: &Expr| {
            let Expr::WindowFunction(function) = expr.clone().unalias() else {
                return None;
            };
            let mut function = function;
            let parts = &mut function.params.partition_by;
            if !parts.iter().any(|part| is_interval(part, &schema)) {
                return None;
            }
            for part in parts.iter_mut().filter(|part| is_interval(part, &schema)) {
                *part = self.of(std::mem::take(part));
            }
            Some(Expr::WindowFunction(function))
        };
        let changed: Vec<Option<Expr>> = window.window_expr.iter().map(by_length).collect();
        if changed.iter().all(Option::is_none) {
            return Ok(Transformed::no(LogicalPlan::Window(window)));
        }
        let preserver = NamePreserver::new_for_projection();
        let exprs = window.window_expr.iter().zip(changed);
        let exprs = exprs.map(|(expr, changed)| match changed {
            Some(changed) => preserver.save(expr).restore(changed),
            None => expr.clone(),
        });
        let window = Window::try_new(exprs.collect(), window.input)?;
        Ok(Transformed::yes(LogicalPlan::Window(window)))
    }
}
