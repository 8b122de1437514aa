//! Plans of look-ups, as of `SELECT * FROM t WHERE id = $1`: optimized once, before the values of their parameters are known.
//!
//! In: a bound query and the types of its parameters; out, for each execution, the optimized plan with its values, which only
//! needs operators. Nothing flows out where values may decide more than which rows of one relation pass.

use std::sync::{Arc, OnceLock};

use auspex_storage::AddressKind;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

use crate::bind::BoundQuery;
use crate::error::Result;
use crate::functions::{READ_INET, READ_UUID, address_text, uuid_text};
use crate::point_plan::{is_constant, n_predictions, place, with_types};
use crate::session::{Prepared, Session};
use crate::statement_run::StatementControl;
use crate::streams::{stream, stream_of_optimized};

/// The optimized plan of a query, made when it is run first; `None`: it is planned anew each time.
#[derive(Debug, Default)]
pub(crate) struct LookUpPlan(OnceLock<Option<Optimized>>);

#[derive(Debug)]
struct Optimized {
    plan: LogicalPlan,
    reads: Reads,
}

/// How much work the rows of a look-up are expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// A few rows, found by the value of a column.
    Few,
    /// Any number of rows, or rows that predictions are made of.
    Any,
}

impl LookUpPlan {
    /// The rows of the query for these values of its parameters.
    pub(crate) async fn stream(
        &self,
        session: &Arc<Session>,
        (prepared, query): (&Prepared, &BoundQuery),
        values: Vec<ScalarValue>,
        control: &StatementControl,
    ) -> Result<SendableRecordBatchStream> {
        let types = prepared.parameter_types();
        // Operators that are cut into stages are the business of the machines of a cluster.
        if !values.is_empty() && session.engine.cluster().is_none() {
            let optimized = self.0.get_or_init(|| optimized(query, types)).as_ref();
            let plan = optimized.and_then(|optimized| {
                let plan = with_values(&optimized.plan, types, &values)?;
                Some((plan, optimized.reads))
            });
            if let Some(plan) = plan {
                return Box::pin(stream_of_optimized(session, query, plan, control)).await;
            }
        }
        Box::pin(stream(session, query, values, control)).await
    }
}

/// The optimized plan of a query, if only its conditions depend on its parameters.
fn optimized(query: &BoundQuery, types: &[DataType]) -> Option<Optimized> {
    if !is_look_up(&query.plan).unwrap_or(false) {
        return None;
    }
    let typed = with_types(query.plan.clone(), types).ok()?;
    let optimized = query.state.optimize(&typed);
    // The optimizer evaluates predictions of constants; what they met is told when the statement runs.
    drop(query.findings.take_counted());
    let plan = optimized.ok()?;
    let n_predictions = n_predictions(&plan).ok()?;
    let is_folded = n_predictions != self::n_predictions(&query.plan).ok()?;
    if is_folded || !is_look_up(&plan).unwrap_or(false) {
        return None;
    }
    let reads = match n_predictions == 0 && has_equality(&plan) {
        true => Reads::Few,
        false => Reads::Any,
    };
    Some(Optimized { plan, reads })
}

/// Whether all rows of a plan have the value of a parameter in a column.
fn has_equality(plan: &LogicalPlan) -> bool {
    let own = match plan {
        LogicalPlan::Filter(filter) => split_conjunction(&filter.predicate),
        _ => vec![],
    };
    let is_equality = |condition: &&Expr| {
        let operator = match condition {
            Expr::BinaryExpr(binary) => Some(binary.op),
            _ => None,
        };
        operator == Some(Operator::Eq) && n_compared_parameters(condition) == 1
    };
    own.iter().any(is_equality) || plan.inputs().into_iter().any(has_equality)
}

/// Whether a plan reads one relation, is the same whenever it is made, and has parameters nowhere but in conditions, each of
/// them beside a column that it is compared with.
fn is_look_up(plan: &LogicalPlan) -> DfResult<bool> {
    let (mut n_scans, mut is_plain) = (0, true);
    plan.apply(|node| {
        let has_conditions = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::TableScan(_));
        is_plain &= has_conditions
            || matches!(
                node,
                LogicalPlan::Projection(_)
                    | LogicalPlan::SubqueryAlias(_)
                    | LogicalPlan::Sort(_)
                    | LogicalPlan::Limit(_)
            );
        if let LogicalPlan::TableScan(scan) = node {
            n_scans += 1;
            // A relation that is itself a plan may be another one each time.
            is_plain &= scan.source.get_logical_plan().is_none();
        }
        node.apply_expressions(|expr| {
            let (mut n_parameters, mut n_compared) = (0, 0);
            expr.apply(|expr| {
                is_plain &= is_constant(expr);
                n_parameters += usize::from(matches!(expr, Expr::Placeholder(_)));
                n_compared += n_compared_parameters(expr);
                Ok(TreeNodeRecursion::Continue)
            })?;
            is_plain &= n_parameters == if has_conditions { n_compared } else { 0 };
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(match is_plain {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    })?;
    Ok(is_plain && n_scans == 1)
}

/// How many parameters an expression compares with a column as it is.
fn n_compared_parameters(expr: &Expr) -> usize {
    let (column, operands): (&Expr, Vec<&Expr>) = match expr {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            match (binary.left.as_ref(), binary.right.as_ref()) {
                (operand, column @ Expr::Column(_)) => (column, vec![operand]),
                (column, operand) => (column, vec![operand]),
            }
        }
        Expr::Between(between) => (
            between.expr.as_ref(),
            vec![between.low.as_ref(), between.high.as_ref()],
        ),
        Expr::InList(list) => (list.expr.as_ref(), list.list.iter().collect()),
        _ => return 0,
    };
    match column {
        Expr::Column(_) => {
            let parameters = operands.iter().filter(|operand| is_parameter(operand));
            parameters.count()
        }
        _ => 0,
    }
}

fn is_comparison(operator: Operator) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq
    )
}

/// Whether an expression is a parameter, or one as another type.
fn is_parameter(expr: &Expr) -> bool {
    match expr {
        Expr::Placeholder(_) => true,
        Expr::Cast(cast) => is_parameter(&cast.expr),
        Expr::ScalarFunction(call) => {
            [READ_INET, READ_UUID].contains(&call.func.name()) && call.args.iter().all(is_parameter)
        }
        _ => false,
    }
}

/// The uuid or the address of a text that is written out; `None` if it is none, which is told where it is read.
fn value_read(call: &ScalarFunction) -> Option<ScalarValue> {
    let [Expr::Literal(ScalarValue::Utf8(Some(text)), _)] = call.args.as_slice() else {
        return None;
    };
    let read = match call.func.name() {
        READ_UUID => uuid_text(text),
        READ_INET => address_text(AddressKind::Inet, text).ok(),
        _ => None,
    };
    read.map(ScalarValue::from)
}

/// The plan with values in the place of its parameters; `None` where the optimizer would make more of them: NULL, and what
/// is not of the column's type.
fn with_values(
    plan: &LogicalPlan,
    types: &[DataType],
    values: &[ScalarValue],
) -> Option<LogicalPlan> {
    let mut pairs = values.iter().zip(types);
    let fits = |(value, wanted): (&ScalarValue, &DataType)| {
        !value.is_null() && value.data_type() == *wanted
    };
    if values.len() != types.len() || !pairs.all(fits) {
        return None;
    }
    let value_of = |expr: Expr| -> DfResult<Transformed<Expr>> {
        let value = match &expr {
            Expr::Placeholder(placeholder) => {
                let value = place(&placeholder.id).and_then(|idx| values.get(idx));
                value.cloned()
            }
            Expr::Cast(cast) => match cast.expr.as_ref() {
                Expr::Literal(value, _) => Some(value.cast_to(cast.field.data_type())?),
                _ => None,
            },
            Expr::ScalarFunction(call) => value_read(call),
            _ => None,
        };
        Ok(match value {
            Some(value) => Transformed::yes(Expr::Literal(value, None)),
            None => Transformed::no(expr),
        })
    };
    let given = plan.clone().transform_up(|node| match node {
        LogicalPlan::Filter(_) | LogicalPlan::TableScan(_) => {
            node.map_expressions(|expr| expr.transform_up(value_of))
        }
        node => Ok(Transformed::no(node)),
    });
    given.ok().map(|given| given.data)
}
