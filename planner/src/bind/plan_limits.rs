//! How large a plan may become.
//!
//! In: a bound plan; out: nothing, or the error that the statement is too complex. Texts are bounded when they are read
//! (`sql/src/limits.rs`); what views and common table expressions make of them is bounded here.

use datafusion::logical_expr::LogicalPlan;

use crate::error::{Error, Result};

/// The deepest plan that threads of `STACK_BYTES` walk in an unoptimised build.
const DEPTH_LIMIT: usize = 5_000;
/// More operators than any statement that people or tools write; a chain of common table expressions that each name the
/// one before twice doubles with each.
const NODE_LIMIT: usize = 50_000;

/// Fails for a plan that is too large.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    let mut open = vec![(plan, 1)];
    let mut n_nodes = 0;
    while let Some((node, depth)) = open.pop() {
        n_nodes += 1;
        if depth > DEPTH_LIMIT || n_nodes > NODE_LIMIT {
            return Err(too_complex());
        }
        open.extend(node.inputs().into_iter().map(|input| (input, depth + 1)));
    }
    Ok(())
}

/// The error that a statement is too complex.
pub(crate) fn too_complex() -> Error {
    let hint = "Keep a part of it in a temporary table.";
    Error::invalid("54001", "statement is too complex", Some(hint))
}
