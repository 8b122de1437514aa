//! Decides where the models of a plan predict, if `device` is `auto`.
//!
//! In: a physical plan; out: the same plan, whose calls of models know their device. A model that several operators ask
//! predicts where the first of them has it.

use std::any::Any;
use std::sync::Arc;

use auspex_ml::compute::Work;
use auspex_ml::estimator::BesideDevice;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::not_impl_err;
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

/// Plans so many partitions, however many threads there are.
pub(crate) fn with_partitions(options: &mut ConfigOptions, n_partitions: usize) {
    if options.extensions.get::<Threads>().is_none() {
        let n_threads = options.execution.target_partitions;
        options.extensions.insert(Threads { n_threads });
    }
    options.execution.target_partitions = n_partitions;
}

/// How many threads run the partitions of a plan at a time.
fn n_threads(config: &ConfigOptions) -> usize {
    let n_partitions = config.execution.target_partitions;
    let threads = config.extensions.get::<Threads>();
    threads.map_or(n_partitions, |threads| threads.n_threads.min(n_partitions))
}

/// How many threads there are, where the number of partitions does not tell.
#[derive(Debug, Clone)]
struct Threads {
    n_threads: usize,
}

impl ConfigExtension for Threads {
    const PREFIX: &'static str = "plan_threads";
}

impl ExtensionOptions for Threads {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        not_impl_err!("option {key}")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
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
        let n_threads = n_threads(config);
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
                beside_device: BesideDevice {
                    on_cpu: 0,
                    moved: call.model.model.predicted_bytes(),
                },
                call_rows: config.execution.batch_size.get() as u64,
                n_threads: n_threads as u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_beyond_the_threads_are_no_threads() {
        let mut options = ConfigOptions::default();
        options.execution.target_partitions = 2;
        assert_eq!(n_threads(&options), 2);
        with_partitions(&mut options, 64);
        assert_eq!(options.execution.target_partitions, 64);
        assert_eq!(n_threads(&options), 2);
        // Of a plan that is planned once more the threads stay known.
        with_partitions(&mut options, 8);
        assert_eq!(n_threads(&options.clone()), 2);
        with_partitions(&mut options, 1);
        assert_eq!(n_threads(&options), 1);
        assert!(
            options
                .entries()
                .iter()
                .all(|entry| !entry.key.contains("plan_threads"))
        );
    }
}
