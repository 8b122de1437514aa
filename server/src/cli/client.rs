//! The client's side of the protocol: to a server, or to the engine in this process.
//!
//! In: a statement's text; out: what the server answers, in order. The engine in this process is
//! spoken to through the same protocol over a pipe, so that both print the same.

use std::str::FromStr;
use std::sync::Arc;

use auspex_planner::Engine;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use pgwire::api::Type;
use pgwire::api::client::ClientInfo;
use pgwire::api::client::Config as ClientConfig;
use pgwire::api::client::auth::DefaultStartupHandler;
use pgwire::error::{PgWireClientError, PgWireError};
use pgwire::messages::copy::CopyFail;
use pgwire::messages::simplequery::Query;
use pgwire::messages::startup::{SecretKey, Startup};
use pgwire::messages::terminate::Terminate;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::client::{PgWireClient, PgWireMessageClientCodec};
use tokio::io::DuplexStream;
use tokio_util::codec::Framed;

use super::table::{Column, Row};
use crate::protocol::{InProcessCancel, connect_in_process};
use crate::sqlstate::PROGRESS;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("invalid url \"{url}\": {source}")]
    Url {
        url: String,
        source: Box<PgWireClientError>,
    },
    #[error("cannot connect to \"{url}\": {reason}")]
    Connect { url: String, reason: String },
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("the server ended the connection")]
    Ended,
}

impl ClientError {
    /// What may help.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            ClientError::Url { .. } => {
                Some("Write postgres://postgres@127.0.0.1:5432/postgres.".to_owned())
            }
            ClientError::Connect { .. } => Some(
                "Is a server running there? auspex serve starts one; without --url none is needed."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl From<std::io::Error> for ClientError {
    fn from(error: std::io::Error) -> ClientError {
        ClientError::Lost(error.to_string())
    }
}

impl From<PgWireError> for ClientError {
    fn from(error: PgWireError) -> ClientError {
        ClientError::Lost(error.to_string())
    }
}

/// A message with the fields that people read.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    pub(super) severity: String,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
    /// Characters from the start of the statement, the first being 1.
    pub(super) position: Option<usize>,
    /// The fraction done, for a progress bar.
    pub(super) progress: Option<f64>,
}

impl Message {
    fn of(fields: Vec<(u8, String)>) -> Message {
        let mut message = Message::default();
        for (code, value) in fields {
            match code {
                b'S' => message.severity = value,
                b'M' => message.message = value,
                b'D' => message.detail = Some(value),
                b'H' => message.hint = Some(value),
                b'P' => message.position = value.parse().ok(),
                b'R' => {
                    let fraction = value.strip_prefix(PROGRESS);
                    message.progress = fraction.and_then(|fraction| fraction.parse().ok());
                }
                _ => {}
            }
        }
        message
    }
}

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Reply {
    Columns(Vec<Column>),
    Row(Row),
    /// Data of a `COPY … TO STDOUT`.
    Copied(Bytes),
    /// A statement's command tag.
    Done(String),
    Notice(Message),
    Failed(Message),
    /// The answer is complete.
    Ready,
}

/// A connection.
pub(super) enum Client {
    Remote(Box<PgWireClient>),
    InProcess {
        frames: Box<Framed<DuplexStream, PgWireMessageClientCodec>>,
        cancel: InProcessCancel,
        key: (i32, SecretKey),
    },
}

impl Client {
    /// Connects to a server.
    pub(super) async fn connect(url: &str) -> Result<Client, ClientError> {
        let mut config = ClientConfig::from_str(url).map_err(|source| ClientError::Url {
            url: url.to_owned(),
            source: Box::new(source),
        })?;
        if config.get_user().is_none() {
            config.user("postgres");
        }
        if config.get_dbname().is_none() {
            config.dbname("postgres");
        }
        if config.get_application_name().is_none() {
            config.application_name("auspex sql");
        }
        let connecting =
            PgWireClient::connect(Arc::new(config), DefaultStartupHandler::new(), None);
        match Box::pin(connecting).await {
            Ok(client) => Ok(Client::Remote(Box::new(client))),
            Err(PgWireClientError::RemoteError(info)) => Err(ClientError::Connect {
                url: url.to_owned(),
                reason: info.message,
            }),
            Err(error) => Err(ClientError::Connect {
                url: url.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// Connects to an engine in this process.
    pub(super) async fn in_process(engine: Arc<Engine>) -> Result<Client, ClientError> {
        let (stream, cancel) = connect_in_process(engine)?;
        let mut frames = Box::new(Framed::new(stream, PgWireMessageClientCodec::default()));
        let mut startup = Startup::new();
        startup
            .parameters
            .insert("user".to_owned(), "postgres".to_owned());
        startup
            .parameters
            .insert("application_name".to_owned(), "auspex sql".to_owned());
        // A role may have another encoding, which is not that of this client.
        startup
            .parameters
            .insert("client_encoding".to_owned(), "UTF8".to_owned());
        frames.send(PgWireFrontendMessage::Startup(startup)).await?;
        let mut key = (0, SecretKey::default());
        while let Some(message) = frames.next().await {
            match message? {
                PgWireBackendMessage::BackendKeyData(data) => key = (data.pid, data.secret_key),
                PgWireBackendMessage::ReadyForQuery(_) => {
                    return Ok(Client::InProcess {
                        frames,
                        cancel,
                        key,
                    });
                }
                PgWireBackendMessage::ErrorResponse(error) => {
                    return Err(ClientError::Lost(Message::of(error.fields).message));
                }
                _ => {}
            }
        }
        Err(ClientError::Ended)
    }

    /// Sends a statement.
    pub(super) async fn query(&mut self, text: &str) -> Result<(), ClientError> {
        self.send(PgWireFrontendMessage::Query(Query::new(text.to_owned())))
            .await
    }

    /// The next part of the answer.
    pub(super) async fn next(&mut self) -> Result<Reply, ClientError> {
        loop {
            let message = match self {
                Client::Remote(client) => client.next().await,
                Client::InProcess { frames, .. } => frames.next().await,
            };
            match message.ok_or(ClientError::Ended)?? {
                PgWireBackendMessage::RowDescription(description) => {
                    let columns = description.fields.into_iter().map(|field| Column {
                        name: field.name,
                        pg_type: Type::from_oid(field.type_id),
                    });
                    return Ok(Reply::Columns(columns.collect()));
                }
                PgWireBackendMessage::DataRow(row) => return Ok(Reply::Row(cells(&row.data))),
                PgWireBackendMessage::CommandComplete(complete) => {
                    return Ok(Reply::Done(complete.tag));
                }
                PgWireBackendMessage::NoticeResponse(notice) => {
                    return Ok(Reply::Notice(Message::of(notice.fields)));
                }
                PgWireBackendMessage::ErrorResponse(error) => {
                    return Ok(Reply::Failed(Message::of(error.fields)));
                }
                PgWireBackendMessage::ReadyForQuery(_) => return Ok(Reply::Ready),
                PgWireBackendMessage::CopyData(data) => return Ok(Reply::Copied(data.data)),
                PgWireBackendMessage::CopyInResponse(_) => {
                    let reason = "auspex sql sends no rows; use COPY ... FROM 'file', or psql";
                    let refusal = CopyFail::new(reason.to_owned());
                    self.send(PgWireFrontendMessage::CopyFail(refusal)).await?;
                }
                // Parameters and empty statements need no telling.
                _ => {}
            }
        }
    }

    /// Asks the server to stop what it runs for this connection.
    pub(super) async fn cancel(&self) -> Result<(), ClientError> {
        match self {
            Client::Remote(client) => client
                .cancel()
                .await
                .map_err(|error| ClientError::Lost(error.to_string())),
            Client::InProcess {
                cancel,
                key: (process_id, secret),
                ..
            } => {
                cancel.cancel(*process_id, &secret.to_bytes());
                Ok(())
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        // The server notices the end of the connection as well.
        let _ = self
            .send(PgWireFrontendMessage::Terminate(Terminate::new()))
            .await;
    }

    /// The server's version, for the greeting.
    pub(super) fn server_version(&self) -> Option<&str> {
        match self {
            Client::Remote(client) => client
                .server_parameters()
                .get("server_version")
                .map(String::as_str),
            Client::InProcess { .. } => None,
        }
    }

    async fn send(&mut self, message: PgWireFrontendMessage) -> Result<(), ClientError> {
        match self {
            Client::Remote(client) => client.send(message).await?,
            Client::InProcess { frames, .. } => frames.send(message).await?,
        }
        Ok(())
    }
}

/// The values of a row: each a length, -1 for NULL, and so many bytes of text.
fn cells(mut data: &[u8]) -> Row {
    let mut cells = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, rest) = rest
            .split_at_checked(length.unwrap_or(0))
            .unwrap_or((rest, &[]));
        cells.push(length.map(|_| String::from_utf8_lossy(value).into_owned()));
        data = rest;
    }
    cells
}
