//! Behaviour of training, from hand-computed splits to whole ensembles.

mod binning;
mod boosting;
mod bundling;
mod chunks;
mod devices;
mod foreseeing;
mod growing;
mod kernels;
mod passes;
mod reference;
mod resume;

use std::sync::Mutex;

use auspex_gpu::CpuDevice;

use self::chunks::{Chunks, Pieces, complete};
use super::binning::FeatureBins;
use super::boost::{IterationLoss, boost};
use super::chunk::{StartTreeChunk, TreeChunk};
use super::ensemble::{Tree, TreeEnsemble};
use super::objective::Objective;
use super::parameters::TreeParameters;
use super::survey::{Survey, SurveyStep};
use crate::error::Result;
use crate::features::{Dense, FeatureBlock, TargetValues};
use crate::random::hash_word;
use crate::training_set::{PieceId, StartStep};

/// A table in memory, cut into chunks.
#[derive(Clone)]
struct Table {
    dense: Vec<Vec<f64>>,
    codes: Vec<Vec<u32>>,
    category_counts: Vec<usize>,
    labels: Vec<f64>,
    classes: bool,
    weights: Option<Vec<f64>>,
    chunk_rows: usize,
}

impl Table {
    fn regression(dense: Vec<Vec<f64>>, labels: Vec<f64>) -> Table {
        Table {
            dense,
            codes: Vec::new(),
            category_counts: Vec::new(),
            labels,
            classes: false,
            weights: None,
            chunk_rows: 65_536,
        }
    }

    fn blocks(&self) -> Vec<FeatureBlock> {
        let n_rows = self.labels.len();
        (0..n_rows)
            .step_by(self.chunk_rows)
            .map(|first| {
                let rows = first..(first + self.chunk_rows).min(n_rows);
                let labels = self.labels[rows.clone()].to_vec();
                FeatureBlock {
                    n_samples: rows.len(),
                    dense: Dense::F64(
                        self.dense
                            .iter()
                            .flat_map(|c| c[rows.clone()].to_vec())
                            .collect(),
                    ),
                    codes: self
                        .codes
                        .iter()
                        .map(|c| c[rows.clone()].to_vec())
                        .collect(),
                    target: match self.classes {
                        true => TargetValues::Classes(labels.iter().map(|&y| y as u32).collect()),
                        false => TargetValues::Numbers(labels),
                    },
                    weights: self.weights.as_ref().map(|w| w[rows].to_vec()),
                }
            })
            .collect()
    }

    fn bins(&self, objective: Objective) -> (FeatureBins, TreeEnsemble) {
        let step = SurveyStep {
            objective,
            category_counts: self.category_counts.clone(),
            n_samples: self.labels.len() as u64,
            seed: 7,
        };
        let mut survey = Survey::default();
        for block in &self.blocks() {
            step.merge(&mut survey, step.survey(block).unwrap())
                .unwrap();
        }
        let bins = survey.bins(255);
        let base_scores = objective.base_scores(&survey.class_weights, survey.label_sum, |q| {
            survey.label_quantile(q)
        });
        let ensemble = TreeEnsemble {
            base_scores,
            n_dense: self.dense.len(),
            category_counts: self.category_counts.clone(),
            ..TreeEnsemble::default()
        };
        (bins, ensemble)
    }

    /// The states, each chunk in pieces of at most so many rows.
    fn pieces(&self, start: &StartTreeChunk, piece_rows: usize) -> Pieces {
        let mut pieces = Vec::new();
        for (chunk, block) in self.blocks().iter().enumerate() {
            for first_row in (0..block.n_samples).step_by(piece_rows) {
                let piece = PieceId {
                    chunk: chunk as u64,
                    first_row,
                };
                let end = (first_row + piece_rows).min(block.n_samples);
                let state = start.start(piece, &block.rows(first_row..end));
                pieces.push((piece, state.unwrap()));
            }
        }
        pieces
    }

    /// What boosting begins with: the bins, an ensemble without trees, and the states of both parts, of which one thread
    /// takes care.
    fn begun(
        &self,
        evaluation: Option<&Table>,
        objective: Objective,
    ) -> (FeatureBins, TreeEnsemble, Chunks) {
        let (bins, ensemble) = self.bins(objective);
        let start = StartTreeChunk {
            bins: bins.clone(),
            objective,
            ensemble: ensemble.clone(),
        };
        let pieces = |table: &Table| Mutex::new(table.pieces(&start, 65_536));
        let chunks = Chunks {
            training: pieces(self),
            evaluation: evaluation.map(pieces).unwrap_or_default(),
            n_threads: 1,
            through_bytes: false,
            device: None,
        };
        (bins, ensemble, chunks)
    }

    fn chunks(&self, start: &StartTreeChunk) -> Vec<TreeChunk> {
        let pieces = self.pieces(start, self.chunk_rows);
        pieces.into_iter().map(|(_, state)| state).collect()
    }
}

/// How a training is run.
#[derive(Clone, Default)]
struct Run {
    n_threads: usize,
    through_bytes: bool,
    evaluation: Option<Table>,
    start: Option<TreeEnsemble>,
    /// Cuts chunks into smaller pieces.
    piece_rows: Option<usize>,
    /// See [`Chunks`].
    device: Option<CpuDevice>,
}

/// The ensemble, its scores of the table, and the losses.
struct Fitted {
    ensemble: TreeEnsemble,
    scores: Vec<f64>,
    losses: Vec<IterationLoss>,
}

fn fit_with(table: &Table, parameters: &TreeParameters, run: &Run) -> Result<Fitted> {
    let (bins, base) = table.bins(parameters.objective);
    let ensemble = run.start.clone().unwrap_or(base);
    let start = StartTreeChunk {
        bins: bins.clone(),
        objective: parameters.objective,
        ensemble: ensemble.clone(),
    };
    let piece_rows = run.piece_rows.unwrap_or(65_536);
    let pieces = |table: &Table| table.pieces(&start, piece_rows);
    let chunks = Chunks {
        training: Mutex::new(pieces(table)),
        evaluation: Mutex::new(run.evaluation.as_ref().map_or(Vec::new(), pieces)),
        n_threads: run.n_threads,
        through_bytes: run.through_bytes,
        device: run.device,
    };
    let mut losses = Vec::new();
    let ensemble = complete(boost(&chunks, parameters, &bins, ensemble, &mut |loss| {
        losses.push(loss);
        Ok(())
    }))?;
    let scores = scores_of(table, &bins, parameters.objective, &ensemble);
    // What the passes added is what the trees say, also of rows outside the samples.
    let n_outputs = ensemble.base_scores.len();
    let mut first = 0;
    for (_, chunk) in chunks.training.lock().unwrap().iter() {
        for output in 0..n_outputs {
            for row in 0..chunk.n_rows {
                let kept = chunk.scores[output * chunk.n_rows + row];
                let scored = scores[output * table.labels.len() + first + row];
                assert!(
                    (kept - scored).abs() < 1e-9 * (1.0 + scored.abs()),
                    "{kept} {scored}"
                );
            }
        }
        first += chunk.n_rows;
    }
    Ok(Fitted {
        ensemble,
        scores,
        losses,
    })
}

/// Scores from raw values, output by output over all rows.
fn scores_of(
    table: &Table,
    bins: &FeatureBins,
    objective: Objective,
    ensemble: &TreeEnsemble,
) -> Vec<f64> {
    let whole = StartTreeChunk {
        bins: bins.clone(),
        objective,
        ensemble: ensemble.clone(),
    };
    let chunks = table.chunks(&whole);
    (0..ensemble.base_scores.len())
        .flat_map(|output| {
            chunks
                .iter()
                .flat_map(move |c| c.scores[output * c.n_rows..(output + 1) * c.n_rows].to_vec())
                .collect::<Vec<f64>>()
        })
        .collect()
}

fn fit(table: &Table, parameters: &TreeParameters) -> Fitted {
    fit_with(table, parameters, &Run::default()).unwrap()
}

/// Uniform draws in 0..1.
fn draws(n: usize, seed: u64) -> Vec<f64> {
    (0..n as u64)
        .map(|row| (hash_word(hash_word(seed) ^ row) >> 11) as f64 / (1u64 << 53) as f64)
        .collect()
}

fn exact(objective: Objective) -> TreeParameters {
    let mut parameters = TreeParameters {
        min_rel_progress: None,
        max_iterations: 1,
        learn_rate: 1.0,
        ..TreeParameters::boosted(objective)
    };
    parameters.regularization.l2_reg = 0.0;
    parameters.regularization.min_tree_child_weight = 0.0;
    parameters.regularization.category_smoothing = 0.0;
    parameters.regularization.category_l2 = 0.0;
    parameters
}

fn n_leaves(tree: &Tree) -> usize {
    tree.feature.iter().filter(|&&feature| feature < 0).count()
}
