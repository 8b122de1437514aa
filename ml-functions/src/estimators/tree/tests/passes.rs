//! How many passes a tree takes, which is how often a training on several machines waits for all of them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::boosting::{binary, mixed};
use super::*;
use crate::estimator::Estimator;
use crate::estimators::tree::boosted_tree::{BOOSTED_TREE_CLASSIFIER, BOOSTED_TREE_REGRESSOR};
use crate::estimators::tree::driver::Pass;
use crate::options::Options;
use crate::training::SampleShape;
use crate::training_set::{Part, StateStep};

/// Passes that are counted.
struct Counting {
    chunks: Chunks,
    n_passes: AtomicU64,
}

impl Pass for Counting {
    fn state_pass<S: StateStep<State = TreeChunk>>(
        &self,
        part: Part,
        step: &S,
    ) -> impl Future<Output = Result<S::Partial>> + Send {
        self.n_passes.fetch_add(1, Ordering::Relaxed);
        self.chunks.state_pass(part, step)
    }

    fn both_parts<T, E>(
        &self,
        training: &T,
        evaluation: &E,
    ) -> impl Future<Output = Result<(T::Partial, E::Partial)>> + Send
    where
        T: StateStep<State = TreeChunk>,
        E: StateStep<State = TreeChunk>,
    {
        self.n_passes.fetch_add(1, Ordering::Relaxed);
        self.chunks.both_parts(training, evaluation)
    }

    fn threads(&self) -> usize {
        self.chunks.threads()
    }
}

/// Labels of counts and amounts.
fn positive(table: Table) -> Table {
    let labels = table.labels.iter().map(|y| y.max(0.0).floor()).collect();
    Table { labels, ..table }
}

/// The passes of a training; no node has so few rows that they are gathered.
fn counted(tables: &[Table; 2], objective: Objective, n_parallel: usize, n: usize) -> u64 {
    let parameters = TreeParameters {
        max_iterations: n,
        num_parallel_tree: n_parallel,
        min_rel_progress: None,
        bundles: false,
        gather_rows: 0,
        ..TreeParameters::boosted(objective)
    };
    let [table, evaluation] = tables;
    let (bins, ensemble, chunks) = table.begun(Some(evaluation), objective);
    let passes = Counting {
        chunks,
        n_passes: AtomicU64::new(0),
    };
    let mut ignored = |_| Ok(());
    let boosted = boost(&passes, &parameters, &bins, ensemble, &mut ignored);
    assert_eq!(complete(boosted).unwrap().trees.len(), n * n_parallel);
    passes.n_passes.into_inner()
}

/// What `EXPLAIN` says of a training.
fn estimated(estimator: &dyn Estimator, options: &Value, n_parallel: usize, n: usize) -> u64 {
    let mut written = options.as_object().unwrap().clone();
    written.insert("num_parallel_tree".to_owned(), json!(n_parallel));
    written.insert("max_iterations".to_owned(), json!(n));
    let options = Options::check(estimator.spec(), &written).unwrap().0;
    let shape = SampleShape {
        n_numeric: 5,
        n_categorical: 1,
        sample_bytes: 44,
    };
    estimator.passes(&options, &shape).kept
}

#[test]
fn a_tree_of_depth_six_takes_seven_passes() {
    let tables = [binary(4000, 3), binary(300, 4)];
    let of = |n| counted(&tables, Objective::Logistic, 1, n);
    // One for the losses before any tree, one that begins the first.
    assert_eq!(of(2), 2 + 2 * 7);
    assert_eq!(of(5), 2 + 5 * 7);
}

#[test]
fn whatever_is_minimised() {
    let numbers = [mixed(4000, 3), mixed(300, 4)];
    let amounts = [positive(mixed(4000, 3)), positive(mixed(300, 4))];
    let variance_power = 1.5;
    for (tables, objective) in [
        (&numbers, Objective::SquaredError),
        (&numbers, Objective::Huber { slope: 1.0 }),
        (&amounts, Objective::Poisson),
        (&amounts, Objective::Tweedie { variance_power }),
    ] {
        let of = |n| counted(tables, objective, 1, n);
        assert_eq!((of(2), of(5)), (2 + 2 * 7, 2 + 5 * 7), "{objective:?}");
    }
}

#[test]
fn scores_that_rounding_moves_further_than_gradients_are_measured_first() {
    // The unit in the last place of these labels is an eighth, and their residuals are below ten; no sum of leaves is whole.
    let far = |table: Table| {
        let labels: Vec<f64> = table.labels.iter().map(|y| 1e15 + y.floor()).collect();
        let weights = Some(draws(labels.len(), 9));
        Table {
            labels,
            weights,
            ..table
        }
    };
    let tables = [far(mixed(4000, 3)), far(mixed(300, 4))];
    let of = |n| counted(&tables, Objective::SquaredError, 1, n);
    assert_eq!(of(3) - of(2), 8);
}

#[test]
fn an_iteration_takes_the_passes_that_explain_tells() {
    let classes = [binary(4000, 3), binary(300, 4)];
    let numbers = [mixed(4000, 3), mixed(300, 4)];
    let classifier: &dyn Estimator = &BOOSTED_TREE_CLASSIFIER;
    let regressor: &dyn Estimator = &BOOSTED_TREE_REGRESSOR;
    let median = Objective::Quantile { alpha: 0.5 };
    for (estimator, tables, objective, options, n_parallel, expected) in [
        (classifier, &classes, Objective::Logistic, json!({}), 1, 7),
        (
            regressor,
            &numbers,
            Objective::SquaredError,
            json!({}),
            1,
            7,
        ),
        (classifier, &classes, Objective::Logistic, json!({}), 3, 23),
        (
            regressor,
            &numbers,
            Objective::SquaredError,
            json!({}),
            3,
            23,
        ),
        // Five passes find the quantile of each leaf.
        (
            regressor,
            &numbers,
            median,
            json!({"objective": "QUANTILE"}),
            1,
            12,
        ),
    ] {
        let counted = |n| counted(tables, objective, n_parallel, n);
        assert_eq!(counted(3) - counted(2), expected, "{objective:?}");
        let estimated = |n| estimated(estimator, &options, n_parallel, n);
        assert_eq!(estimated(3) - estimated(2), expected, "{objective:?}");
    }
}
