//! `SET`, `RESET` and `SHOW`.
//!
//! In: names and values; out: changed settings, or rows that show them.

use std::sync::Arc;

use auspex_sql::Dialect;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::sql::parser::ResetStatement;
use datafusion::sql::sqlparser::ast::{self, Expr, Set, Value};

use super::name_parts;
use crate::catalog::rows::{Cell, ColumnType, batch_of, schema_of};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::settings::{canonical, zone_of_interval};
use crate::statement_run::{Notice, Outcome, StatementControl};
use crate::transaction::{self, Modes, TransactionState};

const ALL: &[(&str, ColumnType)] = &[
    ("name", ColumnType::Text),
    ("setting", ColumnType::Text),
    ("description", ColumnType::Text),
];

/// The columns of `SHOW`.
pub(crate) fn show_schema(setting: Option<&str>) -> SchemaRef {
    match setting {
        None => schema_of(ALL),
        Some(name) => schema_of(&[(name, ColumnType::Text)]),
    }
}

/// `SHOW name`, `SHOW ALL`.
pub(crate) fn show(session: &Arc<Session>, setting: Option<&str>) -> Result<Outcome> {
    let batch = match setting {
        None => {
            let all = session.settings().all();
            let row = |(name, value, doc): (String, String, String)| {
                vec![Cell::Text(name), Cell::Text(value), Cell::Text(doc)]
            };
            batch_of(ALL, &all.into_iter().map(row).collect::<Vec<_>>())?
        }
        Some(name) => {
            let value = session.settings().get(name).ok_or_else(|| {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                Error::invalid("42704", message, Some("SHOW ALL lists the settings."))
            })?;
            batch_of(&[(name, ColumnType::Text)], &[vec![Cell::Text(value)]])?
        }
    };
    let schema = batch.schema();
    let stream = MemoryStream::try_new(vec![batch], Arc::clone(&schema), None)?;
    Ok(Outcome::Rows {
        schema,
        stream: Box::pin(stream),
        tag: "SHOW",
    })
}

/// `SET`; `deferrable` is what it says of transactions beside its tree.
pub(super) fn set(
    session: &Session,
    set: &Set,
    deferrable: Option<bool>,
    control: &StatementControl,
) -> Result<String> {
    match set {
        Set::SingleAssignment {
            scope,
            variable,
            values,
            ..
        } => {
            let name = name_parts(variable).join(".");
            if matches!(scope, Some(ast::ContextModifier::Local)) {
                if session.transaction() == TransactionState::Idle {
                    control.notify(Notice {
                        sqlstate: "25P01",
                        ..Notice::warning("SET LOCAL can only be used in transaction blocks")
                    });
                    return Ok("SET".to_owned());
                }
                session.set_local(&name);
            }
            assign(session, &name, values)?;
        }
        Set::SetTimeZone { value, .. } => assign(session, "timezone", std::slice::from_ref(value))?,
        Set::SetNames { charset_name, .. } => {
            session
                .settings()
                .set("client_encoding", &charset_name.value)?;
        }
        Set::SetNamesDefault {} => session.settings().reset("client_encoding")?,
        Set::SetTransaction {
            snapshot: Some(name),
            ..
        } => match &name.value {
            Value::SingleQuotedString(name) => transaction::import_snapshot(session, name)?,
            _ => return Err(Error::unsupported("SET TRANSACTION SNAPSHOT of no text")),
        },
        Set::SetTransaction {
            modes,
            session: true,
            ..
        } => set_characteristics(session, modes, deferrable)?,
        Set::SetTransaction { modes, .. } => {
            transaction::set_modes(session, Modes::of(modes, deferrable), control)?;
        }
        Set::MultipleAssignments { assignments } => {
            for assignment in assignments {
                let name = name_parts(&assignment.name).join(".");
                assign(session, &name, std::slice::from_ref(&assignment.value))?;
            }
        }
        _ => return Err(Error::unsupported("this form of SET")),
    }
    Ok("SET".to_owned())
}

/// `SET SESSION CHARACTERISTICS AS TRANSACTION …`: what the blocks to come begin with.
fn set_characteristics(
    session: &Session,
    modes: &[ast::TransactionMode],
    deferrable: Option<bool>,
) -> Result<()> {
    if let Some(deferrable) = deferrable {
        let value = if deferrable { "on" } else { "off" };
        session
            .settings()
            .set("default_transaction_deferrable", value)?;
    }
    for mode in modes {
        let (name, value) = match mode {
            ast::TransactionMode::AccessMode(ast::TransactionAccessMode::ReadOnly) => {
                ("default_transaction_read_only", "on".to_owned())
            }
            ast::TransactionMode::AccessMode(ast::TransactionAccessMode::ReadWrite) => {
                ("default_transaction_read_only", "off".to_owned())
            }
            ast::TransactionMode::IsolationLevel(level) => (
                "default_transaction_isolation",
                level.to_string().to_lowercase(),
            ),
        };
        session.settings().set(name, &value)?;
    }
    Ok(())
}

fn assign(session: &Session, name: &str, values: &[Expr]) -> Result<()> {
    if let [value] = values
        && text_of(value).eq_ignore_ascii_case("default")
        && !matches!(value, Expr::Value(_))
    {
        return session.settings().reset(name);
    }
    if canonical(name) == "timezone"
        && let [value] = values
    {
        let text = text_of(value);
        return match value {
            Expr::Identifier(_) if text.eq_ignore_ascii_case("local") => {
                session.settings().reset(name)
            }
            Expr::Interval(_) => {
                let zone = zone_of_interval(&text).unwrap_or(text);
                session.settings().set(name, &zone)
            }
            _ => session.settings().set(name, &text),
        };
    }
    let texts: Vec<String> = values.iter().map(text_of).collect();
    session.set_setting(name, &texts.join(", "))
}

/// A value as `SHOW` would print it.
fn text_of(expr: &Expr) -> String {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::Interval(interval) => text_of(&interval.value),
        other => other.to_string(),
    }
}

/// `RESET name`.
pub(super) fn reset(session: &Session, reset: &ResetStatement) -> Result<String> {
    let ResetStatement::Variable(name) = reset;
    let name = name_parts(name).join(".");
    if name == "all" {
        session.settings().reset_all();
    } else {
        session.settings().reset(&name)?;
    }
    Ok("RESET".to_owned())
}

/// `RESET name | ALL` as the other parser reads it.
pub(super) fn reset_any(session: &Session, statement: &ast::ResetStatement) -> Result<String> {
    match &statement.reset {
        ast::Reset::ALL => session.settings().reset_all(),
        ast::Reset::ConfigurationParameter(name) => {
            session.settings().reset(&name_parts(name).join("."))?;
        }
    }
    Ok("RESET".to_owned())
}

/// The dialect under which a definition is stored.
pub(super) fn dialect_name(dialect: Dialect) -> String {
    match dialect {
        Dialect::Auto => "auto",
        Dialect::Postgres => "postgres",
        Dialect::GoogleSql => "googlesql",
    }
    .to_owned()
}
