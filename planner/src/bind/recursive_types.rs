//! The types of recursive queries: the planner casts what the recursive term gives to the types of the other term, which
//! rounds `n + 0.5` to a whole number, again and again; PostgreSQL refuses that.
//!
//! In: a plan and the syntax tree that it came from; out: nothing, or the error. A cast that the planner made looks like one
//! that was written, so a query with a doubtful one is planned once more with its recursive terms behind names.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, Projection};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{self, Query, SetExpr, VisitMut, VisitorMut};

use crate::error::{Error, Result};
use crate::functions::type_name;

/// Fails where a recursive term has columns that the other term's type does not hold.
pub(super) async fn check(
    plan: &LogicalPlan,
    statement: &ast::Statement,
    state: &SessionState,
) -> Result<()> {
    if casts(plan, is_lossy)?.is_none() {
        return Ok(());
    }
    let mut named = statement.clone();
    let _ = VisitMut::visit(&mut named, &mut Named);
    super::mark_types(&mut named);
    let named = SqlStatement::Statement(Box::new(named));
    // What cannot be planned so is left as it is.
    let Ok(plan) = state.statement_to_plan(named).await else {
        return Ok(());
    };
    let is_added = |expr: &Expr, from: &DataType, to: &DataType| {
        matches!(expr, Expr::Column(_)) && is_lossy(expr, from, to)
    };
    match casts(&plan, is_added)? {
        None => Ok(()),
        Some((query, place, from, to)) => Err(mismatch(&query, place, &from, &to)),
    }
}

/// The query and column, from 1, of a cast, and its types.
type Found = (String, usize, DataType, DataType);

/// The first cast of a recursive term's columns that is looked for.
fn casts(
    plan: &LogicalPlan,
    is_wanted: impl Fn(&Expr, &DataType, &DataType) -> bool,
) -> Result<Option<Found>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::RecursiveQuery(query) = node else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let LogicalPlan::Projection(Projection { expr, input, .. }) = query.recursive_term.as_ref()
        else {
            return Ok(TreeNodeRecursion::Continue);
        };
        for (idx, expr) in expr.iter().enumerate() {
            let Expr::Cast(cast) = plain(expr) else {
                continue;
            };
            let (from, to) = (cast.expr.get_type(input.schema())?, cast.field.data_type());
            if is_wanted(&cast.expr, &from, to) {
                found = Some((query.name.clone(), idx + 1, from, to.clone()));
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// An expression without its names.
fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => plain(&alias.expr),
        other => other,
    }
}

/// Whether the common type of two is not the second: it holds less than the first.
fn is_lossy(_: &Expr, from: &DataType, to: &DataType) -> bool {
    match (width(from), width(to)) {
        (Some((kind, from)), Some((of, to))) => kind == of && from > to,
        _ => false,
    }
}

/// The kind of a type whose types widen into one another, and its place among them.
fn width(data_type: &DataType) -> Option<(&'static str, usize)> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 => ("number", 0),
        DataType::Int32 => ("number", 1),
        DataType::Int64 => ("number", 2),
        // What numeric and double precision become together depends on how a literal is read.
        DataType::Decimal128(..) | DataType::Decimal256(..) => ("number", 3),
        DataType::Float32 | DataType::Float64 => ("number", 3),
        DataType::Date32 => ("time", 0),
        DataType::Timestamp(_, None) => ("time", 1),
        DataType::Timestamp(_, Some(_)) => ("time", 2),
        _ => return None,
    })
}

fn mismatch(query: &str, place: usize, overall: &DataType, first: &DataType) -> Error {
    let (first, overall) = (type_name(first), type_name(overall));
    let message = format!(
        "recursive query \"{query}\" column {place} has type {first} in non-recursive term but type {overall} overall"
    );
    let hint = "Cast the output of the non-recursive term to the correct type.";
    Error::invalid("42804", message, Some(hint))
}

/// Puts recursive terms into FROM, so that their columns have names above which the planner casts.
struct Named;

impl VisitorMut for Named {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Some(with) = query.with.as_mut().filter(|with| with.recursive) else {
            return ControlFlow::Continue(());
        };
        for table in &mut with.cte_tables {
            if let SetExpr::SetOperation { right, .. } = table.query.body.as_mut()
                && let Ok(mut outer) = auspex_sql::parse_query(
                    "SELECT * FROM (SELECT 1) AS recursive_term",
                    auspex_sql::Dialect::Postgres,
                )
                && let SetExpr::Select(select) = outer.body.as_mut()
                && let Some(from) = select.from.first_mut()
                && let ast::TableFactor::Derived { subquery, .. } = &mut from.relation
            {
                std::mem::swap(&mut subquery.body, right);
                *right = outer.body;
            }
        }
        ControlFlow::Continue(())
    }
}
