//! What a table's log tells of its past: the commits, the state in numbers, the changes of rows.
//!
//! An opened table flows in; plain records and providers flow out. Nothing is changed.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::datasource::TableType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use deltalake::delta_datafusion::DeltaCdfTableProvider;
use futures::StreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::tables::delta_log::{DeltaLog, DeltaVersion, LOG_FOLDER};

/// Commits that are read at a time.
const READS_IN_FLIGHT: usize = 16;

/// One commit of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCommit {
    /// The version that it made.
    pub version: u64,
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What was done, as `WRITE`, `UPDATE`.
    pub operation: String,
    /// The operation's parameters as JSON.
    pub parameters: String,
    /// Data files that it added.
    pub files_added: u64,
    /// Data files that it removed.
    pub files_removed: u64,
}

/// The state of a table in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDetail {
    /// The table's id in its own log.
    pub id: String,
    /// The URL of its folder.
    pub location: String,
    /// The newest version.
    pub version: u64,
    /// When it was created, in milliseconds since 1970, if the log says so.
    pub created_ms: Option<i64>,
    /// The columns that divide its files.
    pub partition_columns: Vec<String>,
    /// Data files.
    pub n_files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows, if the log says so for every file.
    pub n_rows: Option<u64>,
    /// Properties as a JSON object.
    pub properties: String,
    /// The reader version that the protocol demands.
    pub min_reader_version: i32,
    /// The writer version that the protocol demands.
    pub min_writer_version: i32,
}

/// The commits that the log still has, the newest first.
pub(crate) async fn history(log: &DeltaLog) -> Result<Vec<TableCommit>> {
    let newest = log.newest().await?;
    let known = log.known_versions().await?;
    let store = newest.table.object_store();
    let mut reads = futures::stream::iter(known.into_iter().rev())
        .map(|(version, modified_ms)| {
            let store = Arc::clone(&store);
            async move {
                let path = Path::from(format!("{LOG_FOLDER}/{version:020}.json"));
                let text = store.get(&path).await?.bytes().await?;
                commit_of(version, modified_ms, &text)
            }
        })
        .buffered(READS_IN_FLIGHT);
    let mut commits = Vec::new();
    while let Some(commit) = reads.next().await {
        commits.push(commit?);
    }
    Ok(commits)
}

fn commit_of(version: u64, modified_ms: i64, text: &[u8]) -> Result<TableCommit> {
    let mut commit = TableCommit {
        version,
        timestamp_ms: modified_ms,
        operation: String::new(),
        parameters: "{}".into(),
        files_added: 0,
        files_removed: 0,
    };
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let action: Value = serde_json::from_slice(line).map_err(|error| Error::Corrupt {
            file: format!("{LOG_FOLDER}/{version:020}.json"),
            reason: error.to_string(),
        })?;
        commit.files_added += u64::from(action.get("add").is_some());
        commit.files_removed += u64::from(action.get("remove").is_some());
        let Some(info) = action.get("commitInfo") else {
            continue;
        };
        if let Some(at) = info.get("timestamp").and_then(Value::as_i64) {
            commit.timestamp_ms = at;
        }
        if let Some(operation) = info.get("operation").and_then(Value::as_str) {
            operation.clone_into(&mut commit.operation);
        }
        if let Some(parameters) = info.get("operationParameters") {
            commit.parameters = parameters.to_string();
        }
    }
    Ok(commit)
}

/// A version in numbers.
pub(crate) fn detail(version: &DeltaVersion) -> Result<TableDetail> {
    let snapshot = version.snapshot()?;
    let files = version.pinned().files;
    let n_rows: Option<usize> = snapshot
        .log_data()
        .iter()
        .map(|file| file.num_records())
        .sum();
    let properties = version.shape()?.properties();
    Ok(TableDetail {
        id: snapshot.metadata().id().to_owned(),
        location: version.pinned().location,
        version: version.number(),
        created_ms: snapshot.metadata().created_time(),
        partition_columns: snapshot.metadata().partition_columns().to_vec(),
        n_files: files.len() as u64,
        bytes: files.iter().map(|file| file.bytes).sum(),
        n_rows: n_rows.map(|n_rows| n_rows as u64),
        properties: serde_json::json!(properties).to_string(),
        min_reader_version: snapshot.protocol().min_reader_version(),
        min_writer_version: snapshot.protocol().min_writer_version(),
    })
}

/// The changes of rows from one version to another, both included; `None`: to the newest.
///
/// Errors: `UndefinedTableVersion`, `ChangesNotKept`.
pub(crate) async fn changes(
    log: &DeltaLog,
    from: u64,
    to: Option<u64>,
) -> Result<Arc<dyn TableProvider>> {
    let newest = log.newest().await?;
    if !newest.shape()?.keeps_changes() {
        return Err(Error::ChangesNotKept);
    }
    for version in std::iter::once(from).chain(to) {
        log.check_version(version).await?;
    }
    let mut changes = newest.table.clone().scan_cdf().with_starting_version(from);
    if let Some(to) = to {
        changes = changes.with_ending_version(to);
    }
    Ok(Arc::new(Changes(DeltaCdfTableProvider::try_new(changes)?)))
}

/// deltalake's provider, whose plans may have inputs without partitions, which the optimizer cannot sort.
#[derive(Debug)]
struct Changes(DeltaCdfTableProvider);

#[async_trait]
impl TableProvider for Changes {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![
            TableProviderFilterPushDown::Unsupported;
            filters.len()
        ])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let plan = self.0.scan(session, projection, filters, limit).await?;
        Ok(plan.transform_up(without_empty_inputs)?.data)
    }
}

fn without_empty_inputs(
    plan: Arc<dyn ExecutionPlan>,
) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    if plan.downcast_ref::<UnionExec>().is_none() {
        return Ok(Transformed::no(plan));
    }
    let has_partitions =
        |input: &&Arc<dyn ExecutionPlan>| input.output_partitioning().partition_count() > 0;
    let inputs = plan.children().into_iter().filter(has_partitions).cloned();
    let inputs: Vec<Arc<dyn ExecutionPlan>> = inputs.collect();
    Ok(Transformed::yes(match inputs.is_empty() {
        true => Arc::new(EmptyExec::new(plan.schema())),
        false => UnionExec::try_new(inputs)?,
    }))
}
