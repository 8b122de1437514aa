//! Functions that look at the marks of their arguments, where those do not survive the way to another machine.
//!
//! In: a plan; out: such a function, if there is one. `to_json` writes a text in quotes, and json as it is; which of them
//! a column is stands on its field. Columns of files keep their marks on the way, results of functions do not.

use std::collections::BTreeSet;
use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};

/// What a plan and those below it call.
#[derive(Default)]
struct Seen {
    /// Whether a function has a marked result.
    has_marks: bool,
    /// A function that may be given such a result.
    reader: Option<String>,
}

/// One of the functions `readers` that may be given a marked result of another one.
pub(super) fn reads_lost_marks(
    plan: &Arc<dyn ExecutionPlan>,
    readers: &BTreeSet<String>,
) -> DfResult<Option<String>> {
    Ok(seen(plan, readers)?.reader)
}

fn seen(plan: &Arc<dyn ExecutionPlan>, readers: &BTreeSet<String>) -> DfResult<Seen> {
    let mut below = Seen::default();
    for child in plan.children() {
        let child = seen(child, readers)?;
        below.has_marks |= child.has_marks;
        below.reader = below.reader.or(child.reader);
    }
    let mut found = Seen {
        has_marks: below.has_marks,
        reader: below.reader,
    };
    if merges_partials(plan) {
        // Its arguments were computed below.
        return Ok(found);
    }
    plan.apply_expressions(&mut |expr| {
        expr.apply(|expr| {
            let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let name = call.fun().name();
            if readers.contains(name) && (below.has_marks || has_marked_argument(call)?) {
                found.reader = Some(name.to_owned());
            }
            found.has_marks |= is_marked(call)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

fn merges_partials(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let aggregate = plan.downcast_ref::<AggregateExec>();
    aggregate.is_some_and(|aggregate| {
        matches!(
            aggregate.mode(),
            AggregateMode::Final | AggregateMode::FinalPartitioned
        )
    })
}

fn is_marked(call: &ScalarFunctionExpr) -> DfResult<bool> {
    // A function's result does not depend on the schema.
    let field = call.return_field(&Schema::empty())?;
    Ok(!marks_of(&field).is_empty())
}

fn has_marked_argument(call: &ScalarFunctionExpr) -> DfResult<bool> {
    let mut is_found = false;
    for argument in call.args() {
        argument.apply(|expr| {
            if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
                is_found |= is_marked(call)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(is_found)
}
