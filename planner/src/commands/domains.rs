//! `CREATE DOMAIN`, `ALTER DOMAIN`, `DROP DOMAIN`.
//!
//! In: the statement; out: an entry of the catalog. Tables keep nothing of a domain's rules, so that a change of them changes
//! no table; rows that are there are looked at before a rule is added.

use std::sync::Arc;

use auspex_sql::{DomainAction, DomainRule, DomainStatement, Name};
use auspex_storage::{
    CatalogEntry, Change, ColumnDefinition, Definition, DomainDefinition, EnumType,
    Error as StorageError, TableShape, schema_of,
};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast::{self, Expr, Ident};
use futures::StreamExt as _;

use super::alter_table::declared_column;
use super::comments::rename_constraint;
use super::enums::{check_free, columns_of};
use super::source_rows::SourceRows;
use super::storage_options::check_collation;
use super::table_shape::{checked_condition, checked_default, clock_digits, text_limit};
use super::tables::{self, Drop};
use super::{declared_types, kind_name};
use crate::bind::{DOMAIN_VALUE, condition_of, settle_domain};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

const ALTERED: &str = "ALTER DOMAIN";

/// Runs such a statement.
pub(super) async fn run(
    session: &Arc<Session>,
    statement: &DomainStatement,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    match statement {
        DomainStatement::Create {
            name,
            data_type,
            rules,
        } => create(session, &name.parts, data_type, rules, text).await,
        DomainStatement::Alter { name, action } => {
            let entry = domain(session, name)?.ok_or_else(|| undefined(name))?;
            session.access().check_owner(&entry)?;
            Box::pin(alter(session, &entry, action, text, control)).await
        }
        DomainStatement::Drop {
            names,
            if_exists,
            cascade,
        } => {
            let mut dropped = Vec::new();
            for name in names {
                match domain(session, name)? {
                    Some(entry) => {
                        session.access().check_drop(&entry)?;
                        dropped.push(entry);
                    }
                    None if *if_exists => {
                        let name = name.parts.join(".");
                        let message = format!("type \"{name}\" does not exist, skipping");
                        control.notify(Notice::plain(message));
                    }
                    None => return Err(undefined(name)),
                }
            }
            let words = Drop {
                if_exists: *if_exists,
                cascade: *cascade,
            };
            Box::pin(tables::drop_found(session, dropped, words, text, control)).await?;
            Ok("DROP DOMAIN".to_owned())
        }
    }
}

/// The domain of a name. Error: it is another type.
fn domain(session: &Session, name: &Name) -> Result<Option<Arc<CatalogEntry>>> {
    match session.type_entry(&name.parts) {
        Some(entry) if !matches!(entry.definition, Definition::Domain(_)) => {
            Err(Error::WrongKind {
                name: entry.name.clone(),
                expected: "domain",
                found: kind_name(&entry.definition),
            })
        }
        found => Ok(found),
    }
}

fn undefined(name: &Name) -> Error {
    Error::Undefined {
        kind: "type",
        name: name.parts.join("."),
        nearest: None,
        position: None,
    }
}

/// `CREATE DOMAIN`.
async fn create(
    session: &Arc<Session>,
    parts: &[String],
    data_type: &ast::DataType,
    rules: &[DomainRule],
    text: &str,
) -> Result<String> {
    let (schema, name) = session.new_type_parts(parts)?;
    session.access().check_schema(&schema, "CREATE")?;
    check_free(session, &schema, &name)?;
    let mut definition = made_of(session, data_type).await?;
    let shape = shape_of(&definition)?;
    let mut declared = Declared::default();
    for rule in rules {
        declared.add(session, &shape, &name, rule, &mut definition)?;
    }
    let over = definition.over.clone();
    let entry = CatalogEntry::new(&schema, &name, Definition::Domain(definition));
    let role = session.identity().current();
    let commit = session.engine.catalog.commit(text, |state| {
        match over.as_ref().is_none_or(|id| state.by_id(id).is_some()) {
            true => Ok(vec![Change::Put(role.own(state, &entry)?)]),
            false => Err(StorageError::Conflict {
                object: format!("domain \"{}\"", entry.name),
            }),
        }
    });
    commit.await?;
    Ok("CREATE DOMAIN".to_owned())
}

/// A domain of a type that has no rules yet. One over another domain has the default of that one, as it is now.
async fn made_of(session: &Arc<Session>, data_type: &ast::DataType) -> Result<DomainDefinition> {
    let mut base = data_type.clone();
    declared_types::spell(&mut base);
    if let Some(over) = settle_domain(session, &mut base)? {
        return Ok(DomainDefinition {
            base: over.definition.base,
            column: over.definition.column,
            over: Some(over.id),
            default: over.definition.default,
            ..DomainDefinition::default()
        });
    }
    let column = declared_column(session, &base).await?;
    if EnumType::of_elements(&column).is_some() {
        return Err(Error::unsupported("a domain over an enum"));
    }
    let column = column.as_ref().clone().with_name(DOMAIN_VALUE);
    let mut shape = TableShape::new(&Schema::new(vec![column]));
    shape.set_text_limit(0, text_limit(data_type)?);
    shape.set_clock_digits(0, clock_digits(data_type));
    Ok(DomainDefinition {
        base: base.to_string(),
        column: column_of(&shape),
        ..DomainDefinition::default()
    })
}

/// A value of a domain as a column, to which its rules and its default belong.
fn shape_of(definition: &DomainDefinition) -> Result<TableShape> {
    let column = schema_of(std::slice::from_ref(&definition.column))?;
    Ok(TableShape::new(column.as_ref()))
}

/// The only column of a definition as the catalog keeps it.
fn column_of(shape: &TableShape) -> ColumnDefinition {
    let field = &shape.columns()[0];
    let marks = field.metadata().clone();
    ColumnDefinition {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
        nullable: true,
        marks: marks.into_iter().collect(),
    }
}

/// What a `CREATE DOMAIN` has said so far.
#[derive(Debug, Default)]
struct Declared {
    /// Whether NULL is forbidden.
    not_null: Option<bool>,
    has_default: bool,
}

impl Declared {
    fn add(
        &mut self,
        session: &Arc<Session>,
        shape: &TableShape,
        domain: &str,
        rule: &DomainRule,
        definition: &mut DomainDefinition,
    ) -> Result<()> {
        match rule {
            DomainRule::Null | DomainRule::NotNull => {
                let not_null = *rule == DomainRule::NotNull;
                if self.not_null.is_some_and(|known| known != not_null) {
                    let message = "conflicting NULL/NOT NULL constraints";
                    return Err(Error::invalid("42601", message, None));
                }
                self.not_null = Some(not_null);
                definition.not_null = not_null;
            }
            DomainRule::Default(_) if self.has_default => {
                let message = "multiple default expressions";
                return Err(Error::invalid("42601", message, None));
            }
            DomainRule::Default(expr) => {
                self.has_default = true;
                definition.default = checked_default(session, shape, 0, expr)?;
            }
            DomainRule::Collate(name) => check_collation(&object_name(name))?,
            DomainRule::Check { name, condition } => {
                let check = (name.as_deref(), condition);
                add_check(session, shape, domain, check, definition)?;
            }
        }
        Ok(())
    }
}

fn object_name(name: &str) -> ast::ObjectName {
    let parts = name.split('.').map(|part| part.trim_matches('"'));
    let idents: Vec<Ident> = parts.map(|part| Ident::with_quote('"', part)).collect();
    ast::ObjectName::from(idents)
}

/// Adds a condition; returns its name.
fn add_check(
    session: &Arc<Session>,
    shape: &TableShape,
    domain: &str,
    (name, condition): (Option<&str>, &Expr),
    definition: &mut DomainDefinition,
) -> Result<String> {
    let checks = &mut definition.checks;
    let name = match name {
        Some(name) if checks.contains_key(name) => {
            let message = format!("constraint \"{name}\" for domain \"{domain}\" already exists");
            return Err(Error::invalid("42710", message, None));
        }
        Some(name) => name.to_owned(),
        None => {
            let first = format!("{domain}_check");
            let numbered = (1..).map(|number| format!("{first}{number}"));
            let mut names = std::iter::once(first.clone()).chain(numbered);
            let free = names.find(|name| !checks.contains_key(name));
            free.unwrap_or(first)
        }
    };
    let schema = DFSchema::try_from(shape.schema())?;
    let text = checked_condition(session, condition, &schema)?;
    // Catalogs and dumps show the word as PostgreSQL writes it.
    let text = condition_of(&text, &Expr::Identifier(Ident::new("VALUE")))?;
    checks.insert(name.clone(), text.to_string());
    Ok(name)
}

/// `ALTER DOMAIN`.
async fn alter(
    session: &Arc<Session>,
    entry: &Arc<CatalogEntry>,
    action: &DomainAction,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let mut changed = entry.as_ref().clone();
    match action {
        DomainAction::Rename(to) => {
            session.access().check_schema(&entry.schema, "CREATE")?;
            check_free(session, &entry.schema, &to.value)?;
            changed.name.clone_from(&to.value);
        }
        DomainAction::SetSchema(to) => {
            session.access().check_schema(&to.value, "CREATE")?;
            check_free(session, &to.value, &entry.name)?;
            changed.schema.clone_from(&to.value);
        }
        _ => {
            let Definition::Domain(definition) = &mut changed.definition else {
                return Err(Error::unsupported("ALTER DOMAIN of this type"));
            };
            let rule = change_rules(session, &entry.name, action, definition, control)?;
            let known = definition.checks.clone();
            if let Some(rule) = rule {
                Box::pin(check_rows(session, entry, definition, &rule, control)).await?;
            }
            if let DomainAction::RenameConstraint { from, to } = action {
                rename_constraint(&mut changed, &from.value, &to.value);
            }
            let comments = &mut changed.constraint_comments;
            comments.retain(|name, _| known.contains_key(name));
        }
    }
    let commit = session.engine.catalog.commit(text, |state| {
        match state.by_id(&entry.id) {
            // What another statement changed meanwhile is not undone.
            Some(now) if now == entry => Ok(vec![Change::Put(changed.clone())]),
            _ => Err(StorageError::Conflict {
                object: format!("domain \"{}\"", entry.name),
            }),
        }
    });
    commit.await?;
    Ok(ALTERED.to_owned())
}

/// A rule that rows must keep to which are there.
enum NewRule {
    NotNull,
    Check(String),
}

/// Changes the rules of a domain; returns the one that is new.
fn change_rules(
    session: &Arc<Session>,
    domain: &str,
    action: &DomainAction,
    definition: &mut DomainDefinition,
    control: &StatementControl,
) -> Result<Option<NewRule>> {
    let shape = shape_of(definition)?;
    let missing = |name: &str, of: String| {
        let message = format!("constraint \"{name}\" {of} does not exist");
        Err(Error::invalid("42704", message, None))
    };
    match action {
        DomainAction::SetDefault(None) => definition.default = None,
        DomainAction::SetDefault(Some(expr)) => {
            definition.default = checked_default(session, &shape, 0, expr)?;
        }
        DomainAction::SetNotNull(not_null) => {
            let is_new = *not_null && !definition.not_null;
            definition.not_null = *not_null;
            return Ok(is_new.then_some(NewRule::NotNull));
        }
        DomainAction::Add {
            not_valid: true, ..
        } => return Err(Error::unsupported("ALTER DOMAIN ... ADD ... NOT VALID")),
        DomainAction::Add {
            rule: DomainRule::Check { name, condition },
            ..
        } => {
            let check = (name.as_deref(), condition);
            let name = add_check(session, &shape, domain, check, definition)?;
            return Ok(Some(NewRule::Check(name)));
        }
        DomainAction::Add { .. } => {
            return Err(Error::unsupported("ALTER DOMAIN ... ADD of this rule"));
        }
        DomainAction::DropConstraint { name, if_exists } => {
            if definition.checks.remove(&name.value).is_none() {
                let of = format!("of domain \"{domain}\"");
                if !*if_exists {
                    return missing(&name.value, of);
                }
                let name = &name.value;
                let message = format!("constraint \"{name}\" {of} does not exist, skipping");
                control.notify(Notice::plain(message));
            }
        }
        DomainAction::RenameConstraint { from, to } => {
            let Some(text) = definition.checks.remove(&from.value) else {
                return missing(&from.value, format!("for domain {domain}"));
            };
            if definition.checks.insert(to.value.clone(), text).is_some() {
                let name = &to.value;
                let message =
                    format!("constraint \"{name}\" for domain \"{domain}\" already exists");
                return Err(Error::invalid("42710", message, None));
            }
        }
        DomainAction::Validate(name) if !definition.checks.contains_key(&name.value) => {
            return missing(&name.value, format!("of domain \"{domain}\""));
        }
        // All rows keep to it.
        DomainAction::Validate(_) | DomainAction::Rename(_) | DomainAction::SetSchema(_) => {}
    }
    Ok(None)
}

/// Fails if a row of a table breaks a rule.
async fn check_rows(
    session: &Arc<Session>,
    entry: &CatalogEntry,
    definition: &DomainDefinition,
    rule: &NewRule,
    control: &StatementControl,
) -> Result<()> {
    let state = session.state(None);
    for (table, column) in columns_of(session, &entry.id).await {
        let value = Expr::Identifier(Ident::with_quote('"', column.as_str()));
        let (broken, sqlstate, what) = match rule {
            NewRule::NotNull => (
                Expr::IsNull(Box::new(value)),
                "23502",
                "contains null values",
            ),
            NewRule::Check(name) => {
                let condition = definition.checks.get(name).map_or("true", String::as_str);
                let condition = Expr::Nested(Box::new(condition_of(condition, &value)?));
                let broken = Expr::UnaryOp {
                    op: ast::UnaryOperator::Not,
                    expr: Box::new(condition),
                };
                let what = "contains values that violate the new constraint";
                (broken, "23514", what)
            }
        };
        let rows = SourceRows {
            name: &table.name,
            source: session.tables().provider(&table, &state).await?,
            columns: vec![Expr::Value(ast::Value::Boolean(true).with_empty_span())],
            condition: Some(broken),
            taken_by: None,
        };
        for mut rows in Box::pin(rows.streams(session, control)).await? {
            while let Some(batch) = rows.next().await {
                if batch?.num_rows() > 0 {
                    let table = &table.name;
                    let message = format!("column \"{column}\" of table \"{table}\" {what}");
                    return Err(Error::invalid(sqlstate, message, None));
                }
            }
        }
    }
    Ok(())
}
