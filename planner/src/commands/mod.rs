//! The statements that are not queries: definitions, settings, blocks and models.
//!
//! In: a syntax tree; out: a command tag. Each reads the newest catalog, checks, and changes it in one
//! commit, so that a crash leaves the old state or the new.

mod alter_table;
mod comments;
mod common_settings;
mod copy;
mod copy_client;
mod csv_file;
mod declared_types;
mod dml;
mod do_block;
mod domains;
mod enum_labels;
mod enums;
mod extensions;
mod external_table;
mod first_rows;
mod indexes;
mod insert_values;
mod json_file;
mod lake;
mod lost_races;
mod maintenance;
mod materialized_views;
mod memberships;
mod models;
mod notifications;
mod privileges;
mod role_dependents;
mod roles;
mod schemas;
mod sequence_names;
mod sequences;
mod set_role;
mod settings;
mod show_create;
mod source_rows;
mod storage_options;
mod table_keys;
mod table_like;
mod table_properties;
mod table_references;
mod table_shape;
mod tables;
mod text_file;
mod unnamed_types;
mod view_options;
mod views;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use auspex_sql::{ParsedStatement, RoleStatement, Statement};
use auspex_storage::Definition;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{self, AlterIndexOperation, ObjectName, ObjectType};

use crate::bind::as_written;
use crate::error::{Error, Result};
use crate::error_places::placed;
use crate::execute::{Work, needs_no_catalog};
use crate::session::Session;
use crate::statement_run::{Outcome, StatementControl};
use crate::transaction::{self, Modes};

pub(crate) use copy_client::{ClientCopy, copy_in, plan_client_copy};
pub(crate) use dml::{change, insert, was_dropped};
pub(crate) use do_block::check_block;
pub(crate) use lake::show_query;
pub(crate) use maintenance::{table_detail, table_history, tell_not_analyzed};
pub(crate) use materialized_views::check_populated;
pub(crate) use models::{
    SHOW_MODELS, describe_model, fit_task, run_train_call, train_call, train_call_schema,
};
pub(crate) use set_role::assign_role;
pub(crate) use settings::{show, show_schema};
pub(crate) use show_create::{declared_type, show_create};
pub(crate) use storage_options::check_collation;
pub(crate) use tables::{describe_table, managed, remove_files};

/// Whether a statement can be run at all; settles those that need no work.
pub(crate) fn check(statement: &ast::Statement) -> Result<Work> {
    use ast::Statement as S;
    Ok(match statement {
        S::CreateTable(_) | S::CreateView(_) | S::CreateSchema { .. } | S::Set(_) => Work::Command,
        S::StartTransaction { .. } | S::Commit { .. } | S::Rollback { .. } => Work::Command,
        S::Savepoint { .. } | S::ReleaseSavepoint { .. } | S::Lock(_) => Work::Command,
        S::LISTEN { .. } | S::UNLISTEN { .. } | S::NOTIFY { .. } => Work::Command,
        S::Reset(_) | S::Comment { .. } | S::CreateIndex(_) | S::AlterIndex { .. } => Work::Command,
        S::Drop {
            object_type:
                ObjectType::Table
                | ObjectType::View
                | ObjectType::MaterializedView
                | ObjectType::Schema
                | ObjectType::Sequence
                | ObjectType::Type
                | ObjectType::Index,
            ..
        } => Work::Command,
        S::Discard { .. } | S::CreateExtension(_) => Work::Command,
        S::Analyze(_) => Work::Nothing("ANALYZE"),
        S::Truncate(_) | S::OptimizeTable { .. } | S::AlterTable(_) | S::Copy { .. } => {
            Work::Command
        }
        S::CreateType { .. } | S::AlterType(_) => Work::Command,
        other => return Err(Error::unsupported(verb(other))),
    })
}

/// The words that a statement starts with, for messages.
fn verb(statement: &ast::Statement) -> String {
    let text = statement.to_string();
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    match words.as_slice() {
        [
            verb @ ("UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" | "COPY" | "GRANT" | "REVOKE"),
            ..,
        ] => (*verb).to_owned(),
        words => words.join(" "),
    }
}

/// The columns of a command's rows: none has any.
pub(crate) fn schema(_statement: &Statement) -> Option<SchemaRef> {
    None
}

/// A command and the values of its parameters; only the query of a table that is made has any.
pub(crate) type Command<'a> = (&'a ParsedStatement, &'a [ScalarValue]);

/// Runs a command.
pub(crate) async fn run(
    session: &Arc<Session>,
    (parsed, parameters): Command<'_>,
    control: &StatementControl,
) -> Result<Outcome> {
    if let Statement::Do(block) = &parsed.statement {
        return Box::pin(do_block::run(session, block, control)).await;
    }
    let verb = first_words(&parsed.text);
    if changes_definitions(&parsed.statement) {
        session.refuse_read_only(&verb)?;
    }
    let catalog = &session.engine.catalog;
    match needs_no_catalog(parsed) {
        true => catalog.refresh_if_heard(Duration::ZERO).await,
        false => catalog.refresh_now().await?,
    }
    let before = match place_in_block(&parsed.statement) {
        InBlock::Part => None,
        InBlock::Beside if waiting::is_kept(session, &parsed.statement) => None,
        InBlock::Beside => session.step_out_of_block(&verb)?,
        InBlock::Never => {
            session.refuse_in_block(&verb)?;
            None
        }
    };
    let command = (parsed, parameters);
    let tag = Box::pin(lost_races::settle(session, command, control)).await?;
    match (before, &parsed.statement) {
        (Some(_), Statement::RefreshMaterializedView(_)) => session.tell_committed(&verb, control),
        (Some(before), _) => session.tell_definition(&verb, before, control),
        (None, _) => {}
    }
    Ok(Outcome::Command(tag))
}

/// Runs a command once; returns its tag.
async fn carry_out(
    session: &Arc<Session>,
    (parsed, parameters): Command<'_>,
    control: &StatementControl,
) -> Result<String> {
    let text = parsed.text.as_str();
    match &parsed.statement {
        Statement::CreateModel(create) => models::create(session, create, text, control).await,
        Statement::Train(train) => models::train(session, train, text, control).await,
        Statement::AlterModel(alter) => models::alter(session, alter, text).await,
        Statement::DropModel(drop) => models::drop(session, drop, text, control).await,
        Statement::Restore(restore) => maintenance::restore(session, restore, text).await,
        Statement::Vacuum(vacuum) => maintenance::vacuum(session, vacuum, control).await,
        Statement::CreateTable(create) => {
            let clauses = tables::TableClauses {
                partition_columns: &create.partition_columns,
                properties: &create.properties,
            };
            let sent = (text, parameters);
            let create = tables::create(session, &create.table, clauses, sent, control);
            Box::pin(create).await
        }
        Statement::CreateLakeObject(create) => lake::create(session, create, control).await,
        Statement::DropLakeObject(drop) => lake::drop_objects(session, drop, text, control).await,
        Statement::Grant(grant) => privileges::grant(session, grant, text, control).await,
        Statement::DefaultPrivileges(defaults) => {
            privileges::set_defaults(session, defaults, text).await
        }
        Statement::AlterOwner(alter) => privileges::set_owner(session, alter, text, control).await,
        Statement::Role(statement) => Box::pin(roles::run(session, statement, text, control)).await,
        Statement::Sequence(statement) => {
            Box::pin(sequences::run(session, statement, text, control)).await
        }
        Statement::ConstraintComment(comment) => {
            Box::pin(comments::comment_constraint(session, comment, text)).await
        }
        Statement::Domain(statement) => {
            Box::pin(domains::run(session, statement, text, control)).await
        }
        Statement::CreateMaterializedView(create) => {
            Box::pin(materialized_views::create(session, create, text, control)).await
        }
        Statement::RefreshMaterializedView(refresh) => {
            Box::pin(materialized_views::refresh(session, refresh, text, control)).await
        }
        Statement::Sql(statement) => {
            let command = (parsed, parameters);
            let done = Box::pin(sql(session, statement, command, control)).await;
            done.map_err(|error| match statement.as_ref() {
                SqlStatement::Statement(statement) => {
                    placed(as_written(error, statement), session, parsed)
                }
                _ => error,
            })
        }
        _ => Err(Error::unsupported("this statement")),
    }
}

async fn sql(
    session: &Arc<Session>,
    statement: &SqlStatement,
    (parsed, parameters): Command<'_>,
    control: &StatementControl,
) -> Result<String> {
    use ast::Statement as S;
    let (text, deferrable) = (parsed.text.as_str(), parsed.deferrable);
    let statement = match statement {
        SqlStatement::Statement(statement) => statement.as_ref(),
        SqlStatement::CreateExternalTable(create) => {
            return Box::pin(external_table::create_external(
                session, create, text, control,
            ))
            .await;
        }
        SqlStatement::CopyTo(statement) => {
            return Box::pin(copy::copy_stored(session, statement, control)).await;
        }
        SqlStatement::Reset(reset) => return settings::reset(session, reset),
        _ => return Err(Error::unsupported("this statement")),
    };
    match statement {
        S::CreateTable(create) => {
            let clauses = tables::TableClauses::default();
            let sent = (text, parameters);
            Box::pin(tables::create(session, create, clauses, sent, control)).await
        }
        S::CreateView(create) => Box::pin(views::create(session, create, text, control)).await,
        S::CreateSchema {
            schema_name,
            if_not_exists,
            ..
        } => schemas::create(session, schema_name, *if_not_exists, text, control).await,
        S::CreateType {
            name,
            representation,
        } => enums::create(session, name, representation.as_ref(), text).await,
        S::AlterType(alter) => enums::alter(session, alter, text, control).await,
        S::Drop { .. } => Box::pin(drop(session, statement, text, control)).await,
        S::Comment {
            object_type,
            object_name,
            comment,
            ..
        } => comments::comment(session, *object_type, object_name, comment.clone(), text).await,
        S::CreateIndex(index) => Box::pin(indexes::create(session, index, text, control)).await,
        S::AlterIndex {
            name,
            operation: AlterIndexOperation::RenameIndex { index_name },
        } => Box::pin(indexes::rename(session, name, index_name, text, control)).await,
        S::Set(set) => settings::set(session, set, deferrable, control),
        S::CreateExtension(extension) => extensions::create(extension, control),
        S::Reset(reset) => settings::reset_any(session, reset),
        S::StartTransaction { .. }
        | S::Commit { .. }
        | S::Rollback { .. }
        | S::Savepoint { .. }
        | S::ReleaseSavepoint { .. } => {
            in_transaction(session, (statement, deferrable), control).await
        }
        S::Lock(lock) => transaction::lock_tables(session, lock),
        S::LISTEN { .. } | S::UNLISTEN { .. } | S::NOTIFY { .. } => {
            notifications::run(session, statement, control)
        }
        S::Discard { object_type } => discard(session, *object_type).await,
        other => managed_table(session, other, text, control).await,
    }
}

async fn discard(session: &Arc<Session>, what: ast::DiscardObject) -> Result<String> {
    match what {
        ast::DiscardObject::ALL => session.discard().await,
        ast::DiscardObject::TEMP => session.drop_all_temporary().await,
        ast::DiscardObject::SEQUENCES => session.forget_numbers(),
        // Plans are made anew where they must be.
        ast::DiscardObject::PLANS => {}
    }
    Ok(format!("DISCARD {what}"))
}

/// `DROP` of what schemas hold.
async fn drop(
    session: &Arc<Session>,
    statement: &ast::Statement,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let ast::Statement::Drop {
        object_type,
        if_exists,
        names,
        cascade,
        purge: concurrently,
        ..
    } = statement
    else {
        return Err(Error::unsupported(verb(statement)));
    };
    if *object_type == ObjectType::Index && *concurrently {
        indexes::check_concurrent(session, names, *cascade)?;
    }
    let drop = tables::Drop {
        if_exists: *if_exists,
        cascade: *cascade,
    };
    match object_type {
        ObjectType::Index => indexes::drop(session, names, *if_exists, text, control).await,
        _ => tables::drop(session, *object_type, names, drop, text, control).await,
    }
}

/// How a command stands in a transaction block.
enum InBlock {
    /// Taken back with it.
    Part,
    /// A definition, committed by itself, or, behind a change of rows, with the block if it can wait for its end.
    Beside,
    /// What takes long, or changes the files of tables under other statements.
    Never,
}

fn place_in_block(statement: &Statement) -> InBlock {
    use ast::Statement as S;
    match statement {
        Statement::Sql(statement) => match statement.as_ref() {
            SqlStatement::Reset(_) | SqlStatement::CopyTo(_) => InBlock::Part,
            SqlStatement::CreateExternalTable(_) => InBlock::Beside,
            SqlStatement::Statement(statement) => match statement.as_ref() {
                S::Set(_)
                | S::Reset(_)
                | S::StartTransaction { .. }
                | S::Commit { .. }
                | S::Rollback { .. }
                | S::Savepoint { .. }
                | S::ReleaseSavepoint { .. }
                | S::Lock(_)
                | S::LISTEN { .. }
                | S::UNLISTEN { .. }
                | S::NOTIFY { .. }
                | S::Copy { .. }
                | S::CreateExtension(_)
                | S::Truncate(_) => InBlock::Part,
                // One that is not unique builds nothing.
                S::CreateIndex(index) if !index.unique => InBlock::Part,
                S::CreateTable(_)
                | S::CreateIndex(_)
                | S::AlterIndex { .. }
                | S::CreateView(_)
                | S::CreateSchema { .. }
                | S::CreateType { .. }
                | S::AlterType(_)
                | S::AlterTable(_)
                | S::Comment { .. }
                | S::Drop { .. } => InBlock::Beside,
                _ => InBlock::Never,
            },
            _ => InBlock::Never,
        },
        statement if changes_role(statement) => InBlock::Part,
        Statement::CreateTable(_)
        | Statement::Grant(_)
        | Statement::DefaultPrivileges(_)
        | Statement::AlterOwner(_)
        | Statement::Sequence(_)
        | Statement::ConstraintComment(_)
        | Statement::Domain(_)
        | Statement::CreateMaterializedView(_)
        | Statement::RefreshMaterializedView(_)
        | Statement::Role(_) => InBlock::Beside,
        _ => InBlock::Never,
    }
}

/// Whether a command changes what the catalog defines. Those that change rows ask when they open their table.
fn changes_definitions(statement: &Statement) -> bool {
    use ast::Statement as S;
    match statement {
        Statement::Vacuum(_) => false,
        Statement::Sql(sql) => match sql.as_ref() {
            SqlStatement::Statement(statement) => matches!(
                statement.as_ref(),
                S::CreateTable(_)
                    | S::CreateView(_)
                    | S::CreateSchema { .. }
                    | S::CreateType { .. }
                    | S::AlterType(_)
                    | S::CreateIndex(_)
                    | S::AlterIndex { .. }
                    | S::AlterTable(_)
                    | S::Drop { .. }
                    | S::Comment { .. }
            ),
            SqlStatement::CreateExternalTable(_) => true,
            _ => false,
        },
        statement => !changes_role(statement),
    }
}

/// Whether a statement changes the role of its session, and nothing else.
pub(crate) fn changes_role(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Role(statement) if matches!(
            **statement,
            RoleStatement::SetRole { .. } | RoleStatement::SetSession { .. }
        )
    )
}

/// The words that a text begins with, as messages name a statement.
fn first_words(text: &str) -> String {
    let words = text.split_whitespace().take_while(|word| {
        let mut letters = word.chars();
        letters.all(|letter| letter.is_ascii_alphabetic() || letter == '_')
    });
    let mut words: Vec<String> = words.map(str::to_uppercase).collect();
    let kinds = [
        "TABLE",
        "VIEW",
        "SCHEMA",
        "SEQUENCE",
        "TYPE",
        "MODEL",
        "CREDENTIAL",
        "LOCATION",
        "CATALOG",
        "ALL",
    ];
    let kind = words.iter().position(|word| kinds.contains(&word.as_str()));
    words.truncate(kind.map_or(1, |kind| kind + 1));
    words.join(" ")
}

/// The statements that begin, end and divide transaction blocks.
async fn in_transaction(
    session: &Arc<Session>,
    (statement, deferrable): (&ast::Statement, Option<bool>),
    control: &StatementControl,
) -> Result<String> {
    use ast::Statement as S;
    match statement {
        S::StartTransaction { begin, modes, .. } => {
            let modes = Modes::of(modes, deferrable);
            transaction::begin(session, *begin, modes, control)
        }
        S::Commit { chain, .. } => transaction::commit(session, *chain, control).await,
        S::Rollback {
            savepoint: Some(name),
            ..
        } => transaction::rollback_to(session, &folded(name)).await,
        S::Rollback { chain, .. } => Ok(transaction::rollback(session, *chain, control).await),
        S::Savepoint { name } => transaction::savepoint(session, &folded(name)).await,
        S::ReleaseSavepoint { name } => transaction::release(session, &folded(name)),
        other => Err(Error::unsupported(verb(other))),
    }
}

/// Statements about the rows and files of a managed table.
async fn managed_table(
    session: &Arc<Session>,
    statement: &ast::Statement,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    use ast::Statement as S;
    match statement {
        S::Copy { .. } => Box::pin(copy::copy(session, statement, control)).await,
        S::AlterTable(alter) => Box::pin(alter_table::alter(session, alter, text, control)).await,
        S::Truncate(truncate) => maintenance::truncate(session, truncate, control).await,
        S::OptimizeTable {
            name,
            predicate,
            zorder,
            ..
        } => {
            let zorder = zorder.as_deref().unwrap_or_default();
            let predicate = predicate.as_ref();
            Box::pin(maintenance::optimize(
                session, name, predicate, zorder, control,
            ))
            .await
        }
        other => Err(Error::unsupported(verb(other))),
    }
}

/// The parts of a name as PostgreSQL reads them: unquoted ones in lower case.
pub(crate) fn name_parts(name: &ObjectName) -> Vec<String> {
    let idents = name.0.iter().filter_map(|part| part.as_ident());
    idents.map(folded).collect()
}

/// An identifier as PostgreSQL reads it.
pub(crate) fn folded(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// What messages call an object.
pub(crate) fn kind_name(definition: &Definition) -> &'static str {
    match definition {
        Definition::Schema => "schema",
        Definition::Table(table) if table.materialized.is_some() => "materialized view",
        Definition::Table(_) => "table",
        Definition::ExternalTable(_) => "external table",
        Definition::View(_) => "view",
        Definition::Sequence(_) => "sequence",
        Definition::Enum(_) => "type",
        Definition::Domain(_) => "domain",
        Definition::Model(_) => "model",
        Definition::Credential(_) => "credential",
        Definition::Location(_) => "external location",
        Definition::Catalog(_) => "catalog",
        Definition::Role(_) => "role",
        Definition::Database(_) => "database",
    }
}
