//! What PostgreSQL's catalogs tell of enums.
//!
//! In: a session; out: the enums of its warehouse, as they are at the moment of asking.

use auspex_storage::EnumType;

use super::facts::CatalogFacts;
use crate::error::Result;

/// An enum with what its mark does not tell.
#[derive(Debug, Clone)]
pub struct EnumFacts {
    /// Its numbers, name and labels.
    pub known: EnumType,
    /// The role that owns it.
    pub owner: String,
    /// The text of COMMENT ON.
    pub comment: Option<String>,
}

impl CatalogFacts {
    /// The enums of all schemas.
    pub fn enums(&self) -> Result<Vec<EnumFacts>> {
        let state = self.session()?.seen_catalog();
        let facts = state.all().filter_map(|entry| {
            Some(EnumFacts {
                known: EnumType::of_entry(entry)?,
                owner: entry.owner.clone(),
                comment: entry.comment.clone(),
            })
        });
        Ok(facts.collect())
    }
}
