//! Rows that are written through views: the managed table at the bottom, and the view's rows with their places in it.
//!
//! In: a name and what a statement does with it; out: the table, and for the statement's plan the rows of the view with the
//! columns of the table hidden behind its own. Each view is bound with the names of its creator and the privileges of its
//! owner. Plans nothing else: what is assigned to the view's columns is assigned to the table's.

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
use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName, SelectItem, TableObject};

use super::evaluated::condition_now;
use super::hidden_columns::{hidden, hidden_by_item};
use super::simple_view::{NOT_ONE_RELATION, Reason, SimpleQuery, WrittenColumn};
use super::view_columns::ViewColumns;
use super::{BoundQuery, GivenTables, bind_sql_with};
use crate::access::{Access, TableUse, as_role};
use crate::catalog::named_columns;
use crate::commands::managed;
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

/// Where rows of the table are.
const ADDRESS: [&str; 2] = [FILE_COLUMN, ROW_COLUMN];

/// What the rows of a view have behind its columns, under names that no statement has.
#[derive(Debug, Clone, Copy)]
struct Behind<'a> {
    /// Columns of the rows below, as they are.
    kept: &'a [&'a str],
    /// Whether the values of all columns of the table are among them.
    values: bool,
    /// Whether rows are left out that the view does not show.
    is_filtered: bool,
    /// Whether a column tells which view does not show a row.
    tells_hidden: bool,
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
            access = Access::of(self.seen_catalog(), &level.entry.owner);
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
        let shape = self.seen_shape(&table.id).await?;
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
        let behind = Behind {
            kept: &ADDRESS,
            values: true,
            is_filtered: true,
            tells_hidden: false,
        };
        self.rows_of(session, table, shape, behind).await
    }

    /// The same with the rows that the views do not show, and what tells by which of them they are hidden.
    pub(super) async fn conflicting_rows(
        &self,
        session: &Arc<Session>,
        table: Arc<dyn TableProvider>,
        shape: &TableShape,
    ) -> Result<Arc<dyn TableProvider>> {
        let behind = Behind {
            kept: &ADDRESS,
            values: true,
            is_filtered: false,
            tells_hidden: true,
        };
        self.rows_of(session, table, shape, behind).await
    }

    /// Rows that may become rows of the table as rows of the view, whether it shows them or not, with their values in the
    /// table and the columns `kept`, hidden.
    pub(super) async fn given_rows(
        &self,
        session: &Arc<Session>,
        rows: Arc<dyn TableProvider>,
        shape: &TableShape,
        kept: &[&str],
    ) -> Result<Arc<dyn TableProvider>> {
        let behind = Behind {
            kept,
            values: true,
            is_filtered: false,
            tells_hidden: false,
        };
        self.rows_of(session, rows, shape, behind).await
    }

    /// Whether a view leaves out rows of the table.
    pub(super) fn has_conditions(&self) -> bool {
        let mut levels = self.levels.iter();
        levels.any(|level| level.query.condition().is_some())
    }

    /// The name of a view, counted from the lowest one.
    pub(super) fn name_at(&self, height: usize) -> Option<&str> {
        let level = self.levels.iter().rev().nth(height)?;
        Some(&level.entry.name)
    }

    /// The rows of the view over those of the table.
    pub(super) async fn rows(
        &self,
        session: &Arc<Session>,
        table: Arc<dyn TableProvider>,
        shape: &TableShape,
    ) -> Result<Arc<dyn TableProvider>> {
        let behind = Behind {
            kept: &[],
            values: false,
            is_filtered: true,
            tells_hidden: false,
        };
        self.rows_of(session, table, shape, behind).await
    }

    async fn rows_of(
        &self,
        session: &Arc<Session>,
        mut rows: Arc<dyn TableProvider>,
        shape: &TableShape,
        behind: Behind<'_>,
    ) -> Result<Arc<dyn TableProvider>> {
        let mut columns = columns_of(shape);
        for (height, level) in self.levels.iter().rev().enumerate() {
            if behind.values {
                level.refuse_whole_rows(&columns)?;
            }
            let more = level.behind(shape, height, behind);
            let lower = level.rows(session, rows, &columns, (more, behind.is_filtered));
            (rows, columns) = Box::pin(lower).await?;
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
        let places = self.columns(shape).places(insert)?;
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
        let schema = Arc::new(DFSchema::try_from(shape.schema())?);
        let mut checks = checks.as_ref().clone();
        for (view, condition) in conditions {
            let (condition, began) = condition_now(session, state, condition, &schema)?;
            checks.views.push((view, condition));
            checks.as_of = checks.as_of.or(began);
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
            let lower = level.rows(session, rows, &columns, (Vec::new(), true));
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

    /// What the rows of the view have behind its columns; `height` is 0 over the table.
    fn behind(&self, shape: &TableShape, height: usize, behind: Behind<'_>) -> Vec<SelectItem> {
        let kept = behind.kept.iter().map(|name| self.query.item(name, name));
        let columns = shape.columns().iter().enumerate();
        let values = columns.filter(|_| behind.values);
        let values = values.map(|(idx, field)| match height {
            0 => self.query.item(field.name(), &hidden(idx)),
            _ => self.query.item(&hidden(idx), &hidden(idx)),
        });
        let told = behind
            .tells_hidden
            .then(|| hidden_by_item(&self.query.alias, height, self.query.condition()));
        kept.chain(values).chain(told).collect()
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

    /// The rows of the view over those below it, with more columns behind its own; or those that it does not show, too.
    async fn rows(
        &self,
        session: &Arc<Session>,
        below: Arc<dyn TableProvider>,
        columns: &[WrittenColumn],
        (more, is_filtered): (Vec<SelectItem>, bool),
    ) -> Result<(Arc<dyn TableProvider>, Vec<WrittenColumn>)> {
        let (mut items, own) = self.query.columns(columns, &self.view.columns);
        items.extend(more);
        let bound = self.bound(session, below, items, is_filtered).await?;
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
