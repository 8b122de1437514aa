//! Definitions inside a transaction block.
//!
//! In: a statement such as CREATE TABLE; out: leave to carry it out beside the block, which sees its result from its next
//! statement on. It is committed at once, and the client is told. A block that has changed rows takes none, since one half
//! of it would stay when the other is rolled back; those that can wait for its end are in `kept_definitions`.

use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

/// How the objects were before a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectsBefore {
    catalog: u64,
    temporary: u64,
}

impl ObjectsBefore {
    fn of(session: &Session) -> Self {
        Self {
            catalog: session.engine.catalog.generation(),
            temporary: session.temporary.changes(),
        }
    }
}

impl Session {
    /// Lets a definition be carried out beside the session's block, if it is in one. What the block sees of tables
    /// begins anew with its next statement, since what the definition makes or drops must be seen.
    ///
    /// Errors: 25006 in a read-only block, 25001 if the block has changed rows.
    pub(crate) fn step_out_of_block(&self, verb: &str) -> Result<Option<ObjectsBefore>> {
        let allowed = self.transaction.with(|block| {
            if block.read_only {
                let message = format!("cannot execute {verb} in a read-only transaction");
                return Err(Error::invalid("25006", message, None));
            }
            if block.has_changes() {
                let written = block.written.as_ref();
                let changed = written.filter(|(id, _)| block.has_changes_in(id));
                return Err(after_changes(verb, changed.map(|(_, name)| name.as_str())));
            }
            block.written = None;
            block.tables = None;
            Ok(())
        });
        match allowed {
            None => Ok(None),
            Some(allowed) => allowed.map(|()| Some(ObjectsBefore::of(self))),
        }
    }

    /// Says that a definition in a block is there to stay, if it changed anything.
    pub(crate) fn tell_definition(
        &self,
        verb: &str,
        before: ObjectsBefore,
        control: &StatementControl,
    ) {
        if ObjectsBefore::of(self) != before {
            self.tell_committed(verb, control);
        }
    }

    /// Says that something in a block is there to stay.
    pub(crate) fn tell_committed(&self, verb: &str, control: &StatementControl) {
        self.transaction.with(|block| block.has_definitions = true);
        control.notify(Notice {
            hint: Some("Definitions are committed by themselves, also inside a block.".to_owned()),
            ..Notice::warning(format!(
                "{verb} was committed at once, ROLLBACK will not take it back"
            ))
        });
    }
}

/// What a block that is rolled back leaves behind.
pub(super) fn tell_what_stays(has_definitions: bool, control: &StatementControl) {
    if has_definitions {
        let message = "definitions of this block were committed at once and stay";
        control.notify(Notice::warning(message));
    }
}

/// The error of a definition behind changes, of temporary tables if of no other one.
fn after_changes(verb: &str, table: Option<&str>) -> Error {
    let table = table.map_or_else(
        || "a temporary table".to_owned(),
        |table| format!("\"{table}\""),
    );
    let message =
        format!("{verb} cannot run inside a transaction block that has changed rows of {table}");
    let hint = "COMMIT or ROLLBACK first, or define before the first change: what is made is committed by itself. \
                COMMENT, GRANT, new names, keys and columns of the changed table may follow it. Drivers call the \
                mode without blocks autocommit.";
    Error::invalid("25001", message, Some(hint))
}
