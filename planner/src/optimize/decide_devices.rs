//! Decides where the models of a plan predict, if `device` is `auto`.
//!
//! In: a physical plan; out: the same plan, whose calls of models know their device. A model that several operators ask
//! predicts where the first of them has it.

use std::sync::Arc;

use auspex_ml::compute::Work;
use auspex_ml::estimator::BesideDevice;
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::explain::Estimate;
use crate::model_calls::for_each_call;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules with [`DecideDevices`] behind all others.
pub(crate) fn with_decided_devices(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.push(Arc::new(DecideDevices));
    rules
}

/// See the module.
#[derive(Debug)]
struct DecideDevices;

impl PhysicalOptimizerRule for DecideDevices {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        for_each_call(&plan, |call| {
            if !call.compute.is_open() || call.model.spec.tags.cpu_only.is_some() {
                return;
            }
            // A scan that predicts has no rows but its own.
            let rows = call.operator.children().first().copied();
            let rows = Estimate::of(rows.unwrap_or(call.operator).as_ref());
            call.compute.settle(&Work {
                n_rows: rows.n_rows.map(|n_rows| n_rows as u64),
                row_bytes: call.model.encoder.schema.sample_bytes() as u64,
                n_passes: 1,
                beside_device: BesideDevice::default(),
                call_rows: config.execution.batch_size.get() as u64,
                n_threads: config.execution.target_partitions as u64,
            });
        })?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "DecideDevices"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
