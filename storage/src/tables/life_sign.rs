//! Signs that the session of a temporary table is alive.
//!
//! The catalog does not name temporary tables, and another process cannot ask the sessions of a server. So a server writes
//! a file without content into the folders of those that its sessions have, again and again: `auspex catalog gc` spares
//! folders with a young file, and `check` does not count them. What a server that died left has no young file soon.

use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};

use crate::catalog::LEAST_RECORD_AGE;
use crate::error::Result;

/// How often signs are to be given: several times before any bound for garbage.
pub const LIFE_SIGN_INTERVAL: Duration = Duration::from_secs(LEAST_RECORD_AGE.as_secs() / 4);

/// The name of the file; readers of Delta tables pass over names that begin so.
const SIGN: &str = "_session";

/// Gives the table of an id a sign.
pub(crate) async fn give(store: &dyn ObjectStore, id: &str) -> Result<()> {
    let sign = Path::from_iter(["tables", id, SIGN]);
    store.put(&sign, bytes::Bytes::new().into()).await?;
    Ok(())
}

/// Whether the files of a folder tell that a session has its table.
pub(crate) fn is_alive(files: &[ObjectMeta]) -> bool {
    let is_sign = |file: &&ObjectMeta| file.location.filename() == Some(SIGN);
    let age = |file: &ObjectMeta| (chrono::Utc::now() - file.last_modified).to_std();
    let mut signs = files.iter().filter(is_sign);
    // A sign of the future, by the clock of this machine, is young.
    signs.any(|sign| age(sign).map_or(true, |age| age < LEAST_RECORD_AGE))
}
