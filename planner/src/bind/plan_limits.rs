//! How large a statement and its plan may become.
//!
//! In: a statement, then its plan; out: nothing, or the error that the statement is too complex. Texts are bounded when
//! they are read (`sql/src/limits.rs`); what views and common table expressions make of them is bounded here, and what the
//! planner goes over twice at each level: parts of a few hundred characters could otherwise fill the memory for hours.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::ptr;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Visit, Visitor,
};

use crate::error::{Error, Result};

/// The deepest plan that threads of `STACK_BYTES` walk in an unoptimised build.
const DEPTH_LIMIT: usize = 5_000;
/// More operators than any statement that people or tools write; a chain of common table expressions that each name the
/// one before twice doubles with each.
const NODE_LIMIT: usize = 50_000;
/// How often the planner may go over a part of a statement.
const TIMES_LIMIT: usize = 5_000;

/// Fails for a statement of which the planner would go over a part too often.
pub(super) fn check_text(statement: &ast::Statement) -> Result<()> {
    match statement.visit(&mut Repeats::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(too_complex()),
    }
}

/// Fails for a plan that is too large.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    Size::default().add(plan, 0, 1)
}

/// How many operators the planner goes over.
#[derive(Debug, Default)]
struct Size {
    n_nodes: usize,
}

impl Size {
    /// Adds a plan below `above` operators. Those of a subquery count twice for each time that the planner goes over what
    /// is around: it does so with that, and for the subquery itself.
    fn add(&mut self, plan: &LogicalPlan, above: usize, times: usize) -> Result<()> {
        let mut open = vec![(plan, above + 1)];
        while let Some((node, depth)) = open.pop() {
            self.n_nodes = self.n_nodes.saturating_add(times);
            if depth > DEPTH_LIMIT || self.n_nodes > NODE_LIMIT {
                return Err(too_complex());
            }
            for subquery in subqueries_of(node)? {
                self.add(&subquery, depth, times * 2)?;
            }
            open.extend(node.inputs().into_iter().map(|input| (input, depth + 1)));
        }
        Ok(())
    }
}

/// The error that a statement is too complex.
pub(crate) fn too_complex() -> Error {
    let hint = "Keep a part of it in a temporary table.";
    Error::invalid("54001", "statement is too complex", Some(hint))
}

/// The plans that an operator's expressions ask.
fn subqueries_of(node: &LogicalPlan) -> Result<Vec<Arc<LogicalPlan>>> {
    let mut subqueries = Vec::new();
    node.apply_expressions(|expr| {
        expr.apply(|part| {
            let subquery = match part {
                Expr::ScalarSubquery(subquery) => Some(subquery),
                Expr::Exists(exists) => Some(&exists.subquery),
                Expr::InSubquery(list) => Some(&list.subquery),
                Expr::SetComparison(comparison) => Some(&comparison.subquery),
                _ => None,
            };
            subqueries.extend(subquery.map(|subquery| Arc::clone(&subquery.subquery)));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(subqueries)
}

/// How often the planner goes over the parts of a statement.
#[derive(Debug, Default)]
struct Repeats {
    /// Of the parts that are open and are gone over more than once, the innermost last.
    open: Vec<usize>,
    /// The parts of what is open that are copied, by their places, and how often.
    copied: HashMap<*const ast::Expr, usize>,
}

impl Repeats {
    fn enter(&mut self, times: usize) -> ControlFlow<()> {
        let times = self.open.last().unwrap_or(&1).saturating_mul(times);
        self.open.push(times);
        match times > TIMES_LIMIT {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// How often the planner goes over an expression for each time that it goes over what is around.
    fn times_of(&self, expr: &ast::Expr) -> usize {
        let copied = self.copied.get(&ptr::from_ref(expr)).copied();
        let again = match expr {
            // Their types are asked for twice, for the type and for what is noted with it.
            ast::Expr::Tuple(_) | ast::Expr::Struct { .. } => 2,
            ast::Expr::Function(function)
                if is_one_of(function, &["row", "struct"]) || asks(function) =>
            {
                2
            }
            ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => 2,
            _ => 1,
        };
        copied.unwrap_or(1) * again
    }
}

impl Visitor for Repeats {
    type Break = ();

    /// Relations are looked for in the queries of a WITH, and in the whole of it.
    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.enter(if query.with.is_some() { 2 } else { 1 })
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.open.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        self.copied.extend(copies_in(expr));
        self.enter(self.times_of(expr))
    }

    fn post_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        for (part, _) in copies_in(expr) {
            self.copied.remove(&part);
        }
        self.open.pop();
        ControlFlow::Continue(())
    }
}

/// The parts of an expression that the planner's form of it names more than once, and how often.
fn copies_in(expr: &ast::Expr) -> Vec<(*const ast::Expr, usize)> {
    match expr {
        // A CASE of booleans becomes a disjunction, which names each condition for its case and for those behind it.
        ast::Expr::Case { conditions, .. } => {
            let times = 1 + conditions.len().min(2);
            let conditions = conditions.iter();
            conditions
                .map(|case| (ptr::from_ref(&case.condition), times))
                .collect()
        }
        // It becomes a CASE, which looks at an argument and then gives it.
        ast::Expr::Function(function) if is_one_of(function, &["coalesce", "ifnull", "nvl"]) => {
            let but_last = arguments_of(function).rev().skip(1);
            but_last
                .map(|argument| (ptr::from_ref(argument), 2))
                .collect()
        }
        ast::Expr::Between { expr, .. } => vec![(ptr::from_ref(expr.as_ref()), 2)],
        _ => Vec::new(),
    }
}

/// The arguments of a call that are expressions.
fn arguments_of(function: &ast::Function) -> impl DoubleEndedIterator<Item = &ast::Expr> {
    let arguments = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    arguments.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
}

/// Whether a call is `ARRAY(SELECT …)`.
fn asks(function: &ast::Function) -> bool {
    matches!(function.args, FunctionArguments::Subquery(_))
}

fn is_one_of(function: &ast::Function, names: &[&str]) -> bool {
    let called = function.name.to_string();
    names.iter().any(|name| called.eq_ignore_ascii_case(name))
}
