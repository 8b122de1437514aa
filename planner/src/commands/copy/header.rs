//! `COPY … FROM 'file' (HEADER MATCH)`: the first line of a CSV file must name the columns that are filled.
//!
//! In: the file as a table and the columns' names; out: the error that PostgreSQL gives where the line has others.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Definition};

use crate::copy_options::header_fault;
use crate::error::{Error, Result};
use crate::session::Session;

/// Fails at the first name that is another one.
pub(super) async fn check_header(
    session: &Arc<Session>,
    file: &CatalogEntry,
    columns: &[String],
) -> Result<()> {
    let mut file = file.clone();
    if let Definition::ExternalTable(definition) = &mut file.definition {
        // Columns that nobody declares are named by the header. A text for NULL is a name like others.
        definition.schema = None;
        definition.options.remove("null");
        let n_rows = "1".to_owned();
        definition.options.insert("infer_rows".to_owned(), n_rows);
    }
    let state = session.state(None);
    let found = session.engine.tables.provider(&file, &state).await?;
    let found = found.schema();
    let names = found.fields().iter();
    let header: Vec<Option<&[u8]>> = names.map(|field| Some(field.name().as_bytes())).collect();
    match header_fault(&header, columns) {
        Some(message) => Err(Error::invalid("22P04", message, None)),
        None => Ok(()),
    }
}
