//! The versions of tables: what there was and when, the rows of one of them, and the way back to it.
//!
//! Entries of the catalog with versions and snapshots flow in; commits, providers and pinned snapshots flow out. Which
//! tables have versions is their format's business.

use std::sync::Arc;

use datafusion::catalog::{Session, TableProvider};

use super::{
    TableCommit, TableDetail, TableSnapshot, Tables, VersionSpec, history, maintenance, row_changes,
};
use crate::catalog::{CatalogEntry, Definition};
use crate::error::{Error, Result, no_versions, not_a_table};

impl Tables {
    /// Makes a managed table what it was at a version; returns the number of the new version.
    pub async fn restore(&self, id: &str, version: VersionSpec) -> Result<u64> {
        let (log, _) = self.managed.newest(id).await?;
        maintenance::restore(&log, version).await
    }

    /// The commits of the table of an entry, the newest first. Errors: `NoVersions`.
    pub async fn history(&self, entry: &CatalogEntry) -> Result<Vec<TableCommit>> {
        let commits = match &entry.definition {
            Definition::Table(_) => {
                Some(history::history(&self.managed.newest(&entry.id).await?.0).await?)
            }
            Definition::ExternalTable(external) => self.external.history(external).await?,
            _ => None,
        };
        commits.ok_or_else(|| no_versions(entry))
    }

    /// The state of the table of an entry in numbers. Errors: `NoVersions`.
    pub async fn detail(&self, entry: &CatalogEntry) -> Result<TableDetail> {
        let detail = match &entry.definition {
            Definition::Table(_) => {
                Some(history::detail(&self.managed.newest(&entry.id).await?.1)?)
            }
            Definition::ExternalTable(external) => self.external.detail(external).await?,
            _ => None,
        };
        detail.ok_or_else(|| no_versions(entry))
    }

    /// How the rows of the table of an entry changed from a version to another.
    ///
    /// Errors: `UndefinedTableVersion`, `VersionOrder`, `ChangesNotKept`, `ChangesLost`, `NoVersions`.
    pub async fn changes(
        &self,
        entry: &CatalogEntry,
        from: u64,
        to: Option<u64>,
    ) -> Result<Arc<dyn TableProvider>> {
        let log = match &entry.definition {
            Definition::Table(_) => Some(self.managed.newest(&entry.id).await?.0),
            Definition::ExternalTable(external) => self.external.log(external).await?,
            _ => None,
        };
        let log = log.ok_or_else(|| no_versions(entry))?;
        Box::pin(row_changes::row_changes(&log, from, to)).await
    }

    /// A version of the table of an entry, with what a model pins of it.
    ///
    /// Errors: `UndefinedTableVersion`, `UndefinedSnapshot`, `VersionVacuumed`, `NoVersions`.
    pub async fn pinned_version(
        &self,
        entry: &CatalogEntry,
        version: VersionSpec,
    ) -> Result<(Arc<dyn TableProvider>, TableSnapshot)> {
        match &entry.definition {
            Definition::Table(_) => {
                let version = self.managed.open(&entry.id, version).await?;
                Ok((version.provider().await?, version.pinned()))
            }
            Definition::ExternalTable(external) => {
                let found = self.external.version(external, version).await?;
                found.ok_or_else(|| no_versions(entry))
            }
            _ => Err(no_versions(entry)),
        }
    }

    /// The table of an entry as it was at a snapshot of it.
    ///
    /// Errors: `SnapshotLost` if the table was made anew or its files have changed, `VersionVacuumed`.
    pub async fn provider_at(
        &self,
        entry: &CatalogEntry,
        snapshot: &TableSnapshot,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        match (&entry.definition, snapshot.version) {
            (Definition::Table(_), Some(number)) => {
                let version = VersionSpec::Number(number);
                let (table, now) = self.pinned_version(entry, version).await?;
                if now.location != snapshot.location {
                    return Err(Error::SnapshotLost {
                        location: snapshot.location.clone(),
                        what: "another table has its name now".into(),
                    });
                }
                Ok(table)
            }
            (Definition::ExternalTable(external), _) => {
                self.external_at(external, snapshot, session).await
            }
            _ => Err(not_a_table(entry)),
        }
    }

    /// What a model pins of the table of an entry: the version and the files of now.
    pub async fn snapshot(&self, entry: &CatalogEntry) -> Result<TableSnapshot> {
        match &entry.definition {
            Definition::Table(_) => {
                let version = self.managed.open(&entry.id, VersionSpec::Newest).await?;
                Ok(version.pinned())
            }
            Definition::ExternalTable(external) => self.external.snapshot(external).await,
            _ => Err(not_a_table(entry)),
        }
    }
}
