//! Attributes the predictions of a fresh model to its features, over the rows that it was judged on.
//!
//! In: the model and the training set; out: the mean magnitudes that `ML.GLOBAL_EXPLAIN` shows. Of many
//! rows a share is enough: means of magnitudes settle long before.

use serde::{Deserialize, Serialize};

use super::carried_model::CarriedModel;
use crate::compute::Compute;
use crate::error::Result;
use crate::estimator::EstimatorSpec;
use crate::explain::GlobalAttributions;
use crate::features::FeatureBlock;
use crate::model::{Model, ModelContext};
use crate::run::TrainingRun;
use crate::training_set::{Part, PartitionStep, TrainingSet, Visit, reduce};

/// Rows that are explained of each chunk at most; a table of a million rows has sixteen chunks.
const ROWS_OF_CHUNK: usize = 2_000;

/// The mean attributions over `part`.
pub(super) async fn explain(
    spec: &EstimatorSpec,
    context: &ModelContext<'_>,
    model: &dyn Model,
    samples: &dyn TrainingSet,
    part: Part,
    run: &TrainingRun,
) -> Result<Option<GlobalAttributions>> {
    let step = ExplainStep {
        model: CarriedModel::new(spec, context, model)?,
    };
    reduce(samples, &step, part, Visit::Once, run).await
}

/// Explains every so many rows of a block.
#[derive(Serialize, Deserialize)]
pub(super) struct ExplainStep {
    model: CarriedModel,
}

impl PartitionStep for ExplainStep {
    type Partial = GlobalAttributions;
    const NAME: &'static str = "training.explain";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<GlobalAttributions> {
        let core = self.model.core()?;
        let context = ModelContext {
            encoder: &core.encoder,
            target: core.target.as_ref(),
            options: &core.options,
        };
        let every = block.n_samples.div_ceil(ROWS_OF_CHUNK).max(1);
        let block = block.every(every);
        let mut sums = GlobalAttributions::default();
        sums.add(&core.model.attributions(&block, &context, compute)?);
        Ok(sums)
    }

    fn merge(&self, into: &mut GlobalAttributions, later: GlobalAttributions) -> Result<()> {
        into.merge(later);
        Ok(())
    }
}
