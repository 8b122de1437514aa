//! Numbers of identity columns and sequences: no two rows get one, whichever server they are written by.
//!
//! A table, a column and a count flow in; numbers flow out. Servers claim ranges by creating numbered objects beside
//! the table's files, each of which begins where the one before it ends; so a number that was claimed is nobody else's,
//! also after a crash. What a server claimed and did not use is a gap.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::error::{Error, Result};
use crate::warehouse::Warehouse;

/// Numbers that are claimed at least at a time: a server that stops loses at most as many.
const CLAIM: i64 = 100;
/// The folder of the claims in a table's folder. Readers of Delta tables pass over names with this first letter.
const FOLDER: &str = "_identity";
/// Lost races before a claim gives up. Each is another server's success.
const MAX_ATTEMPTS: usize = 100;

/// The numbers that this server has claimed and not given yet.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    claimed: Mutex<BTreeMap<(String, String), Range<i64>>>,
}

/// What a claim's object holds.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    first: i64,
    end: i64,
    /// Unlike every other claim: a store that asks whether an object in its way is its own compares bytes.
    claim: String,
}

impl Identities {
    /// The next numbers of a sequence of a table, in order.
    pub(crate) async fn take(
        &self,
        warehouse: &Warehouse,
        id: &str,
        sequence: &str,
        count: usize,
    ) -> Result<Vec<i64>> {
        let wanted = i64::try_from(count).map_err(|_| exhausted(sequence))?;
        // Held while claiming, so that sessions of one server do not claim more than they need.
        let mut claimed = self.claimed.lock().await;
        let range = claimed
            .entry((id.to_owned(), sequence.to_owned()))
            .or_insert(0..0);
        let mut numbers = Vec::with_capacity(count);
        let here = (range.end - range.start).min(wanted);
        numbers.extend(range.start..range.start + here);
        range.start += here;
        let missing = wanted - here;
        if missing > 0 {
            let wanted = missing.max(CLAIM);
            let next = |first: i64| Some(first..first.checked_add(wanted)?);
            let new = claim(warehouse.store(), id, sequence, next).await?;
            numbers.extend(new.start..new.start + missing);
            *range = new.start + missing..new.end;
        }
        Ok(numbers)
    }

    /// How many numbers of a sequence were given, as far as this server knows: all that another one has claimed, and those
    /// that were given here.
    pub(crate) async fn taken(
        &self,
        warehouse: &Warehouse,
        id: &str,
        sequence: &str,
    ) -> Result<i64> {
        let claimed = self.claimed.lock().await;
        let here = claimed.get(&(id.to_owned(), sequence.to_owned()));
        if let Some(range) = here.filter(|range| !range.is_empty()) {
            return Ok(range.start - 1);
        }
        let (_, first) = next_claim(warehouse.store(), &folder(id, sequence)).await?;
        Ok(first - 1)
    }

    /// Lets the numbers of a sequence go on at another one. Other servers first give what they have claimed.
    pub(crate) async fn go_on(
        &self,
        warehouse: &Warehouse,
        id: &str,
        sequence: &str,
        next: i64,
    ) -> Result<()> {
        let mut claimed = self.claimed.lock().await;
        claim(warehouse.store(), id, sequence, |_| Some(next..next)).await?;
        claimed.remove(&(id.to_owned(), sequence.to_owned()));
        Ok(())
    }
}

fn folder(id: &str, sequence: &str) -> Path {
    Path::from_iter(["tables", id, FOLDER, sequence])
}

/// The number of the last claim of a sequence, and where the next one begins.
async fn next_claim(store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<(Option<u64>, i64)> {
    let files: Vec<_> = store.list(Some(folder)).try_collect().await?;
    let number = |file: &object_store::ObjectMeta| -> Option<u64> {
        let name = file.location.filename()?;
        name.strip_suffix(".json")?.parse().ok()
    };
    let Some(last) = files.iter().filter_map(number).max() else {
        return Ok((None, 1));
    };
    let path = folder.clone().join(file_name(last));
    let bytes = store.get(&path).await?.bytes().await?;
    let claim: Claim = serde_json::from_slice(&bytes).map_err(|e| Error::Internal {
        what: format!("cannot read \"{path}\": {e}"),
    })?;
    Ok((Some(last), claim.end))
}

/// Claims the numbers that `range` makes of the first one that is free.
async fn claim(
    store: &Arc<dyn ObjectStore>,
    id: &str,
    sequence: &str,
    range: impl Fn(i64) -> Option<Range<i64>>,
) -> Result<Range<i64>> {
    let folder = folder(id, sequence);
    for _ in 0..MAX_ATTEMPTS {
        let (last, first) = next_claim(store, &folder).await?;
        let Range { start: first, end } = range(first).ok_or_else(|| exhausted(sequence))?;
        let claim = Claim {
            first,
            end,
            claim: uuid::Uuid::new_v4().to_string(),
        };
        let claim = serde_json::to_vec(&claim).map_err(|e| Error::Internal {
            what: format!("cannot write a claim: {e}"),
        })?;
        let path = folder
            .clone()
            .join(file_name(last.map_or(1, |last| last + 1)));
        match store
            .put_opts(&path, claim.into(), PutMode::Create.into())
            .await
        {
            Ok(_) => return Ok(first..end),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Conflict {
        object: format!("the numbers of column \"{sequence}\""),
    })
}

fn file_name(number: u64) -> String {
    format!("{number:020}.json")
}

fn exhausted(sequence: &str) -> Error {
    Error::IdentityExhausted {
        column: sequence.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_number_is_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(folder.path().to_str().unwrap())
            .await
            .unwrap();
        let servers = [Identities::default(), Identities::default()];
        let mut given = Vec::new();
        for round in 0..30 {
            let server = &servers[round % 2];
            let count = if round == 7 { 1_000 } else { 9 };
            given.extend(server.take(&warehouse, "t", "id", count).await.unwrap());
        }
        let n = given.len();
        assert_eq!(given[..9], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), n);
        assert_eq!(
            servers[0].take(&warehouse, "t", "other", 1).await.unwrap(),
            [1]
        );
        assert_eq!(
            servers[0].take(&warehouse, "u", "id", 1).await.unwrap(),
            [1]
        );
        assert_eq!(servers[0].taken(&warehouse, "u", "id").await.unwrap(), 1);
        assert_eq!(servers[0].taken(&warehouse, "v", "id").await.unwrap(), 0);
        let next = servers[0].go_on(&warehouse, "u", "id", -4);
        next.await.unwrap();
        assert_eq!(servers[0].taken(&warehouse, "u", "id").await.unwrap(), -5);
        for server in &servers {
            let taken = server.take(&warehouse, "u", "id", 1).await.unwrap();
            assert!(taken == [-4] || taken == [96], "{taken:?}");
        }
    }
}
