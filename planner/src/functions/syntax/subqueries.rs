//! EXISTS and IN among the columns of a result and the keys of groups, which the planner knows in conditions alone.
//!
//! In and out: the columns of one SELECT, and what is marked as a key. `EXISTS (q)` is whether the rows of `q` count more than none;
//! `x IN (q)` looks `x` up in the array of its rows. Conditions stay as they are: there the planner joins.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, UnaryOperator,
};

use super::call;
use super::own_expressions::change_own;
use crate::error::{Report, Result};
use crate::functions::extremes::{GREATEST_ROW, LEAST_ROW};
use crate::functions::quantified::marked;

/// What a client is told of a subquery that the planner could not turn into a join.
pub(crate) fn unsupported_subquery(message: &str) -> Option<Report> {
    let expression = message.split("support logical expression ").nth(1)?;
    let kinds = [
        "OuterReferenceColumn",
        "ScalarSubquery",
        "Exists",
        "InSubquery",
    ];
    kinds.iter().find(|kind| expression.starts_with(**kind))?;
    Some(Report {
        hint: Some("Write the subquery as a join, or compare columns with = alone.".to_owned()),
        ..Report::new(
            "0A000",
            "this subquery uses columns of the outer query in a way that is not supported"
                .to_owned(),
        )
    })
}

/// Rewrites the columns of a SELECT.
pub(super) fn rewrite(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            as_values(expr);
        }
    }
}

/// Rewrites what an expression tests of subqueries; conditions of queries within are none of ours.
pub(super) fn as_values(expr: &mut Expr) {
    change_own(expr, |expr| {
        if let Some(replacement) = as_value(expr) {
            *expr = replacement;
        }
    });
}

/// A test of a subquery as a value.
fn as_value(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Exists { subquery, negated } => {
            counted(subquery).map(|exists| negate(exists, *negated))
        }
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } => gathered(subquery)
            .map(|rows| call("in_array", vec![expr.as_ref().clone(), rows]))
            .map(|found| negate(found, *negated)),
        _ => None,
    }
}

fn negate(expr: Expr, negated: bool) -> Expr {
    match negated {
        false => expr,
        true => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(expr),
        },
    }
}

/// The query of a text of ours.
fn parsed(text: &str) -> Option<Box<Query>> {
    auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).ok()
}

fn select_of(query: &mut Query) -> Option<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// `(SELECT count(*) > 0 FROM q)`.
fn counted(query: &Query) -> Option<Expr> {
    let mut counts = parsed("SELECT count(*) > 0 FROM q")?;
    let mut plain = query.clone();
    if let Some(select) = select_of(&mut plain).filter(|select| is_plain(select))
        && query.limit_clause.is_none()
        && query.with.is_none()
    {
        // The rows themselves are counted, so that conditions on the outer query remain in sight.
        select.projection = std::mem::take(&mut select_of(&mut counts)?.projection);
        plain.order_by = None;
        return Some(Expr::Subquery(Box::new(plain)));
    }
    *from_of(&mut counts)? = derived(query, Vec::new());
    Some(Expr::Subquery(counts))
}

/// `(SELECT array_agg(x) FROM q AS rows(x))`.
fn gathered(query: &Query) -> Option<Expr> {
    let mut rows = parsed("SELECT array_agg(in_rows.x) FROM q")?;
    *from_of(&mut rows)? = derived(query, vec!["x"]);
    Some(Expr::Subquery(rows))
}

/// `x op ANY (q)` and `x op ALL (q)`; `None` where the right side is an array.
pub(super) fn quantified(
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    is_all: bool,
) -> Result<Option<Expr>> {
    let Expr::Subquery(query) = right else {
        return Ok(None);
    };
    let (is_eq, is_ne) = (*op == BinaryOperator::Eq, *op == BinaryOperator::NotEq);
    if (is_eq && !is_all) || (is_ne && is_all) {
        return Ok(Some(Expr::InSubquery {
            expr: Box::new(left.clone()),
            subquery: query.clone(),
            negated: is_all,
        }));
    }
    use BinaryOperator as B;
    if !matches!(op, B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq) {
        return Ok(None);
    }
    let digest = format!(
        "SELECT named_struct('lo', {LEAST_ROW}(in_rows.x), 'hi', {GREATEST_ROW}(in_rows.x), \
         'n', count(*), 'c', count(in_rows.x)) FROM q"
    );
    let mut digest = auspex_sql::parse_query(&digest, auspex_sql::Dialect::Postgres)?;
    if let Some(from) = from_of(&mut digest) {
        *from = derived(query, vec!["x"]);
    }
    Ok(Some(marked(left, op, digest, is_all)))
}

fn from_of(query: &mut Query) -> Option<&mut TableFactor> {
    let select = select_of(query)?;
    select.from.first_mut().map(|table| &mut table.relation)
}

fn derived(query: &Query, columns: Vec<&str>) -> TableFactor {
    let column = |name: &str| TableAliasColumnDef {
        name: Ident::new(name),
        data_type: None,
    };
    TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query.clone()),
        alias: Some(TableAlias {
            explicit: true,
            name: Ident::new("in_rows"),
            columns: columns.into_iter().map(column).collect(),
            at: None,
        }),
        sample: None,
    }
}

/// Whether a SELECT has a row for each row of its FROM that meets its condition.
fn is_plain(select: &Select) -> bool {
    let groups = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
    };
    let calls = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => !matches!(
            expr,
            Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_)
        ),
        _ => false,
    };
    !groups
        && select.having.is_none()
        && select.qualify.is_none()
        && select.distinct.is_none()
        && !select.from.is_empty()
        && !select.projection.iter().any(calls)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    fn rewritten(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        super::super::rewrite(&mut statement, None).unwrap();
        statement.to_string()
    }

    #[test]
    fn columns_are_rewritten_and_conditions_are_not() {
        assert_eq!(
            rewritten("SELECT EXISTS (SELECT 1 FROM f WHERE f.id = e.id) FROM e"),
            "SELECT (SELECT count(*) > 0 FROM f WHERE f.id = e.id) FROM e"
        );
        let same = "SELECT id FROM e WHERE EXISTS (SELECT 1 FROM f) AND id IN (SELECT 1)";
        assert_eq!(rewritten(same), same);
        assert_eq!(
            rewritten("SELECT EXISTS (SELECT max(x) FROM f) FROM e"),
            "SELECT (SELECT count(*) > 0 FROM (SELECT max(x) FROM f) AS in_rows) FROM e"
        );
    }
}
