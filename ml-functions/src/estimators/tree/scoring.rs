//! Scores of blocks of samples, fast.
//!
//! In: a fitted ensemble and blocks; out: `base score + Σ weight · value` of each sample and output,
//! added in tree order, so that a score does not depend on the other samples of its block and equals
//! walking the trees bit for bit. Knows no objectives: probabilities are made of scores elsewhere.
//!
//! A tile of samples is copied out of the block's columns once and passed through a group of trees that
//! fits the second-level cache; see `layout` for how trees lie there.

mod kernels;
mod layout;
mod number;

use std::sync::{Arc, OnceLock};

use pulp::{Arch, Simd, WithSimd};

use super::ensemble::TreeEnsemble;
use crate::error::Result;
use crate::features::{Dense, FeatureBlock};
use kernels::{TileColumns, masked_values, walked_values};
use layout::{Column, Compiler, Layout};
use number::{Number, TILE};

/// The trees of a group take about half of a common second-level cache.
const GROUP_BYTES: usize = 256 << 10;
/// Tiles that pass through a group before the next one, where there is more than one group.
const TILES_TOGETHER: usize = 16;

/// No more samples than these walk the trees as they were stored: a tile costs as much for one sample as for all.
const WALKED_SAMPLES: usize = 4;

/// An ensemble made ready for scoring.
#[derive(Debug, Clone)]
pub(crate) struct CompiledEnsemble {
    ensemble: Arc<TreeEnsemble>,
    // Laid out at the first block of the width; a model's blocks mostly have one.
    narrow: OnceLock<Program<f32>>,
    wide: OnceLock<Program<f64>>,
}

/// All trees laid out for one width of numbers.
#[derive(Debug, Clone)]
struct Program<T: Number> {
    columns: Vec<Column>,
    /// The trees with their outputs, in tree order.
    groups: Vec<Vec<(usize, Layout<T>)>>,
}

impl CompiledEnsemble {
    /// Prepares an ensemble that has been checked.
    pub(crate) fn new(ensemble: Arc<TreeEnsemble>) -> CompiledEnsemble {
        CompiledEnsemble {
            ensemble,
            narrow: OnceLock::new(),
            wide: OnceLock::new(),
        }
    }

    /// The scores of a block, `(n_samples, n_outputs)` row-major.
    ///
    /// Missing numbers are NaN. Deterministic, and the same for a sample in any block.
    /// Errors: `Internal` if the block has other features.
    pub(crate) fn score(&self, block: &FeatureBlock) -> Result<Vec<f64>> {
        self.score_with(Arch::new(), block)
    }

    fn score_with(&self, arch: Arch, block: &FeatureBlock) -> Result<Vec<f64>> {
        self.ensemble.check_block(block)?;
        let mut scores = self.ensemble.base_scores.repeat(block.n_samples);
        if block.n_samples <= WALKED_SAMPLES {
            self.ensemble.walk(block, &mut scores);
            return Ok(scores);
        }
        match &block.dense {
            Dense::F32(values) => {
                let program = self.narrow.get_or_init(|| Program::new(&self.ensemble));
                program.run(arch, (values, &block.codes), block.n_samples, &mut scores);
            }
            Dense::F64(values) => {
                let program = self.wide.get_or_init(|| Program::new(&self.ensemble));
                program.run(arch, (values, &block.codes), block.n_samples, &mut scores);
            }
        }
        Ok(scores)
    }
}

impl<T: Number> Program<T> {
    fn new(ensemble: &TreeEnsemble) -> Program<T> {
        let mut compiler = Compiler::new(ensemble);
        let mut groups: Vec<Vec<(usize, Layout<T>)>> = Vec::new();
        let mut bytes = usize::MAX;
        for (number, &output) in ensemble.outputs.iter().enumerate() {
            let layout = compiler.layout(number);
            bytes = bytes.saturating_add(layout.memory_bytes());
            match groups.last_mut() {
                Some(group) if bytes <= GROUP_BYTES => group.push((output as usize, layout)),
                _ => {
                    bytes = layout.memory_bytes();
                    groups.push(vec![(output as usize, layout)]);
                }
            }
        }
        Program {
            columns: compiler.columns,
            groups,
        }
    }

    /// Adds the trees to scores that hold the base scores.
    fn run(
        &self,
        arch: Arch,
        (dense, codes): (&[T], &[Vec<u32>]),
        n_samples: usize,
        scores: &mut [f64],
    ) {
        let n_outputs = scores.len().checked_div(n_samples).unwrap_or(0);
        if n_outputs == 0 || self.groups.is_empty() {
            return;
        }
        let n_tiles = if self.groups.len() > 1 {
            TILES_TOGETHER
        } else {
            1
        };
        // A tree without dense splits reads a column all the same.
        let n_columns = self.columns.len().max(1);
        let mut columns = vec![[T::ZERO; TILE]; n_tiles * n_columns];
        let mut code_columns = vec![[0; TILE]; n_tiles * codes.len()];
        for (number, scores) in scores.chunks_mut(n_tiles * TILE * n_outputs).enumerate() {
            let first_row = number * n_tiles * TILE;
            for tile in 0..n_tiles {
                let row = first_row + tile * TILE;
                let rows = row.min(n_samples)..(row + TILE).min(n_samples);
                let into = &mut columns[tile * n_columns..][..n_columns];
                self.copy_columns(dense, n_samples, rows.clone(), into);
                let into = &mut code_columns[tile * codes.len()..][..codes.len()];
                for (codes, into) in codes.iter().zip(into) {
                    into[..rows.len()].copy_from_slice(&codes[rows.clone()]);
                }
            }
            for group in &self.groups {
                for (tile, scores) in scores.chunks_mut(TILE * n_outputs).enumerate() {
                    let tile = TileColumns {
                        dense: &columns[tile * n_columns..][..n_columns],
                        codes: &code_columns[tile * codes.len()..][..codes.len()],
                    };
                    arch.dispatch(AddScores {
                        group,
                        tile,
                        scores,
                        n_outputs,
                    });
                }
            }
        }
    }

    /// Copies the rows of the columns that the trees read. What no row fills keeps its old numbers.
    fn copy_columns(
        &self,
        dense: &[T],
        n_samples: usize,
        rows: std::ops::Range<usize>,
        into: &mut [[T; TILE]],
    ) {
        for (column, into) in self.columns.iter().zip(into) {
            let values = &dense[column.feature * n_samples..][rows.clone()];
            if column.is_negated {
                for (into, x) in into.iter_mut().zip(values) {
                    *into = x.negated();
                }
            } else {
                into[..rows.len()].copy_from_slice(values);
            }
        }
    }
}

/// Adds the trees of a group to the scores of a tile.
struct AddScores<'a, T: Number> {
    group: &'a [(usize, Layout<T>)],
    tile: TileColumns<'a, T>,
    scores: &'a mut [f64],
    n_outputs: usize,
}

impl<T: Number> WithSimd for AddScores<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut values = [0.0; TILE];
        for (output, layout) in self.group {
            match layout {
                Layout::Masked(tree) => masked_values(simd, tree, self.tile, &mut values),
                Layout::Walked(tree) => walked_values(tree, self.tile, &mut values),
            }
            if self.n_outputs == 1 {
                add(self.scores.iter_mut(), &values);
            } else {
                let scores = self.scores.iter_mut().skip(*output);
                add(scores.step_by(self.n_outputs), &values);
            }
        }
    }
}

#[inline(always)]
fn add<'a>(scores: impl Iterator<Item = &'a mut f64>, values: &[f64; TILE]) {
    for (score, value) in scores.zip(values) {
        *score += value;
    }
}

#[cfg(test)]
mod tests;
