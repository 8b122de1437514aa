//! Frames that end before they begin: `ROWS BETWEEN 3 FOLLOWING AND 1 FOLLOWING` has no row, as in PostgreSQL.
//!
//! In: a logical plan; out: the same in which such a frame begins behind the last row. DataFusion refuses frames whose sizes are
//! the wrong way round. Those that go from one side of the row to the other, backwards, are errors in PostgreSQL, too, and stay.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{
    Expr, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
};

use super::last_rule::LastRule;
use super::renamed::rewritten;

/// The rule, which runs where the sizes of frames have the types of what rows are ordered by.
pub(super) const EMPTY_FRAMES: LastRule = LastRule {
    name: "empty_frames",
    rewrite: behind_the_rows,
};

/// More rows than there are; a row's number and this are still a number.
const BEYOND: u64 = 1 << 62;

fn behind_the_rows(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Window(_) = &plan else {
        return Ok(Transformed::no(plan));
    };
    rewritten(plan, |expr, _| {
        let Expr::WindowFunction(mut window) = expr else {
            return Ok(Transformed::no(expr));
        };
        let is_empty = is_empty(&window.params.window_frame);
        if is_empty {
            let beyond = WindowFrameBound::Following(ScalarValue::UInt64(Some(BEYOND)));
            window.params.window_frame =
                WindowFrame::new_bounds(WindowFrameUnits::Rows, beyond.clone(), beyond);
        }
        let found = Expr::WindowFunction(window);
        Ok(Transformed::new_transformed(found, is_empty))
    })
}

/// Whether a frame ends before it begins, on one side of its row. An unbounded end has no size.
fn is_empty(frame: &WindowFrame) -> bool {
    use WindowFrameBound::{Following, Preceding};
    let (nearer, further) = match (&frame.start_bound, &frame.end_bound) {
        (Preceding(start), Preceding(end)) => (start, end),
        (Following(start), Following(end)) => (end, start),
        _ => return false,
    };
    !nearer.is_null() && !further.is_null() && nearer < further
}
