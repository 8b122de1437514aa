//! Where `kmeans` starts: a sample of the distinct samples, and centroids chosen from it.
//!
//! In: one pass over the samples; out: start centroids, without another pass. The sample is the distinct
//! rows with the lowest hashes of (seed, content), each with the number of times that it occurs, so
//! that it does not depend on the order or partitioning of the rows, and is complete where there are
//! few distinct rows. Source of the choice: k-means++, Arthur & Vassilvitskii 2007, in the greedy form.

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::distance::Distance;
use super::lloyd::LloydStep;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimators::feature_space::FeatureSpace;
use crate::features::{Dense, FeatureBlock, TargetValues};
use crate::random::{Random, mix};
use crate::training_set::PartitionStep;

/// Rows of a sample for each cluster, and bounds of their total.
const ROWS_PER_CLUSTER: usize = 64;
const MIN_ROWS: usize = 4096;
const MAX_ROWS: usize = 65_536;
/// Values of a sample beyond which wide rows make it shorter.
const MAX_VALUES: usize = 1 << 22;
/// How often the choice is repeated at most; the best start by its loss on the sample wins.
const MAX_STARTS: usize = 8;
/// Multiplications of an iteration on the sample that all starts may take together: with all their
/// iterations less than a second.
const STARTS_OPERATIONS: usize = 1 << 25;
/// Multiplications beyond which no further candidates are tried.
const TRIALS_OPERATIONS: usize = 1 << 28;
/// Iterations on the sample, and the relative progress below which they end.
const MAX_ITERATIONS: usize = 30;
const MIN_REL_PROGRESS: f64 = 1e-4;
/// Cosine distances up to this are rounding.
const COSINE_ROUNDING: f64 = 1e-12;

/// Takes a sample of the distinct rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SampleStep {
    seed: u64,
    /// Distinct rows at most.
    limit: usize,
}

/// Distinct rows in the order of their hashes, as encoded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SamplePartial {
    hashes: Vec<u64>,
    /// How often each occurs (times its weight).
    weights: Vec<f64>,
    /// Numbers of a row.
    n_dense: usize,
    /// Row-major.
    dense: Vec<f64>,
    /// Codes of a row.
    n_codes: usize,
    /// Row-major.
    codes: Vec<u32>,
}

impl SampleStep {
    /// A sample for so many clusters.
    pub(super) fn new(seed: u64, num_clusters: usize, row_width: usize) -> SampleStep {
        let wanted = (ROWS_PER_CLUSTER * num_clusters).clamp(MIN_ROWS, MAX_ROWS);
        let fitting = (MAX_VALUES / row_width.max(1)).max(2 * num_clusters);
        SampleStep {
            seed,
            limit: wanted.min(fitting),
        }
    }
}

impl PartitionStep for SampleStep {
    type Partial = SamplePartial;
    const NAME: &'static str = "kmeans.sample";

    fn run(&self, block: &FeatureBlock, _compute: &Compute) -> Result<SamplePartial> {
        let hashes = hash_rows(block, self.seed);
        let n_dense = block.n_dense();
        let mut sample = SamplePartial {
            n_dense,
            n_codes: block.codes.len(),
            ..SamplePartial::default()
        };
        for (hash, row) in lowest(&hashes, self.limit) {
            let row = row as usize;
            let weight = block.weights.as_ref().map_or(1.0, |weights| weights[row]);
            if let (Some(last), Some(sum)) = (sample.hashes.last(), sample.weights.last_mut())
                && *last == hash
            {
                *sum += weight;
                continue;
            }
            sample.hashes.push(hash);
            sample.weights.push(weight);
            sample
                .dense
                .extend((0..n_dense).map(|j| number(block, j, row)));
            sample
                .codes
                .extend(block.codes.iter().map(|codes| codes[row]));
        }
        Ok(sample)
    }

    fn merge(&self, into: &mut SamplePartial, later: SamplePartial) -> Result<()> {
        let earlier = std::mem::take(into);
        into.n_dense = earlier.n_dense;
        into.n_codes = earlier.n_codes;
        let (mut i, mut j) = (0, 0);
        while into.hashes.len() < self.limit {
            match (earlier.hashes.get(i), later.hashes.get(j)) {
                (Some(a), Some(b)) if a == b => {
                    into.push(&earlier, i, earlier.weights[i] + later.weights[j]);
                    (i, j) = (i + 1, j + 1);
                }
                (Some(a), b) if b.is_none_or(|b| a < b) => {
                    into.push(&earlier, i, earlier.weights[i]);
                    i += 1;
                }
                (_, Some(_)) => {
                    into.push(&later, j, later.weights[j]);
                    j += 1;
                }
                _ => break,
            }
        }
        Ok(())
    }
}

/// Takes the rows that a start column marks, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MarkedStep {
    /// Rows at most; one more than wanted tells that there are too many.
    pub(super) limit: usize,
}

impl PartitionStep for MarkedStep {
    type Partial = SamplePartial;
    const NAME: &'static str = "kmeans.marked";

    fn run(&self, block: &FeatureBlock, _compute: &Compute) -> Result<SamplePartial> {
        let TargetValues::Classes(marks) = &block.target else {
            return Err(Error::Internal {
                what: "a block of k-means has no marks".to_owned(),
            });
        };
        let n_dense = block.n_dense();
        let mut marked = SamplePartial {
            n_dense,
            n_codes: block.codes.len(),
            ..SamplePartial::default()
        };
        let rows = marks.iter().enumerate().filter(|(_, mark)| **mark == 1);
        for (row, _) in rows.take(self.limit) {
            marked.hashes.push(0);
            marked.weights.push(1.0);
            marked
                .dense
                .extend((0..n_dense).map(|j| number(block, j, row)));
            marked
                .codes
                .extend(block.codes.iter().map(|codes| codes[row]));
        }
        Ok(marked)
    }

    fn merge(&self, into: &mut SamplePartial, later: SamplePartial) -> Result<()> {
        for row in 0..later
            .hashes
            .len()
            .min(self.limit.saturating_sub(into.hashes.len()))
        {
            into.hashes.push(0);
            into.push_values(&later, row, 1.0);
        }
        Ok(())
    }
}

impl SamplePartial {
    fn push(&mut self, from: &SamplePartial, row: usize, weight: f64) {
        self.hashes.push(from.hashes[row]);
        self.push_values(from, row, weight);
    }

    fn push_values(&mut self, from: &SamplePartial, row: usize, weight: f64) {
        self.weights.push(weight);
        self.dense
            .extend_from_slice(&from.dense[row * self.n_dense..][..self.n_dense]);
        self.codes
            .extend_from_slice(&from.codes[row * self.n_codes..][..self.n_codes]);
    }

    /// The sample as a block; the weights say how often each row occurs.
    pub(super) fn into_block(self) -> FeatureBlock {
        let n = self.hashes.len();
        let dense = (0..self.n_dense)
            .flat_map(|j| self.dense.iter().skip(j).step_by(self.n_dense))
            .copied()
            .collect();
        let codes = (0..self.n_codes)
            .map(|c| {
                self.codes
                    .iter()
                    .skip(c)
                    .step_by(self.n_codes)
                    .copied()
                    .collect()
            })
            .collect();
        FeatureBlock {
            n_samples: n,
            dense: Dense::F64(dense),
            codes,
            target: TargetValues::None,
            weights: Some(self.weights),
        }
    }
}

fn number(block: &FeatureBlock, column: usize, row: usize) -> f64 {
    match &block.dense {
        Dense::F32(values) => f64::from(values[column * block.n_samples + row]),
        Dense::F64(values) => values[column * block.n_samples + row],
    }
}

/// Hashes the content of each row; equal numbers have equal hashes, whatever their width and sign of 0.
fn hash_rows(block: &FeatureBlock, seed: u64) -> Vec<u64> {
    let n = block.n_samples;
    let mut hashes = vec![mix(seed); n];
    let absorb = |hash: &mut u64, bits: u64| {
        let product = (*hash ^ bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        *hash = product ^ (product >> 32);
    };
    for j in 0..block.n_dense() {
        match &block.dense {
            Dense::F32(values) => {
                for (hash, &x) in hashes.iter_mut().zip(&values[j * n..][..n]) {
                    absorb(hash, (f64::from(x) + 0.0).to_bits());
                }
            }
            Dense::F64(values) => {
                for (hash, &x) in hashes.iter_mut().zip(&values[j * n..][..n]) {
                    absorb(hash, (x + 0.0).to_bits());
                }
            }
        }
    }
    for codes in &block.codes {
        for (hash, &code) in hashes.iter_mut().zip(codes) {
            absorb(hash, u64::from(code));
        }
    }
    hashes.iter_mut().for_each(|hash| *hash = mix(*hash));
    hashes
}

/// The rows of the `limit` lowest distinct hashes, by hash, then row. Only hashes below a bound are
/// sorted; the bound grows where equal rows left too few of them.
fn lowest(hashes: &[u64], limit: usize) -> Vec<(u64, u32)> {
    let share = 2.0 * limit as f64 / hashes.len().max(1) as f64;
    let mut bound = (share * u64::MAX as f64) as u64;
    loop {
        let below = |(row, &hash): (usize, &u64)| (hash <= bound).then_some((hash, row as u32));
        let mut found: Vec<(u64, u32)> = hashes.iter().enumerate().filter_map(below).collect();
        found.sort_unstable();
        let mut n_distinct = 0;
        let mut last = None;
        let end = found.iter().position(|&(hash, _)| {
            n_distinct += usize::from(last != Some(hash));
            last = Some(hash);
            n_distinct > limit
        });
        if let Some(end) = end {
            found.truncate(end);
            return found;
        }
        if n_distinct == limit || bound == u64::MAX {
            return found;
        }
        bound = bound.saturating_mul(8);
    }
}

/// How start centroids are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Any rows.
    Random,
    /// Rows far from those chosen before, then some iterations on the sample.
    PlusPlus,
}

/// A sample and all that is needed to choose centroids from it.
#[derive(Debug, Clone)]
pub(super) struct Starter {
    pub(super) sample: FeatureBlock,
    pub(super) space: FeatureSpace,
    pub(super) distance: Distance,
    pub(super) compute: Compute,
    pub(super) seed: u64,
    pub(super) cancel: CancellationToken,
}

impl Starter {
    /// Chooses the start centroids.
    pub(super) fn choose(&self, choice: Choice, num_clusters: usize) -> Result<Vec<f64>> {
        match choice {
            Choice::Random => self.random(num_clusters),
            Choice::PlusPlus => {
                let affordable = STARTS_OPERATIONS / self.operations(num_clusters).max(1);
                let mut best: Option<(f64, Vec<f64>)> = None;
                for start in 0..affordable.clamp(1, MAX_STARTS) as u64 {
                    let chosen = self.plus_plus(num_clusters, start)?;
                    let (loss, centroids) = self.refine(chosen)?;
                    if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                        best = Some((loss, centroids));
                    }
                }
                Ok(best.map(|(_, centroids)| centroids).unwrap_or_default())
            }
        }
    }

    /// Every row of the sample as a centroid.
    pub(super) fn given(&self) -> Vec<f64> {
        (0..self.sample.n_samples)
            .flat_map(|row| self.point(row))
            .collect()
    }

    /// Moves centroids without samples to the rows of the sample that are farthest from all others;
    /// says whether one moved.
    pub(super) fn reseed(&self, centroids: &mut [f64], empty: &[usize]) -> Result<bool> {
        let n_cols = self.space.n_cols();
        let used: Vec<f64> = centroids
            .chunks_exact(n_cols)
            .enumerate()
            .filter(|(id, _)| !empty.contains(id))
            .flat_map(|(_, centroid)| centroid.iter().copied())
            .collect();
        let design = self.space.design(&self.sample);
        let mut closest = self
            .distance
            .assign(&design, &used, None, &self.compute)?
            .costs;
        for (closest, weight) in closest.iter_mut().zip(self.choosable()) {
            *closest = if weight > 0.0 { *closest } else { 0.0 };
        }
        let mut has_moved = false;
        for &id in empty {
            let farthest =
                closest.iter().enumerate().fold(
                    0,
                    |best, (row, &cost)| {
                        if cost > closest[best] { row } else { best }
                    },
                );
            if !self.is_apart(closest[farthest]) {
                break;
            }
            let point = self.point(farthest);
            let costs = self.distance.costs(&design, &point, &self.compute)?;
            for (closest, cost) in closest.iter_mut().zip(costs) {
                *closest = closest.min(cost);
            }
            centroids[id * n_cols..][..n_cols].copy_from_slice(&point);
            has_moved = true;
        }
        Ok(has_moved)
    }

    fn random(&self, num_clusters: usize) -> Result<Vec<f64>> {
        let mut random = Random::new(self.seed, 0);
        let mut weights = self.choosable();
        let mut centroids = Vec::new();
        for n_chosen in 0..num_clusters {
            let row = random
                .index(&weights)
                .ok_or_else(|| too_few(num_clusters, n_chosen))?;
            weights[row] = 0.0;
            centroids.extend(self.point(row));
        }
        Ok(centroids)
    }

    /// Chooses each centroid with probability in proportion to its cost at those chosen before; of some
    /// candidates, that which leaves the least total cost.
    fn plus_plus(&self, num_clusters: usize, start: u64) -> Result<Vec<f64>> {
        let n_cols = self.space.n_cols();
        let mut random = Random::new(self.seed, 1 + start);
        let can_try = self.operations(num_clusters) <= TRIALS_OPERATIONS;
        let n_trials = if can_try {
            2 + num_clusters.ilog2() as usize
        } else {
            1
        };
        let design = self.space.design(&self.sample);
        let weights = self.choosable();
        let mut masses = weights.clone();
        let mut closest = vec![f64::INFINITY; weights.len()];
        let mut centroids = Vec::with_capacity(num_clusters * n_cols);
        for n_chosen in 0..num_clusters {
            self.check_cancelled()?;
            // The first has nothing to be far from: any row will do.
            let n_candidates = if n_chosen == 0 { 1 } else { n_trials };
            let mut candidates = Vec::with_capacity(n_candidates * n_cols);
            for _ in 0..n_candidates {
                let row = random
                    .index(&masses)
                    .ok_or_else(|| too_few(num_clusters, n_chosen))?;
                candidates.extend(self.point(row));
            }
            let costs = self.distance.costs(&design, &candidates, &self.compute)?;
            let costs_of = |candidate| costs.iter().skip(candidate).step_by(n_candidates);
            let left = |candidate| -> f64 {
                let rows = closest.iter().zip(costs_of(candidate)).zip(&weights);
                rows.map(|((a, b), weight)| weight * a.min(*b)).sum()
            };
            let losses: Vec<f64> = (0..n_candidates).map(left).collect();
            let best = (0..n_candidates)
                .fold(0, |best, i| if losses[i] < losses[best] { i } else { best });
            centroids.extend_from_slice(&candidates[best * n_cols..][..n_cols]);
            for (closest, cost) in closest.iter_mut().zip(costs_of(best)) {
                *closest = closest.min(*cost);
            }
            for ((mass, &cost), weight) in masses.iter_mut().zip(&closest).zip(&weights) {
                *mass = if self.is_apart(cost) {
                    cost * weight
                } else {
                    0.0
                };
            }
        }
        Ok(centroids)
    }

    /// Some iterations on the sample: they cost little and spare passes over all samples.
    fn refine(&self, centroids: Vec<f64>) -> Result<(f64, Vec<f64>)> {
        let (space, distance) = (self.space.clone(), self.distance);
        let mut step = LloydStep {
            space,
            distance,
            centroids,
        };
        let mut loss = f64::INFINITY;
        for _ in 0..MAX_ITERATIONS {
            self.check_cancelled()?;
            let mut update = step.update(&step.run(&self.sample, &self.compute)?);
            let has_moved =
                !update.empty.is_empty() && self.reseed(&mut update.centroids, &update.empty)?;
            let progress = loss - update.loss;
            step.centroids = update.centroids;
            let is_done = progress <= MIN_REL_PROGRESS * loss && loss.is_finite();
            loss = update.loss;
            if is_done && !has_moved {
                break;
            }
        }
        Ok((loss, step.centroids))
    }

    /// A row of the sample as a centroid.
    fn point(&self, row: usize) -> Vec<f64> {
        let mut point = vec![0.0; self.space.n_cols()];
        self.space.locate(&self.sample, row, &mut point);
        self.distance.normalise(&mut point);
        point
    }

    /// How often each row occurs; 0 for those that cannot be a centroid, since they have no direction.
    fn choosable(&self) -> Vec<f64> {
        let mut weights = self.sample.weights.clone().unwrap_or_default();
        if self.distance == Distance::Cosine {
            for (row, weight) in weights.iter_mut().enumerate() {
                if self.point(row).iter().all(|x| *x == 0.0) {
                    *weight = 0.0;
                }
            }
        }
        weights
    }

    fn is_apart(&self, cost: f64) -> bool {
        match self.distance {
            Distance::Euclidean => cost > 0.0,
            Distance::Cosine => cost > COSINE_ROUNDING,
        }
    }

    /// Multiplications of an iteration on the sample.
    fn operations(&self, num_clusters: usize) -> usize {
        let n_values = self.sample.n_samples.saturating_mul(self.space.n_cols());
        n_values.saturating_mul(num_clusters)
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// The error for fewer distinct rows than clusters.
pub(super) fn too_few(num_clusters: usize, found: usize) -> Error {
    Error::TooFewSamples {
        needed: num_clusters as u64,
        found: found as u64,
        hint: "Rows that are alike count once, since each cluster needs a row of its own; set num_clusters lower."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimators::feature_space::Scaling;
    use crate::estimators::in_memory::{Column, InMemory};
    use crate::training_set::TrainingSet;

    fn sample_of(samples: &InMemory, limit: usize) -> SamplePartial {
        let step = SampleStep { seed: 5, limit };
        let mut partials = samples
            .blocks
            .iter()
            .map(|block| step.run(block, &Compute::cpu()).unwrap());
        let mut whole = partials.next().unwrap();
        partials.for_each(|partial| step.merge(&mut whole, partial).unwrap());
        whole
    }

    fn columns(n: usize, n_distinct: usize) -> InMemory {
        let number = |i: usize| Some((i % n_distinct) as f64 - 3.0);
        let text = |i: usize| Some(format!("t{}", i % n_distinct % 2));
        let columns = [
            ("x", Column::Numbers((0..n).map(number).collect())),
            ("t", Column::Texts((0..n).map(text).collect())),
        ];
        InMemory::new(&columns, 97)
    }

    fn starter(samples: &InMemory, distance: Distance) -> Starter {
        Starter {
            sample: sample_of(samples, MIN_ROWS).into_block(),
            space: FeatureSpace::new(samples.encoder(), Scaling::None),
            distance,
            compute: Compute::cpu(),
            seed: 5,
            cancel: CancellationToken::new(),
        }
    }

    #[test]
    fn a_sample_counts_equal_rows_and_ignores_their_order() {
        let samples = columns(1000, 10);
        let sample = sample_of(&samples, 64);
        assert_eq!(sample.weights, [100.0; 10]);
        let mut whole = samples.clone();
        whole.blocks = vec![samples.whole()];
        assert_eq!(sample, sample_of(&whole, 64));
        let mut reversed = samples.clone();
        reversed.blocks.reverse();
        assert_eq!(sample, sample_of(&reversed, 64));
    }

    #[test]
    fn a_sample_beyond_its_limit_is_the_lowest_hashes() {
        let samples = columns(3000, 1500);
        let whole = sample_of(&samples, 1 << 20);
        assert_eq!(whole.hashes.len(), 1500);
        let sample = sample_of(&samples, 100);
        assert_eq!(sample.hashes, whole.hashes[..100]);
        assert_eq!(sample.dense, whole.dense[..100]);
        assert_eq!(sample.weights, [2.0; 100]);
    }

    #[test]
    fn fewer_distinct_rows_than_clusters_are_an_error() {
        let samples = columns(50, 3);
        let starter = starter(&samples, Distance::Euclidean);
        for choice in [Choice::Random, Choice::PlusPlus] {
            assert_eq!(starter.choose(choice, 3).unwrap().len(), 3 * 3);
            let error = starter.choose(choice, 4).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::TooFewSamples {
                        needed: 4,
                        found: 3,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn empty_clusters_move_to_the_farthest_rows() {
        let rows: Vec<Vec<f64>> = [0.0, 1.0, 2.0, 30.0, 31.0, 100.0].map(|x| vec![x]).to_vec();
        let samples = InMemory::of_rows(&rows, 6);
        let starter = starter(&samples, Distance::Euclidean);
        let mut centroids = vec![1.0, -7.0, -8.0];
        assert!(starter.reseed(&mut centroids, &[1, 2]).unwrap());
        assert_eq!(centroids, [1.0, 100.0, 31.0]);
        let mut centroids = vec![0.0, 1.0, 2.0, 30.0, 31.0, 100.0, 5.0];
        assert!(!starter.reseed(&mut centroids, &[6]).unwrap());
    }
}
