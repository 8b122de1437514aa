//! Rows that stay of files that a statement rewrites, copied by other machines.
//!
//! The marks of the rows that are replaced flow in; files with all others flow out, which no log names, once as many rows
//! are in them as stay. Which rows of a file are read goes with its scan, so that nobody numbers rows elsewhere.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider as _};
use datafusion::error::Result as DfResult;
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::physical_plan::ExecutionPlan;
use deltalake::kernel::Add;

use crate::error::{Error, Result};
use crate::tables::append::{WrittenFiles, files_of, rows_of};
use crate::tables::delta_commit::discard;
use crate::tables::delta_log::DeltaVersion;
use crate::tables::delta_scan::DeltaScan;
use crate::tables::row_marks::Marks;

/// What is left of fewer bytes goes into the file of the new rows.
pub(crate) const SMALL_BYTES: u64 = 8 << 20;
/// Rows in so many runs between replaced ones are copied where these are known: to tell of them takes too long.
const MAX_RUNS: usize = 100_000;

/// Somebody who may copy rows of a table, on whichever machine.
#[async_trait]
pub trait RowCopier: Debug + Send + Sync {
    /// Writes the rows of a scan into files for a version of the table, as [`Append::write_one`](crate::Append::write_one)
    /// does. `None`: nobody gains by it, and nothing was written.
    async fn copy(
        &self,
        version: u64,
        rows: Arc<dyn ExecutionPlan>,
    ) -> DfResult<Option<Vec<WrittenFiles>>>;
}

/// Lets somebody else copy what stays of the files with marks. `None`: nothing was done, since it is little, or `copier`
/// gains nothing.
pub(crate) async fn copy_elsewhere(
    copier: &dyn RowCopier,
    (version, scan): (&DeltaVersion, &DeltaScan),
    marks: &Marks,
    session: &dyn Session,
) -> Result<Option<Vec<Add>>> {
    let Some((kept, n_kept)) = kept_rows(scan, marks) else {
        return Ok(None);
    };
    let bytes: u64 = kept.keys().map(|file| scan.bytes(*file)).sum();
    if bytes < SMALL_BYTES {
        return Ok(None);
    }
    let files = kept.keys().copied().collect();
    let rows = scan.clone().of_files(files).of_rows(kept);
    let rows = rows.scan(session, None, &[], None).await?;
    let Some(written) = copier.copy(version.number(), rows).await? else {
        return Ok(None);
    };
    let n_copied = rows_of(&written);
    let copies = files_of(written);
    if n_copied != n_kept {
        discard_copies(version, &copies).await;
        return Err(Error::Internal {
            what: format!("{n_copied} of {n_kept} rows were copied"),
        });
    }
    Ok(Some(copies))
}

/// Removes copies that no commit will name.
pub(crate) async fn discard_copies(version: &DeltaVersion, copies: &[Add]) {
    let paths: Vec<String> = copies.iter().map(|copy| copy.path.clone()).collect();
    discard(version.table.object_store().as_ref(), &paths).await;
}

/// The rows that stay of each file of which some do, and their number; `None`: they cannot be told, or only at length.
fn kept_rows(scan: &DeltaScan, marks: &Marks) -> Option<(BTreeMap<usize, RowSelection>, u64)> {
    let mut kept = BTreeMap::new();
    let (mut n_kept, mut n_runs) = (0, 0);
    for file in marks.files() {
        let n_rows = scan.n_rows(file)?;
        let n_left = n_rows.checked_sub(marks.count(file))?;
        if n_left == 0 {
            continue;
        }
        let runs = marks.runs(file, n_rows, MAX_RUNS - n_runs)?;
        n_runs += runs.len();
        n_kept += n_left as u64;
        kept.insert(file, RowSelection::from(runs));
    }
    Some((kept, n_kept))
}
