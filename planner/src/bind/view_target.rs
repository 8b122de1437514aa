//! Rows that are written through views: the managed table at the bottom, and the view's rows with their places in it.
//!
//! In: a name and what a statement does with it; out: the table, and for the statement's plan the rows of the view with the
//! columns of the table hidden behind its own. Each view is bound with the names of its creator and the privileges of its
//! owner. Plans nothing else: what is assigned to the view's columns is assigned to the table's.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, CheckOption, Definition, FILE_COLUMN, ROW_COLUMN, RowChecks, TableShape,
    ViewDefinition,
};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::ViewTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    self, Ident, ObjectName, SelectItem, SetExpr, TableObject, Visit,
};

use super::change::last;
use super::column_rules::undefined_column;
use super::hidden_columns::{WholeRows, hidden};
use super::simple_view::{NOT_ONE_RELATION, Reason, SimpleQuery, WrittenColumn, named};
use super::{BoundQuery, GivenTables, bind_sql_with};
use crate::access::{Access, TableUse, as_role};
use crate::catalog::named_columns;
use crate::commands::{folded, managed};
use crate::error::{Error, Result};
use crate::logical::BarrierNode;
use crate::name_scope::{in_view, inside_view};
use crate::session::Session;

/// How deep views may stand on views; beyond it they stand on themselves.
const MAX_LEVELS: usize = 64;

/// The views by whose way a statement changes a table.
#[derive(Debug, Clone)]
pub(crate) struct ViewTarget {
    /// From the one that the statement names to the one over the table.
    levels: Vec<Level>,
}

#[derive(Debug, Clone)]
struct Level {
    entry: Arc<CatalogEntry>,
    view: ViewDefinition,
    query: SimpleQuery,
}

/// The columns of a view that a statement changes.
#[derive(Debug, Clone)]
pub(super) struct ViewColumns {
    view: String,
    columns: Vec<WrittenColumn>,
}

/// The views from the one that is named down, and the object that the last one reads.
type Stack = (Vec<Level>, Arc<CatalogEntry>);

/// A view through which nothing is written, and why.
struct Closed {
    view: String,
    reason: Reason,
}

impl Closed {
    fn refused(self, usage: TableUse) -> Error {
        let (verb, doing, event) = words(usage);
        Error::NotUpdatable {
            sqlstate: "55000",
            message: format!("cannot {verb} view \"{}\"", self.view),
            detail: self.reason.to_owned(),
            hint: Some(format!(
                "To enable {doing} the view, provide an INSTEAD OF {event} trigger or an \
                 unconditional ON {event} DO INSTEAD rule."
            )),
        }
    }
}

impl Session {
    /// The managed table whose rows a statement changes, and the views by whose way it does.
    ///
    /// Errors: 55000 where a view is no list of columns of a table.
    pub(crate) fn changed_table(
        &self,
        parts: &[String],
        usage: TableUse,
        returns: bool,
    ) -> Result<(Arc<CatalogEntry>, Option<ViewTarget>)> {
        let (schema, name) = self.changed_parts(parts)?;
        let entry = self.entry(&schema, &name);
        let entry = entry.ok_or_else(|| self.undefined_relation(&schema, &name))?;
        let below = self.below(entry)?;
        let (levels, table) = below.map_err(|closed| closed.refused(usage))?;
        let (mut access, mut usage) = (self.access(), usage);
        for level in &levels {
            check(&access, &level.entry, usage, returns)?;
            // What a view stands on is its owner's business.
            access = Access::of(self.engine.catalog.state(), &level.entry.owner);
            usage = level.usage_below(usage);
        }
        let table = managed(table, &access, usage)?;
        if returns {
            TableUse::Read.check(&access, &table)?;
        }
        let view = (!levels.is_empty()).then_some(ViewTarget { levels });
        Ok((table, view))
    }

    /// The views from an object down, and what they stand on; or the view through which nothing is written.
    fn below(&self, mut entry: Arc<CatalogEntry>) -> Result<std::result::Result<Stack, Closed>> {
        let mut levels = Vec::new();
        let closed = |entry: &CatalogEntry, reason| Closed {
            view: entry.name.clone(),
            reason,
        };
        while let Definition::View(view) = &entry.definition {
            if levels.len() >= MAX_LEVELS {
                let message = format!("infinite recursion detected in view \"{}\"", entry.name);
                return Err(Error::invalid("42P17", message, None));
            }
            let view = view.clone();
            let query = match self.simple_query(&view)? {
                Ok(query) => query,
                Err(reason) => return Ok(Err(closed(&entry, reason))),
            };
            let below = inside_view(&view, &entry.schema, || {
                let (schema, name) = self.changed_parts(&query.relation)?;
                Ok::<_, Error>(self.entry(&schema, &name))
            })?;
            let Some(below) = below else {
                return Ok(Err(closed(&entry, NOT_ONE_RELATION)));
            };
            let entry = std::mem::replace(&mut entry, below);
            levels.push(Level { entry, view, query });
        }
        Ok(Ok((levels, entry)))
    }

    fn simple_query(
        &self,
        view: &ViewDefinition,
    ) -> Result<std::result::Result<SimpleQuery, Reason>> {
        let dialect = auspex_sql::Dialect::parse(&view.dialect);
        let dialect = dialect.unwrap_or(auspex_sql::Dialect::Auto);
        let query = auspex_sql::parse_query(&view.text, dialect)?;
        let state = self.context().state_ref();
        let state = state.read();
        let is_aggregate = |name: &str| state.aggregate_functions().contains_key(name);
        Ok(SimpleQuery::of(*query, &is_aggregate))
    }

    /// Why nothing can be written through the query of a view; `None`: it can.
    pub(crate) fn why_not_updatable(&self, view: &ViewDefinition) -> Result<Option<&'static str>> {
        Ok(self.simple_query(view)?.err())
    }

    /// Which columns of a view take values; `None`: nothing can be written through it.
    pub(crate) async fn written_columns(
        &self,
        entry: &Arc<CatalogEntry>,
    ) -> Result<Option<Vec<bool>>> {
        let Ok((levels, table)) = self.below(Arc::clone(entry))? else {
            return Ok(None);
        };
        match &table.definition {
            Definition::Table(definition) if definition.materialized.is_none() => {}
            _ => return Ok(None),
        }
        let shape = self.engine.tables.shape(&table.id).await?;
        let columns = ViewTarget { levels }.columns(&shape).columns.into_iter();
        Ok(Some(columns.map(|column| column.place.is_some()).collect()))
    }
}

/// The words of messages for what a statement does.
fn words(usage: TableUse) -> (&'static str, &'static str, &'static str) {
    match usage {
        TableUse::Update { .. } => ("update", "updating", "UPDATE"),
        TableUse::Delete { .. } => ("delete from", "deleting from", "DELETE"),
        _ => ("insert into", "inserting into", "INSERT"),
    }
}

fn check(access: &Access, view: &CatalogEntry, usage: TableUse, returns: bool) -> Result<()> {
    usage.check(access, view)?;
    match returns {
        true => TableUse::Read.check(access, view),
        false => Ok(()),
    }
}

fn columns_of(shape: &TableShape) -> Vec<WrittenColumn> {
    let column = |(idx, field): (usize, &FieldRef)| WrittenColumn {
        name: field.name().clone(),
        place: Some(idx),
    };
    shape.columns().iter().enumerate().map(column).collect()
}

impl ViewColumns {
    /// The place in the table of a view's column that a statement writes.
    pub(super) fn place(&self, name: &str, verb: &str) -> Result<usize> {
        let column = named(&self.columns, name);
        let column = column.ok_or_else(|| undefined_column(name, &self.view))?;
        self.place_of(column, verb)
    }

    /// The names of the table's columns that some of the view's columns are.
    pub(super) fn of_table(&self, names: &[String], shape: &TableShape) -> Vec<String> {
        let columns = names
            .iter()
            .filter_map(|name| named(&self.columns, name)?.place);
        columns
            .map(|idx| shape.columns()[idx].name().clone())
            .collect()
    }

    /// Fails where a part of a statement names the whole row of the view, which has hidden columns there.
    pub(super) fn refuse_whole_rows<T: Visit>(&self, part: &T, alias: &Ident) -> Result<()> {
        let alias = folded(alias);
        let mut rows = WholeRows {
            alias: &alias,
            is_column: named(&self.columns, &alias).is_some(),
        };
        match Visit::visit(part, &mut rows) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::unsupported(format!(
                "all of \"{alias}\" in a statement that changes it by the way of a view"
            ))),
        }
    }

    fn place_of(&self, column: &WrittenColumn, verb: &str) -> Result<usize> {
        column.place.ok_or_else(|| Error::NotUpdatable {
            sqlstate: "0A000",
            message: format!(
                "cannot {verb} column \"{}\" of view \"{}\"",
                column.name, self.view
            ),
            detail: "View columns that are not columns of their base relation are not updatable."
                .to_owned(),
            hint: None,
        })
    }
}

impl ViewTarget {
    /// The columns of the view that the statement names, over those of the table.
    pub(super) fn columns(&self, shape: &TableShape) -> ViewColumns {
        let mut columns = columns_of(shape);
        for level in self.levels.iter().rev() {
            columns = level.query.columns(&columns, &level.view.columns).1;
        }
        let view = self.levels.first().map(|level| level.entry.name.clone());
        ViewColumns {
            view: view.unwrap_or_default(),
            columns,
        }
    }

    /// The rows of the view over those of the table, with the address of each in the table and its values there, hidden.
    pub(super) async fn addressed_rows(
        &self,
        session: &Arc<Session>,
        table: Arc<dyn TableProvider>,
        shape: &TableShape,
    ) -> Result<Arc<dyn TableProvider>> {
        self.rows_of(session, table, shape, true).await
    }

    /// The rows of the view over those of the table.
    pub(super) async fn rows(
        &self,
        session: &Arc<Session>,
        table: Arc<dyn TableProvider>,
        shape: &TableShape,
    ) -> Result<Arc<dyn TableProvider>> {
        self.rows_of(session, table, shape, false).await
    }

    async fn rows_of(
        &self,
        session: &Arc<Session>,
        mut rows: Arc<dyn TableProvider>,
        shape: &TableShape,
        is_addressed: bool,
    ) -> Result<Arc<dyn TableProvider>> {
        let mut columns = columns_of(shape);
        for (height, level) in self.levels.iter().rev().enumerate() {
            let hidden = match is_addressed {
                true => {
                    level.refuse_whole_rows(&columns)?;
                    level.hidden(shape, height == 0)
                }
                false => Vec::new(),
            };
            (rows, columns) = Box::pin(level.rows(session, rows, &columns, hidden)).await?;
        }
        Ok(rows)
    }

    /// Writes the table and its columns in the place of the view and its own.
    pub(super) fn settle_insert(
        &self,
        insert: &mut ast::Insert,
        table: &CatalogEntry,
        shape: &TableShape,
    ) -> Result<()> {
        const VERB: &str = "insert into";
        let columns = self.columns(shape);
        let places = if insert.columns.is_empty() {
            let n_filled = n_filled(insert).unwrap_or(columns.columns.len());
            let filled = columns.columns.iter().take(n_filled);
            let places = filled.map(|column| columns.place_of(column, VERB));
            places.collect::<Result<Vec<_>>>()?
        } else {
            let named = insert.columns.iter().map(last);
            let places = named.map(|name| columns.place(&name, VERB));
            places.collect::<Result<Vec<_>>>()?
        };
        let quoted = |name: &str| Ident::with_quote('"', name);
        let column = |idx: usize| ObjectName::from(vec![quoted(shape.columns()[idx].name())]);
        insert.columns = places.into_iter().map(column).collect();
        let name = vec![quoted(&table.schema), quoted(&table.name)];
        insert.table = TableObject::TableName(ObjectName::from(name));
        Ok(())
    }

    /// The checks of a table, and those of the views that look at what is written through them.
    pub(super) async fn checked(
        &self,
        session: &Arc<Session>,
        state: &SessionState,
        checks: Arc<RowChecks>,
        shape: &TableShape,
    ) -> Result<Arc<RowChecks>> {
        let conditions = self.conditions(session, shape).await?;
        let schema = DFSchema::try_from(shape.schema())?;
        let mut checks = checks.as_ref().clone();
        for (view, condition) in conditions {
            let condition = state.create_physical_expr(condition, &schema)?;
            checks.views.push((view, condition));
        }
        Ok(Arc::new(checks))
    }

    /// The conditions that new rows must fulfil, over the columns of the table, those of the lowest view first.
    async fn conditions(
        &self,
        session: &Arc<Session>,
        shape: &TableShape,
    ) -> Result<Vec<(String, Expr)>> {
        let mut conditions = Vec::new();
        let checked = self.checked_levels();
        if !checked.contains(&true) {
            return Ok(conditions);
        }
        let mut columns = columns_of(shape);
        let mut rows: Arc<dyn TableProvider> = Arc::new(EmptyTable::new(shape.schema()));
        for (level, is_checked) in self.levels.iter().zip(checked).rev() {
            if let Some(condition) = level.query.condition().filter(|_| is_checked) {
                let item = SelectItem::ExprWithAlias {
                    expr: condition.clone(),
                    alias: Ident::with_quote('"', "holds"),
                };
                let bound = level.bound(session, Arc::clone(&rows), vec![item], false);
                let condition = inlined(&Box::pin(bound).await?.plan, 0)?;
                conditions.push((level.entry.name.clone(), about_the_row(condition)?));
            }
            let lower = level.rows(session, rows, &columns, Vec::new());
            (rows, columns) = Box::pin(lower).await?;
        }
        Ok(conditions)
    }

    /// Whether new rows must fulfil the condition of each view.
    fn checked_levels(&self) -> Vec<bool> {
        let mut cascades = false;
        let is_checked = |level: &Level| {
            let is_checked = cascades || level.view.check_option.is_some();
            cascades |= level.view.check_option == Some(CheckOption::Cascaded);
            is_checked
        };
        self.levels.iter().map(is_checked).collect()
    }
}

impl Level {
    /// What the view's owner does with what it reads: rows are found by the view's condition, too.
    fn usage_below(&self, usage: TableUse) -> TableUse {
        let has_condition = self.query.condition().is_some();
        match usage {
            TableUse::Update { reads } => TableUse::Update {
                reads: reads || has_condition,
            },
            TableUse::Delete { reads } => TableUse::Delete {
                reads: reads || has_condition,
            },
            usage => usage,
        }
    }

    /// The columns of the table below, under names that no statement has.
    fn hidden(&self, shape: &TableShape, is_lowest: bool) -> Vec<SelectItem> {
        let address = [FILE_COLUMN, ROW_COLUMN].into_iter();
        let address = address.map(|name| self.query.item(name, name));
        let columns = shape.columns().iter().enumerate();
        let values = columns.map(|(idx, field)| match is_lowest {
            true => self.query.item(field.name(), &hidden(idx)),
            false => self.query.item(&hidden(idx), &hidden(idx)),
        });
        address.chain(values).collect()
    }

    /// Fails where the view's query names the whole row of what it reads, which has hidden columns there.
    fn refuse_whole_rows(&self, below: &[WrittenColumn]) -> Result<()> {
        let below = ViewColumns {
            view: self.entry.name.clone(),
            columns: below.to_vec(),
        };
        let (items, condition) = self.query.parts();
        below.refuse_whole_rows(items, &self.query.alias)?;
        below.refuse_whole_rows(condition, &self.query.alias)
    }

    /// The rows of the view over those below it, with more columns behind its own.
    async fn rows(
        &self,
        session: &Arc<Session>,
        below: Arc<dyn TableProvider>,
        columns: &[WrittenColumn],
        more: Vec<SelectItem>,
    ) -> Result<(Arc<dyn TableProvider>, Vec<WrittenColumn>)> {
        let (mut items, own) = self.query.columns(columns, &self.view.columns);
        items.extend(more);
        let bound = self.bound(session, below, items, true).await?;
        let n_declared = self.view.columns.len().min(own.len());
        let declared = &self.view.columns[..n_declared];
        let plan = named_columns(bound.plan, &bound.names, declared)?;
        let plan = match self.view.security_barrier {
            true => BarrierNode::before(plan),
            false => plan,
        };
        let rows: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
        Ok((rows, own))
    }

    /// The view's query with another select list over some rows, with the names of its creator and as its owner.
    async fn bound(
        &self,
        session: &Arc<Session>,
        below: Arc<dyn TableProvider>,
        items: Vec<SelectItem>,
        is_filtered: bool,
    ) -> Result<BoundQuery> {
        let mut given = GivenTables::default();
        let relation = self.query.relation.last().cloned().unwrap_or_default();
        let private = given.give(&relation, below);
        let statement = self.query.over(private, items, is_filtered)?;
        let binding = async {
            // It depends on whose names count.
            let state = session.state(None);
            bind_sql_with(session, statement, state, given).await
        };
        let binding = in_view(&self.view, &self.entry.schema, Box::pin(binding));
        let bound = as_role(&self.entry.owner, binding).await;
        bound.map_err(|error| error.inside(&self.view.text, ""))
    }
}

/// How many columns the source of an INSERT fills; `None`: it does not say.
fn n_filled(insert: &ast::Insert) -> Option<usize> {
    let Some(source) = &insert.source else {
        // DEFAULT VALUES.
        return Some(0);
    };
    match source.body.as_ref() {
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        SetExpr::Select(select) => {
            let is_plain = |item: &SelectItem| {
                matches!(
                    item,
                    SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
                )
            };
            let items = &select.projection;
            items.iter().all(is_plain).then_some(items.len())
        }
        _ => None,
    }
}

/// A column of a plan over the rows of one table as an expression over the table's columns.
pub(super) fn inlined(plan: &LogicalPlan, idx: usize) -> Result<Expr> {
    let input = match plan {
        LogicalPlan::Projection(node) => {
            let expr = node.expr.get(idx).cloned().ok_or_else(not_of_a_row)?;
            let below = node.input.schema();
            let inline = |expr: Expr| -> DfResult<Transformed<Expr>> {
                let Expr::Column(column) = &expr else {
                    return Ok(Transformed::no(expr));
                };
                let idx = below.index_of_column(column)?;
                let expr = inlined(&node.input, idx)?;
                Ok(Transformed::new(expr, true, TreeNodeRecursion::Jump))
            };
            return Ok(expr.unalias_nested().data.transform_down(inline)?.data);
        }
        LogicalPlan::TableScan(scan) => {
            let field = scan.projected_schema.field(idx);
            return Ok(Expr::Column(Column::new_unqualified(field.name())));
        }
        LogicalPlan::SubqueryAlias(node) => &node.input,
        LogicalPlan::Filter(node) => &node.input,
        LogicalPlan::Sort(node) => &node.input,
        LogicalPlan::Extension(node) => match node.node.inputs().as_slice() {
            [input] if node.node.as_any().is::<BarrierNode>() => return inlined(input, idx),
            _ => return Err(not_of_a_row()),
        },
        _ => return Err(not_of_a_row()),
    };
    inlined(input, idx)
}

fn not_of_a_row() -> Error {
    Error::unsupported("writing through a view whose columns are more than expressions over a row")
}

/// Fails where a condition looks at other rows.
fn about_the_row(condition: Expr) -> Result<Expr> {
    let has_queries = condition.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)
        ))
    })?;
    match has_queries {
        true => Err(Error::unsupported(
            "WITH CHECK OPTION of a view whose condition has a query",
        )),
        false => Ok(condition),
    }
}
