//! EXISTS and IN among the columns of a result and the keys of groups, which the planner knows in conditions alone.
//!
//! In and out: the columns of one SELECT, and what is marked as a key. `EXISTS (q)` is whether the rows of `q` count more than none;
//! `x IN (q)` looks `x` up in the array of its rows. Conditions stay as they are: there the planner joins.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, TableFactor,
    UnaryOperator,
};

use super::call;
use super::own_expressions::change_own;
use super::row_comparisons::listed;
use crate::error::{Error, Report, Result};
use crate::functions::extremes::{GREATEST_ROW, LEAST_ROW};
use crate::functions::quantified::marked;

/// The relation of a subquery's rows among which a value is looked for.
const IN_ROWS: &str = "in_rows";

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

/// Fails where a query without a column stands for a value, or is one that a value is looked for in.
pub(super) fn refuse_empty(expr: &Expr) -> Result<()> {
    let is_empty = |query: &Query| matches!(query.body.as_ref(), SetExpr::Select(select) if select.projection.is_empty());
    let is_empty_query = |expr: &Expr| matches!(expr, Expr::Subquery(query) if is_empty(query));
    let message = match expr {
        Expr::InSubquery { subquery, .. } if is_empty(subquery) => "subquery has too few columns",
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } if is_empty_query(right) => {
            "subquery has too few columns"
        }
        expr if is_empty_query(expr) => "subquery must return only one column",
        _ => return Ok(()),
    };
    Err(Error::invalid("42601", message, None))
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
    *from_of(&mut counts)? = listed(query, IN_ROWS, 0);
    Some(Expr::Subquery(counts))
}

/// `(SELECT array_agg(x) FROM q AS rows (x))`.
fn gathered(query: &Query) -> Option<Expr> {
    let mut rows = parsed("SELECT array_agg(in_rows.in_column_1) FROM q")?;
    *from_of(&mut rows)? = listed(query, IN_ROWS, 1);
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
        "SELECT named_struct('lo', {LEAST_ROW}({x}), 'hi', {GREATEST_ROW}({x}), \
         'n', count(*), 'c', count({x})) FROM q",
        x = "in_rows.in_column_1",
    );
    let mut digest = auspex_sql::parse_query(&digest, auspex_sql::Dialect::Postgres)?;
    if let Some(from) = from_of(&mut digest) {
        *from = listed(query, IN_ROWS, 1);
    }
    Ok(Some(marked(left, op, digest, is_all)))
}

/// A query of one column as one that says so itself, with which a value is compared.
pub(crate) fn of_one_column(query: &Query) -> Option<Box<Query>> {
    let mut rows = parsed("SELECT * FROM q")?;
    *from_of(&mut rows)? = listed(query, IN_ROWS, 1);
    Some(rows)
}

fn from_of(query: &mut Query) -> Option<&mut TableFactor> {
    let select = select_of(query)?;
    select.from.first_mut().map(|table| &mut table.relation)
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
