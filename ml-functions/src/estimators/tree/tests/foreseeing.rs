//! What the pass that ends a tree tells of the next gradients: bounds that hold, and hardly more than they find.

use std::any::Any;

use super::boosting::mixed;
use super::*;
use crate::estimators::tree::driver::Pass;
use crate::estimators::tree::grow_step::GrowPartial;
use crate::estimators::tree::next_tree::NextTreeStep;
use crate::estimators::tree::objective::BlockScores;
use crate::estimators::tree::score_step::Scored;
use crate::training_set::{Part, StateStep};

/// Passes that look at each scale beside the gradients that it was for.
struct Checking {
    chunks: Chunks,
    n_checked: Mutex<usize>,
}

impl Checking {
    fn check<S: StateStep<State = TreeChunk>>(&self, step: &S, partial: &S::Partial) {
        let (step, partial): (&dyn Any, &dyn Any) = (step, partial);
        let Some(step) = step.downcast_ref::<NextTreeStep>() else {
            return;
        };
        let (scored, _) = partial.downcast_ref::<(Scored, GrowPartial)>().unwrap();
        let quantization = step.score.quantization.as_ref().unwrap();
        let limits = match quantization.wide {
            true => [2_147_483_647.0, 4_294_967_295.0],
            false => [32_767.0, 65_535.0],
        };
        let scaled = scored.maxima.iter().zip(&quantization.scales);
        for ((greatest, scale), limit) in scaled.zip(limits) {
            let greatest = greatest * scale;
            assert!(greatest <= limit, "{greatest} {quantization:?}");
            // Half of it for a power of two, and an eighth for not knowing.
            assert!(2.3 * greatest > limit, "{greatest} {quantization:?}");
        }
        *self.n_checked.lock().unwrap() += 1;
    }
}

impl Pass for Checking {
    async fn state_pass<S: StateStep<State = TreeChunk>>(
        &self,
        part: Part,
        step: &S,
    ) -> Result<S::Partial> {
        let partial = self.chunks.state_pass(part, step).await?;
        self.check(step, &partial);
        Ok(partial)
    }

    async fn both_parts<T, E>(
        &self,
        training: &T,
        evaluation: &E,
    ) -> Result<(T::Partial, E::Partial)>
    where
        T: StateStep<State = TreeChunk>,
        E: StateStep<State = TreeChunk>,
    {
        let partials = self.chunks.both_parts(training, evaluation).await?;
        self.check(training, &partials.0);
        Ok(partials)
    }

    fn threads(&self) -> usize {
        self.chunks.threads()
    }
}

/// Trains on so many rows, and looks at the scale of each iteration.
fn checked(n_rows: usize, objective: Objective, n_parallel: usize) {
    let mut table = mixed(n_rows, 3);
    if matches!(objective, Objective::Poisson | Objective::Tweedie { .. }) {
        table
            .labels
            .iter_mut()
            .for_each(|y| *y = y.max(0.0).floor());
    }
    let parameters = TreeParameters {
        max_iterations: 5,
        num_parallel_tree: n_parallel,
        min_rel_progress: None,
        // So that rows outside the sample walk.
        subsample: 0.7,
        ..TreeParameters::boosted(objective)
    };
    let (bins, ensemble, chunks) = table.begun(Some(&mixed(100, 4)), objective);
    let passes = Checking {
        chunks,
        n_checked: Mutex::default(),
    };
    let mut ignored = |_| Ok(());
    let boosted = boost(&passes, &parameters, &bins, ensemble, &mut ignored);
    assert_eq!(complete(boosted).unwrap().trees.len(), 5 * n_parallel);
    assert_eq!(passes.n_checked.into_inner().unwrap(), 5, "{objective:?}");
}

#[test]
fn scales_hold_the_next_gradients() {
    let variance_power = 1.3;
    for objective in [
        Objective::SquaredError,
        Objective::Huber { slope: 0.5 },
        Objective::Poisson,
        Objective::Tweedie { variance_power },
    ] {
        checked(2000, objective, 1);
        checked(2000, objective, 3);
    }
    // Of 16 bits, so that the values of rounded gradients are less near.
    checked(70_000, Objective::SquaredError, 1);
    checked(70_000, Objective::Poisson, 1);
}

#[test]
fn bounds_hold_for_scores_nearby() {
    let n = 500;
    let labels: Vec<f64> = draws(n, 1).iter().map(|y| (y * 9.0).floor()).collect();
    let weights: Vec<f64> = draws(n, 2).iter().map(|w| 3.0 * w).collect();
    let scores: Vec<f64> = draws(n, 3).iter().map(|score| score * 4.0 - 1.0).collect();
    let moves = draws(n, 4);
    let variance_power = 1.7;
    for objective in [
        Objective::SquaredError,
        Objective::Huber { slope: 0.2 },
        Objective::Poisson,
        Objective::Tweedie { variance_power },
    ] {
        let maxima = |scores: &[f64]| {
            let (mut g, mut h) = (vec![0.0; n], vec![0.0; n]);
            let block = BlockScores {
                labels: &labels,
                weights: Some(&weights),
                scores,
            };
            objective.gradients(block, &mut g, &mut h);
            [g, h].map(|values| values.iter().fold(0.0f64, |max, x| max.max(x.abs())))
        };
        let here = maxima(&scores);
        assert_eq!(objective.bounds_near(here, 0.0), Some(here));
        for off in [1e-12, 1e-6, 1e-3] {
            let bounds = objective.bounds_near(here, off).unwrap();
            // All up, all down, and here and there.
            for moved in 0..3 {
                let by = |row: usize| [off, -off, off * (2.0 * moves[row] - 1.0)][moved];
                let there: Vec<f64> = (0..n).map(|row| scores[row] + by(row)).collect();
                let found = maxima(&there);
                for of in 0..2 {
                    assert!(
                        found[of] <= bounds[of],
                        "{objective:?} {found:?} {bounds:?}"
                    );
                    assert!(bounds[of] <= here[of] * 1.2, "{objective:?} {bounds:?}");
                }
            }
        }
        assert_eq!(objective.bounds_near(here, 1e3), None, "{objective:?}");
    }
}
