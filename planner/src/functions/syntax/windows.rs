//! Named windows: `OVER w`, `OVER (w ORDER BY …)`, `WINDOW w AS (…), v AS (w ORDER BY …)`.
//!
//! In: a SELECT and what its rows are sorted by; out: the same with each window written out where it is used. The planner
//! reads the name of a whole window alone, and forgets that of one which is extended. Also PARTITION BY of a parameter alone.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, NamedWindowExpr, OrderBy, Query, Select, VisitMut, VisitorMut,
    WindowSpec, WindowType,
};

use crate::commands::folded;
use crate::error::{Error, Result};

/// Writes out the windows of a SELECT, and of the order of its rows.
pub(super) fn rewrite(select: &mut Select, order: Option<&mut OrderBy>) -> Result<()> {
    let mut windows = Windows::default();
    for definition in std::mem::take(&mut select.named_window) {
        let name = folded(&definition.0);
        if windows.found(&definition.0).is_some() {
            let message = format!("window \"{name}\" is already defined");
            return Err(Error::invalid("42P20", message, None));
        }
        let spec = match definition.1 {
            NamedWindowExpr::WindowSpec(spec) => windows.extended(spec, Use::Definition)?,
            NamedWindowExpr::NamedWindow(other) => windows.named(&other)?.clone(),
        };
        windows.known.push((name, spec));
    }
    match windows.write_out(select, order) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Brackets parameters that rows are parted by: the planner leaves out values that are written there, and so would take a
/// parameter for none of the statement's.
pub(super) fn bracket_parameters(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    let Some(WindowType::WindowSpec(spec)) = &mut function.over else {
        return;
    };
    for part in &mut spec.partition_by {
        if super::is_parameter(part) {
            *part = Expr::Nested(Box::new(part.clone()));
        }
    }
}

/// Where a window extends another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Definition,
    Over,
}

/// The windows of one SELECT, in the order in which they are defined.
#[derive(Default)]
struct Windows {
    known: Vec<(String, WindowSpec)>,
    /// Below how many queries: these have windows of their own.
    depth: usize,
}

impl Windows {
    fn found(&self, name: &Ident) -> Option<&WindowSpec> {
        let name = folded(name);
        let mut known = self.known.iter();
        let known = known.find(|(other, _)| *other == name);
        known.map(|(_, spec)| spec)
    }

    fn named(&self, name: &Ident) -> Result<&WindowSpec> {
        self.found(name).ok_or_else(|| {
            let message = format!("window \"{}\" does not exist", folded(name));
            Error::invalid("42704", message, None)
        })
    }

    /// A window with what the one has that it names.
    fn extended(&self, spec: WindowSpec, at: Use) -> Result<WindowSpec> {
        let Some(name) = &spec.window_name else {
            return Ok(spec);
        };
        let base = self.named(name)?;
        let name = folded(name);
        let refused = |message: String| Err(Error::invalid("42P20", message, None));
        if !spec.partition_by.is_empty() {
            return refused(format!(
                "cannot override PARTITION BY clause of window \"{name}\""
            ));
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return refused(format!(
                "cannot override ORDER BY clause of window \"{name}\""
            ));
        }
        if base.window_frame.is_some() {
            let message = format!("cannot copy window \"{name}\" because it has a frame clause");
            let adds = !spec.order_by.is_empty() || spec.window_frame.is_some();
            let hint = match at {
                Use::Over if !adds => Some("Omit the parentheses in this OVER clause."),
                _ => None,
            };
            return Err(Error::invalid("42P20", message, hint));
        }
        Ok(WindowSpec {
            window_name: None,
            partition_by: base.partition_by.clone(),
            order_by: match spec.order_by.is_empty() {
                true => base.order_by.clone(),
                false => spec.order_by,
            },
            window_frame: spec.window_frame,
        })
    }

    fn write_out(
        &mut self,
        select: &mut Select,
        order: Option<&mut OrderBy>,
    ) -> ControlFlow<Error> {
        select.projection.visit(self)?;
        select.qualify.visit(self)?;
        match order {
            Some(order) => order.visit(self),
            None => ControlFlow::Continue(()),
        }
    }

    fn written_out(&self, function: &mut Function) -> Result<()> {
        function.over = match function.over.take() {
            Some(WindowType::NamedWindow(name)) => {
                Some(WindowType::WindowSpec(self.named(&name)?.clone()))
            }
            Some(WindowType::WindowSpec(spec)) => {
                Some(WindowType::WindowSpec(self.extended(spec, Use::Over)?))
            }
            None => None,
        };
        Ok(())
    }
}

impl VisitorMut for Windows {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match expr {
            Expr::Function(function) if self.depth == 0 => super::flow(self.written_out(function)),
            _ => ControlFlow::Continue(()),
        }
    }
}
