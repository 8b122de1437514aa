//! A training that ends after any tree goes on to the ensemble that it would have come to, to the bit.

use super::boosting::{binary, mixed};
use super::*;
use crate::estimators::tree::driver::Pass;
use crate::estimators::tree::parameters::{Dart, DartNormalization};
use crate::estimators::tree::resume::TreeRecord;
use crate::training_set::{Part, StateStep};

/// Passes that keep records, and find those of an earlier life.
struct Keeping {
    chunks: Chunks,
    earlier: Vec<TreeRecord>,
    kept: Mutex<Vec<TreeRecord>>,
}

impl Pass for Keeping {
    fn state_pass<S: StateStep<State = TreeChunk>>(
        &self,
        part: Part,
        step: &S,
    ) -> impl Future<Output = Result<S::Partial>> + Send {
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
        self.chunks.both_parts(training, evaluation)
    }

    fn threads(&self) -> usize {
        self.chunks.threads()
    }

    fn keeps_records(&self) -> bool {
        true
    }

    fn keep_record(&self, record: &TreeRecord) -> Result<()> {
        // As on a disk.
        let bytes = postcard::to_allocvec(record).unwrap();
        let record = postcard::from_bytes(&bytes).unwrap();
        self.kept.lock().unwrap().push(record);
        Ok(())
    }

    fn earlier_records(&self) -> Result<Vec<TreeRecord>> {
        Ok(self.earlier.clone())
    }
}

/// The ensemble, the losses and the records of a training that goes on after `earlier`.
fn fit_after(
    (table, evaluation): (&Table, &Table),
    parameters: &TreeParameters,
    earlier: &[TreeRecord],
) -> (TreeEnsemble, Vec<IterationLoss>, Vec<TreeRecord>) {
    let (bins, ensemble, chunks) = table.begun(Some(evaluation), parameters.objective);
    let passes = Keeping {
        chunks,
        earlier: earlier.to_vec(),
        kept: Mutex::default(),
    };
    let mut losses = Vec::new();
    let mut tell = |loss| {
        losses.push(loss);
        Ok(())
    };
    let boosted = boost(&passes, parameters, &bins, ensemble, &mut tell);
    let ensemble = complete(boosted).unwrap();
    (ensemble, losses, passes.kept.into_inner().unwrap())
}

/// Ends a training after each of its records, and compares where the next one comes to.
fn goes_on(table: &Table, evaluation: &Table, parameters: &TreeParameters) {
    let tables = (table, evaluation);
    let (ensemble, losses, records) = fit_after(tables, parameters, &[]);
    assert_eq!(records.len(), ensemble.trees.len(), "{parameters:?}");
    for n_kept in 1..=records.len() {
        let (again, losses_again, later) = fit_after(tables, parameters, &records[..n_kept]);
        assert_eq!(again, ensemble, "after {n_kept} trees");
        assert_eq!(losses_again, losses, "after {n_kept} trees");
        assert_eq!(later, records[n_kept..], "after {n_kept} trees");
    }
}

fn parameters(objective: Objective) -> TreeParameters {
    TreeParameters {
        max_iterations: 4,
        min_rel_progress: None,
        subsample: 0.7,
        seed: 11,
        ..TreeParameters::boosted(objective)
    }
}

#[test]
fn boosting_goes_on_after_any_tree() {
    let (training, held_out) = (binary(900, 3), binary(200, 4));
    goes_on(&training, &held_out, &parameters(Objective::Logistic));
    let (training, held_out) = (mixed(900, 3), mixed(200, 4));
    goes_on(&training, &held_out, &parameters(Objective::SquaredError));
}

#[test]
fn iterations_of_many_trees_go_on_in_their_midst() {
    let (training, held_out) = (mixed(600, 5), mixed(100, 6));
    let forest = TreeParameters {
        num_parallel_tree: 3,
        max_iterations: 2,
        ..parameters(Objective::SquaredError)
    };
    goes_on(&training, &held_out, &forest);
    // Its leaves are quantiles of the residuals, which wait for the iteration's end.
    let waiting = TreeParameters {
        objective: Objective::Quantile { alpha: 0.5 },
        ..forest
    };
    goes_on(&training, &held_out, &waiting);
}

#[test]
fn dropped_trees_are_dropped_again() {
    let (training, held_out) = (binary(600, 7), binary(100, 8));
    let dart = TreeParameters {
        max_iterations: 6,
        num_parallel_tree: 2,
        dart: Some(Dart {
            dropout: 0.4,
            normalization: DartNormalization::Tree,
        }),
        ..parameters(Objective::Logistic)
    };
    goes_on(&training, &held_out, &dart);
}

#[test]
fn damaged_records_are_errors() {
    let table = binary(300, 3);
    let parameters = parameters(Objective::Logistic);
    let (_, _, mut records) = fit_after((&table, &table), &parameters, &[]);
    records[0].weights.clear();
    let (bins, ensemble, chunks) = table.begun(None, parameters.objective);
    let passes = Keeping {
        chunks,
        earlier: records[..1].to_vec(),
        kept: Mutex::default(),
    };
    let mut ignored = |_| Ok(());
    let went_on = complete(boost(&passes, &parameters, &bins, ensemble, &mut ignored));
    assert!(went_on.is_err());
}
