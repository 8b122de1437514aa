//! The estimator `dbscan`.
//!
//! In: all samples in one block; out: the core samples with their clusters. The clustering itself is
//! linfa's, called on a thread of its own: it can neither be cancelled nor partitioned. A run that is
//! cancelled answers at once, while the call runs out and its memory stays accounted; at most one such
//! call is under way in a process.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::memory_pool::MemoryReservation;
use linfa::ParamGuard;
use linfa::traits::Transformer;
use linfa_clustering::Dbscan as LinfaDbscan;
use linfa_nn::distance::L2Dist;
use linfa_nn::{CommonNearestNeighbour, NearestNeighbour};
use ndarray::Array2;
use tokio::sync::{Semaphore, oneshot};

use super::core_samples::CoreSamples;
use crate::error::{Error, Result};
use crate::estimator::{Estimator, EstimatorSpec, Tags, Task};
use crate::estimators::feature_space::{FeatureSpace, Scaling};
use crate::features::FeatureBlock;
use crate::model::Model;
use crate::options::{Hyperparameter, Kind, Options};
use crate::run::TrainingRun;
use crate::training_set::{Part, TrainingSet};

/// Groups samples that lie densely together, and calls the rest noise.
pub(crate) struct Dbscan;

const DOC: &str = "\
Groups samples that lie densely together, and calls the rest noise.

A sample with at least `min_samples` samples (itself among them) within the distance `eps` is a core \
sample. Core samples within `eps` of each other are one cluster; a sample within `eps` of a core sample \
belongs to its cluster; every other one is noise.
Prediction: the cluster of the nearest core sample within `eps`, the earlier sample at ties; NULL for \
noise. Clusters are numbered in the order of their first sample.
Space: numbers as they are (scale them in the query), then one indicator for each category; Euclid.
Nulls: numbers take the mean; NULL is a category of its own where training saw one. A category that \
training did not see has no indicator.
Cost: O(n_samples · log n_samples) neighbour searches at best, O(n_samples²) in many columns; all samples \
in memory at once, with about 24 bytes a column and 256 a sample beyond the block.
Determinism: the same model for the same rows in the same order.
Errors: `OutOfMemory` with the number of rows that would fit.
Source: Ester, Kriegel, Sander & Xu 1996, KDD-96; computed by linfa.";

static SPEC: EstimatorSpec = EstimatorSpec {
    name: "dbscan",
    aliases: &[],
    task: Task::Clustering,
    summary: "Groups samples that lie densely together, and calls the rest noise.",
    doc: DOC,
    hyperparameters: &[
        Hyperparameter {
            name: "eps",
            aliases: &["epsilon"],
            kind: Kind::Float {
                min: 0.0,
                min_inclusive: false,
                max: f64::MAX,
            },
            default: "0.5",
            doc: "The greatest distance of neighbours.",
        },
        Hyperparameter {
            name: "min_samples",
            aliases: &["min_points"],
            kind: Kind::Integer {
                min: 1,
                max: i64::MAX,
            },
            default: "5",
            doc: "How many neighbours, itself among them, make a sample a core sample.",
        },
    ],
    check: |_| Ok(()),
    tags: Tags {
        gathers: true,
        cpu_only: Some("its k-d tree has no kernels for a device"),
        ..Tags::NONE
    },
    inspections: &[],
    steps: &[],
    state_steps: &[],
    load: CoreSamples::load,
};

/// One call at a time: each may hold as much memory as a statement may use, and cannot be stopped.
static ONE_CALL: Semaphore = Semaphore::const_new(1);

/// The k-d tree of the library recurses once for each of its levels, which outliers make many.
const STACK_BYTES: usize = 64 << 20;

#[async_trait]
impl Estimator for Dbscan {
    fn spec(&self) -> &'static EstimatorSpec {
        &SPEC
    }

    async fn fit(
        &self,
        samples: &dyn TrainingSet,
        options: &Options,
        run: &TrainingRun,
    ) -> Result<Box<dyn Model>> {
        let task = Clustering {
            space: FeatureSpace::new(samples.encoder(), Scaling::None),
            eps: options.f64("eps"),
            min_samples: options.usize("min_samples"),
        };
        let permit = tokio::select! {
            biased;
            () = run.cancel.cancelled() => return Err(Error::Cancelled),
            permit = ONE_CALL.acquire() => permit
                .map_err(|_| Error::Internal { what: "dbscan's semaphore is closed".to_owned() })?,
        };
        let block = samples.gather(Part::Training, run).await?;
        if block.n_samples == 0 {
            let hint = "The training query returned no row.".to_owned();
            return Err(Error::TooFewSamples {
                needed: 1,
                found: 0,
                hint,
            });
        }
        let gathered = samples.memory_guard();
        let beyond = reserve(&gathered, block.n_samples, task.space.n_cols())?;
        let model = on_own_thread(run, move || {
            let model = task.fit(block);
            // The permit and the memory are given back only when the library has returned.
            drop((permit, gathered, beyond));
            model
        })
        .await?;
        if model.n_clusters() == 0 {
            let message = "every row is noise: no cluster was found".to_owned();
            run.warn(
                "no_clusters",
                message,
                Some("Set eps higher or min_samples lower."),
            );
        }
        Ok(Box::new(model))
    }
}

/// Runs `work` to its end on a thread of its own, and waits for it unless the run is cancelled.
async fn on_own_thread<T: Send + 'static>(
    run: &TrainingRun,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("dbscan".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Nobody listens any more once the run was cancelled.
            let _ = sender.send(work());
        })
        .map_err(|source| Error::Internal {
            what: format!("cannot start a thread: {source}"),
        })?;
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Error::Cancelled),
        result = receiver => result
            .map_err(|_| Error::Internal { what: "dbscan's library failed".to_owned() })?,
    }
}

/// Accounts what the library needs beyond the gathered block, where the training set has a limit.
fn reserve(
    gathered: &Arc<dyn Any + Send + Sync>,
    n_samples: usize,
    n_cols: usize,
) -> Result<Option<MemoryReservation>> {
    let Some(gathered) = gathered.downcast_ref::<MemoryReservation>() else {
        return Ok(None);
    };
    // The rows, the bounds of the tree's nodes and the model take three times the columns; the rest is
    // pointers, neighbours and labels.
    let sample_bytes = n_cols.saturating_mul(24).saturating_add(256);
    let needed_bytes = sample_bytes.saturating_mul(n_samples);
    let beyond = gathered.new_empty();
    if beyond.try_grow(needed_bytes).is_ok() {
        return Ok(Some(beyond));
    }
    // How much is left is found by asking for ever smaller amounts.
    let mut amount = needed_bytes;
    while amount > 0 {
        amount /= 2;
        if beyond.size() + amount < needed_bytes {
            let _ = beyond.try_grow(amount);
        }
    }
    let available_bytes = beyond.size();
    let block_bytes = gathered.size() / n_samples.max(1);
    let n_fitting = (available_bytes + gathered.size()) / (sample_bytes + block_bytes);
    Err(Error::OutOfMemory {
        what: format!("finding neighbours among {n_samples} rows"),
        needed_bytes,
        available_bytes,
        hint: format!(
            "{n_fitting} rows would fit; train on a sample of the rows, or raise the memory limit."
        ),
    })
}

/// What the library is asked.
struct Clustering {
    space: FeatureSpace,
    eps: f64,
    min_samples: usize,
}

impl Clustering {
    /// Calls the library and keeps the core samples.
    fn fit(self, block: FeatureBlock) -> Result<CoreSamples> {
        let n_cols = self.space.n_cols();
        let mut points = vec![0.0; block.n_samples * n_cols];
        for (row, point) in points.chunks_exact_mut(n_cols).enumerate() {
            self.space.locate(&block, row, point);
        }
        let n_samples = block.n_samples;
        drop(block);
        let internal = |what: String| Error::Internal {
            what: format!("dbscan: {what}"),
        };
        let points = Array2::from_shape_vec((n_samples, n_cols), points)
            .map_err(|source| internal(source.to_string()))?;
        let index = CommonNearestNeighbour::KdTree
            .from_batch(&points, L2Dist)
            .map_err(|source| internal(source.to_string()))?;
        let mut is_core = Vec::with_capacity(n_samples);
        for point in points.rows() {
            let neighbours = index
                .within_range(point, self.eps)
                .map_err(|source| internal(source.to_string()))?;
            is_core.push(neighbours.len() >= self.min_samples);
        }
        drop(index);
        // The library takes 2 at least. With 1 every sample is a core sample; then those that it calls
        // noise, since they are alone, are clusters of one.
        let params = LinfaDbscan::params::<f64>(self.min_samples.max(2)).tolerance(self.eps);
        let labels = params
            .check()
            .map_err(|source| internal(source.to_string()))?
            .transform(&points);
        let (mut core_points, mut clusters) = (Vec::new(), Vec::new());
        let mut numbers = Numbers::default();
        for ((point, label), is_core) in points.rows().into_iter().zip(labels).zip(is_core) {
            let Some(cluster) = numbers.number(label, is_core) else {
                continue;
            };
            if is_core {
                core_points.extend(point);
                clusters.push(cluster);
            }
        }
        let n_clusters = numbers.n_clusters as usize;
        Ok(CoreSamples::new(
            self.space,
            self.eps,
            n_clusters,
            core_points,
            clusters,
        ))
    }
}

/// Numbers clusters in the order of their first sample.
#[derive(Default)]
struct Numbers {
    /// By the library's number.
    of_label: Vec<Option<u32>>,
    n_clusters: u32,
}

impl Numbers {
    /// The cluster of a sample; a core sample without label is a cluster of its own.
    fn number(&mut self, label: Option<usize>, is_core: bool) -> Option<u32> {
        let Some(label) = label else {
            return is_core.then(|| self.next());
        };
        if self.of_label.len() <= label {
            self.of_label.resize(label + 1, None);
        }
        match self.of_label[label] {
            Some(number) => Some(number),
            None => {
                let number = self.next();
                self.of_label[label] = Some(number);
                Some(number)
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.n_clusters += 1;
        self.n_clusters - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Compute;

    #[tokio::test]
    async fn a_cancelled_call_is_answered_while_it_runs_on() {
        let run = TrainingRun::quiet(0, Compute::cpu());
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (report, mut reported) = tokio::sync::mpsc::unbounded_channel();
        let memory = Arc::new(());
        let held = Arc::downgrade(&memory);
        let call = on_own_thread(&run, move || {
            report.send("began").ok();
            released.recv().ok();
            drop(memory);
            report.send("ended").ok();
            Ok(())
        });
        let cancelling = async {
            assert_eq!(reported.recv().await, Some("began"));
            run.cancel.cancel();
        };
        let (answer, ()) = tokio::join!(call, cancelling);
        assert!(matches!(answer, Err(Error::Cancelled)), "{answer:?}");
        assert!(held.upgrade().is_some());
        release.send(()).unwrap();
        assert_eq!(reported.recv().await, Some("ended"));
        assert!(held.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_panic_of_the_library_is_an_error() {
        let run = TrainingRun::quiet(0, Compute::cpu());
        let answer = on_own_thread::<()>(&run, || panic!("as a library may")).await;
        assert!(matches!(answer, Err(Error::Internal { .. })), "{answer:?}");
    }

    #[test]
    fn too_little_memory_says_how_many_rows_fit() {
        use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000_000));
        let reservation = MemoryConsumer::new("gathered").register(&pool);
        reservation.try_grow(160_000).unwrap();
        let gathered: Arc<dyn Any + Send + Sync> = Arc::new(reservation);
        // A row of the block takes 16 bytes, and 24 · 2 + 256 more.
        let Err(Error::OutOfMemory {
            available_bytes,
            hint,
            ..
        }) = reserve(&gathered, 10_000, 2)
        else {
            panic!("the memory should not do");
        };
        assert!(
            (839_000..=840_000).contains(&available_bytes),
            "{available_bytes}"
        );
        assert!(
            hint.starts_with("3124 rows") || hint.starts_with("3125 rows"),
            "{hint}"
        );
        assert_eq!(pool.reserved(), 160_000);
        let reserved = reserve(&gathered, 2000, 2).unwrap().unwrap();
        assert_eq!((reserved.size(), pool.reserved()), (608_000, 768_000));
        drop((reserved, gathered));
        assert_eq!(pool.reserved(), 0);
    }
}
