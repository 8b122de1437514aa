//! UPDATE, DELETE, MERGE and INSERT ... ON CONFLICT as queries: each row of their result is one change of the target.
//!
//! In: the syntax tree and the table that is about to change; out: a plan whose rows are what
//! `auspex_storage::Rewrite::apply` takes: an action, the address of the row, its new values, and its old ones where
//! the table keeps changes. Conditions and new values are ordinary SQL, so subqueries and predictions work in them.

use std::sync::Arc;

use auspex_storage::{CHANGE_COLUMNS, FILE_COLUMN, ROW_COLUMN, Repeated, Rewrite, RowAction};
use auspex_storage::{Error as StorageError, Key, OnConflict, TableShape};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::sql::sqlparser::ast::{
    self, Assignment, Expr, Ident, ObjectName, TableFactor, TableWithJoins,
};

use super::assigned_parts::Part;
use super::assigned_rows::pairs;
use super::assignments;
use super::column_rules::{
    as_table_rows, column_place, default_of, generated_value, is_computed, is_default, value_for,
};
use super::hidden_columns::hidden;
use super::insert::{Overriding, overriding};
use super::numbered_values::Numbers;
use super::plan_limits::too_complex;
use super::returning::Returning;
use super::returning_relations::merge_items;
use super::view_columns::ViewColumns;
use super::view_target::ViewTarget;
use super::{BoundQuery, GivenTables, bind_sql_with, merge, upsert, upsert_through_view};
use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::session::Session;

/// The statement, whichever of the four.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// `INSERT … ON CONFLICT`.
    Upsert(Box<ast::Insert>),
    Update(Box<ast::Update>),
    Delete(Box<ast::Delete>),
    Merge(Box<ast::Merge>),
}

impl Change {
    /// The statement, if it is one of the four.
    pub(crate) fn of(statement: &ast::Statement) -> Option<Change> {
        Some(match statement {
            ast::Statement::Insert(insert) if insert.on.is_some() => {
                Change::Upsert(Box::new(insert.clone()))
            }
            ast::Statement::Update(update) => Change::Update(Box::new(update.clone())),
            ast::Statement::Delete(delete) => Change::Delete(Box::new(delete.clone())),
            ast::Statement::Merge(merge) => Change::Merge(Box::new(merge.clone())),
            _ => return None,
        })
    }

    /// The first word.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Change::Upsert(_) => "INSERT",
            Change::Update(_) => "UPDATE",
            Change::Delete(_) => "DELETE",
            Change::Merge(_) => "MERGE",
        }
    }

    /// The words of the command tag before the number of rows.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Change::Upsert(_) => "INSERT 0",
            _ => self.verb(),
        }
    }

    /// What to do when two changes meet one row.
    pub(crate) fn repeated(&self) -> Repeated {
        match self {
            Change::Merge(_) | Change::Upsert(_) => Repeated::Refused,
            _ => Repeated::FirstWins,
        }
    }

    /// The condition as text, for the table's history.
    pub(crate) fn condition(&self) -> Option<String> {
        let condition = match self {
            Change::Update(update) => update.selection.as_ref(),
            Change::Delete(delete) => delete.selection.as_ref(),
            Change::Merge(merge) => Some(merge.on.as_ref()),
            Change::Upsert(_) => None,
        };
        condition.map(ToString::to_string)
    }

    pub(super) fn target(&self) -> Result<(&ObjectName, Option<&Ident>)> {
        let factor = match self {
            Change::Update(update) if update.table.joins.is_empty() => &update.table.relation,
            Change::Delete(delete) => match &delete.from {
                ast::FromTable::WithFromKeyword(tables)
                | ast::FromTable::WithoutKeyword(tables) => match tables.as_slice() {
                    [table] if table.joins.is_empty() => &table.relation,
                    _ => return Err(Error::unsupported("DELETE from several tables")),
                },
            },
            Change::Merge(merge) => &merge.table,
            Change::Upsert(insert) => {
                let ast::TableObject::TableName(name) = &insert.table else {
                    return Err(Error::unsupported("this form of INSERT"));
                };
                return Ok((name, insert.table_alias.as_ref().map(|alias| &alias.alias)));
            }
            Change::Update(_) => return Err(Error::unsupported("UPDATE of several tables")),
        };
        match factor {
            TableFactor::Table {
                version: Some(_), ..
            } => {
                let message = format!(
                    "{} cannot change an earlier version of a table",
                    self.verb()
                );
                let hint = "RESTORE TABLE makes a table what it was at a version.";
                Err(Error::invalid("42601", message, Some(hint)))
            }
            TableFactor::Table { name, alias, .. } => {
                Ok((name, alias.as_ref().map(|alias| &alias.name)))
            }
            _ => Err(Error::unsupported("changing what is not a table")),
        }
    }

    /// The select list of a `RETURNING`.
    pub(crate) fn returning(&self) -> Option<&[ast::SelectItem]> {
        match self {
            Change::Update(update) => update.returning.as_deref(),
            Change::Delete(delete) => delete.returning.as_deref(),
            Change::Upsert(insert) => insert.returning.as_deref(),
            Change::Merge(merge) => merge_items(merge),
        }
    }

    /// What the statement calls the table.
    pub(crate) fn alias(&self) -> Result<Ident> {
        let (name, alias) = self.target()?;
        Ok(match alias {
            Some(alias) => alias.clone(),
            None => Ident::with_quote('"', name_parts(name).pop().unwrap_or_default()),
        })
    }

    /// Whether the old values of rows are wanted although the table does not keep them.
    fn returns_old(&self) -> bool {
        matches!(self, Change::Delete(_) | Change::Merge(_)) && self.returning().is_some()
    }

    /// An `INSERT … ON CONFLICT` of values as an INSERT, and what becomes of rows whose key is taken. A table that keeps
    /// changes has them all from one kind of statement.
    pub(crate) fn as_insert(
        &self,
        shape: &TableShape,
        view: Option<&ViewTarget>,
    ) -> Result<Option<(ast::Insert, OnConflict)>> {
        match self {
            Change::Upsert(insert) if !shape.keeps_changes() => {
                let columns = view.map(|view| view.columns(shape));
                let relation = last(self.target()?.0);
                upsert::as_insert(insert, shape, (&relation, columns.as_ref()))
            }
            _ => Ok(None),
        }
    }

    /// The keys of which any one met stands in the way of a row, if the statement names none of several.
    pub(crate) fn any_keys(&self, shape: &TableShape) -> Vec<Key> {
        match self {
            Change::Upsert(insert) => upsert::any_keys(insert, shape),
            _ => Vec::new(),
        }
    }

    /// Whether it may give numbers to columns that the table alone numbers.
    fn takes_numbers(&self) -> bool {
        match self {
            Change::Upsert(insert) => overriding(insert) == Some(Overriding::System),
            _ => false,
        }
    }

    /// Whether an error means that two rows of an ON CONFLICT DO UPDATE have the key that it names.
    pub(crate) fn meets_row_twice(
        &self,
        error: &StorageError,
        (shape, view): (&TableShape, Option<&ViewTarget>),
    ) -> Result<bool> {
        let Change::Upsert(insert) = self else {
            return Ok(false);
        };
        let (name, _) = self.target()?;
        let conflict = upsert::conflict_of(insert);
        let updates = |conflict: &&ast::OnConflict| {
            matches!(conflict.action, ast::OnConflictAction::DoUpdate(_))
        };
        let Some(conflict) = conflict.filter(updates) else {
            return Ok(false);
        };
        let columns = view.map(|view| view.columns(shape));
        let key = upsert::key_of(conflict, shape, (&last(name), columns.as_ref()))?;
        Ok(match error {
            StorageError::RepeatedChange => true,
            StorageError::KeyViolation { constraint, .. } => {
                key.is_some_and(|key| key.name == *constraint)
            }
            _ => false,
        })
    }

    fn refuse(&self) -> Result<()> {
        let missing = match self {
            Change::Update(update) => vec![(update.limit.is_some(), "UPDATE ... LIMIT")],
            Change::Delete(delete) => vec![(delete.limit.is_some(), "DELETE ... LIMIT")],
            Change::Upsert(insert) => vec![
                (insert.overwrite, "INSERT OVERWRITE"),
                (insert.replace_into, "REPLACE INTO"),
                (
                    insert.partitioned.is_some() && overriding(insert).is_none(),
                    "INSERT ... PARTITION",
                ),
                (!insert.assignments.is_empty(), "INSERT ... SET"),
            ],
            Change::Merge(merge) => vec![
                (
                    merge.output.is_some() && merge_items(merge).is_none(),
                    "MERGE ... OUTPUT",
                ),
                (merge.clauses.is_empty(), "MERGE without WHEN"),
            ],
        };
        match missing.iter().find(|(is_written, _)| *is_written) {
            Some((_, what)) => Err(Error::unsupported(*what)),
            None => Ok(()),
        }
    }
}

/// The name of the table whose rows a statement changes; `None` for other statements.
pub(crate) fn changed_table(statement: &ast::Statement) -> Option<Vec<String>> {
    let name = match statement {
        ast::Statement::Insert(insert) => match &insert.table {
            ast::TableObject::TableName(name) => name_parts(name),
            _ => return None,
        },
        other => name_parts(Change::of(other)?.target().ok()?.0),
    };
    Some(name)
}

/// The new value of a column.
enum New {
    Whole(Expr),
    /// What it is, with so many parts that are assigned.
    Parts(Expr, usize),
}

/// How many parts of a column may be assigned: each is put into what those before it leave.
const MAX_PARTS: usize = 250;

/// What the parts of a statement need to know of the table that it changes.
#[derive(Clone)]
pub(super) struct Target<'a> {
    pub(super) shape: &'a TableShape,
    /// The table's name, for messages.
    pub(super) relation: String,
    /// What qualifies its columns.
    pub(super) alias: Ident,
    /// The columns of the view that stands in its place, behind which its own are hidden.
    pub(super) view: Option<&'a ViewColumns>,
    /// Whether the statement may give numbers to columns that the table alone numbers.
    pub(super) takes_numbers: bool,
}

impl Target<'_> {
    /// A column of the row as it is.
    pub(super) fn column(&self, name: &str) -> Expr {
        let place = self.view.and_then(|_| self.shape.position(name));
        let name = place.map_or_else(|| name.to_owned(), hidden);
        Expr::CompoundIdentifier(vec![self.alias.clone(), Ident::with_quote('"', name)])
    }

    /// The place of a column that is assigned.
    fn place(&self, name: &str) -> Result<usize> {
        match self.view {
            Some(columns) => columns.place(name, "update"),
            None => column_place(self.shape, name, &self.relation),
        }
    }

    /// The new values of a row: what is assigned, else what is there.
    pub(super) fn updated(&self, assignments: &[Assignment]) -> Result<Vec<Expr>> {
        let columns = self.shape.columns().iter();
        let mut values: Vec<Option<New>> = columns.map(|_| None).collect();
        for assignment in assignments {
            for (name, value) in pairs(assignment)? {
                let idx = self.place(&name)?;
                let field = &self.shape.columns()[idx];
                let before = values[idx].take();
                values[idx] = Some(match (Part::of(&value), before) {
                    (Some(_), _) if is_computed(self.shape, field) => {
                        return Err(generated_value(field.name(), true));
                    }
                    (Some(part), None) => {
                        New::Parts(part.put(self.column(field.name()), field)?, 1)
                    }
                    (Some(_), Some(New::Parts(_, MAX_PARTS))) => return Err(too_complex()),
                    (Some(part), Some(New::Parts(before, n_parts))) => {
                        New::Parts(part.put(before, field)?, n_parts + 1)
                    }
                    (_, Some(_)) => {
                        let message = format!("multiple assignments to same column \"{name}\"");
                        return Err(Error::invalid("42601", message, None));
                    }
                    (None, None) if is_default(&value) => {
                        New::Whole(value_for(default_of(self.shape, field)?, field))
                    }
                    (None, None) if is_computed(self.shape, field) => {
                        return Err(generated_value(field.name(), true));
                    }
                    (None, None) => New::Whole(assignments::given_value(value, field)),
                });
            }
        }
        let columns = self.shape.columns().iter().zip(values);
        let value = |(field, value): (&FieldRef, Option<New>)| match value {
            Some(New::Whole(value) | New::Parts(value, _)) => value,
            None => self.column(field.name()),
        };
        Ok(columns.map(value).collect())
    }
}

pub(super) fn last(name: &ObjectName) -> String {
    name_parts(name).pop().unwrap_or_default()
}

/// The relation and the columns of a query of changes.
pub(super) struct Parts {
    pub(super) from: Vec<TableWithJoins>,
    pub(super) condition: Option<Expr>,
    /// What the changes are in the order of, if that matters.
    pub(super) order: Option<Expr>,
    pub(super) action: Expr,
    /// The new values; `None` for statements that make none.
    pub(super) values: Option<Vec<Expr>>,
}

/// Binds a statement to the table as it is now, by the way of a view that was found with it.
pub(crate) async fn bind_change(
    session: &Arc<Session>,
    change: &Change,
    (rewrite, view): (&Rewrite, Option<&ViewTarget>),
    returning: Option<&Returning>,
) -> Result<BoundQuery> {
    change.refuse()?;
    let shape = rewrite.shape();
    let (name, _) = change.target()?;
    let relation = name_parts(name).pop().unwrap_or_default();
    let columns = view.map(|view| view.columns(shape));
    let target = Target {
        shape,
        alias: change.alias()?,
        relation: relation.clone(),
        view: columns.as_ref(),
        takes_numbers: change.takes_numbers(),
    };
    let mut rows = rewrite.target();
    if let (Some(view), Some(columns)) = (view, &columns) {
        change.refuse_whole_rows(columns, &target.alias)?;
        rows = match change {
            Change::Upsert(_) => view.conflicting_rows(session, rows, shape).await?,
            _ => view.addressed_rows(session, rows, shape).await?,
        };
    }
    let mut given = GivenTables::default();
    let private = given.give(&relation, rows);
    let factor = table_factor(private, target.alias.clone());
    let parts = match change {
        Change::Update(update) => update_parts(update, &target, factor)?,
        Change::Delete(delete) => delete_parts(delete, factor),
        Change::Merge(merge) => merge::parts(merge, &target, factor)?,
        Change::Upsert(insert) => {
            let target = (&target, view);
            let parts = upsert_through_view::parts(session, insert, target, factor, &mut given);
            Box::pin(parts).await?
        }
    };
    let has_values = parts.values.is_some();
    let has_old = shape.keeps_changes() || change.returns_old();
    let more = returning.map_or_else(Vec::new, |returning| returning.more(&parts.action));
    let statement = query(parts, &target, has_old, more)?;
    let bound = bind_sql_with(session, statement, session.state(None), given).await;
    let mut query = bound.map_err(|error| match change {
        Change::Merge(merge) => merge::lack_of_source(error, merge, shape),
        _ => error,
    })?;
    query.names.clear();
    query.plan = assignments::checked(query.plan)?;
    if has_values {
        let (state, first) = (&query.state, CHANGE_COLUMNS);
        query.plan = as_table_rows(state, shape, query.plan, first, Numbers::Later)?;
    }
    Ok(query)
}

/// A relation under a name.
pub(super) fn table_factor(name: ObjectName, alias: Ident) -> TableFactor {
    TableFactor::Table {
        name,
        alias: Some(table_alias(alias)),
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

pub(super) fn table_alias(name: Ident) -> ast::TableAlias {
    ast::TableAlias {
        explicit: true,
        name,
        columns: vec![],
        at: None,
    }
}

/// A relation that nothing is joined with.
pub(super) fn alone(relation: TableFactor) -> TableWithJoins {
    TableWithJoins {
        relation,
        joins: vec![],
    }
}

/// A number as the action column has it.
pub(super) fn action(action: RowAction) -> Expr {
    let number = (action as i32).to_string();
    Expr::Value(ast::Value::Number(number, false).with_empty_span())
}

fn update_parts(update: &ast::Update, target: &Target<'_>, factor: TableFactor) -> Result<Parts> {
    let mut from = vec![alone(factor)];
    match &update.from {
        Some(
            ast::UpdateTableFromKind::AfterSet(tables)
            | ast::UpdateTableFromKind::BeforeSet(tables),
        ) => from.extend(tables.iter().cloned()),
        None => {}
    }
    Ok(Parts {
        from,
        condition: update.selection.clone(),
        order: None,
        action: action(RowAction::Update),
        values: Some(target.updated(&update.assignments)?),
    })
}

fn delete_parts(delete: &ast::Delete, factor: TableFactor) -> Parts {
    let mut from = vec![alone(factor)];
    from.extend(delete.using.iter().flatten().cloned());
    Parts {
        from,
        condition: delete.selection.clone(),
        order: None,
        action: action(RowAction::Delete),
        values: None,
    }
}

/// `SELECT action, file, row, new values, old values, what is returned besides FROM … WHERE …`.
fn query(
    parts: Parts,
    target: &Target<'_>,
    has_old: bool,
    more: Vec<Expr>,
) -> Result<ast::Statement> {
    let text = "SELECT 1";
    let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres)?;
    let ast::SetExpr::Select(select) = query.body.as_mut() else {
        return Err(Error::unsupported("this form of the statement"));
    };
    let int = ast::DataType::Integer(None);
    let action = Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(parts.action),
        data_type: int,
        array: false,
        format: None,
    };
    let mut columns = vec![
        ("__auspex_action".to_owned(), action),
        ("__auspex_at_file".to_owned(), target.column(FILE_COLUMN)),
        ("__auspex_at_row".to_owned(), target.column(ROW_COLUMN)),
    ];
    for (idx, value) in parts.values.into_iter().flatten().enumerate() {
        columns.push((format!("__auspex_new_{idx}"), value));
    }
    if has_old {
        for (idx, field) in target.shape.columns().iter().enumerate() {
            columns.push((format!("__auspex_old_{idx}"), target.column(field.name())));
        }
    }
    for (idx, expr) in more.into_iter().enumerate() {
        columns.push((format!("__auspex_more_{idx}"), expr));
    }
    let item = |(name, expr): (String, Expr)| ast::SelectItem::ExprWithAlias {
        expr,
        alias: Ident::with_quote('"', name),
    };
    select.projection = columns.into_iter().map(item).collect();
    select.from = parts.from;
    select.selection = parts.condition;
    query.order_by = parts.order.map(|expr| ast::OrderBy {
        kind: ast::OrderByKind::Expressions(vec![ast::OrderByExpr {
            expr,
            options: ast::OrderByOptions::default(),
            with_fill: None,
        }]),
        interpolate: None,
    });
    Ok(ast::Statement::Query(query))
}
