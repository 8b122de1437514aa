//! Relations named where a value is expected: `SELECT row_to_json(d) FROM dept d`, `count(d)`, `json_agg(d)`.
//!
//! In: a statement and the error that planning it met; out: the statement with the row in the place of the name. A column
//! of that name comes first, as in PostgreSQL, since then there is no error.

use std::ops::ControlFlow;

use auspex_sql::PRIVATE;
use auspex_storage::quoted_name;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinOperator, OrderByKind, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
};

use super::column_rules::parse_expr;
use super::hidden_columns::is_added;
use super::relation_columns::{RelationColumns, is_called, relations};
use crate::commands::{folded, name_parts};
use crate::functions::{TYPED_ROW, WHOLE_ROW, all_are, value_column};
use crate::session::Session;

/// Puts rows in the place of the name that `error` did not find as a column; false if it is no relation's.
pub(super) async fn adopt(
    session: &Session,
    statement: &mut Statement,
    error: &DataFusionError,
    state: &SessionState,
) -> bool {
    let Some(name) = missing(error) else {
        return false;
    };
    let mut finder = Finder {
        session,
        name: name.clone(),
        columns: RelationColumns::default(),
        found: Vec::new(),
    };
    let _ = Visit::visit(&*statement, &mut finder);
    let mut found = finder.found.iter();
    if !found.any(|found| matches!(found, Found::Relation { .. })) {
        return false;
    }
    let mut meanings = Vec::with_capacity(finder.found.len());
    for found in &finder.found {
        meanings.push(finder.meaning(found, state).await);
    }
    let mut replacing = Replacing {
        name,
        meanings,
        next: 0,
        open: Vec::new(),
        queries: Vec::new(),
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

/// What a SELECT has that a name may mean.
enum Found {
    /// A relation of the name.
    Relation {
        relation: Box<TableFactor>,
        /// Whether a join may fill it up with NULLs.
        may_be_missing: bool,
    },
    /// Relations of other names, which may have such a column.
    Others(Vec<TableFactor>),
}

/// What the name means in a SELECT and in those within.
enum Meaning {
    Row(Box<RelationRow>),
    Column,
    /// What it means in the SELECT around.
    Outer,
}

/// The row of a relation.
struct RelationRow {
    row: Expr,
    /// Its columns, if it is a row of several and no value.
    columns: Vec<Expr>,
}

/// Finds the relation of a name in each SELECT, in the order of visits.
struct Finder<'a> {
    session: &'a Session,
    name: String,
    columns: RelationColumns,
    found: Vec<Found>,
}

impl Visitor for Finder<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.columns.note(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut tables = select.from.iter().flat_map(relations_of);
        let relation = tables.find(|(relation, _)| is_called(relation, &self.name));
        self.found.push(match relation {
            Some((relation, may_be_missing)) => Found::Relation {
                relation: Box::new(relation.clone()),
                may_be_missing,
            },
            None => Found::Others(relations(&select.from).cloned().collect()),
        });
        ControlFlow::Continue(())
    }
}

/// The relations of a part of FROM, and of each whether a join may fill it up with NULLs.
fn relations_of(table: &TableWithJoins) -> impl Iterator<Item = (&TableFactor, bool)> {
    let n_joins = table.joins.len();
    let all = relations(std::slice::from_ref(table));
    all.zip(0..=n_joins).map(move |(relation, place)| {
        let own = place.checked_sub(1).map(|own| &table.joins[own]);
        let is_filled = own.is_some_and(|join| fills(&join.join_operator).1);
        let mut later = table.joins[place..].iter();
        let may_be_missing = is_filled || later.any(|join| fills(&join.join_operator).0);
        (relation, may_be_missing)
    })
}

/// Whether a join fills up rows of its left side with NULLs, and whether rows of its right side.
fn fills(operator: &JoinOperator) -> (bool, bool) {
    match operator {
        JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {
            (false, false)
        }
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => (false, true),
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (true, false),
        _ => (true, true),
    }
}

impl Finder<'_> {
    async fn meaning(&self, found: &Found, state: &SessionState) -> Meaning {
        match found {
            Found::Relation {
                relation,
                may_be_missing,
            } => {
                let row = self.row(relation, *may_be_missing, state).await;
                row.map_or(Meaning::Outer, |row| Meaning::Row(Box::new(row)))
            }
            Found::Others(relations) => {
                for relation in relations {
                    let columns = self.columns.of(relation, state).await;
                    if columns.is_some_and(|columns| columns.contains(&self.name)) {
                        return Meaning::Column;
                    }
                }
                Meaning::Outer
            }
        }
    }

    /// The name of the type of a relation's rows; `None`: it is none that catalogs know.
    fn row_type(&self, relation: &TableFactor) -> Option<String> {
        let TableFactor::Table {
            name, args: None, ..
        } = relation
        else {
            return None;
        };
        if self.columns.is_of_with(relation) {
            return None;
        }
        let (schema, name) = self.session.relation_parts(&name_parts(name)).ok()?;
        self.session.entry(&schema, &name)?;
        Some(format!("{}.{}", quoted_name(&schema), quoted_name(&name)))
    }

    /// The row of a relation as an expression.
    async fn row(
        &self,
        relation: &TableFactor,
        may_be_missing: bool,
        state: &SessionState,
    ) -> Option<RelationRow> {
        let quoted = |name: &str| Ident::with_quote('"', name).to_string();
        if let Some(column) = value_column(relation) {
            let text = format!("{}.{}", quoted(&self.name), quoted(&folded(column)));
            return Some(RelationRow {
                row: parse_expr(&text).ok()?,
                columns: Vec::new(),
            });
        }
        let mut columns = self.columns.of(relation, state).await?;
        // What rows are ordered by, and what stands behind a view.
        columns.retain(|name| !name.starts_with(PRIVATE));
        let column = |name: &String| format!("{}.{}", quoted(&self.name), quoted(name));
        let pair = |name: &String| {
            let shown = name.split(super::REPEATED).next().unwrap_or(name);
            format!("'{}', {}", shown.replace('\'', "''"), column(name))
        };
        let own = || columns.iter().filter(|name| !is_added(name));
        let pairs: Vec<String> = own().map(pair).collect();
        let row = format!("{WHOLE_ROW}({})", pairs.join(", "));
        // The side of an outer join that found nothing has no row; where one has columns that are added, these are not NULL.
        let text = match may_be_missing {
            true => {
                let nulls = columns
                    .iter()
                    .map(|name| format!("{} IS NULL", column(name)));
                let nulls: Vec<String> = nulls.collect();
                format!("CASE WHEN {} THEN NULL ELSE {row} END", nulls.join(" AND "))
            }
            false => row,
        };
        let text = match self.row_type(relation) {
            Some(name) => format!("\"{TYPED_ROW}\"({text}, '{}')", name.replace('\'', "''")),
            None => text,
        };
        let columns = own().map(|name| parse_expr(&column(name)).ok());
        Some(RelationRow {
            columns: columns.collect::<Option<_>>()?,
            row: parse_expr(&text).ok()?,
        })
    }
}

/// Replaces the name by the row of the innermost SELECT that has such a relation, if none within has such a column.
struct Replacing {
    name: String,
    meanings: Vec<Meaning>,
    /// The number of the SELECT that is visited next, and of those around.
    next: usize,
    open: Vec<usize>,
    /// The first SELECT of each query around.
    queries: Vec<Option<usize>>,
    is_changed: bool,
}

impl Replacing {
    /// The row that a name means here.
    fn row(&self, name: &Ident) -> Option<&RelationRow> {
        if folded(name) != self.name {
            return None;
        }
        let around = self.open.iter().rev();
        let mut meanings = around.filter_map(|select| self.meanings.get(*select));
        match meanings.find(|meaning| !matches!(meaning, Meaning::Outer)) {
            Some(Meaning::Row(row)) => Some(row.as_ref()),
            _ => None,
        }
    }

    /// Whether all columns of the row that is tested are NULL, or none is.
    fn nulls(&self, tested: &Expr, null: bool) -> Option<Expr> {
        match tested {
            Expr::Nested(within) => self.nulls(within, null),
            Expr::Identifier(name) => all_are(&self.row(name)?.columns, null),
            _ => None,
        }
    }

    /// What stands for the row in an expression.
    fn meant(&self, expr: &Expr) -> Option<Expr> {
        match expr {
            Expr::Identifier(name) => self.row(name).map(|found| found.row.clone()),
            Expr::IsNull(tested) => self.nulls(tested, true),
            Expr::IsNotNull(tested) => self.nulls(tested, false),
            _ => None,
        }
    }

    /// Replaces the name in the keys of the ORDER BY of a SELECT, where output columns come first.
    fn order_by(&mut self, query: &mut Query) {
        let SetExpr::Select(select) = query.body.as_ref() else {
            return;
        };
        let is_output = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { alias, .. } => folded(alias) == self.name,
            _ => false,
        };
        let is_output = select.projection.iter().any(is_output);
        let Some(OrderByKind::Expressions(keys)) =
            query.order_by.as_mut().map(|order_by| &mut order_by.kind)
        else {
            return;
        };
        for key in keys {
            if is_output && matches!(key.expr, Expr::Identifier(_)) {
                continue;
            }
            let mut own = Own {
                replacing: self,
                depth: 0,
                is_changed: false,
            };
            let _ = VisitMut::visit(&mut key.expr, &mut own);
            let is_changed = own.is_changed;
            self.is_changed |= is_changed;
        }
    }
}

impl VisitorMut for Replacing {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.queries.push(None);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(Some(select)) = self.queries.pop() {
            self.open.push(select);
            self.order_by(query);
            self.open.pop();
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.open.push(self.next);
        if let Some(first) = self.queries.last_mut() {
            first.get_or_insert(self.next);
        }
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
        if let Some(meant) = self.meant(expr) {
            *expr = meant;
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }
}

/// Replaces the name in an expression, but not in queries within, which are settled.
struct Own<'a> {
    replacing: &'a Replacing,
    depth: usize,
    is_changed: bool,
}

impl VisitorMut for Own<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Some(meant) = self.replacing.meant(expr)
        {
            *expr = meant;
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }
}
