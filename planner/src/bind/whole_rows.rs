//! Relations named where a value is expected: `SELECT row_to_json(d) FROM dept d`, `count(d)`, `json_agg(d)`.
//!
//! In: a statement and the error that planning it met; out: the statement with the row in the place of the name. A column
//! of that name comes first, as in PostgreSQL, since then there is no error.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    TableAlias, TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut, With,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::column_rules::parse_expr;
use super::names::naming_select;
use crate::commands::{folded, name_parts};
use crate::functions::{WHOLE_ROW, elements_column};

/// Puts rows in the place of the name that `error` did not find as a column; false if it is no relation's.
pub(super) async fn adopt(
    statement: &mut Statement,
    error: &DataFusionError,
    state: &SessionState,
) -> bool {
    let Some(name) = missing(error) else {
        return false;
    };
    let mut finder = Finder {
        name: name.clone(),
        ctes: BTreeMap::new(),
        with: None,
        found: Vec::new(),
    };
    let _ = Visit::visit(&*statement, &mut finder);
    let mut rows = Vec::with_capacity(finder.found.len());
    for found in &finder.found {
        let row = match found {
            Some(found) => finder.row(found, state).await,
            None => None,
        };
        rows.push(row);
    }
    let mut replacing = Replacing {
        name,
        rows,
        next: 0,
        open: Vec::new(),
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut replacing);
    replacing.is_changed
}

/// The name without a relation that is no column.
fn missing(error: &DataFusionError) -> Option<String> {
    let DataFusionError::SchemaError(cause, _) = error.find_root() else {
        return None;
    };
    match cause.as_ref() {
        SchemaError::FieldNotFound { field, .. } if field.relation.is_none() => {
            Some(field.name.clone())
        }
        _ => None,
    }
}

/// A relation of the name, in a SELECT.
struct Found {
    relation: TableFactor,
    /// Whether a join may fill it up with NULLs.
    is_joined: bool,
}

/// Finds the relation of a name in each SELECT, in the order of visits.
struct Finder {
    name: String,
    ctes: BTreeMap<String, Query>,
    with: Option<With>,
    found: Vec<Option<Found>>,
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let known = self.ctes.entry(folded(&cte.alias.name));
                known.or_insert_with(|| cte.query.as_ref().clone());
            }
            self.with.get_or_insert_with(|| with.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let is_joined = select.from.iter().any(|table| !table.joins.is_empty());
        let relation = relations(&select.from).find(|relation| is_called(relation, &self.name));
        self.found.push(relation.map(|relation| Found {
            relation: relation.clone(),
            is_joined,
        }));
        ControlFlow::Continue(())
    }
}

fn relations(from: &[TableWithJoins]) -> impl Iterator<Item = &TableFactor> {
    from.iter().flat_map(|table| {
        let joined = table.joins.iter().map(|join| &join.relation);
        std::iter::once(&table.relation).chain(joined)
    })
}

fn alias_of(relation: &TableFactor) -> Option<&TableAlias> {
    match relation {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::TableFunction { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

fn is_called(relation: &TableFactor, name: &str) -> bool {
    match (alias_of(relation), relation) {
        (Some(alias), _) => folded(&alias.name) == name,
        (None, TableFactor::Table { name: table, .. }) => {
            name_parts(table).last().is_some_and(|last| last == name)
        }
        _ => false,
    }
}

impl Finder {
    /// The row of a relation as an expression.
    async fn row(&self, found: &Found, state: &SessionState) -> Option<Expr> {
        let quoted = |name: &str| Ident::with_quote('"', name).to_string();
        if let Some(column) = elements_column(&found.relation) {
            let text = format!("{}.{}", quoted(&self.name), quoted(&folded(column)));
            return parse_expr(&text).ok();
        }
        let columns = self.columns(&found.relation, state).await?;
        let column = |name: &String| format!("{}.{}", quoted(&self.name), quoted(name));
        let pair = |name: &String| {
            let shown = name.split(super::REPEATED).next().unwrap_or(name);
            format!("'{}', {}", shown.replace('\'', "''"), column(name))
        };
        let pairs: Vec<String> = columns.iter().map(pair).collect();
        let row = format!("{WHOLE_ROW}({})", pairs.join(", "));
        // The side of an outer join that found nothing has no row.
        let text = match found.is_joined {
            true => {
                let nulls = columns
                    .iter()
                    .map(|name| format!("{} IS NULL", column(name)));
                let nulls: Vec<String> = nulls.collect();
                format!("CASE WHEN {} THEN NULL ELSE {row} END", nulls.join(" AND "))
            }
            false => row,
        };
        parse_expr(&text).ok()
    }

    /// The names of a relation's columns: those that are written, else those that the planner finds.
    fn columns<'a>(
        &'a self,
        relation: &'a TableFactor,
        state: &'a SessionState,
    ) -> BoxFuture<'a, Option<Vec<String>>> {
        async move {
            let written = match relation {
                TableFactor::Derived { subquery, .. } => self.query_columns(subquery, state).await,
                TableFactor::Table {
                    name, args: None, ..
                } => match name_parts(name).as_slice() {
                    [name] => match self.ctes.get(name) {
                        Some(query) => self.query_columns(query, state).await,
                        None => None,
                    },
                    _ => None,
                },
                _ => None,
            };
            let mut columns = match written {
                Some(columns) => columns,
                None => self.planned_columns(relation, state).await?,
            };
            let given = alias_of(relation)
                .into_iter()
                .flat_map(|alias| &alias.columns);
            for (column, given) in columns.iter_mut().zip(given) {
                *column = folded(&given.name);
            }
            Some(columns)
        }
        .boxed()
    }

    /// The names that a query gives its columns; `None` if one has no name of its own.
    async fn query_columns(&self, query: &Query, state: &SessionState) -> Option<Vec<String>> {
        let select = naming_select(query)?;
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => columns.push(folded(alias)),
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => columns.push(folded(name)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
                    columns.push(folded(names.last()?));
                }
                SelectItem::Wildcard(options) if *options == Default::default() => {
                    for relation in relations(&select.from) {
                        columns.extend(self.columns(relation, state).await?);
                    }
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if *options == Default::default() => {
                    let name = name_parts(name).pop()?;
                    let mut relations = relations(&select.from);
                    let relation = relations.find(|relation| is_called(relation, &name))?;
                    columns.extend(self.columns(relation, state).await?);
                }
                _ => return None,
            }
        }
        Some(columns)
    }

    async fn planned_columns(
        &self,
        relation: &TableFactor,
        state: &SessionState,
    ) -> Option<Vec<String>> {
        let text = "SELECT * FROM t";
        let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).ok()?;
        query.with.clone_from(&self.with);
        if let SetExpr::Select(select) = query.body.as_mut()
            && let Some(table) = select.from.first_mut()
        {
            table.relation = relation.clone();
        }
        let statement = SqlStatement::Statement(Box::new(Statement::Query(query)));
        let plan = state.statement_to_plan(statement).await.ok()?;
        let fields = plan.schema().fields().iter();
        Some(fields.map(|field| field.name().clone()).collect())
    }
}

/// Replaces the name by the row of the innermost SELECT that has such a relation.
struct Replacing {
    name: String,
    rows: Vec<Option<Expr>>,
    /// The number of the SELECT that is visited next, and of those around.
    next: usize,
    open: Vec<usize>,
    is_changed: bool,
}

impl Replacing {
    /// The row that a name means here.
    fn row(&self, name: &Ident) -> Option<&Expr> {
        let mut around = self.open.iter().rev();
        let row = around.find_map(|select| self.rows.get(*select)?.as_ref());
        row.filter(|_| folded(name) == self.name)
    }
}

impl VisitorMut for Replacing {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.open.push(self.next);
        self.next += 1;
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Expr::Identifier(name) = &*expr
                && self.row(name).is_some()
            {
                let (alias, expr) = (name.clone(), expr.clone());
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.open.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = &*expr
            && let Some(row) = self.row(name)
        {
            *expr = row.clone();
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }
}
