//! `ALTER TABLE` of managed tables.
//!
//! In: a syntax tree; out: one commit of the table's log with its new definition, and one of the catalog. What only
//! adds (a nullable column, a property, a default) changes the definition alone; dropping, renaming and retyping columns,
//! and adding one whose rows have values, write the rows anew, so that every reader of the format finds plain files.

mod column_type;
mod constraints;
mod drop_column;
mod identity;
mod identity_changes;
mod indexes;
mod rename_column;

use std::sync::Arc;

use auspex_sql::KEPT_ANYHOW;
use auspex_storage::{
    CatalogEntry, Change, Definition, DomainType, Error as StorageError, Key, Rewrite,
    TableDefinition, TableOperation, TableShape, TextLimit,
};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::sql::sqlparser::ast::{
    self, AlterColumnOperation, AlterTableOperation, ColumnOption, Expr, Ident, ObjectName,
};
use futures::StreamExt as _;

pub(super) use column_type::declared as declared_column;
pub(super) use constraints::drop_references;
pub(super) use identity_changes::change_numbers;
pub(super) use indexes::{add_index, default_name, index_exists, says_more};

use super::comments::carry_comments;
use super::materialized_views::check_operations;
use super::sequences::rename_as_table;
use super::source_rows::SourceRows;
use super::table_properties::{check_change_columns, set_property, unset_property};
use super::table_references::DeclaredReference;
use super::table_shape::{
    MOST_CLOCK_DIGITS, add_option, checked_default, clock_digits, text_limit,
};
use super::tables::check_unnamed;
use super::{folded, name_parts, view_options};
use crate::access::TableUse;
use crate::bind::{
    column_place, default_of, key_forms, parse_expr, row_checks, settle_domain, without_own_name,
};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};
use crate::temporary::SCHEMA as TEMPORARY;

const TAG: &str = "ALTER TABLE";
/// How often the statement is tried on a table that others change.
const MAX_ROUNDS: usize = 10;

/// `ALTER TABLE`.
pub(super) async fn alter(
    session: &Arc<Session>,
    alter: &ast::AlterTable,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let operations = alter.operations.as_slice();
    if let [AlterTableOperation::RenameTable { table_name }] = operations {
        let name = name_parts(&alter.name);
        let to = name_parts(new_name(table_name)).pop().unwrap_or_default();
        let renamed = rename_as_table(session, &name, &to, text, control);
        if Box::pin(renamed).await? {
            return Ok(TAG.to_owned());
        }
    }
    let table = (&alter.name, alter.if_exists);
    Box::pin(change_definition(session, table, operations, text, control)).await
}

/// Carries out operations on a table.
pub(super) async fn change_definition(
    session: &Arc<Session>,
    table: (&ObjectName, bool),
    operations: &[AlterTableOperation],
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let changes = (operations, None);
    Box::pin(carry_out(session, table, changes, text, control)).await
}

async fn carry_out(
    session: &Arc<Session>,
    (name, if_exists): (&ObjectName, bool),
    (operations, index): (&[AlterTableOperation], Option<&ast::CreateIndex>),
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let (schema, name) = session.changed_parts(&name_parts(name))?;
    if let Some(view) = session.entry(&schema, &name)
        && matches!(view.definition, Definition::View(_))
    {
        match operations {
            [AlterTableOperation::RenameTable { table_name }] => {
                session.access().check_owner(&view)?;
                rename(session, &view, new_name(table_name), text).await?;
                return Ok("ALTER VIEW".to_owned());
            }
            [AlterTableOperation::SetOptionsParens { options }] => {
                return view_options::set(session, &view, options, text).await;
            }
            _ => {}
        }
    }
    let table = match session.managed_table(&schema, &name, TableUse::Define) {
        Err(Error::Undefined { .. }) if if_exists => {
            let message = format!("relation \"{name}\" does not exist, skipping");
            control.notify(Notice::plain(message));
            return Ok(TAG.to_owned());
        }
        found => found?,
    };
    if let [AlterTableOperation::RenameTable { table_name }] = operations {
        rename(session, &table, new_name(table_name), text).await?;
        return Ok(match table.definition.materialized() {
            Some(_) => "ALTER MATERIALIZED VIEW".to_owned(),
            None => TAG.to_owned(),
        });
    }
    check_operations(&table, operations)?;
    let (mut operations, mut index) = (operations.to_vec(), index.cloned());
    without_own_name(&mut operations, &schema, &name);
    without_own_name(&mut index, &schema, &name);
    let operations = operations.as_slice();
    for column in operations.iter().flat_map(taken_names) {
        check_unnamed(&session.seen_catalog(), &table, &folded(column))?;
    }
    if session.keeps_definitions() {
        session.change_table(TAG, &table)?;
    }
    for _ in 0..MAX_ROUNDS {
        let rewrite = session.tables().rewrite(&table.id).await?;
        let mut altering = Altering::new(&table, rewrite.shape());
        for operation in operations {
            altering.apply(session, operation, control).await?;
        }
        if let Some(index) = &index {
            altering.declare_index(session, index)?;
        }
        let commit = altering.commit(session, &table.schema, &rewrite, control);
        match Box::pin(commit).await {
            Ok(shape) => {
                let before = rewrite.shape().clone();
                // What follows may change other tables, whose statements wait for this one.
                drop(rewrite);
                record(session, &table, &shape, operations, text).await?;
                constraints::settle(session, &table, (&before, &shape), text, control).await?;
                return Ok(TAG.to_owned());
            }
            Err(Error::Storage(StorageError::Conflict { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    let object = format!("table \"{}\"", table.name);
    Err(StorageError::Conflict { object }.into())
}

/// The names of columns that there are no more after an operation.
fn taken_names(operation: &AlterTableOperation) -> &[Ident] {
    match operation {
        AlterTableOperation::DropColumn { column_names, .. } => column_names,
        AlterTableOperation::RenameColumn {
            old_column_name, ..
        } => std::slice::from_ref(old_column_name),
        _ => &[],
    }
}

fn new_name(name: &ast::RenameTableNameKind) -> &ObjectName {
    let (ast::RenameTableNameKind::To(to) | ast::RenameTableNameKind::As(to)) = name;
    to
}

async fn rename(
    session: &Arc<Session>,
    table: &CatalogEntry,
    to: &ObjectName,
    text: &str,
) -> Result<()> {
    let name = name_parts(to).pop().unwrap_or_default();
    if table.schema != TEMPORARY {
        session.access().check_schema(&table.schema, "CREATE")?;
    } else if session.temporary.get(&name).is_some() {
        let kind = "relation";
        return Err(Error::Duplicate { kind, name });
    }
    let rename = move |entry: &mut CatalogEntry| entry.name.clone_from(&name);
    put(session, table, text, rename).await
}

/// Keeps the columns in the catalog too, so that prepared statements are planned again.
pub(super) async fn record(
    session: &Session,
    table: &CatalogEntry,
    shape: &TableShape,
    operations: &[AlterTableOperation],
    text: &str,
) -> Result<()> {
    let (definition, shape) = (shape.definition(), shape.clone());
    let operations = operations.to_vec();
    let define = move |entry: &mut CatalogEntry| {
        entry.definition = Definition::Table(TableDefinition {
            materialized: entry.definition.materialized().cloned(),
            ..definition.clone()
        });
        carry_comments(entry, &shape, &operations);
    };
    put(session, table, text, define).await
}

/// Changes the entry of a table, or another object: a temporary one's in the session, another's in the catalog, as it is at
/// the moment of the commit, since its privileges may have changed; behind a change of rows in a block that is the block's
/// end. A table that was dropped meanwhile stays dropped.
pub(super) async fn put(
    session: &Session,
    table: &CatalogEntry,
    text: &str,
    change: impl Fn(&mut CatalogEntry) + Send + Sync + 'static,
) -> Result<()> {
    if table.schema == TEMPORARY {
        let mut entry = table.clone();
        change(&mut entry);
        session.temporary.replace(&table.name, entry);
        return Ok(());
    }
    let id = table.id.clone();
    let define = session.define(text, move |state| {
        let gone = || StorageError::TableGone { id: id.clone() };
        let mut entry = state.by_id(&id).ok_or_else(gone)?.as_ref().clone();
        change(&mut entry);
        Ok(vec![Change::Put(entry)])
    });
    Box::pin(define).await
}

/// Where the values of a column come from when rows are written anew.
#[derive(Debug, Clone)]
enum Source {
    /// The column that had this name.
    Column(String),
    /// An expression without columns.
    Value(Box<Expr>),
}

/// A condition that no row may fulfil, and the error if one does.
struct Forbidden {
    condition: Expr,
    error: Error,
}

/// The definition while operations change it.
struct Altering<'a> {
    table: &'a CatalogEntry,
    relation: &'a str,
    shape: TableShape,
    sources: Vec<Source>,
    needs_rows: bool,
    operation: TableOperation,
    forbidden: Vec<Forbidden>,
    /// Keys that the rows as they are must keep to.
    keys: Vec<Key>,
}

impl<'a> Altering<'a> {
    fn new(table: &'a CatalogEntry, shape: &TableShape) -> Self {
        let columns = shape.columns().iter();
        Self {
            table,
            relation: &table.name,
            sources: columns
                .map(|column| Source::Column(column.name().clone()))
                .collect(),
            shape: shape.clone(),
            needs_rows: false,
            operation: TableOperation::Properties,
            forbidden: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn place(&self, column: &Ident) -> Result<usize> {
        column_place(&self.shape, &folded(column), self.relation)
    }

    async fn apply(
        &mut self,
        session: &Arc<Session>,
        operation: &AlterTableOperation,
        control: &StatementControl,
    ) -> Result<()> {
        match operation {
            AlterTableOperation::AddColumn {
                if_not_exists,
                column_def,
                ..
            } => {
                let name = folded(&column_def.name);
                if *if_not_exists && self.shape.position(&name).is_some() {
                    let message = format!("column \"{name}\" already exists, skipping");
                    control.notify(Notice::plain(message));
                    return Ok(());
                }
                self.add_column(session, column_def).await?;
                let declared = DeclaredReference::of_column(column_def);
                self.add_references(session, &declared).await
            }
            AlterTableOperation::DropColumn {
                column_names,
                if_exists,
                drop_behavior,
                ..
            } => self.drop_columns(session, column_names, *if_exists, *drop_behavior),
            AlterTableOperation::RenameColumn {
                old_column_name,
                new_column_name,
            } => self.rename_column(old_column_name, &folded(new_column_name)),
            AlterTableOperation::SetTblProperties { table_properties } => table_properties
                .iter()
                .try_for_each(|property| self.set_property(property)),
            AlterTableOperation::AlterColumn {
                column_name,
                op:
                    AlterColumnOperation::SetDataType {
                        data_type, using, ..
                    },
            } => {
                let idx = self.place(column_name)?;
                let mut data_type = data_type.clone();
                let domain = settle_domain(session, &mut data_type)?;
                let stored = column_type::declared(session, &data_type).await?;
                self.set_type(session, idx, &stored, using.as_ref())?;
                self.limit_values(idx, &data_type)?;
                self.set_domain(idx, domain.as_ref());
                Ok(())
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.alter_column(session, column_name, op, control).await
            }
            AlterTableOperation::AddConstraint { constraint, .. } => {
                self.add_constraint(session, constraint).await
            }
            AlterTableOperation::ValidateConstraint { name } => {
                self.validate_constraint(&folded(name))
            }
            AlterTableOperation::RenameConstraint { old_name, new_name } => {
                self.rename_constraint(session, &folded(old_name), &folded(new_name))
            }
            AlterTableOperation::DropConstraint {
                if_exists,
                name,
                drop_behavior,
            } => {
                let named = (folded(name), *if_exists);
                self.drop_constraint(session, (&named.0, named.1), *drop_behavior, control)
            }
            other => Err(Error::unsupported(format!("ALTER TABLE ... {other}"))),
        }
    }

    async fn add_column(&mut self, session: &Arc<Session>, column: &ast::ColumnDef) -> Result<()> {
        let mut data_type = column.data_type.clone();
        let domain = settle_domain(session, &mut data_type)?;
        let declared = column_type::declared(session, &data_type).await?;
        let name = folded(&column.name);
        if self.shape.position(&name).is_some() {
            let message = format!(
                "column \"{name}\" of relation \"{}\" already exists",
                self.relation
            );
            return Err(Error::invalid("42701", message, None));
        }
        let idx = self.shape.columns().len();
        let field = declared.as_ref().clone().with_name(name);
        self.shape.add_column(field)?;
        self.shape.set_text_limit(idx, text_limit(&data_type)?);
        self.shape.set_clock_digits(idx, clock_digits(&data_type));
        self.set_domain(idx, domain.as_ref());
        for option in &column.options {
            add_option(session, &mut self.shape, idx, option, self.relation)?;
        }
        let field = &self.shape.columns()[idx];
        let is_filled = |option: &ast::ColumnOptionDef| {
            !matches!(
                option.option,
                ColumnOption::Null | ColumnOption::Comment(_) | ColumnOption::ForeignKey(_)
            )
        };
        self.needs_rows |= column.options.iter().any(is_filled);
        self.operation = TableOperation::Columns;
        let default = default_of(&self.shape, field)?;
        self.sources.push(Source::Value(Box::new(default)));
        Ok(())
    }

    /// Makes a column one of a domain, or of none. Rows that come to one are written anew, and looked at.
    fn set_domain(&mut self, idx: usize, domain: Option<&DomainType>) {
        let old = self.shape.domain_of(&self.shape.columns()[idx]);
        if old.as_ref() == domain {
            return;
        }
        self.shape.set_domain(idx, domain);
        self.needs_rows |= domain.is_some();
        self.operation = TableOperation::Columns;
    }

    /// Sets how long a column's texts may be and how many digits its seconds have; where that is less than before, the rows
    /// are written anew: texts are looked at, seconds rounded.
    fn limit_values(&mut self, idx: usize, data_type: &ast::DataType) -> Result<()> {
        let column = Arc::clone(&self.shape.columns()[idx]);
        let (limit, digits) = (text_limit(data_type)?, clock_digits(data_type));
        self.shape.set_text_limit(idx, limit);
        self.shape.set_clock_digits(idx, digits);
        let length = |limit: Option<TextLimit>| limit?.length;
        let (length, old_length) = (length(limit), length(TextLimit::of_field(&column)));
        let is_shorter =
            length.is_some_and(|length| old_length.is_none_or(|old_length| length < old_length));
        let n_digits = |digits: Option<u8>| digits.unwrap_or(MOST_CLOCK_DIGITS);
        if is_shorter || n_digits(digits) < n_digits(auspex_storage::clock_digits(&column)) {
            self.needs_rows = true;
            self.operation = TableOperation::Columns;
        }
        Ok(())
    }

    fn set_property(&mut self, property: &ast::SqlOption) -> Result<()> {
        let ast::SqlOption::KeyValue { key, value } = property else {
            return Err(Error::unsupported(format!("the table property {property}")));
        };
        let value = match value {
            Expr::Value(value) => match &value.value {
                ast::Value::Null => return unset_property(&mut self.shape, &key.value),
                ast::Value::SingleQuotedString(text) | ast::Value::EscapedStringLiteral(text) => {
                    text.clone()
                }
                other => other.to_string(),
            },
            other => other.to_string(),
        };
        set_property(&mut self.shape, &key.value, &value)
    }

    async fn alter_column(
        &mut self,
        session: &Arc<Session>,
        column: &Ident,
        operation: &AlterColumnOperation,
        control: &StatementControl,
    ) -> Result<()> {
        let idx = self.place(column)?;
        if let Some(changes) = identity_changes::changes_of(operation) {
            return Box::pin(self.change_identity(session, idx, &changes)).await;
        }
        match operation {
            AlterColumnOperation::SetNotNull => {
                self.shape.set_nullable(idx, false);
                let name = self.shape.columns()[idx].name().clone();
                self.forbid_null(&name);
            }
            AlterColumnOperation::DropNotNull => {
                let name = self.shape.columns()[idx].name();
                let mut keys = self.shape.keys().into_iter();
                if keys.any(|key| key.is_primary && key.columns.contains(name)) {
                    let message = format!("column \"{name}\" is in a primary key");
                    return Err(Error::invalid("42P16", message, None));
                }
                self.shape.set_nullable(idx, true);
            }
            // Values are kept and counted as they are.
            AlterColumnOperation::SetDefault {
                value: Expr::Identifier(name),
            } if name.value == KEPT_ANYHOW => {}
            AlterColumnOperation::SetDefault { value } => {
                if let Some(if_exists) = identity::dropped(value) {
                    return self.drop_identity(idx, if_exists, control);
                }
                let text = checked_default(session, &self.shape, idx, value)?;
                self.shape.set_default(idx, text.as_deref());
            }
            AlterColumnOperation::DropDefault => self.drop_default(idx),
            AlterColumnOperation::AddGenerated {
                generated_as,
                sequence_options,
            } => {
                let options = sequence_options.as_deref().unwrap_or_default();
                self.add_identity(idx, *generated_as, options)?;
            }
            other => return Err(Error::unsupported(format!("ALTER COLUMN ... {other}"))),
        }
        Ok(())
    }

    fn forbid_null(&mut self, column: &str) {
        let relation = self.relation;
        let message =
            format!("column \"{column}\" of relation \"{relation}\" contains null values");
        let column = Expr::Identifier(Ident::with_quote('"', column));
        self.forbidden.push(Forbidden {
            condition: Expr::IsNull(Box::new(column)),
            error: Error::invalid("23502", message, None),
        });
    }

    /// Looks at the rows before a key is declared over them.
    fn demand_key(&mut self, key: Key) {
        if key.is_primary {
            key.columns
                .iter()
                .for_each(|column| self.forbid_null(column));
        }
        self.keys.push(key);
    }

    async fn check_keys(&self, session: &Arc<Session>, rewrite: &Rewrite) -> Result<()> {
        let state = session.state(None);
        let forms = key_forms(&state, &self.shape)?;
        for key in &self.keys {
            let keyed = (key, forms.get(&key.name));
            if let Some(values) = rewrite.duplicate(keyed, &state).await? {
                return Err(Error::NotUnique {
                    constraint: key.name.clone(),
                    key: values,
                });
            }
        }
        Ok(())
    }

    fn forbid_violations(&mut self, name: &str, check: &str) -> Result<()> {
        let relation = self.relation;
        let message = format!(
            "check constraint \"{name}\" of relation \"{relation}\" is violated by some row"
        );
        self.forbidden.push(Forbidden {
            condition: Expr::UnaryOp {
                op: ast::UnaryOperator::Not,
                expr: Box::new(Expr::Nested(Box::new(parse_expr(check)?))),
            },
            error: Error::invalid("23514", message, None),
        });
        Ok(())
    }

    /// Looks at the rows where that is needed, and commits the definition.
    async fn commit(
        mut self,
        session: &Arc<Session>,
        schema: &str,
        rewrite: &Rewrite,
        control: &StatementControl,
    ) -> Result<TableShape> {
        check_change_columns(&self.shape)?;
        for forbidden in std::mem::take(&mut self.forbidden) {
            let columns = vec![Expr::Value(ast::Value::Boolean(true).with_empty_span())];
            let wanted = (columns, Some(forbidden.condition));
            let rows = self.rows(session, rewrite, wanted, control).await?;
            for mut rows in rows {
                while let Some(batch) = rows.next().await {
                    if batch?.num_rows() > 0 {
                        return Err(forbidden.error);
                    }
                }
            }
        }
        let rows = match self.needs_rows {
            false => {
                self.check_keys(session, rewrite).await?;
                None
            }
            true => {
                let columns = self.sources.iter().map(|source| match source {
                    Source::Column(name) => Expr::Identifier(Ident::with_quote('"', name)),
                    Source::Value(value) => value.as_ref().clone(),
                });
                let wanted = (columns.collect(), None);
                let rows = self.rows(session, rewrite, wanted, control).await?;
                let place = (schema, self.relation);
                let checks = row_checks(session, &session.state(None), place, &self.shape)?;
                Some((rows, checks))
            }
        };
        rewrite.redefine(&self.shape, rows, self.operation).await?;
        Ok(self.shape)
    }

    /// Values of the rows as they are: all of them as the table takes them, or those of the rows of a condition.
    async fn rows(
        &self,
        session: &Arc<Session>,
        rewrite: &Rewrite,
        (columns, condition): (Vec<Expr>, Option<Expr>),
        control: &StatementControl,
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let rows = SourceRows {
            name: self.relation,
            source: rewrite.target(),
            taken_by: condition.is_none().then_some(&self.shape),
            columns,
            condition,
        };
        rows.streams(session, control).await
    }
}
