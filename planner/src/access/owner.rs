//! Whose a new object is.
//!
//! In: the role that a statement acts as, and what it makes; out: the same with its owner, by the catalog of the moment in which
//! it is committed. A statement may go on for hours, and its role get another name or be dropped meanwhile.

use auspex_storage::{
    CatalogEntry, CatalogState, Error as StorageError, ObjectKind, Result as StorageResult,
};

use super::{HeldRole, roles};

impl HeldRole {
    /// A new object with its owner, and with the privileges that its owner gives on all new objects. It is for those who plan
    /// a commit: of another state it may be the name of another role. Error: `RoleDropped`.
    pub(crate) fn own(
        &self,
        state: &CatalogState,
        entry: &CatalogEntry,
    ) -> StorageResult<CatalogEntry> {
        let name = self
            .known_name(state)
            .ok_or_else(|| StorageError::RoleDropped {
                role: self.taken_name().to_owned(),
            })?;
        let mut owned = entry.clone();
        name.clone_into(&mut owned.owner);
        let (Some(owner), Some(kind)) = (roles::find(state, name), granted_kind(entry.kind()))
        else {
            return Ok(owned);
        };
        let fits =
            |schema: &Option<String>| schema.as_ref().is_none_or(|schema| *schema == entry.schema);
        for default in &owner.default_grants {
            if default.kind == kind && fits(&default.schema) {
                for (role, privileges) in &default.grants {
                    let held = owned.grants.entry(role.clone()).or_default();
                    held.extend(privileges.iter().cloned());
                }
            }
        }
        Ok(owned)
    }
}

/// What `ALTER DEFAULT PRIVILEGES` calls objects of a kind.
fn granted_kind(kind: ObjectKind) -> Option<&'static str> {
    match kind {
        ObjectKind::Table
        | ObjectKind::ExternalTable
        | ObjectKind::View
        | ObjectKind::MaterializedView => Some("TABLE"),
        ObjectKind::Model => Some("MODEL"),
        ObjectKind::Schema => Some("SCHEMA"),
        ObjectKind::Sequence => Some("SEQUENCE"),
        _ => None,
    }
}
