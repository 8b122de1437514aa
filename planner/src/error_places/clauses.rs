//! Where expressions stand that a clause does not take: of a wrong type, or of no column of the SELECT list.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, Distinct, Expr, GroupByExpr, ObjectName, OrderByKind, Query, Select,
    SelectItem, SetExpr, Statement, UnaryOperator, Value, Visit, Visitor,
};

use super::{Sought, only};
use crate::commands::name_parts;

/// What the clauses of a statement have, by their kind.
struct Clauses<'a> {
    sought: &'a Sought<'a>,
    /// Where the conditions of WHERE begin.
    conditions: Vec<Option<usize>>,
    /// Where the operands of NOT begin.
    negated: Vec<Option<usize>>,
    /// Where the keys of ORDER BY begin, with their numbers.
    orders: Vec<(Option<usize>, Option<String>)>,
    /// The same of GROUP BY.
    groups: Vec<(Option<usize>, Option<String>)>,
    /// Where the keys of DISTINCT ON begin.
    distinct: Vec<Option<usize>>,
}

impl<'a> Clauses<'a> {
    fn of(sought: &'a Sought<'a>) -> Clauses<'a> {
        let mut found = Clauses {
            sought,
            conditions: Vec::new(),
            negated: Vec::new(),
            orders: Vec::new(),
            groups: Vec::new(),
            distinct: Vec::new(),
        };
        let changed = match sought.statement {
            Statement::Update(update) => update.selection.as_ref(),
            Statement::Delete(delete) => delete.selection.as_ref(),
            _ => None,
        };
        found
            .conditions
            .extend(changed.map(|expr| sought.start(expr)));
        let _ = sought.statement.visit(&mut found);
        found
    }

    fn key(&self, expr: &Expr) -> (Option<usize>, Option<String>) {
        let number = match expr {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => Some(number.to_string()),
                _ => None,
            },
            _ => None,
        };
        (self.sought.start(expr), number)
    }
}

impl Visitor for Clauses<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let condition = select.selection.as_ref();
        self.conditions
            .extend(condition.map(|expr| self.sought.start(expr)));
        if let GroupByExpr::Expressions(keys, _) = &select.group_by {
            let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
            self.groups.extend(keys);
        }
        if let Some(Distinct::On(keys)) = &select.distinct {
            self.distinct
                .extend(keys.iter().map(|key| self.sought.start(key)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(order) = &query.order_by
            && let OrderByKind::Expressions(keys) = &order.kind
        {
            let keys: Vec<_> = keys.iter().map(|key| self.key(&key.expr)).collect();
            self.orders.extend(keys);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } = expr
        {
            self.negated.push(self.sought.start(expr));
        }
        ControlFlow::Continue(())
    }
}

/// The condition of `argument of WHERE must be type boolean`, if nothing else in the statement is one.
pub(super) fn condition(sought: &Sought<'_>) -> Option<usize> {
    if !sought
        .message
        .starts_with("argument of WHERE must be type boolean")
    {
        return None;
    }
    // The planner calls all of these so.
    let text = sought.text.to_ascii_lowercase();
    let others = ["having", "filter", " on ", "using", "natural"];
    let is_alone = !others.iter().any(|word| text.contains(word));
    only(Clauses::of(sought).conditions)
        .flatten()
        .filter(|_| is_alone)
}

/// The operand of `argument of NOT must be type boolean`.
pub(super) fn negated(sought: &Sought<'_>) -> Option<usize> {
    let is_it = sought
        .message
        .starts_with("argument of NOT must be type boolean");
    only(Clauses::of(sought).negated)
        .flatten()
        .filter(|_| is_it)
}

/// The number of `ORDER BY position 5 is not in select list`.
pub(super) fn number_of_column(sought: &Sought<'_>) -> Option<usize> {
    let (clause, rest) = sought.message.split_once(" BY position ")?;
    let number = rest.strip_suffix(" is not in select list")?;
    let clauses = Clauses::of(sought);
    let keys = match clause {
        "ORDER" => clauses.orders,
        "GROUP" => clauses.groups,
        _ => return None,
    };
    let is_it = |(_, key): &(Option<usize>, Option<String>)| key.as_deref() == Some(number);
    let (place, _) = only(keys.into_iter().filter(is_it).collect())?;
    place
}

/// The key of an order that DISTINCT does not let be, if there is only one.
pub(super) fn distinct_order(sought: &Sought<'_>) -> Option<usize> {
    let clauses = Clauses::of(sought);
    match sought.message {
        "for SELECT DISTINCT, ORDER BY expressions must appear in select list" => {
            let (place, _) = only(clauses.orders)?;
            place
        }
        "SELECT DISTINCT ON expressions must match initial ORDER BY expressions" => {
            only(clauses.distinct).flatten()
        }
        _ => None,
    }
}

/// The value of `column "a" is of type integer but expression is of type date`.
pub(super) fn filling(sought: &Sought<'_>) -> Option<usize> {
    let name = sought.told("column \"", "\" is of type ")?;
    let is_it = |column: &ObjectName| name_parts(column) == [name];
    match sought.statement {
        Statement::Update(update) => {
            let values = update.assignments.iter().filter(|set| match &set.target {
                AssignmentTarget::ColumnName(column) => is_it(column),
                AssignmentTarget::Tuple(_) => false,
            });
            sought.start(&only(values.collect())?.value)
        }
        Statement::Insert(insert) if insert.on.is_none() => {
            // The mark of OVERRIDING stands among the columns.
            let is_own = |column: &ObjectName| sought.place_of_name(column).is_some();
            if !insert.columns.iter().all(is_own) {
                return None;
            }
            let place = insert.columns.iter().position(is_it)?;
            let query = insert.source.as_ref()?;
            sought.start(inserted(query, place)?)
        }
        _ => None,
    }
}

/// What an INSERT gives a column, if one expression does: that of a row, or of a query without a wildcard before it.
fn inserted(query: &Query, place: usize) -> Option<&Expr> {
    match query.body.as_ref() {
        SetExpr::Values(values) => match values.rows.as_slice() {
            [row] => row.content.get(place),
            _ => None,
        },
        SetExpr::Select(select) => {
            let items = select.projection.get(..=place)?;
            let exprs = items.iter().map(|item| match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    Some(expr)
                }
                _ => None,
            });
            let exprs: Option<Vec<&Expr>> = exprs.collect();
            exprs?.pop()
        }
        _ => None,
    }
}
