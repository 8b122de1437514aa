//! What PostgreSQL's catalogs tell of all types that somebody made.
//!
//! In: a name or a number; out: the other, as they are at the moment of asking.

use auspex_storage::{CatalogEntry, Definition};

use super::facts::CatalogFacts;
use crate::error::Result;
use crate::temporary::SCHEMA as TEMPORARY;

/// A type by its names and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFacts {
    /// The schema that it lies in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its number.
    pub oid: u32,
    /// The number of its arrays.
    pub array_oid: u32,
}

impl TypeFacts {
    /// The type that an entry defines; `None`: it defines something else.
    fn of_entry(entry: &CatalogEntry) -> Option<TypeFacts> {
        let array_oid = match &entry.definition {
            Definition::Enum(definition) => definition.array_oid,
            Definition::Domain(definition) => definition.array_oid,
            _ => return None,
        };
        Some(TypeFacts {
            schema: entry.schema.clone(),
            name: entry.name.clone(),
            oid: entry.oid,
            array_oid,
        })
    }
}

impl CatalogFacts {
    /// The type of a name.
    pub fn made_type(&self, schema: &str, name: &str) -> Result<Option<TypeFacts>> {
        let state = self.session()?.seen_catalog();
        let entry = state.get(schema, name);
        Ok(entry.and_then(|entry| TypeFacts::of_entry(entry)))
    }

    /// All types.
    pub fn made_types(&self) -> Result<Vec<TypeFacts>> {
        let state = self.session()?.seen_catalog();
        let types = state.all().filter_map(|entry| TypeFacts::of_entry(entry));
        Ok(types.collect())
    }

    /// The names of a schema, of whatever it holds, that have one underscore or more before a stem and fewer bytes than a limit.
    pub fn underscored(&self, schema: &str, stem: &str, n_bytes: usize) -> Result<Vec<String>> {
        let session = self.session()?;
        let state = session.seen_catalog();
        let schema = session.known_schema(schema);
        let temporary = match schema == TEMPORARY {
            true => session.temporary_entries(),
            false => Vec::new(),
        };
        let entries = state.entries_with_prefix(schema, "_");
        let names = entries.chain(&temporary).map(|entry| &entry.name);
        // Names may be of any length: the last look, at the bytes of one, is for few.
        let named = names.filter(|name| name.len() < n_bytes && name.ends_with(stem));
        let named = named.filter(|name| name.trim_start_matches('_') == stem);
        Ok(named
            .filter(|name| name.as_str() != stem)
            .cloned()
            .collect())
    }

    /// The type of a number, or that whose arrays have it.
    pub fn made_type_of(&self, oid: u32) -> Result<Option<TypeFacts>> {
        let state = self.session()?.seen_catalog();
        if let Some(entry) = state.by_oid(oid) {
            return Ok(TypeFacts::of_entry(entry));
        }
        let mut types = state.all().filter_map(|entry| TypeFacts::of_entry(entry));
        Ok(types.find(|known| known.array_oid == oid))
    }
}
