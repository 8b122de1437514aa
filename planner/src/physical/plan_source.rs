//! The partitions of a physical plan as the samples of a training.
//!
//! In: a plan with its context; out: the rows of each partition, from the first on, as often as they are asked for.

use std::sync::Arc;

use auspex_ml::training::SampleSource;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};

/// The partitions of a physical plan as samples.
pub(crate) struct PlanSource {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) context: Arc<TaskContext>,
}

impl SampleSource for PlanSource {
    fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    fn n_partitions(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }

    fn open(&self, partition: usize) -> DfResult<SendableRecordBatchStream> {
        self.plan.execute(partition, Arc::clone(&self.context))
    }
}
