//! Keeping a table in shape: fewer and better ordered files, an earlier state again.
//!
//! A table and what to do with it flow in; commits that change no row, or bring an earlier version's rows back, flow out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BinaryArray};
use datafusion::arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, ident,
};
use datafusion::physical_plan::execute_stream;
use deltalake::kernel::Action;
use deltalake::protocol::DeltaOperation;

use crate::error::{Error, Result};
use crate::tables::delta_log::{DeltaLog, DeltaVersion, Rebase, VersionSpec};
use crate::tables::delta_scan::DeltaScan;
use crate::tables::delta_write::{DeltaSink, in_order};
use crate::tables::features::check_features;
use crate::tables::rewrite::removals;
use crate::tables::row_checks::RowChecks;

/// Files are put together up to about this size.
const TARGET_BYTES: u64 = 256 << 20;
/// How often a maintenance is begun anew on a table that others change.
const MAX_ROUNDS: usize = 10;
/// Of each column of a Z-order key, the bytes that count.
const KEY_BYTES: usize = 16;

/// What `OPTIMIZE` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Optimized {
    /// Files that are gone.
    pub removed: u64,
    /// Files in their place.
    pub added: u64,
}

/// Which files `OPTIMIZE` rewrites, and how.
#[derive(Debug, Clone, Default)]
pub struct OptimizeOptions {
    /// Only files whose partition values pass this.
    pub filter: Option<Expr>,
    /// Orders rows along a curve through these columns; empty: only puts small files together.
    pub zorder: Vec<String>,
}

/// Rewrites files without changing rows.
///
/// Errors: `NotPlainTable`, `NotPartitionFilter`, `Conflict`, those of reading and writing.
pub(crate) async fn optimize(
    log: &Arc<DeltaLog>,
    options: &OptimizeOptions,
    session: &dyn Session,
) -> Result<Optimized> {
    let _turn = log.turn().await;
    for _ in 0..MAX_ROUNDS {
        let version = log.newest().await?;
        match optimize_once(log, &version, options, session).await {
            Err(Error::Conflict { .. }) => {}
            other => return other,
        }
    }
    Err(Error::Conflict {
        object: "a table".into(),
    })
}

async fn optimize_once(
    log: &DeltaLog,
    version: &DeltaVersion,
    options: &OptimizeOptions,
    session: &dyn Session,
) -> Result<Optimized> {
    check_features(version.snapshot()?.protocol())?;
    let scan = version.scan()?.ok_or(Error::NotPlainTable)?;
    let files = match &options.filter {
        Some(filter) if !scan.is_of_partitions(filter) => return Err(Error::NotPartitionFilter),
        Some(filter) => scan.surviving(session, std::slice::from_ref(filter))?,
        None => (0..scan.n_files()).collect(),
    };
    let bins = bins(&scan, files, !options.zorder.is_empty());
    if bins.is_empty() {
        return Ok(Optimized::default());
    }
    let n_threads = session.config().target_partitions().max(1);
    let shape = version.shape()?;
    let sink = DeltaSink::new(version, &shape, Arc::new(RowChecks::default()), n_threads)?;
    let mut adds = Vec::new();
    for some in bins.chunks(n_threads) {
        let mut streams = Vec::with_capacity(some.len());
        for bin in some {
            let rows = scan.clone().of_files(bin.clone()).in_one_group();
            streams.push(ordered(rows, &options.zorder, session).await?);
        }
        adds.extend(sink.write(streams).await?.0);
    }
    for add in &mut adds {
        add.data_change = false;
    }
    let rewritten: BTreeSet<&str> = bins.iter().flatten().map(|file| scan.name(*file)).collect();
    let mut actions = removals(version, false, |name| rewritten.contains(name))?;
    let done = Optimized {
        removed: actions.len() as u64,
        added: adds.len() as u64,
    };
    actions.extend(in_order(adds, version).into_iter().map(Action::Add));
    let operation = DeltaOperation::Optimize {
        predicate: options.filter.as_ref().map(ToString::to_string),
        target_size: TARGET_BYTES as i64,
    };
    log.commit_written(version, actions, operation, Rebase::AddedRows)
        .await?;
    Ok(done)
}

/// Runs of files that become one each: of one partition, in order; for a new order of rows all of the partition.
fn bins(scan: &DeltaScan, files: Vec<usize>, reorders: bool) -> Vec<Vec<usize>> {
    let mut partitions: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for file in files {
        partitions
            .entry(scan.partition_key(file))
            .or_default()
            .push(file);
    }
    let mut bins = Vec::new();
    for files in partitions.into_values() {
        if reorders {
            bins.push(files);
            continue;
        }
        let mut bin = Vec::new();
        let mut bytes = 0;
        for file in files {
            let size = scan.bytes(file);
            if bytes + size > TARGET_BYTES && !bin.is_empty() {
                bins.push(std::mem::take(&mut bin));
                bytes = 0;
            }
            bin.push(file);
            bytes += size;
        }
        bins.push(bin);
    }
    bins.retain(|bin| bin.len() > 1 || (reorders && !bin.is_empty()));
    bins
}

/// The rows of a scan: in its order, or along the curve through some columns.
async fn ordered(
    scan: DeltaScan,
    zorder: &[String],
    session: &dyn Session,
) -> Result<SendableRecordBatchStream> {
    if zorder.is_empty() {
        let plan = scan.scan(session, None, &[], None).await?;
        return Ok(execute_stream(plan, session.task_ctx())?);
    }
    let columns: Vec<Expr> = scan
        .schema()
        .fields()
        .iter()
        .map(|field| ident(field.name()))
        .collect();
    let key = ScalarUDF::from(ZOrderKey::new());
    let key = key.call(zorder.iter().map(ident).collect());
    let source = provider_as_source(Arc::new(scan));
    let plan = LogicalPlanBuilder::scan("rows", source, None)?
        .sort(vec![key.sort(true, false)])?
        .project(columns)?
        .build()?;
    let plan = session.create_physical_plan(&plan).await?;
    Ok(execute_stream(plan, session.task_ctx())?)
}

/// The place of a row on the curve: the bits of its columns' order-keeping forms, taken in turns.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ZOrderKey {
    signature: Signature,
}

impl ZOrderKey {
    fn new() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for ZOrderKey {
    fn name(&self) -> &str {
        "zorder_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let n_rows = args.number_rows;
        let columns: Vec<ArrayRef> = args
            .args
            .iter()
            .map(|arg| arg.to_array(n_rows))
            .collect::<DfResult<_>>()?;
        Ok(ColumnarValue::Array(zorder_key(&columns, n_rows)?))
    }
}

fn zorder_key(columns: &[ArrayRef], n_rows: usize) -> DfResult<ArrayRef> {
    let n_columns = columns.len();
    let width = n_columns * KEY_BYTES;
    let mut keys = vec![0_u8; n_rows * width];
    for (place, column) in columns.iter().enumerate() {
        let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
        let rows = converter.convert_columns(std::slice::from_ref(column))?;
        for (row, key) in rows.iter().zip(keys.chunks_exact_mut(width)) {
            for (idx, byte) in row.as_ref().iter().take(KEY_BYTES).enumerate() {
                for bit in 0..8 {
                    let to = (idx * 8 + bit) * n_columns + place;
                    key[to / 8] |= ((byte >> (7 - bit)) & 1) << (7 - to % 8);
                }
            }
        }
    }
    let offsets: ScalarBuffer<i32> = (0..=n_rows).map(|row| (row * width) as i32).collect();
    let offsets = OffsetBuffer::new(offsets);
    Ok(Arc::new(BinaryArray::try_new(
        offsets,
        Buffer::from_vec(keys),
        None,
    )?))
}

/// Makes the table what it was; returns the new version's number.
///
/// Errors: `UndefinedTableVersion`, `VersionVacuumed`, `AppendOnly`, `Conflict`.
pub(crate) async fn restore(log: &Arc<DeltaLog>, spec: VersionSpec) -> Result<u64> {
    let _turn = log.turn().await;
    for _ in 0..MAX_ROUNDS {
        let newest = log.newest().await?;
        if newest.shape()?.only_appends() {
            return Err(Error::AppendOnly);
        }
        let old = log.at(spec).await?;
        let restored = restore_once(log, &newest, &old).await;
        match restored {
            Err(Error::Conflict { .. }) => {}
            other => return other,
        }
    }
    Err(Error::Conflict {
        object: "a table".into(),
    })
}

async fn restore_once(log: &DeltaLog, newest: &DeltaVersion, old: &DeltaVersion) -> Result<u64> {
    let names = |version: &DeltaVersion| -> BTreeSet<String> {
        let files = version.pinned().files.into_iter();
        files.map(|file| file.path).collect()
    };
    let (there, wanted) = (names(newest), names(old));
    let mut actions = removals(newest, true, |name| !wanted.contains(name))?;
    let log_data = old.snapshot()?.log_data();
    for file in log_data.iter() {
        if !there.contains(file.path().as_ref()) {
            #[expect(deprecated, reason = "the only way to the whole action of a file")]
            actions.push(Action::Add(file.add_action()));
        }
    }
    let shape = old.shape()?;
    if shape != newest.shape()? {
        actions.extend(shape.changing(newest.snapshot()?)?);
    }
    let operation = DeltaOperation::Restore {
        version: Some(old.number()),
        datetime: None,
    };
    log.commit(newest, actions, operation, Rebase::Nothing)
        .await
}
