//! Temporary relations as the catalogs tell them: in a schema whose name ends with the session's number.
//!
//! In: a session; out: that name, where it stands among the schemas that are searched, and what it has. Another session's
//! temporary relations are nobody's to see.

use super::facts::{CatalogFacts, ObjectFacts, entry_of, facts};
use crate::access::{Access, Subject, has_any, has_privilege};
use crate::error::Result;
use crate::session::Session;
use crate::temporary::SCHEMA as TEMPORARY;

impl CatalogFacts {
    /// The name of the schema of the session's temporary relations, whether or not it has some.
    pub fn temporary_schema(&self) -> Result<String> {
        Ok(self.session()?.temporary_schema())
    }

    /// The schemas of relations' names without one: temporary relations come first, or where `search_path` names their schema.
    pub fn relation_path(&self) -> Result<Vec<String>> {
        let place = self.session()?.temporary_place().unwrap_or(0);
        let mut path = self.search_path()?;
        path.insert(place.min(path.len()), self.temporary_schema()?);
        Ok(path)
    }

    /// How many schemas the path has before that of temporary relations; `None`: it does not name it.
    pub fn temporary_place(&self) -> Result<Option<usize>> {
        Ok(self.session()?.temporary_place())
    }

    /// The session's temporary relations, which have no numbers.
    pub fn temporary_objects(&self) -> Result<Vec<ObjectFacts>> {
        let session = self.session()?;
        let entries = session.temporary_entries();
        let found = entries.iter().filter_map(facts);
        Ok(found.map(|object| shown(&session, object)).collect())
    }
}

/// An object with the name that its schema has in catalogs.
pub(super) fn shown(session: &Session, object: ObjectFacts) -> ObjectFacts {
    ObjectFacts {
        schema: session.shown_schema(&object.schema),
        ..object
    }
}

/// Whether a role has one of the privileges that a text lists on a temporary relation of the session, or on the schema of
/// those; `None`: the subject is another.
pub(super) fn temporary_privilege(
    session: &Session,
    role: &str,
    subject: &Subject<'_>,
    privileges: &str,
) -> Option<Option<bool>> {
    let is_own = |schema: &str| session.known_schema(schema) == TEMPORARY;
    match subject {
        Subject::Relation(schema, name) if is_own(schema) => {
            let access = Access::of(session.seen_catalog(), role);
            let entry = entry_of(session, schema, name);
            Some(entry.map(|entry| has_any(&access, &entry, privileges)))
        }
        // Whoever may make temporary relations has all privileges on their schema.
        Subject::Schema(schema) if is_own(schema) && session.temporary.has_schema() => {
            let state = session.seen_catalog();
            Some(has_privilege(state, role, &Subject::Database, "TEMPORARY"))
        }
        _ => None,
    }
}
