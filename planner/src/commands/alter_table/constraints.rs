//! Constraints that come and go: `ADD CONSTRAINT`, `DROP CONSTRAINT`, and the references that columns and keys take along.
//!
//! In: an operation of `ALTER TABLE`; out: the definition that it makes. References of other tables to a key that goes
//! are taken away once the definition is committed.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Error as StorageError, Key, TableOperation, TableShape};
use datafusion::sql::sqlparser::ast::{DropBehavior, TableConstraint};

use super::{Altering, MAX_ROUNDS, record};
use crate::commands::table_keys::{is_taken, name_taken};
use crate::commands::table_references::{
    DeclaredReference, add_reference, referring, release_keys, shown, tell,
};
use crate::commands::table_shape::add_constraint;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

impl Altering<'_> {
    pub(super) async fn add_constraint(
        &mut self,
        session: &Arc<Session>,
        constraint: &TableConstraint,
    ) -> Result<()> {
        if let TableConstraint::ForeignKey(reference) = constraint {
            let declared = [DeclaredReference::of_table(reference)];
            return self.add_references(session, &declared).await;
        }
        let (before, keys) = (self.shape.checks(), self.shape.keys());
        add_constraint(session, &mut self.shape, constraint, self.relation)?;
        let added = self.shape.keys().into_iter();
        for key in added.filter(|key| !keys.contains(key)) {
            self.demand_key(key);
        }
        let added = self.shape.checks().into_iter();
        for (name, check) in added.filter(|(name, _)| !before.contains_key(name)) {
            self.forbid_violations(&name, &check)?;
        }
        Ok(())
    }

    pub(super) async fn add_references(
        &mut self,
        session: &Arc<Session>,
        declared: &[DeclaredReference<'_>],
    ) -> Result<()> {
        for reference in declared {
            add_reference(session, &mut self.shape, self.table, reference).await?;
        }
        Ok(())
    }

    pub(super) fn drop_constraint(
        &mut self,
        session: &Session,
        (name, if_exists): (&str, bool),
        behavior: Option<DropBehavior>,
        control: &StatementControl,
    ) -> Result<()> {
        let keys = self.shape.keys().into_iter();
        for key in keys.filter(|key| key.name == name) {
            self.free_key(session, &key, behavior)?;
        }
        if self.shape.drop_check(name)
            || self.shape.drop_key(name)
            || self.shape.drop_reference(name)
        {
            return Ok(());
        }
        let error = self.no_such_constraint(name);
        if if_exists {
            control.notify(Notice::plain(format!("{error}, skipping")));
            return Ok(());
        }
        Err(error)
    }

    /// `VALIDATE CONSTRAINT`, which finds all done: rows were looked at when the check was added, also where that said
    /// `NOT VALID`, and references are never enforced.
    pub(super) fn validate_constraint(&self, name: &str) -> Result<()> {
        let mut references = self.shape.references().into_iter();
        if self.shape.checks().contains_key(name)
            || references.any(|reference| reference.name == name)
        {
            return Ok(());
        }
        if self.shape.keys().iter().any(|key| key.name == name) {
            let relation = self.relation;
            let message = format!(
                "constraint \"{name}\" of relation \"{relation}\" is not a foreign key or check constraint"
            );
            return Err(Error::invalid("42809", message, None));
        }
        Err(self.no_such_constraint(name))
    }

    fn no_such_constraint(&self, name: &str) -> Error {
        let relation = self.relation;
        let message = format!("constraint \"{name}\" of relation \"{relation}\" does not exist");
        Error::invalid("42704", message, None)
    }

    /// Gives a check, key or reference another name.
    pub(super) fn rename_constraint(
        &mut self,
        session: &Session,
        from: &str,
        to: &str,
    ) -> Result<()> {
        if is_taken(&self.shape, to) {
            return Err(name_taken(to, self.relation));
        }
        if let Some(text) = self.shape.checks().remove(from) {
            self.shape.drop_check(from);
            self.shape.add_check(to, &text);
            return Ok(());
        }
        let mut keys = self.shape.keys().into_iter();
        if let Some(mut key) = keys.find(|key| key.name == from) {
            let catalog = session.seen_catalog();
            let mut others = referring(&catalog, &self.table.id);
            if others.any(|(_, other)| other.key == from) {
                let what = format!("another name for key \"{from}\", to which tables refer");
                return Err(Error::unsupported(what));
            }
            self.shape.drop_key(from);
            to.clone_into(&mut key.name);
            self.shape.add_key(&key);
            return Ok(());
        }
        let mut references = self.shape.references().into_iter();
        if let Some(mut reference) = references.find(|reference| reference.name == from) {
            self.shape.drop_reference(from);
            to.clone_into(&mut reference.name);
            self.shape.add_reference(&reference);
            return Ok(());
        }
        let relation = self.relation;
        let message = format!("constraint \"{from}\" for table \"{relation}\" does not exist");
        Err(Error::invalid("42704", message, None))
    }

    /// Makes sure that nothing refers to the keys of a column that is to go.
    pub(super) fn free_keys_of(
        &mut self,
        session: &Session,
        idx: usize,
        behavior: Option<DropBehavior>,
    ) -> Result<()> {
        let column = self.shape.columns()[idx].name().clone();
        let keys = self.shape.keys().into_iter();
        for key in keys.filter(|key| key.columns.contains(&column)) {
            self.free_key(session, &key, behavior)?;
        }
        Ok(())
    }

    /// Fails if anything refers to a key, unless that goes too.
    fn free_key(
        &mut self,
        session: &Session,
        key: &Key,
        behavior: Option<DropBehavior>,
    ) -> Result<()> {
        let cascade = matches!(behavior, Some(DropBehavior::Cascade));
        let own = self.shape.references().into_iter();
        let own = own.filter(|own| own.table == self.table.id && own.key == key.name);
        let own: Vec<String> = own.map(|own| own.name).collect();
        let catalog = session.seen_catalog();
        let others = referring(&catalog, &self.table.id)
            .filter(|(entry, other)| entry.id != self.table.id && other.key == key.name);
        let mut dependents: Vec<String> =
            others.map(|(entry, other)| shown(entry, other)).collect();
        if cascade {
            for name in own {
                self.shape.drop_reference(&name);
            }
            return Ok(());
        }
        let of_own = |name| format!("constraint {name} on table {}", self.relation);
        dependents.extend(own.into_iter().map(of_own));
        match dependents.is_empty() {
            true => Ok(()),
            false => Err(Error::Dependents {
                kind: "constraint",
                name: key.name.clone(),
                dependents,
            }),
        }
    }
}

/// What follows when a definition is committed: a word about references, and those of other tables to keys that went.
pub(super) async fn settle(
    session: &Session,
    table: &Arc<CatalogEntry>,
    (before, after): (&TableShape, &TableShape),
    text: &str,
    control: &StatementControl,
) -> Result<()> {
    tell(&table.name, &before.references(), after, control);
    let left = after.keys();
    let gone = before.keys().into_iter();
    let gone = gone.filter(|key| !left.iter().any(|other| other.name == key.name));
    let gone: Vec<String> = gone.map(|key| key.name).collect();
    release_keys(session, table, &gone, text).await
}

/// Takes references away from a table, whoever owns it: what they refer to goes.
pub(in crate::commands) async fn drop_references(
    session: &Session,
    table: &CatalogEntry,
    names: &[String],
    text: &str,
) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        let rewrite = session.engine.tables.rewrite(&table.id).await?;
        let mut shape = rewrite.shape().clone();
        for name in names {
            shape.drop_reference(name);
        }
        let redefined = rewrite.redefine(&shape, None, TableOperation::Properties);
        match Box::pin(redefined).await {
            Ok(_) => return record(session, table, &shape, &[], text).await,
            Err(StorageError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let object = format!("table \"{}\"", table.name);
    Err(StorageError::Conflict { object }.into())
}
