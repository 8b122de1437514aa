//! RANGE frames over rows that are ordered by a time of day or an interval: `ORDER BY opens RANGE '1 hour' PRECEDING`.
//!
//! In: a plan; out: the same in which such rows are ordered by microseconds, and the sizes of their frames are numbers of
//! these. The planner adds sizes to numbers, dates and time stamps alone. A date beside a size with hours is a time stamp, as it is to
//! PostgreSQL: the planner would round the hours first.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable as _, LogicalPlan, Window, WindowFrame, WindowFrameBound,
    WindowFrameUnits,
};

use crate::error::Error;
use crate::functions::{Key, TIMESTAMP, interval_length};

/// Rewrites a plan.
pub(super) fn keyed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let keyed = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Window(window) if window.window_expr.iter().any(has_sizes) => framed(window),
        node => Ok(Transformed::no(node)),
    })?;
    Ok(keyed.data)
}

fn has_sizes(expr: &Expr) -> bool {
    let Expr::WindowFunction(function) = unaliased(expr) else {
        return false;
    };
    let frame = &function.params.window_frame;
    frame.units == WindowFrameUnits::Range && sizes(frame).any(|size| size.is_some())
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        expr => expr,
    }
}

/// The sizes of both ends as they are written; `None`: an end has none.
fn sizes(frame: &WindowFrame) -> impl Iterator<Item = Option<&str>> {
    let bounds = [&frame.start_bound, &frame.end_bound].into_iter();
    bounds.map(|bound| match bound {
        WindowFrameBound::Preceding(size) | WindowFrameBound::Following(size) => {
            size.try_as_str().flatten()
        }
        WindowFrameBound::CurrentRow => None,
    })
}

/// The calls whose order changes become a node of their own: those of one node share their order.
fn framed(window: Window) -> Result<Transformed<LogicalPlan>> {
    let (mut kept, mut changed) = (Vec::new(), Vec::new());
    for expr in &window.window_expr {
        let name = NamePreserver::new_for_projection().save(expr);
        let mut keyed = expr.clone().unalias();
        let is_keyed = match &mut keyed {
            Expr::WindowFunction(function) => by_micros(function, window.input.schema())?,
            _ => false,
        };
        match is_keyed {
            true => changed.push(name.restore(keyed)),
            false => kept.push(expr.clone()),
        }
    }
    if changed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let mut input = window.input;
    if !kept.is_empty() {
        input = Arc::new(LogicalPlan::Window(Window::try_new(kept, input)?));
    }
    let window = Window::try_new(changed, input)?;
    Ok(Transformed::yes(LogicalPlan::Window(window)))
}

/// Orders the rows of a call by what the sizes of its frame can be added to; whether it was by something else.
fn by_micros(function: &mut WindowFunction, schema: &DFSchema) -> Result<bool> {
    let params = &mut function.params;
    let frame = &mut params.window_frame;
    let [order] = params.order_by.as_mut_slice() else {
        return Ok(false);
    };
    if frame.units != WindowFrameUnits::Range || sizes(frame).all(|size| size.is_none()) {
        return Ok(false);
    }
    let Ok(ordered) = order.expr.get_type(schema) else {
        return Ok(false);
    };
    let count: fn(IntervalMonthDayNano) -> i128 = match ordered {
        DataType::Interval(_) => interval_length,
        // As in PostgreSQL, months and days do not count beside a time of day.
        DataType::Time64(_) => |size| i128::from(size.nanoseconds / 1000),
        DataType::Date32 => return Ok(in_hours(frame)? && by_moment(&mut order.expr)),
        _ => return Ok(false),
    };
    for bound in [&mut frame.start_bound, &mut frame.end_bound] {
        let (WindowFrameBound::Preceding(size) | WindowFrameBound::Following(size)) = bound else {
            continue;
        };
        let Some(Some(text)) = size.try_as_str() else {
            continue;
        };
        let micros = count(interval_of(text)?);
        if micros < 0 {
            let message = "invalid preceding or following size in window function";
            return Err(Error::invalid("22013", message, None).into());
        }
        *size = ScalarValue::from(micros.to_string());
    }
    let value = std::mem::take(&mut order.expr);
    order.expr = Key::Length.of(value);
    Ok(true)
}

/// The interval of a size as the planner writes it, `0 months 3 days 0 nanoseconds`.
fn interval_of(size: &str) -> Result<IntervalMonthDayNano> {
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    match ScalarValue::from(size).cast_to(&interval)? {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => Ok(interval),
        _ => Err(DataFusionError::Internal(format!(
            "\"{size}\" is no interval"
        ))),
    }
}

/// Whether a size of a frame is no whole number of days.
fn in_hours(frame: &WindowFrame) -> Result<bool> {
    for size in sizes(frame).flatten() {
        if interval_of(size)?.nanoseconds != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a time stamp of a date; it always does.
fn by_moment(date: &mut Expr) -> bool {
    let value = std::mem::take(date);
    *date = Expr::Cast(Cast::new(Box::new(value), TIMESTAMP));
    true
}
