//! What a transaction block says of itself: its level, its access, and whether it waits.
//!
//! In: the words of `BEGIN` and `SET TRANSACTION`, and settings of the same meaning; out: what `SHOW` tells up to the end of the
//! block, or PostgreSQL's refusal of what can no longer change behind a query or a savepoint.

use datafusion::sql::sqlparser::ast::{
    TransactionAccessMode, TransactionIsolationLevel, TransactionMode,
};

use super::{Block, open};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::settings::{self, OF_BLOCKS, canonical};
use crate::statement_run::{Notice, StatementControl};

/// What `SHOW` tells of the block's level.
const LEVEL: &str = "transaction_isolation";
/// What it tells of its access.
const READ_ONLY: &str = "transaction_read_only";
/// What the block was told of waiting, which changes nothing.
const DEFERRABLE: &str = "transaction_deferrable";

/// The words of `BEGIN`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Modes {
    pub(super) read_only: Option<bool>,
    level: Option<TransactionIsolationLevel>,
    pub(super) deferrable: Option<bool>,
}

impl Modes {
    /// Those of the tree, and whether the statement says `DEFERRABLE`.
    pub(crate) fn of(modes: &[TransactionMode], deferrable: Option<bool>) -> Modes {
        let mut found = Modes {
            deferrable,
            ..Modes::default()
        };
        for mode in modes {
            match mode {
                TransactionMode::AccessMode(access) => {
                    found.read_only = Some(*access == TransactionAccessMode::ReadOnly);
                }
                TransactionMode::IsolationLevel(level) => {
                    found.level = Some(*level);
                }
            }
        }
        found
    }

    /// The level as `SHOW` tells it.
    fn level_name(self) -> Option<String> {
        self.level.map(|level| level.to_string().to_lowercase())
    }

    /// Settings of the same meaning.
    fn settings(self) -> impl Iterator<Item = (&'static str, String)> {
        let switch = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
        let settings = [
            (LEVEL, self.level_name()),
            (READ_ONLY, self.read_only.map(switch)),
            (DEFERRABLE, self.deferrable.map(switch)),
        ];
        settings
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Fails if one of them cannot change any more.
    pub(super) fn check(self, session: &Session) -> Result<()> {
        let mut settings = self.settings();
        settings.try_for_each(|(name, value)| check(session, name, &value))
    }

    /// Lets `SHOW` tell them up to the end of the block.
    pub(super) fn show(self, session: &Session) {
        for (name, value) in self.settings() {
            show_in_block(session, name, &value);
        }
    }

    /// The same with the session's defaults in the place of what is not said.
    pub(super) fn or_default(self, session: &Session) -> Modes {
        let by_default = |name: &str| Some(session.settings().is_on(name));
        let read_only = || by_default("default_transaction_read_only");
        let deferrable = || by_default("default_transaction_deferrable");
        Modes {
            level: self.level,
            read_only: self.read_only.or_else(read_only),
            deferrable: self.deferrable.or_else(deferrable),
        }
    }

    pub(super) fn tell_level(self, control: &StatementControl) {
        if self.level == Some(TransactionIsolationLevel::Serializable) {
            let message = "SERIALIZABLE is carried out as REPEATABLE READ";
            control.notify(Notice {
                hint: Some(
                    "Blocks that change what the other has read are not told apart.".to_owned(),
                ),
                ..Notice::warning(message)
            });
        }
    }
}

impl Session {
    /// Changes a setting. What a block says of itself holds up to its end, and outside of one for nothing.
    pub(crate) fn set_setting(&self, name: &str, value: &str) -> Result<()> {
        let name = canonical(name);
        if !OF_BLOCKS.iter().any(|(of_block, _)| *of_block == name) {
            return self.settings().set(&name, value);
        }
        let value = settings::checked(&name, value)?;
        check(self, &name, &value)?;
        let is_open = self.transaction.with(|block| {
            if name == READ_ONLY {
                block.read_only = value == "on";
            }
        });
        if is_open.is_some() {
            show_in_block(self, &name, &value);
        }
        Ok(())
    }

    /// The client is told that its next statement may come: outside of a block that is of another transaction than the queries
    /// before it, which one text or one pipeline has.
    pub fn forget_queries(&self) {
        self.transaction.note_queries(false);
    }
}

/// Fails where a transaction has come too far for what is to be said of it: once it has read something, or has a savepoint.
fn check(session: &Session, name: &str, value: &str) -> Result<()> {
    let of_block = |block: &mut Block| (block.has_read, !block.savepoints.is_empty());
    let of_block = session.transaction.with(of_block);
    let (has_read, is_nested) = of_block.unwrap_or((session.transaction.has_read(), false));
    let now = session.settings().get(name).unwrap_or_default();
    let is_same = now.eq_ignore_ascii_case(value);
    let refusals = match name {
        LEVEL if !is_same => [
            (
                has_read,
                "SET TRANSACTION ISOLATION LEVEL must be called before any query",
            ),
            (
                is_nested,
                "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction",
            ),
        ],
        READ_ONLY if !is_same && value == "off" => [
            (
                is_nested,
                "cannot set transaction read-write mode inside a read-only transaction",
            ),
            (
                has_read,
                "transaction read-write mode must be set before any query",
            ),
        ],
        DEFERRABLE => [
            (
                is_nested,
                "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction",
            ),
            (
                has_read,
                "SET TRANSACTION [NOT] DEFERRABLE must be called before any query",
            ),
        ],
        _ => return Ok(()),
    };
    match refusals.into_iter().find(|(is_so, _)| *is_so) {
        Some((_, message)) => Err(Error::invalid("25001", message, None)),
        None => Ok(()),
    }
}

/// `SET TRANSACTION …`, and a `BEGIN` in a block.
pub(crate) fn set_modes(session: &Session, modes: Modes, control: &StatementControl) -> Result<()> {
    let is_open = session.transaction.with(|_| ()).is_some();
    if !is_open {
        control.notify(Notice {
            sqlstate: "25P01",
            ..Notice::warning("SET TRANSACTION can only be used in transaction blocks")
        });
    }
    modes.check(session)?;
    if is_open {
        session.transaction.with(|block| {
            block.read_only = modes.read_only.unwrap_or(block.read_only);
        });
        modes.show(session);
        modes.tell_level(control);
    }
    Ok(())
}

/// What a block says of itself, which the one that `AND CHAIN` begins says, too.
pub(super) struct Characteristics {
    read_only: bool,
    shown: Vec<(&'static str, String)>,
}

impl Characteristics {
    pub(super) fn of(session: &Session, block: &Block) -> Characteristics {
        let names = OF_BLOCKS.into_iter();
        let shown = names.filter_map(|(name, _)| Some((name, session.settings().get(name)?)));
        Characteristics {
            read_only: block.read_only,
            shown: shown.collect(),
        }
    }

    /// Begins the next block.
    pub(super) fn open(self, session: &Session) {
        open(session, self.read_only);
        for (name, value) in self.shown {
            show_in_block(session, name, &value);
        }
    }
}

/// Lets `SHOW` tell something of the block up to its end.
pub(super) fn show_in_block(session: &Session, name: &str, value: &str) {
    if session.settings().kept(name).as_deref() != Some(value) {
        session.set_local(name);
        session.settings().show(name, value.to_owned());
    }
}
