//! What a statement is told when another server drops or replaces a table while it is planned or run.
//!
//! In: what the statement failed with, and the objects that it names; out: the same error, or one that names the table. Who
//! drops a table removes its files whatever other servers read.

use std::sync::Arc;

use auspex_storage::{Catalog, CatalogEntry};

use super::display_name;
use crate::error::Error;
use crate::named::Named;

/// The tables of a statement.
#[derive(Debug, Clone)]
pub(crate) struct TablesRead {
    catalog: Arc<Catalog>,
    named: Vec<Named>,
}

impl TablesRead {
    /// The tables among the objects that a statement names.
    pub(crate) fn of(catalog: &Arc<Catalog>, named: Vec<Named>) -> TablesRead {
        TablesRead {
            catalog: Arc::clone(catalog),
            named,
        }
    }

    /// What a statement failed with that ran.
    pub(crate) async fn told(&self, error: Error) -> Error {
        if let Some(table) = self.gone(&error).await {
            let message = format!(
                "table \"{}\" was dropped or replaced while the statement ran",
                display_name(&table)
            );
            return Error::invalid("40001", message, Some("Run the statement again."));
        }
        self.in_names(error)
    }

    /// A table that the catalog has no more, if a statement may have failed with that.
    pub(crate) async fn gone(&self, error: &Error) -> Option<Arc<CatalogEntry>> {
        /// What reading files fails with that are being removed.
        const OF_FILES: [&str; 3] = ["58030", "58P01", "XX001"];
        let is_of_files = OF_FILES.contains(&error.report().sqlstate);
        if !is_of_files && self.told_by_id(error).is_none() {
            return None;
        }
        self.catalog.refresh_now().await.ok()?;
        let state = self.catalog.state();
        let mut tables = self.tables();
        tables.find(|table| state.by_id(&table.id).is_none())
    }

    /// An error with the table's name in the place of its id.
    pub(crate) fn in_names(&self, error: Error) -> Error {
        match self.told_by_id(&error) {
            Some(table) => {
                let report = error.report();
                let message = report.message.replace(&table.id, &display_name(&table));
                Error::invalid(report.sqlstate, message, report.hint.as_deref())
            }
            None => error,
        }
    }

    /// The table of which an error tells that its files are gone.
    fn told_by_id(&self, error: &Error) -> Option<Arc<CatalogEntry>> {
        let report = error.report();
        let mut tables = self.tables();
        tables.find(|table| report.sqlstate == "42P01" && report.message.contains(&table.id))
    }

    fn tables(&self) -> impl Iterator<Item = Arc<CatalogEntry>> {
        self.named.iter().flat_map(Named::tables)
    }
}
