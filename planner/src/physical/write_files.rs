//! Writes the rows of a plan into files of a managed table, on whichever machine a partition of them is.
//!
//! In: rows as the table has them; out: a row a partition, which tells what was written, and where it belongs in the order
//! of the rows. No log names the files before the machine that runs the statement has all of these rows.

use std::fmt::Formatter;
use std::sync::Arc;

use auspex_storage::{Append, RowChecks, Tables, WrittenFiles};
use datafusion::arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    ExecutionPlanProperties as _, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use datafusion_distributed::DistributedTaskContext;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};

/// The table that rows go into.
#[derive(Debug, Clone)]
pub(crate) struct WriteTarget {
    pub(crate) id: String,
    /// The version of its log with whose definition files are written.
    pub(crate) version: u64,
    /// What rows must fulfil, and what messages call the table.
    pub(crate) checks: Arc<RowChecks>,
}

/// Writes rows into files.
#[derive(Debug)]
pub(crate) struct WriteFilesExec {
    input: Arc<dyn ExecutionPlan>,
    tables: Arc<Tables>,
    target: WriteTarget,
    /// What all partitions of this machine write for, once the first has begun.
    append: Arc<OnceCell<Append>>,
    properties: Arc<PlanProperties>,
}

impl WriteFilesExec {
    pub(crate) fn new(
        input: Arc<dyn ExecutionPlan>,
        tables: Arc<Tables>,
        target: WriteTarget,
    ) -> WriteFilesExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(output_schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        WriteFilesExec {
            input,
            tables,
            target,
            append: Arc::default(),
            properties: Arc::new(properties),
        }
    }

    pub(crate) fn target(&self) -> &WriteTarget {
        &self.target
    }

    /// The columns of the rows that it takes.
    pub(crate) fn input_schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

fn output_schema() -> SchemaRef {
    let place = Field::new("place", DataType::UInt64, false);
    let files = Field::new("files", DataType::Utf8, false);
    Arc::new(Schema::new(vec![place, files]))
}

fn output_row(place: u64, files: &WrittenFiles) -> DfResult<RecordBatch> {
    let files = serde_json::to_string(files);
    let files = files.map_err(|error| DataFusionError::External(Box::new(error)))?;
    let place: ArrayRef = Arc::new(UInt64Array::from(vec![place]));
    let files: ArrayRef = Arc::new(StringArray::from(vec![files]));
    Ok(RecordBatch::try_new(output_schema(), vec![place, files])?)
}

/// What the rows of the operator tell, in the order of the rows that were written.
pub(crate) fn files_written(batches: &[RecordBatch]) -> Result<Vec<WrittenFiles>> {
    let mut written = Vec::new();
    for batch in batches {
        let places = batch.column(0).as_primitive::<UInt64Type>().values();
        let texts = batch.column(1).as_string::<i32>();
        for (place, text) in places.iter().zip(texts) {
            let files = serde_json::from_str(text.unwrap_or_default());
            let files: WrittenFiles = files.map_err(|error| {
                Error::invalid(
                    "XX000",
                    format!("what a writer of files tells is damaged: {error}"),
                    None,
                )
            })?;
            written.push((*place, files));
        }
    }
    written.sort_by_key(|(place, _)| *place);
    Ok(written.into_iter().map(|(_, files)| files).collect())
}

impl DisplayAs for WriteFilesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteFilesExec")?;
        match self.target.checks.relation.as_str() {
            "" => Ok(()),
            relation => write!(f, ": table={}.{relation}", self.target.checks.schema),
        }
    }
}

impl ExecutionPlan for WriteFilesExec {
    fn name(&self) -> &str {
        "WriteFilesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        for (_, condition) in &self.target.checks.checks {
            if f(condition)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children
            .pop()
            .ok_or_else(|| DataFusionError::Internal("WriteFilesExec has one input".to_owned()))?;
        let (tables, target) = (Arc::clone(&self.tables), self.target.clone());
        Ok(Arc::new(WriteFilesExec::new(input, tables, target)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, anew)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let task = DistributedTaskContext::from_ctx(&context);
        // The parts of a scan are dealt out to the tasks in turn.
        let place = (partition * task.task_count + task.task_index) as u64;
        let rows = self.input.execute(partition, context)?;
        let n_writers = self.input.output_partitioning().partition_count();
        let order = self.input.output_ordering();
        let ordered_by = order.and_then(|order| order.first().expr.downcast_ref::<Column>());
        let writers = (n_writers, ordered_by.map(Column::index));
        let (tables, target) = (Arc::clone(&self.tables), self.target.clone());
        let append = Arc::clone(&self.append);
        let written = async move {
            let join = || Box::pin(tables.join_append(&target.id, target.version));
            let append = append.get_or_try_init(join).await.map_err(Error::from)?;
            let files = append.write_one(rows, Arc::clone(&target.checks), writers);
            let files = Box::pin(files).await.map_err(Error::from)?;
            output_row(place, &files)
        };
        let written = futures::stream::once(written);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            output_schema(),
            written,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_in_the_order_of_the_rows() {
        let files = |n_rows: u64| -> WrittenFiles {
            serde_json::from_value(serde_json::json!({"adds": [], "n_rows": n_rows})).unwrap()
        };
        let rows = [(2, 20), (0, 10), (1, 30)];
        let batches = rows.map(|(place, n_rows)| output_row(place, &files(n_rows)).unwrap());
        let written = files_written(&batches).unwrap();
        let written = serde_json::to_value(&written).unwrap();
        let n_rows: Vec<u64> = written
            .as_array()
            .unwrap()
            .iter()
            .map(|files| files["n_rows"].as_u64().unwrap())
            .collect();
        assert_eq!(n_rows, [10, 30, 20]);
        let damaged = output_row(0, &files(1)).unwrap();
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["{"]));
        let columns = vec![Arc::clone(damaged.column(0)), texts];
        let damaged = RecordBatch::try_new(output_schema(), columns).unwrap();
        assert!(files_written(&[damaged]).is_err());
    }
}
