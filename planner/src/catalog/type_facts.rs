//! What PostgreSQL's catalogs tell of all types that somebody made.
//!
//! In: a name or a number; out: the other, as they are at the moment of asking.

use auspex_storage::{CatalogEntry, Definition};

use super::facts::CatalogFacts;
use crate::error::Result;

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
