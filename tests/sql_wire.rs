//! A client that runs the statements of sqllogictest files through the wire.

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::describe;

/// The connection.
pub struct SqlWire {
    /// A client of the server.
    pub client: Client,
}

/// A failed statement as psql prints it.
#[derive(Debug)]
pub struct SqlFailure {
    text: String,
    sqlstate: Option<String>,
}

impl SqlFailure {
    /// What an error says.
    pub fn of(error: &tokio_postgres::Error) -> SqlFailure {
        SqlFailure {
            text: describe(error),
            sqlstate: error.code().map(|code| code.code().to_owned()),
        }
    }
}

impl std::fmt::Display for SqlFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.text)
    }
}

impl std::error::Error for SqlFailure {}

#[async_trait]
impl AsyncDB for SqlWire {
    type Error = SqlFailure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, SqlFailure> {
        let messages = self
            .client
            .simple_query(sql)
            .await
            .map_err(|error| SqlFailure::of(&error))?;
        let mut n_columns = None;
        let mut rows = Vec::new();
        let mut count = 0;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => n_columns = Some(columns.len()),
                SimpleQueryMessage::Row(row) => {
                    let cell = |idx| match row.get(idx) {
                        None => "NULL".to_owned(),
                        Some("") => "(empty)".to_owned(),
                        Some(text) => text.to_owned(),
                    };
                    rows.push((0..row.len()).map(cell).collect());
                }
                SimpleQueryMessage::CommandComplete(n_rows) => count = n_rows,
                _ => {}
            }
        }
        Ok(match n_columns {
            Some(n) => DBOutput::Rows {
                types: vec![DefaultColumnType::Any; n],
                rows,
            },
            None => DBOutput::StatementComplete(count),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "auspex"
    }

    fn error_sql_state(error: &SqlFailure) -> Option<String> {
        error.sqlstate.clone()
    }
}
