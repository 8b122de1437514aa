//! Sizes of the frames of windows: `RANGE BETWEEN make_interval(days => 7) PRECEDING AND CURRENT ROW`, `ROWS 1 + 1 PRECEDING`,
//! `RANGE '7 days'::interval * 2 PRECEDING`.
//!
//! In: a statement; out: the same with the values of such expressions as the planner reads them, which knows numbers and
//! literals of intervals alone. Of the plan, it refuses sizes of other types than what the rows are ordered by: the planner
//! would take 7 for seven seconds beside a date.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::PRIVATE;
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr as Planned, ExprSchemable as _, LogicalPlan, WindowFrameBound as PlannedBound,
    WindowFrameUnits as PlannedUnits,
};
use datafusion::sql::sqlparser::ast::{
    self, CastKind, Expr, Ident, NamedWindowExpr, Select, Statement, Value, VisitMut as _,
    VisitorMut, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};

use crate::constants::{holds_query, text_of};
use crate::error::{Error, Result};
use crate::functions::{interval_length, parse_interval, type_name, type_of};
use crate::named::Named;
use crate::session::Session;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The sizes of a frame, and which of its ends they are for.
pub(super) fn sizes(frame: &mut WindowFrame) -> impl Iterator<Item = (&'static str, &mut Expr)> {
    let start = std::iter::once(("starting", &mut frame.start_bound));
    let end = frame.end_bound.iter_mut().map(|bound| ("ending", bound));
    start.chain(end).filter_map(|(end, bound)| match bound {
        WindowFrameBound::Preceding(size) | WindowFrameBound::Following(size) => {
            Some((end, size.as_deref_mut()?))
        }
        WindowFrameBound::CurrentRow => None,
    })
}

/// Writes the values of sizes that are expressions in their place.
pub(super) async fn settle(session: &Arc<Session>, statement: &mut Statement) -> Result<()> {
    let mut frames = Frames::default();
    frames.visit(statement)?;
    let found = std::mem::take(&mut frames.found);
    if found.is_empty() {
        return Ok(());
    }
    if found.iter().any(Size::calls) {
        // The function may read the clock, so that a plan with its value is not kept.
        Named::note_files();
    }
    let values = session.constants(found.iter().map(Size::asked).collect());
    let values = values.await?.ok_or_else(|| {
        let message = "the size of a frame must be one value";
        Error::invalid("42601", message, None)
    })?;
    for (size, value) in found.iter().zip(&values) {
        frames.settled.push_back(size.settled(value)?);
    }
    frames.visit(statement)
}

/// An expression that is the size of a frame.
struct Size {
    expr: Expr,
    end: &'static str,
    units: WindowFrameUnits,
}

impl Size {
    fn is_range(&self) -> bool {
        self.units == WindowFrameUnits::Range
    }

    /// Fails for what differs from row to row.
    fn check(&self) -> Result<()> {
        if holds_query(&self.expr) {
            return Err(Error::unsupported("a subquery as the size of a frame"));
        }
        let is_variable = ast::visit_expressions(&self.expr, |expr| match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        match is_variable {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                let message = format!("argument of {} must not contain variables", self.units);
                Err(Error::invalid("42P10", message, None))
            }
        }
    }

    /// Whether it calls a function.
    fn calls(&self) -> bool {
        ast::visit_expressions(&self.expr, |expr| match expr {
            Expr::Function(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .is_break()
    }

    /// The size itself, if nothing need be computed for it.
    fn plain(&self) -> Result<Option<Expr>> {
        if let Expr::Value(value) = &self.expr
            && let Value::Number(digits, false) = &value.value
        {
            let is_plain = match self.is_range() {
                true => digits.parse::<f64>().is_ok(),
                false => digits.parse::<i64>().is_ok(),
            };
            return Ok(is_plain.then(|| self.expr.clone()));
        }
        match self.is_range() {
            true => self
                .literal()?
                .map(|value| self.settled(&value))
                .transpose(),
            false => Ok(None),
        }
    }

    /// A text, which is a number or an interval, or what says that it is the latter.
    fn literal(&self) -> Result<Option<ScalarValue>> {
        let (text, is_interval) = match &self.expr {
            Expr::Interval(ast::Interval {
                value,
                leading_field: None,
                last_field: None,
                ..
            }) => (text_of(value), true),
            Expr::Cast {
                expr,
                data_type:
                    ast::DataType::Interval {
                        fields: None,
                        precision: None,
                    },
                ..
            } => (text_of(expr), true),
            expr => (text_of(expr), false),
        };
        Ok(match text {
            Some(number) if !is_interval && number.trim().parse::<f64>().is_ok() => {
                Some(ScalarValue::from(number.trim()))
            }
            Some(text) => Some(ScalarValue::IntervalMonthDayNano(Some(parse_interval(
                text,
            )?))),
            None => None,
        })
    }

    /// What is computed for it: a count of rows or groups is a bigint.
    fn asked(&self) -> Expr {
        match self.is_range() {
            true => self.expr.clone(),
            false => Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::Nested(Box::new(self.expr.clone()))),
                data_type: ast::DataType::BigInt(None),
                array: false,
                format: None,
            },
        }
    }

    /// The size as the planner reads it.
    fn settled(&self, value: &ScalarValue) -> Result<Expr> {
        if value.is_null() {
            let message = format!("frame {} offset must not be null", self.end);
            return Err(Error::invalid("22004", message, None));
        }
        if matches!(
            value.data_type(),
            DataType::Interval(_) | DataType::Duration(_)
        ) && let ScalarValue::IntervalMonthDayNano(Some(interval)) = value.cast_to(&INTERVAL)?
        {
            return match interval_length(interval) < 0 {
                true => Err(self.negative()),
                false => Ok(literal_of(interval)),
            };
        }
        let number = match value.cast_to(&DataType::Utf8)? {
            ScalarValue::Utf8(Some(text)) => text.parse::<f64>().ok().map(|number| (number, text)),
            _ => None,
        };
        match number {
            Some((number, _)) if number < 0.0 || number.is_nan() => Err(self.negative()),
            Some((_, text)) => Ok(Expr::value(Value::Number(text, false))),
            None => {
                let found = type_name(&value.data_type());
                Err(Error::Unsupported {
                    what: format!("a frame whose size is of type {found}"),
                    hint: Some(CAST_HINT.to_owned()),
                })
            }
        }
    }

    fn negative(&self) -> Error {
        let message = match self.is_range() {
            true => "invalid preceding or following size in window function".to_owned(),
            false => format!("frame {} offset must not be negative", self.end),
        };
        Error::invalid("22013", message, None)
    }
}

const CAST_HINT: &str = "Cast the offset value to an appropriate type.";

/// The literal of an interval.
fn literal_of(interval: IntervalMonthDayNano) -> Expr {
    let text = format!(
        "{} months {} days {} microseconds",
        interval.months,
        interval.days,
        interval.nanoseconds / 1000
    );
    Expr::Interval(ast::Interval {
        value: Box::new(Expr::value(Value::SingleQuotedString(text))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// Finds the sizes that are computed, then puts their values in their place.
#[derive(Default)]
struct Frames {
    found: Vec<Size>,
    settled: VecDeque<Expr>,
}

impl Frames {
    fn visit(&mut self, statement: &mut Statement) -> Result<()> {
        match statement.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    fn window(&mut self, spec: &mut WindowSpec) -> ControlFlow<Error> {
        let Some(frame) = &mut spec.window_frame else {
            return ControlFlow::Continue(());
        };
        let units = frame.units;
        for (end, size) in sizes(frame) {
            if let Err(error) = self.size(size, end, units) {
                return ControlFlow::Break(error);
            }
        }
        ControlFlow::Continue(())
    }

    fn size(&mut self, place: &mut Expr, end: &'static str, units: WindowFrameUnits) -> Result<()> {
        let mark = Expr::Identifier(Ident::new(PRIVATE));
        if *place == mark {
            if let Some(settled) = self.settled.pop_front() {
                *place = settled;
            }
            return Ok(());
        }
        let size = Size {
            expr: bare(place).clone(),
            end,
            units,
        };
        size.check()?;
        match size.plain()? {
            Some(plain) => *place = plain,
            None => {
                *place = mark;
                self.found.push(size);
            }
        }
        Ok(())
    }
}

/// An expression without brackets around it.
fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => bare(inner),
        expr => expr,
    }
}

impl VisitorMut for Frames {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                self.window(spec)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match expr {
            Expr::Function(function) => match &mut function.over {
                Some(WindowType::WindowSpec(spec)) => self.window(spec),
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Fails where the size of a RANGE frame does not fit what its rows are ordered by.
pub(super) fn refuse(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Window(window) = node {
            for expr in &window.window_expr {
                expr.apply(|expr| {
                    if let Planned::WindowFunction(function) = expr {
                        check(function, window.input.schema())?;
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn check(function: &WindowFunction, schema: &DFSchema) -> DfResult<()> {
    let params = &function.params;
    let frame = &params.window_frame;
    let [order] = params.order_by.as_slice() else {
        return Ok(());
    };
    if frame.units != PlannedUnits::Range {
        return Ok(());
    }
    let Ok((_, ordered)) = order.expr.to_field(schema) else {
        return Ok(());
    };
    for bound in [&frame.start_bound, &frame.end_bound] {
        // Sizes are texts until the planner knows their types.
        let (PlannedBound::Preceding(size) | PlannedBound::Following(size)) = bound else {
            continue;
        };
        let ScalarValue::Utf8(Some(size)) = size else {
            continue;
        };
        let offset = offset_type(size);
        let fits = match ordered.data_type() {
            DataType::Null => Some(true),
            DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Time64(_)
            | DataType::Interval(_) => Some(offset == "interval"),
            whole if whole.is_integer() => Some(offset == "integer"),
            number if number.is_numeric() => Some(offset != "interval"),
            _ => None,
        };
        let of_range = "RANGE with offset PRECEDING/FOLLOWING is not supported for column type";
        let (message, hint) = match fits {
            Some(true) => continue,
            Some(false) => (
                format!("{of_range} {} and offset type {offset}", type_of(&ordered)),
                Some(CAST_HINT),
            ),
            None => (format!("{of_range} {}", type_of(&ordered)), None),
        };
        return Err(Error::invalid("0A000", message, hint).into());
    }
    Ok(())
}

/// The type of a size by its text.
fn offset_type(size: &str) -> &'static str {
    match size.parse::<f64>() {
        Err(_) => "interval",
        Ok(_) if size.parse::<i128>().is_ok() => "integer",
        Ok(_) => "numeric",
    }
}
