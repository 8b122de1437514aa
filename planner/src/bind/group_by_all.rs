//! `GROUP BY ALL`: by the columns of the result that are no constants and of which no aggregate and no window is a part, as in
//! GoogleSQL. What is grouped by and what the planner puts behind it are told apart in `implied_keys.rs`.
//!
//! In: a syntax tree in which functions have the names that the planner knows; out: the tree with the places of these columns in
//! GROUP BY. Where nobody can tell for how many columns a wildcard stands, ALL stays, which the planner reads as all columns
//! without aggregates.

use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, GroupByExpr, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    Statement, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::relation_columns::{RelationColumns, is_called, relations};
use super::using_columns::stand_apart;
use crate::commands::name_parts;

/// Writes the keys out. The state knows the aggregates, and plans what tells how many columns a relation has.
pub(super) async fn spell(statement: &mut Statement, state: &SessionState) {
    let mut asking = Asking {
        state,
        columns: RelationColumns::default(),
        selects: Vec::new(),
    };
    // The visitor never breaks off.
    let _ = Visit::visit(&*statement, &mut asking);
    if asking.selects.iter().all(Option::is_none) {
        return;
    }
    let mut keys = Vec::with_capacity(asking.selects.len());
    for asked in &asking.selects {
        keys.push(match asked {
            Some(asked) => asked.keys(&asking.columns, state).await,
            None => None,
        });
    }
    let mut writing = Writing {
        keys: keys.into_iter(),
    };
    let _ = VisitMut::visit(statement, &mut writing);
}

/// What an item of a SELECT is to its groups.
enum Item {
    Key,
    /// It names no column, so that it is the same in all rows.
    Constant,
    /// What is computed of groups.
    Computed,
    /// All columns of relations.
    Columns(Vec<TableFactor>),
    /// Columns of which the number is not known.
    Unknown,
}

/// A SELECT that groups by ALL.
struct Asked {
    items: Vec<Item>,
    has_aggregate: bool,
}

impl Asked {
    fn of(select: &Select, state: &SessionState) -> Option<Asked> {
        if !matches!(select.group_by, GroupByExpr::All(_)) {
            return None;
        }
        let mut parts = Parts::of(&select.having, state);
        let mut items = Vec::with_capacity(select.projection.len());
        for item in &select.projection {
            items.push(match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    let found = Parts::of(expr, state);
                    parts.has_aggregate |= found.has_aggregate;
                    found.item()
                }
                SelectItem::Wildcard(options)
                    if *options == Default::default() && select.from.iter().all(stand_apart) =>
                {
                    Item::Columns(relations(&select.from).cloned().collect())
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if *options == Default::default() => {
                    let name = name_parts(name).pop().unwrap_or_default();
                    let mut relations = relations(&select.from);
                    let relation = relations.find(|relation| is_called(relation, &name));
                    relation.map_or(Item::Unknown, |relation| {
                        Item::Columns(vec![relation.clone()])
                    })
                }
                _ => Item::Unknown,
            });
        }
        Some(Asked {
            items,
            has_aggregate: parts.has_aggregate,
        })
    }

    /// The places of the keys. Without any, all rows are one group, also no rows, if something is computed of them.
    async fn keys(&self, columns: &RelationColumns, state: &SessionState) -> Option<Vec<Expr>> {
        let (mut keys, mut constants) = (Vec::new(), Vec::new());
        let mut place = 0;
        for item in &self.items {
            match item {
                Item::Key => keys.push(number(place)),
                Item::Constant => constants.push(number(place)),
                Item::Computed => {}
                Item::Columns(relations) => {
                    for relation in relations {
                        let n_columns = columns.of(relation, state).await?.len();
                        keys.extend((place..place + n_columns).map(number));
                        place += n_columns;
                    }
                    continue;
                }
                Item::Unknown => return None,
            }
            place += 1;
        }
        match keys.is_empty() && !self.has_aggregate {
            true => Some(constants).filter(|constants| !constants.is_empty()),
            false => Some(keys),
        }
    }
}

/// A column of the result by its place, from 0.
fn number(place: usize) -> Expr {
    let digits = (place + 1).to_string();
    Expr::Value(Value::Number(digits, false).with_empty_span())
}

/// What an expression is made of, but for the queries within it.
struct Parts<'a> {
    state: &'a SessionState,
    /// Below how many queries.
    depth: usize,
    has_aggregate: bool,
    has_window: bool,
    /// Whether it names a column, or has a query, which may name one of the query around.
    names_columns: bool,
}

impl<'a> Parts<'a> {
    fn of(tree: &impl Visit, state: &'a SessionState) -> Parts<'a> {
        let mut parts = Parts {
            state,
            depth: 0,
            has_aggregate: false,
            has_window: false,
            names_columns: false,
        };
        // The visitor never breaks off.
        let _ = tree.visit(&mut parts);
        parts
    }

    fn item(&self) -> Item {
        match self.has_aggregate || self.has_window {
            true => Item::Computed,
            false if self.names_columns => Item::Key,
            false => Item::Constant,
        }
    }

    fn is_aggregate(&self, function: &Function) -> bool {
        let name = name_parts(&function.name).join(".");
        let is_known = self.state.aggregate_functions().contains_key(&name);
        is_known || function.filter.is_some() || !function.within_group.is_empty()
    }
}

impl Visitor for Parts<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        self.names_columns = true;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            _ if self.depth > 0 => {}
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.names_columns = true,
            Expr::Function(function) if function.over.is_some() => self.has_window = true,
            Expr::Function(function) => self.has_aggregate |= self.is_aggregate(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Finds the SELECTs that group so, in the order of visits.
struct Asking<'a> {
    state: &'a SessionState,
    columns: RelationColumns,
    selects: Vec<Option<Asked>>,
}

impl Visitor for Asking<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.columns.note(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.selects.push(Asked::of(select, self.state));
        ControlFlow::Continue(())
    }
}

/// Puts the keys in the place of ALL, in the order of visits.
struct Writing {
    keys: std::vec::IntoIter<Option<Vec<Expr>>>,
}

impl VisitorMut for Writing {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Some(Some(keys)) = self.keys.next()
            && let GroupByExpr::All(modifiers) = &mut select.group_by
        {
            select.group_by = GroupByExpr::Expressions(keys, std::mem::take(modifiers));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;
    use futures::FutureExt as _;

    use super::*;

    fn spelt(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        let state = SessionContext::new().state();
        // Columns that are written out are told without waiting.
        spell(&mut statement, &state).now_or_never().unwrap();
        statement.to_string()
    }

    #[test]
    fn keys_are_columns_that_are_neither_computed_nor_constant() {
        for (items, keys) in [
            ("a, count(*), b + 1", "1, 3"),
            ("1, a, sum(b) + a", "2"),
            ("a, rank() OVER (ORDER BY a), sum(count(*)) OVER ()", "1"),
            ("(SELECT max(x) FROM u WHERE u.a = t.a), count(*)", "1"),
            ("count(*), t.*, 'x', lower(t.a)", "2, 3, 5"),
            ("*, count(*)", "1, 2"),
            ("1, 'x'", "1, 2"),
        ] {
            let text = |by: &str| {
                format!("SELECT {items} FROM (SELECT 1 AS a, 2 AS b) AS t GROUP BY {by}")
            };
            assert_eq!(spelt(&text("ALL")), text(keys));
        }
    }

    #[test]
    fn no_keys_are_one_group() {
        assert_eq!(
            spelt("SELECT 1, count(*) FROM t GROUP BY ALL"),
            "SELECT 1, count(*) FROM t"
        );
        assert_eq!(
            spelt("SELECT 1 FROM t GROUP BY ALL HAVING count(*) > 0"),
            "SELECT 1 FROM t HAVING count(*) > 0"
        );
    }
}
