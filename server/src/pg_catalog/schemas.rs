//! Where names without a schema are looked for, and the names of the schema of temporary relations.
//!
//! In: the session's path; out: schemas in order. That of temporary relations ends with the session's number in catalogs, and
//! is `pg_temp` in texts that are to be read again.

use auspex_planner::{TEMPORARY_SCHEMA, is_temporary_schema};
use datafusion::error::Result;

use super::PG_CATALOG;
use super::objects::Objects;

impl Objects {
    /// The number of the schema of temporary relations; 0: the session has none.
    pub(super) fn temporary_schema(&self) -> Result<i32> {
        let name = self.facts().temporary_schema()?;
        Ok(self.find_schema(&name)?.unwrap_or(0))
    }

    /// The schemas of names without one, in order.
    pub(super) fn search_path(&self) -> Result<Vec<String>> {
        Ok(self.facts().search_path()?)
    }

    /// The first schema of the path.
    pub(super) fn first_schema(&self) -> Result<Option<String>> {
        match self.facts().temporary_place()? {
            Some(0) if self.temporary_schema()? != 0 => Ok(Some(self.facts().temporary_schema()?)),
            _ => Ok(self.search_path()?.into_iter().next()),
        }
    }

    /// The schemas of the path without `pg_catalog`, which is searched at last here.
    pub(super) fn named_path(&self) -> Result<Vec<String>> {
        let is_temporary = |schema: &String| is_temporary_schema(schema);
        let is_shown = self.facts().temporary_place()?.is_some() && self.temporary_schema()? != 0;
        let mut path = self.facts().relation_path()?;
        path.retain(|schema| schema != PG_CATALOG && (is_shown || !is_temporary(schema)));
        Ok(path)
    }

    /// The same with the schemas that are searched though the path does not name them, as PostgreSQL has them: first.
    pub(super) fn whole_path(&self) -> Result<Vec<String>> {
        let facts = self.facts();
        let is_implied = facts.temporary_place()?.is_none() && self.temporary_schema()? != 0;
        let mut path = Vec::new();
        if is_implied {
            path.push(facts.temporary_schema()?);
        }
        path.push(PG_CATALOG.to_owned());
        path.extend(self.named_path()?);
        Ok(path)
    }

    /// The schema in which a relation without one is found, else the first of the path.
    pub(super) fn schema_of(&self, name: &str) -> Result<String> {
        let found = self.find(None, name)?.and_then(|oid| self.name(oid));
        let first = || Ok(self.search_path()?.into_iter().next().unwrap_or_default());
        found.map_or_else(first, |(schema, _)| Ok(schema))
    }
}

/// A schema's name in a text that is to be read again, as by another session: there, temporary relations have an alias.
pub(super) fn written_schema(schema: &str) -> &str {
    match is_temporary_schema(schema) {
        true => TEMPORARY_SCHEMA,
        false => schema,
    }
}
