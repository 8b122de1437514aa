//! What a statement does with a managed table, and the privileges that it needs for that.

use auspex_storage::CatalogEntry;

use super::Access;
use crate::error::Result;

/// What a statement does with a managed table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableUse {
    /// Reads it, its history or its files' facts.
    Read,
    /// Adds rows.
    Insert,
    /// Changes rows; whether it looks at them to find them.
    Update { reads: bool },
    /// Removes rows; whether it looks at them to find them.
    Delete { reads: bool },
    /// Compares rows and does what its clauses say.
    Merge {
        inserts: bool,
        updates: bool,
        deletes: bool,
    },
    /// Empties it.
    Truncate,
    /// Changes what it is, or its files.
    Define,
}

impl TableUse {
    /// The role must be allowed to do this with the table.
    pub(crate) fn check(self, access: &Access, table: &CatalogEntry) -> Result<()> {
        let needs: &[(bool, &'static str)] = match self {
            TableUse::Define => {
                access.check_schema(&table.schema, "USAGE")?;
                return access.check_owner(table);
            }
            TableUse::Read => &[(true, "SELECT")],
            TableUse::Insert => &[(true, "INSERT")],
            TableUse::Truncate => &[(true, "TRUNCATE")],
            TableUse::Update { reads } => &[(true, "UPDATE"), (reads, "SELECT")],
            TableUse::Delete { reads } => &[(true, "DELETE"), (reads, "SELECT")],
            TableUse::Merge {
                inserts,
                updates,
                deletes,
            } => &[
                (true, "SELECT"),
                (inserts, "INSERT"),
                (updates, "UPDATE"),
                (deletes, "DELETE"),
            ],
        };
        let mut needed = needs.iter().filter(|(is_needed, _)| *is_needed);
        needed.try_for_each(|(_, privilege)| access.check(table, privilege))
    }
}
