//! Columns beside the primary key that a query groups by: `SELECT d.id, d.name, count(*) … GROUP BY d.id`.
//!
//! In: a statement and the error that planning it met; out: the statement that groups by those columns, too. Rows with the
//! same key are one row of their table, so that the groups stay what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::{Definition, TableShape};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, Statement, TableFactor, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};

use crate::commands::{folded, name_parts};
use crate::session::Session;

/// Groups by the columns that are missing; false if nothing was changed.
pub(super) async fn adopt(
    session: &Arc<Session>,
    statement: &mut Statement,
    error: &DataFusionError,
) -> bool {
    let Some(missing) = missing(error) else {
        return false;
    };
    let mut finder = Finder::default();
    let _ = Visit::visit(&*statement, &mut finder);
    let mut tables = BTreeMap::new();
    for name in finder.tables {
        let is_query = matches!(name.as_slice(), [name] if finder.ctes.contains(name));
        if !is_query && let Some(table) = Table::of(session, &name).await {
            tables.insert(name, table);
        }
    }
    let mut widening = Widening {
        tables,
        missing,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut widening);
    widening.is_changed
}

/// The column of which the error says that it is neither grouped by nor aggregated.
fn missing(error: &DataFusionError) -> Option<String> {
    let message = error.strip_backtrace();
    let (before, _) = message.split_once("\" must appear in the GROUP BY clause")?;
    let (_, column) = before.rsplit_once("column \"")?;
    let name = column.rsplit('.').next().unwrap_or(column);
    Some(name.trim_matches('"').to_owned())
}

/// A table with a primary key.
struct Table {
    key: Vec<String>,
    columns: Vec<String>,
}

impl Table {
    async fn of(session: &Arc<Session>, name: &[String]) -> Option<Table> {
        let (schema, name) = session.relation_parts(name).ok()?;
        let entry = session.entry(&schema, &name)?;
        if !matches!(entry.definition, Definition::Table(_)) {
            return None;
        }
        let shape: TableShape = session.tables().shape(&entry.id).await.ok()?;
        let key = shape.keys().into_iter().find(|key| key.is_primary)?;
        let columns = shape.columns().iter().map(|column| column.name().clone());
        Some(Table {
            key: key.columns,
            columns: columns.collect(),
        })
    }
}

/// Finds the tables that a statement names, and the queries of its WITH, which hide tables.
#[derive(Default)]
struct Finder {
    tables: BTreeSet<Vec<String>>,
    ctes: BTreeSet<String>,
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| folded(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let Some((name, _)) = plain_table(factor) {
            self.tables.insert(name_parts(name));
        }
        ControlFlow::Continue(())
    }
}

/// The name of a table as it is now, and what its columns are qualified with.
fn plain_table(factor: &TableFactor) -> Option<(&ObjectName, Ident)> {
    let TableFactor::Table {
        name,
        alias,
        args: None,
        version: None,
        ..
    } = factor
    else {
        return None;
    };
    match alias {
        Some(alias) if alias.columns.is_empty() => Some((name, alias.name.clone())),
        Some(_) => None,
        None => Some((name, name.0.last()?.as_ident()?.clone())),
    }
}

/// Adds columns to the GROUP BY of SELECTs.
struct Widening {
    tables: BTreeMap<Vec<String>, Table>,
    missing: String,
    is_changed: bool,
}

impl VisitorMut for Widening {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let added = self.added(select);
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            self.is_changed |= !added.is_empty();
            exprs.extend(added);
        }
        ControlFlow::Continue(())
    }
}

impl Widening {
    /// The columns to group by beside those that are written.
    fn added(&self, select: &Select) -> Vec<Expr> {
        let GroupByExpr::Expressions(exprs, modifiers) = &select.group_by else {
            return Vec::new();
        };
        if exprs.is_empty() || !modifiers.is_empty() {
            return Vec::new();
        }
        let grouped: Vec<&Expr> = exprs.iter().map(|expr| in_place(expr, select)).collect();
        let used = Used::of(select);
        let mut added = Vec::new();
        let from = select.from.iter().flat_map(|table| {
            let joined = table.joins.iter().map(|join| &join.relation);
            std::iter::once(&table.relation).chain(joined)
        });
        for (name, qualifier) in from.filter_map(plain_table) {
            let Some(table) = self.tables.get(&name_parts(name)) else {
                continue;
            };
            let is_grouped = |column: &String| {
                let mut grouped = grouped.iter();
                grouped.any(|expr| is_column(expr, &qualifier, column))
            };
            if !table.key.iter().all(is_grouped) {
                continue;
            }
            let is_needed = |column: &&String| used.names(column) || **column == self.missing;
            let columns = table.columns.iter().filter(is_needed);
            added.extend(columns.filter(|column| !is_grouped(column)).map(|column| {
                let column = Ident::with_quote('"', column);
                Expr::CompoundIdentifier(vec![qualifier.clone(), column])
            }));
        }
        added
    }
}

/// `GROUP BY 1` is the first column of the SELECT.
fn in_place<'a>(expr: &'a Expr, select: &'a Select) -> &'a Expr {
    let place = match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<usize>().ok(),
            _ => None,
        },
        _ => None,
    };
    let item = place.and_then(|place| select.projection.get(place.checked_sub(1)?));
    match item {
        Some(SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }) => item,
        _ => expr,
    }
}

/// Whether an expression is a column of a relation; without the relation's name it must be, where it is of any.
fn is_column(expr: &Expr, qualifier: &Ident, column: &str) -> bool {
    match expr {
        Expr::Identifier(name) => folded(name) == column,
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [.., relation, name] => folded(relation) == folded(qualifier) && folded(name) == column,
            _ => false,
        },
        _ => false,
    }
}

/// The names that a SELECT uses.
#[derive(Default)]
struct Used {
    names: BTreeSet<String>,
    has_wildcard: bool,
}

impl Used {
    fn of(select: &Select) -> Used {
        let mut used = Used::default();
        for item in &select.projection {
            used.has_wildcard |= matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
            );
            let _ = Visit::visit(item, &mut used);
        }
        if let Some(having) = &select.having {
            let _ = Visit::visit(having, &mut used);
        }
        used
    }

    fn names(&self, column: &str) -> bool {
        self.has_wildcard || self.names.contains(column)
    }
}

impl Visitor for Used {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.names.insert(folded(name));
            }
            Expr::CompoundIdentifier(names) => {
                self.names.extend(names.last().map(folded));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
