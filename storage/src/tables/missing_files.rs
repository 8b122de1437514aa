//! Whether the files that a version names are still there.

use std::sync::Arc;

use deltalake::DeltaTable;
use futures::StreamExt as _;
use object_store::ObjectStoreExt as _;

use crate::error::Result;
use crate::tables::delta_files::object_path;

/// Requests at a time.
const CHECKS_IN_FLIGHT: usize = 16;

/// One of some files of a table that its store has no more.
pub(crate) async fn missing(table: &DeltaTable, names: Vec<String>) -> Result<Option<String>> {
    let root = table.object_store();
    let mut checks = futures::stream::iter(names)
        .map(|name| {
            let root = Arc::clone(&root);
            async move {
                let found = root.head(&object_path(&name)).await;
                (name, found)
            }
        })
        .buffer_unordered(CHECKS_IN_FLIGHT);
    while let Some((name, found)) = checks.next().await {
        match found {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(Some(name)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
