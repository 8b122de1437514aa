//! Names within expressions of ORDER BY are those of columns in FROM, also where an output column is called so:
//! `SELECT coalesce(k, 'total') AS k FROM t GROUP BY ROLLUP (k) ORDER BY grouping(k), k`. The planner takes the output column
//! first, as PostgreSQL does with a name by itself alone.
//!
//! In: a syntax tree; out: the tree in which such names have that of their relation before them. A name of which no relation
//! of the FROM, or more than one, has a column stays.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderByExpr, OrderByKind, Query, SelectItem, SetExpr, Statement, TableFactor,
    Visit, VisitMut, Visitor, VisitorMut,
};

use super::relation_columns::{RelationColumns, own_name, relations};
use super::unqualified_names;
use crate::commands::folded;
use crate::functions::each_own;

/// Qualifies such names. The state plans what tells the columns of relations, where these matter.
pub(super) async fn spell(statement: &mut Statement, state: &SessionState) {
    let mut asking = Asking::default();
    let _ = Visit::visit(&*statement, &mut asking);
    if asking.queries.iter().all(|asked| asked.names.is_empty()) {
        return;
    }
    let mut known = Vec::with_capacity(asking.queries.len());
    for asked in &asking.queries {
        known.push(asked.owners(&asking.columns, state).await);
    }
    let mut naming = Naming {
        known: known.into_iter(),
    };
    let _ = VisitMut::visit(statement, &mut naming);
}

/// Names in the ORDER BY of a query that are those of output columns, too, and the relations that may have them.
#[derive(Default)]
struct Asked {
    names: BTreeSet<String>,
    relations: Vec<TableFactor>,
}

/// The relations that names belong to.
type Owners = BTreeMap<String, Ident>;

impl Asked {
    fn of(query: &Query) -> Option<Asked> {
        let SetExpr::Select(select) = query.body.as_ref() else {
            return None;
        };
        let mut names = BTreeSet::new();
        let OrderByKind::Expressions(keys) = &query.order_by.as_ref()?.kind else {
            return None;
        };
        for key in keys.iter().filter(|key| is_expression(key)) {
            each_own(&key.expr, |expr| {
                if let Expr::Identifier(name) = expr {
                    names.insert(folded(name));
                }
            });
        }
        let renamed: BTreeSet<String> = select.projection.iter().filter_map(renamed).collect();
        names.retain(|name| renamed.contains(name));
        (!names.is_empty() && select.distinct.is_none()).then(|| Asked {
            names,
            relations: relations(&select.from).cloned().collect(),
        })
    }

    async fn owners(&self, columns: &RelationColumns, state: &SessionState) -> Owners {
        let mut owners: BTreeMap<String, Option<Ident>> = BTreeMap::new();
        for relation in &self.relations {
            let Some(columns) = columns.of(relation, state).await else {
                // It may have any of them.
                return Owners::new();
            };
            for name in columns.into_iter().filter(|name| self.names.contains(name)) {
                let owner = own_name(relation).filter(|_| !owners.contains_key(&name));
                owners.insert(name, owner);
            }
        }
        let known = owners.into_iter();
        known
            .filter_map(|(name, owner)| Some((name, owner?)))
            .collect()
    }
}

/// A name by itself is that of an output column.
fn is_expression(key: &OrderByExpr) -> bool {
    !matches!(key.expr, Expr::Identifier(_) | Expr::Value(_))
}

/// The name of an output column, if it is not a column of this name.
fn renamed(item: &SelectItem) -> Option<String> {
    let SelectItem::ExprWithAlias { expr, alias } = item else {
        return None;
    };
    let column = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    let alias = folded(alias);
    (column.map(folded).as_ref() != Some(&alias)).then_some(alias)
}

/// Finds such names of each query, in the order of visits.
#[derive(Default)]
struct Asking {
    columns: RelationColumns,
    queries: Vec<Asked>,
}

impl Visitor for Asking {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.columns.note(query);
        self.queries.push(Asked::of(query).unwrap_or_default());
        ControlFlow::Continue(())
    }
}

struct Naming {
    known: std::vec::IntoIter<Owners>,
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let owners = self.known.next().unwrap_or_default();
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order_by.kind
            && !owners.is_empty()
        {
            for key in keys.iter_mut().filter(|key| is_expression(key)) {
                unqualified_names::qualify(&mut key.expr, |name| {
                    let owner = owners.get(&folded(name))?;
                    Some([owner.clone(), name.clone()])
                });
            }
        }
        ControlFlow::Continue(())
    }
}
