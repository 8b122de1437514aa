//! Takes out what can have no rows: a SELECT that joins a catalog table which is always empty.
//!
//! In and out: a syntax tree. Such a SELECT is `SELECT NULL AS a, NULL AS b WHERE FALSE`, with its
//! columns' names; as a scalar it is NULL, under EXISTS it is false. PostgreSQL's clients ask so for
//! policies, publications, triggers and other things that Auspex has none of, in ways (lateral table
//! functions, subscripts by columns) that the planner does not know.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use auspex_planner::column_name_of;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem,
    SetExpr, Statement, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::super::schema::is_always_empty;
use super::{catalog_table, parsed};

/// Rewrites the empty SELECTs.
pub(super) fn rewrite(statement: &mut Statement) {
    // The visitor never breaks off.
    let _ = statement.visit(&mut Emptier::default());
}

#[derive(Default)]
struct Emptier {
    /// Within how many calls in FROM: their subqueries are rows, not scalars.
    n_calls: usize,
}

impl VisitorMut for Emptier {
    type Break = ();

    // After the children, so that a subquery that turned out empty counts.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        reduce(&mut query.body);
        if is_reduced(query) {
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.n_calls += usize::from(is_call(factor));
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.n_calls -= usize::from(is_call(factor));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.n_calls > 0 {
            return ControlFlow::Continue(());
        }
        let constant = match &*expr {
            Expr::Subquery(query) if is_reduced(query) => Value::Null,
            Expr::Exists { subquery, negated } if is_reduced(subquery) => Value::Boolean(*negated),
            Expr::InSubquery {
                subquery, negated, ..
            } if is_reduced(subquery) => Value::Boolean(*negated),
            _ => return ControlFlow::Continue(()),
        };
        *expr = Expr::Value(constant.with_empty_span());
        ControlFlow::Continue(())
    }
}

fn is_call(factor: &TableFactor) -> bool {
    matches!(
        factor,
        TableFactor::Table { args: Some(_), .. } | TableFactor::Function { .. }
    )
}

/// Whether a query was found to have no rows.
pub(super) fn is_reduced(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return false;
    };
    let never = Expr::Value(Value::Boolean(false).with_empty_span());
    let mut condition = select.selection.as_ref();
    while let Some(Expr::BinaryOp {
        left,
        op: BinaryOperator::And,
        ..
    }) = condition
    {
        condition = Some(left);
    }
    // An aggregate of no rows is a row.
    select.from.is_empty() && condition == Some(&never) && !has_aggregate(select)
}

fn reduce(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => reduce_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            reduce(left);
            reduce(right);
        }
        _ => {}
    }
}

fn reduce_select(select: &mut Select) {
    let by_groups = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
    };
    // Without groups, an aggregate has a row even of nothing.
    if !select.from.iter().any(has_no_rows) || (!by_groups && has_aggregate(select)) {
        return;
    }
    let names: Option<Vec<Ident>> = select.projection.iter().map(item_name).collect();
    // The columns of a wildcard are not known here.
    let Some(names) = names else { return };
    let null = || Expr::Value(Value::Null.with_empty_span());
    let parameters = parameters(select);
    select.projection = names
        .into_iter()
        .map(|alias| SelectItem::ExprWithAlias {
            expr: null(),
            alias,
        })
        .collect();
    select.from.clear();
    let never = Expr::Value(Value::Boolean(false).with_empty_span());
    // The client will send values for all parameters, so that all must stay in the statement.
    let condition = parameters
        .into_iter()
        .fold(never, |left, parameter| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::And,
            right: Box::new(Expr::IsNull(Box::new(parameter))),
        });
    select.selection = Some(condition);
    select.distinct = None;
    select.having = None;
    select.qualify = None;
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
}

/// The parameters of a SELECT, each with the type that a cast gives it; text where none does.
fn parameters(select: &Select) -> Vec<Expr> {
    struct Finder {
        found: BTreeMap<String, Expr>,
    }
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Cast { expr: inner, .. } = expr
                && let Some(name) = parameter_name(inner)
            {
                self.found.insert(name, expr.clone());
            } else if let Some(name) = parameter_name(expr) {
                let as_text = parsed(&format!("CAST({name} AS TEXT)"));
                let as_text = as_text.unwrap_or_else(|| expr.clone());
                self.found.entry(name).or_insert(as_text);
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder {
        found: BTreeMap::new(),
    };
    // The visitor never breaks off.
    let _ = select.visit(&mut finder);
    finder.found.into_values().collect()
}

fn parameter_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn item_name(item: &SelectItem) -> Option<Ident> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(Ident::with_quote('"', column_name_of(expr))),
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.clone()),
        _ => None,
    }
}

/// Whether a join has no rows, since it needs one of an empty relation.
fn has_no_rows(from: &TableWithJoins) -> bool {
    let keeps_right = |operator: &JoinOperator| {
        matches!(
            operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    };
    if from
        .joins
        .iter()
        .any(|join| keeps_right(&join.join_operator))
    {
        return false;
    }
    let needs_right = |operator: &JoinOperator| {
        matches!(
            operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        )
    };
    is_empty(&from.relation)
        || from
            .joins
            .iter()
            .any(|join| needs_right(&join.join_operator) && is_empty(&join.relation))
}

fn is_empty(relation: &TableFactor) -> bool {
    match relation {
        TableFactor::Table {
            name, args: None, ..
        } => catalog_table(name).is_some_and(|table| is_always_empty(&table)),
        TableFactor::Derived { subquery, .. } => is_reduced(subquery),
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => has_no_rows(table_with_joins),
        _ => false,
    }
}

/// Whether a SELECT aggregates itself; its subqueries do so for themselves.
fn has_aggregate(select: &Select) -> bool {
    struct Finder {
        depth: usize,
    }
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) if self.depth == 0 && is_aggregate(function) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let mut finder = Finder { depth: 0 };
    select.having.is_some() || select.projection.visit(&mut finder).is_break()
}

fn is_aggregate(function: &Function) -> bool {
    const NAMES: &[&str] = &[
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "bool_xor",
        "corr",
        "count",
        "covar_pop",
        "covar_samp",
        "every",
        "json_agg",
        "json_object_agg",
        "jsonb_agg",
        "jsonb_object_agg",
        "max",
        "median",
        "min",
        "mode",
        "percentile_cont",
        "percentile_disc",
        "regr_count",
        "regr_intercept",
        "regr_r2",
        "regr_slope",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "string_agg",
        "sum",
        "var_pop",
        "var_samp",
        "variance",
    ];
    let last = function.name.0.last().and_then(|part| part.as_ident());
    function.over.is_none()
        && last.is_some_and(|name| NAMES.contains(&name.value.to_lowercase().as_str()))
}
