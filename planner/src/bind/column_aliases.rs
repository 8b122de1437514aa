//! Relations whose alias names fewer columns than they have: `t AS q (a)`, `(VALUES (1, 2)) AS v (a)`,
//! `WITH w (a) AS (SELECT 1, 2 AS y) …`.
//!
//! In: a relation with a list of names; out: its plan, and the names of all its columns, of which the last ones keep theirs.
//! More names than columns are the error, and any difference where the list is one of ours that a row is compared with.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use auspex_sql::PRIVATE;
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{
    Cte, Ident, Query, SetExpr, SetOperator, Statement, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use super::REPEATED;
use super::inner_with::{bare, reads};
use super::using_columns::all_of;
use crate::commands::folded;
use crate::error::Error;
use crate::functions::{is_compared_with, too_many_names};

/// Plans relations whose alias has a list of names.
#[derive(Debug)]
pub(crate) struct ColumnAliases;

impl RelationPlanner for ColumnAliases {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(mut alias) = taken(&mut relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let is_join = matches!(relation, TableFactor::NestedJoin { .. });
        // Its columns without names are all called so.
        let nameless = matches!(relation, TableFactor::UNNEST { .. }).then_some("unnest");
        let plan = context.plan(relation)?;
        let n_columns = plan.schema().fields().len();
        if alias.columns.len() != n_columns {
            if is_compared_with(&alias) {
                return Err(miscounted(n_columns > alias.columns.len()).into());
            }
            let kind = if is_join { "join expression" } else { "table" };
            complete(&mut alias, plan.schema(), nameless, kind)?;
        }
        let planned = PlannedRelation::new(plan, Some(alias));
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

/// Takes the alias of a relation that has a list of names.
fn taken(relation: &mut TableFactor) -> Option<TableAlias> {
    let alias = match relation {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias,
        _ => return None,
    };
    match alias {
        Some(listed) if !listed.columns.is_empty() => alias.take(),
        _ => None,
    }
}

/// Gives each column behind the listed ones its own name, which gets a number where another column has it. Nobody has
/// listed what a query has beside its columns.
fn complete(
    alias: &mut TableAlias,
    schema: &DFSchema,
    nameless: Option<&str>,
    kind: &str,
) -> Result<()> {
    let hidden = |name: &str| name.starts_with(PRIVATE);
    let mut listed = std::mem::take(&mut alias.columns);
    listed.retain(|column| !hidden(&column.name.value));
    let n_listed = listed.len();
    let mut known: BTreeSet<String> = listed.iter().map(|column| folded(&column.name)).collect();
    let mut listed = listed.into_iter();
    for (place, field) in schema.fields().iter().enumerate() {
        let name = field.name().as_str();
        let given = match hidden(name) {
            true => None,
            false => listed.next(),
        };
        let column = given.unwrap_or_else(|| {
            let own = nameless.unwrap_or(name).to_owned();
            let own = match known.insert(own.clone()) {
                true => own,
                false => format!("{own}{REPEATED}listed {place}"),
            };
            TableAliasColumnDef {
                name: Ident::with_quote('"', own),
                data_type: None,
            }
        });
        alias.columns.push(column);
    }
    if listed.len() > 0 {
        let n_columns = n_listed - listed.len();
        return Err(too_many_names(kind, &folded(&alias.name), n_columns, n_listed).into());
    }
    Ok(())
}

/// The error of a subquery whose rows have another width than what they are compared with.
fn miscounted(has_more: bool) -> Error {
    let word = if has_more { "many" } else { "few" };
    Error::invalid("42601", format!("subquery has too {word} columns"), None)
}

/// Puts queries of WITH into FROM, where the planner asks for their columns, if `error` says that one has not as many as it
/// lists; false if nothing was changed.
pub(super) fn adopt(statement: &mut Statement, error: &DataFusionError) -> bool {
    let Some((n_columns, n_listed)) = counts(error).filter(|(has, listed)| listed < has) else {
        return false;
    };
    let mut listing = Listing {
        n_listed,
        n_columns,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut listing);
    listing.is_changed
}

/// What PostgreSQL says where a query of WITH has fewer columns than it lists.
pub(super) fn explained(statement: &mut Statement, error: &DataFusionError) -> Option<Error> {
    let (n_columns, n_listed) = counts(error)?;
    let mut finder = Finder {
        n_listed,
        n_columns,
    };
    match statement.visit(&mut finder) {
        ControlFlow::Break(error) => Some(error),
        ControlFlow::Continue(()) => None,
    }
}

/// How many columns the planner found, and how many names.
fn counts(error: &DataFusionError) -> Option<(usize, usize)> {
    let DataFusionError::Plan(message) = error.find_root() else {
        return None;
    };
    let rest = message.strip_prefix("Source table contains ")?;
    let (n_columns, rest) = rest.split_once(" columns but only ")?;
    let (n_listed, _) = rest.split_once(" names given")?;
    Some((n_columns.parse().ok()?, n_listed.parse().ok()?))
}

/// Finds a query of WITH that lists so many columns.
struct Finder {
    n_listed: usize,
    n_columns: usize,
}

impl VisitorMut for Finder {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let mut queries = query.with.iter().flat_map(|with| &with.cte_tables);
        match queries.find(|cte| cte.alias.columns.len() == self.n_listed) {
            Some(cte) => ControlFlow::Break(too_many_names(
                "WITH query",
                &folded(&cte.alias.name),
                self.n_columns,
                self.n_listed,
            )),
            None => ControlFlow::Continue(()),
        }
    }
}

/// Puts queries of WITH that list so many columns into FROM.
struct Listing {
    n_listed: usize,
    n_columns: usize,
    is_changed: bool,
}

impl VisitorMut for Listing {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Some(with) = &mut query.with else {
            return ControlFlow::Continue(());
        };
        for cte in &mut with.cte_tables {
            let n_listed = cte.alias.columns.len();
            if n_listed == self.n_listed && n_listed < self.n_columns {
                self.is_changed |= put_into_from(cte, with.recursive).is_some();
            }
        }
        ControlFlow::Continue(())
    }
}

/// `w (a) AS (q)` as `w AS (SELECT * FROM (q) AS w (a))`. A query that reads itself takes its names from its first term.
fn put_into_from(cte: &mut Cte, is_recursive: bool) -> Option<()> {
    let reads_itself = is_recursive && reads(&cte.query, &folded(&cte.alias.name));
    match cte.query.body.as_mut() {
        SetExpr::SetOperation {
            op: SetOperator::Union,
            left,
            ..
        } if reads_itself => {
            let term = Box::new(bare(left.as_ref().clone()));
            **left = SetExpr::Query(listed(term, &cte.alias)?);
        }
        _ => cte.query = listed(cte.query.clone(), &cte.alias)?,
    }
    cte.alias.columns.clear();
    Some(())
}

/// The query of all columns of another one under the names that an alias lists.
fn listed(subquery: Box<Query>, alias: &TableAlias) -> Option<Box<Query>> {
    all_of(&TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(alias.clone()),
            sample: None,
        },
        joins: Vec::new(),
    })
}
