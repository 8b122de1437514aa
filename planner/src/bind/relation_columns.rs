//! The names of the columns of relations in FROM, before a statement is planned: those that are written, else those that
//! the planner finds.
//!
//! In: a statement, of which the queries of WITH count, and a relation in it; out: the names, where they can be told.

use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, Query, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    TableAlias, TableFactor, TableWithJoins, With,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::names::naming_select;
use crate::commands::{folded, name_parts};

/// What tells the columns of a statement's relations.
#[derive(Default)]
pub(super) struct RelationColumns {
    ctes: Vec<Cte>,
    with: Option<With>,
}

/// The relations of a FROM in order, but for those in parentheses.
pub(super) fn relations(from: &[TableWithJoins]) -> impl Iterator<Item = &TableFactor> {
    from.iter().flat_map(|table| {
        let joined = table.joins.iter().map(|join| &join.relation);
        std::iter::once(&table.relation).chain(joined)
    })
}

/// The relations of a FROM in order, also those in parentheses that have no name of their own.
pub(super) fn all_relations(from: &[TableWithJoins]) -> Vec<&TableFactor> {
    let mut all = Vec::new();
    for factor in relations(from) {
        match factor {
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => all.extend(all_relations(std::slice::from_ref(table_with_joins))),
            factor => all.push(factor),
        }
    }
    all
}

/// The alias of a relation.
pub(super) fn alias_of(relation: &TableFactor) -> Option<&TableAlias> {
    match relation {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::TableFunction { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

/// What the columns of a relation are qualified with.
pub(super) fn own_name(relation: &TableFactor) -> Option<Ident> {
    match (alias_of(relation), relation) {
        (Some(alias), _) => Some(alias.name.clone()),
        (None, TableFactor::Table { name, .. }) => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// Whether columns of a relation are qualified with a name.
pub(super) fn is_called(relation: &TableFactor, name: &str) -> bool {
    match (alias_of(relation), relation) {
        (Some(alias), _) => folded(&alias.name) == name,
        (None, TableFactor::Table { name: table, .. }) => {
            name_parts(table).last().is_some_and(|last| last == name)
        }
        _ => false,
    }
}

impl RelationColumns {
    /// Takes note of what a query has in its WITH. All queries of the statement pass, from without to within.
    pub(super) fn note(&mut self, query: &Query) {
        if let Some(with) = &query.with {
            self.ctes.extend(with.cte_tables.iter().cloned());
            self.with.get_or_insert_with(|| with.clone());
        }
    }

    /// The names of a relation's columns.
    pub(super) async fn of(
        &self,
        relation: &TableFactor,
        state: &SessionState,
    ) -> Option<Vec<String>> {
        self.among(relation, self.ctes.len(), state).await
    }

    /// Whether a relation is a query of WITH.
    pub(super) fn is_of_with(&self, relation: &TableFactor) -> bool {
        self.place(relation, self.ctes.len()).is_some()
    }

    /// The place of the query of WITH that a relation means, where the first `n_known` of them are known: a query knows
    /// those before it.
    fn place(&self, relation: &TableFactor, n_known: usize) -> Option<usize> {
        let TableFactor::Table {
            name, args: None, ..
        } = relation
        else {
            return None;
        };
        match name_parts(name).as_slice() {
            [name] => {
                let mut known = self.ctes[..n_known].iter();
                known.position(|cte| folded(&cte.alias.name) == *name)
            }
            _ => None,
        }
    }

    fn among<'a>(
        &'a self,
        relation: &'a TableFactor,
        n_known: usize,
        state: &'a SessionState,
    ) -> BoxFuture<'a, Option<Vec<String>>> {
        async move {
            let place = self.place(relation, n_known);
            let written = match (relation, place) {
                (TableFactor::Derived { subquery, .. }, _) => {
                    self.of_query(subquery, n_known, state).await
                }
                (_, Some(place)) => {
                    let cte = &self.ctes[place];
                    let columns = self.of_query(&cte.query, place, state).await;
                    columns.map(|columns| given(columns, Some(&cte.alias)))
                }
                _ => None,
            };
            let columns = match written {
                Some(columns) => columns,
                None => self.planned(relation, place.is_some(), state).await?,
            };
            Some(given(columns, alias_of(relation)))
        }
        .boxed()
    }

    /// The names that a query gives its columns; `None` if one has no name of its own.
    async fn of_query(
        &self,
        query: &Query,
        n_known: usize,
        state: &SessionState,
    ) -> Option<Vec<String>> {
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
                        columns.extend(self.among(relation, n_known, state).await?);
                    }
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if *options == Default::default() => {
                    let name = name_parts(name).pop()?;
                    let mut relations = relations(&select.from);
                    let relation = relations.find(|relation| is_called(relation, &name))?;
                    columns.extend(self.among(relation, n_known, state).await?);
                }
                _ => return None,
            }
        }
        Some(columns)
    }

    async fn planned(
        &self,
        relation: &TableFactor,
        is_cte: bool,
        state: &SessionState,
    ) -> Option<Vec<String>> {
        let text = "SELECT * FROM t";
        let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).ok()?;
        let is_table = matches!(relation, TableFactor::Table { args: None, .. });
        if is_cte || !is_table {
            query.with.clone_from(&self.with);
        }
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

/// The names with those that an alias gives instead.
fn given(mut columns: Vec<String>, alias: Option<&TableAlias>) -> Vec<String> {
    let given = alias.into_iter().flat_map(|alias| &alias.columns);
    for (column, given) in columns.iter_mut().zip(given) {
        *column = folded(&given.name);
    }
    columns
}
