//! What PostgreSQL's catalogs tell of domains.
//!
//! In: a session; out: the domains of its warehouse, as they are at the moment of asking.

use std::collections::BTreeMap;

use auspex_storage::{DomainType, TableShape, TextLimit, clock_digits, schema_of};
use datafusion::arrow::datatypes::SchemaRef;

use super::facts::CatalogFacts;
use crate::error::Result;

/// A domain with what its definition does not tell.
#[derive(Debug, Clone)]
pub struct DomainFacts {
    /// Its number, name and rules.
    pub known: DomainType,
    /// The role that owns it.
    pub owner: String,
    /// The text of COMMENT ON.
    pub comment: Option<String>,
    /// The texts of COMMENT ON CONSTRAINT, by constraint.
    pub constraint_comments: BTreeMap<String, String>,
    /// One column of the type that it is made of.
    pub base: SchemaRef,
    /// How long its texts may be.
    pub text_limit: Option<TextLimit>,
    /// The digits that its seconds have.
    pub clock_digits: Option<u8>,
}

impl CatalogFacts {
    /// The domains of all schemas.
    pub fn domains(&self) -> Result<Vec<DomainFacts>> {
        let state = self.session()?.seen_catalog();
        let mut domains = Vec::new();
        for entry in state.all() {
            let Some(known) = DomainType::of_entry(entry, &state) else {
                continue;
            };
            let noted = schema_of(std::slice::from_ref(&known.definition.column))?;
            let shape = TableShape::new(&noted);
            domains.push(DomainFacts {
                base: shape.schema(),
                text_limit: shape.text_limit_of(&shape.columns()[0]),
                clock_digits: clock_digits(&shape.columns()[0]),
                known,
                owner: entry.owner.clone(),
                comment: entry.comment.clone(),
                constraint_comments: entry.constraint_comments.clone(),
            });
        }
        Ok(domains)
    }
}
