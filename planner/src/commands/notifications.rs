//! `LISTEN`, `UNLISTEN` and `NOTIFY`: asked for now, done when the transaction is committed.
//!
//! In: a statement; out: its tag, and what the session's transaction asks of channels.

use datafusion::sql::sqlparser::ast::{Ident, Statement};

use super::folded;
use crate::channels::Change;
use crate::error::{Error, Result};
use crate::listening::MAX_CHANNEL_BYTES;
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

/// Runs one of them.
pub(super) fn run(
    session: &Session,
    statement: &Statement,
    control: &StatementControl,
) -> Result<String> {
    let tag = match statement {
        Statement::LISTEN { channel } => {
            let channel = channel_name(channel, control)?;
            session.listening.ask(Change::Listen(channel))?;
            "LISTEN"
        }
        Statement::UNLISTEN { channel } if is_all(channel) => {
            session.listening.ask(Change::UnlistenAll)?;
            "UNLISTEN"
        }
        Statement::UNLISTEN { channel } => {
            let channel = channel_name(channel, control)?;
            session.listening.ask(Change::Unlisten(channel))?;
            "UNLISTEN"
        }
        Statement::NOTIFY { channel, payload } => {
            let channel = channel_name(channel, control)?;
            let payload = payload.as_deref().unwrap_or_default();
            let process_id = session.process_id();
            session.listening.notify(&channel, payload, process_id)?;
            "NOTIFY"
        }
        _ => return Err(Error::unsupported("this statement about channels")),
    };
    Ok(tag.to_owned())
}

/// Whether `*` stands for the channels.
fn is_all(channel: &Ident) -> bool {
    channel.quote_style.is_none() && channel.value == "*"
}

/// A channel's name, cut to its length as PostgreSQL cuts all names.
fn channel_name(channel: &Ident, control: &StatementControl) -> Result<String> {
    let name = folded(channel);
    if name.is_empty() {
        return Err(Error::invalid(
            "42601",
            "zero-length delimited identifier",
            None,
        ));
    }
    let cut = &name[..name.floor_char_boundary(MAX_CHANNEL_BYTES)];
    if cut.len() == name.len() {
        return Ok(name);
    }
    let message = format!("identifier \"{name}\" will be truncated to \"{cut}\"");
    control.notify(Notice {
        sqlstate: "42622",
        ..Notice::plain(message)
    });
    Ok(cut.to_owned())
}
