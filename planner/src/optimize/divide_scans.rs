//! Lets a training read large Parquet files in ranges of rows.
//!
//! In: a finished physical plan; out: the same plan with as many partitions, whose scans of local Parquet files are
//! divided by rows where DataFusion divided them by row groups: more threads get work, and none holds a row group whole.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use auspex_storage::divide_by_rows;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

/// See the module. Runs last, since it changes no partitioning but what the partitions hold.
pub(crate) struct DivideScans {
    runtime: Arc<RuntimeEnv>,
}

impl DivideScans {
    pub(crate) fn new(runtime: Arc<RuntimeEnv>) -> DivideScans {
        DivideScans { runtime }
    }
}

impl Debug for DivideScans {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("DivideScans")
    }
}

impl PhysicalOptimizerRule for DivideScans {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let scan = node.downcast_ref::<DataSourceExec>();
            let scan = scan.and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>);
            Ok(
                match scan.and_then(|(scan, _)| divide_by_rows(scan, &self.runtime)) {
                    Some(divided) => Transformed::yes(DataSourceExec::from_data_source(divided)),
                    None => Transformed::no(node),
                },
            )
        })
        .data()
    }

    fn name(&self) -> &str {
        "divide_scans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
