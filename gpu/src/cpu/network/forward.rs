//! From rows to the outputs of every layer of a network.
//!
//! In: a tile of rows and the parameters; out: what each layer made of it, in panels of eight rows whose columns lie side by
//! side.

use super::Lanes;
use crate::cpu::elementary::exp;
use crate::cpu::tile::{self, LANES, TILE_ROWS};
use crate::device::Design;
use crate::product::{Activation, Layer, Network};

/// Outputs that are summed at once: with [`LANES`] rows they fill half of AVX2's registers.
const GROUP: usize = 4;

/// Weights in the order in which the inner loop reads them: for each group of outputs and each input, the group's.
pub(super) struct Packed {
    n_inputs: usize,
    groups: Vec<[f64; GROUP]>,
}

impl Packed {
    pub(super) fn new(
        n_outputs: usize,
        n_inputs: usize,
        weight: impl Fn(usize, usize) -> f64,
    ) -> Packed {
        let mut groups = vec![[0.0; GROUP]; n_outputs.div_ceil(GROUP) * n_inputs];
        for output in 0..n_outputs {
            for input in 0..n_inputs {
                let group = output / GROUP * n_inputs + input;
                groups[group][output % GROUP] = weight(output, input);
            }
        }
        Packed { n_inputs, groups }
    }

    /// Σ weight·input of the rows of each panel, from the starts of the outputs; both sides have their columns
    /// of a panel side by side.
    #[inline(always)]
    pub(super) fn multiply(
        &self,
        inputs: &[Lanes],
        starts: Option<&[f64]>,
        n_outputs: usize,
        into: &mut [Lanes],
    ) {
        let n_panels = into.len().checked_div(n_outputs).unwrap_or(0);
        for panel in 0..n_panels {
            let inputs = &inputs[panel * self.n_inputs..][..self.n_inputs];
            let outputs = &mut into[panel * n_outputs..][..n_outputs];
            for (group, outputs) in outputs.chunks_mut(GROUP).enumerate() {
                let mut from = [0.0; GROUP];
                if let Some(starts) = starts {
                    let starts = &starts[group * GROUP..];
                    let n = starts.len().min(GROUP);
                    from[..n].copy_from_slice(&starts[..n]);
                }
                let weights = &self.groups[group * self.n_inputs..][..self.n_inputs];
                let sums = sum_group(from, inputs, weights);
                for (output, sums) in outputs.iter_mut().zip(&sums) {
                    *output = *sums;
                }
            }
        }
    }
}

/// The sums of a group of outputs; of their own, so that they stay in registers.
#[inline(always)]
fn sum_group(starts: [f64; GROUP], inputs: &[Lanes], weights: &[[f64; GROUP]]) -> [Lanes; GROUP] {
    let [mut a, mut b, mut c, mut d] = [
        [starts[0]; LANES],
        [starts[1]; LANES],
        [starts[2]; LANES],
        [starts[3]; LANES],
    ];
    for (x, weights) in inputs.iter().zip(weights) {
        for lane in 0..LANES {
            a[lane] = weights[0].mul_add(x[lane], a[lane]);
            b[lane] = weights[1].mul_add(x[lane], b[lane]);
            c[lane] = weights[2].mul_add(x[lane], c[lane]);
            d[lane] = weights[3].mul_add(x[lane], d[lane]);
        }
    }
    [a, b, c, d]
}

/// From rows to the outputs of every layer.
pub(super) struct Forward<'a> {
    pub(super) design: &'a Design<'a>,
    pub(super) network: &'a Network<'a>,
    pub(super) layers: Vec<Layer>,
    packed: Vec<Packed>,
    /// The intercepts of each layer.
    starts: Vec<Vec<f64>>,
}

/// A tile of rows, and what each layer made of it.
pub(super) struct Tile {
    pub(super) n_panels: usize,
    pub(super) inputs: Vec<Lanes>,
    pub(super) outputs: Vec<Vec<Lanes>>,
}

impl<'a> Forward<'a> {
    pub(super) fn new(
        design: &'a Design<'a>,
        network: &'a Network<'a>,
        layers: Vec<Layer>,
    ) -> Forward<'a> {
        let n_dense = design.dense.n_cols;
        let packed = layers.iter().enumerate().map(|(number, layer)| {
            let weights = &network.parameters[layer.range()];
            // What codes add is looked up.
            let n_inputs = if number == 0 { n_dense } else { layer.n_inputs };
            Packed::new(layer.n_outputs, n_inputs, |output, input| {
                weights[output * layer.stride() + input]
            })
        });
        let starts = layers.iter().map(|layer| {
            let outputs = network.parameters[layer.range()].chunks_exact(layer.stride());
            outputs.map(|output| output[layer.n_inputs]).collect()
        });
        Forward {
            packed: packed.collect(),
            starts: starts.collect(),
            design,
            network,
            layers,
        }
    }

    pub(super) fn n_outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.n_outputs)
    }

    pub(super) fn tile(&self) -> Tile {
        let n_panels = self.design.dense.n_rows.min(TILE_ROWS).div_ceil(LANES);
        let panels = |width: usize| vec![[0.0; LANES]; n_panels * width];
        Tile {
            n_panels,
            inputs: panels(self.design.dense.n_cols),
            outputs: self
                .layers
                .iter()
                .map(|layer| panels(layer.n_outputs))
                .collect(),
        }
    }

    /// Computes the outputs of all layers for the rows from `start`.
    #[inline(always)]
    pub(super) fn run(&self, start: usize, n_rows: usize, tile: &mut Tile) {
        tile.n_panels = n_rows.div_ceil(LANES);
        load(self.design, start, n_rows, &mut tile.inputs);
        let last = self.layers.len() - 1;
        for (number, layer) in self.layers.iter().enumerate() {
            let n_outputs = layer.n_outputs;
            let (before, behind) = tile.outputs.split_at_mut(number);
            let into = &mut behind[0][..tile.n_panels * n_outputs];
            let starts = &self.starts[number];
            match before.last() {
                None => {
                    self.packed[0].multiply(&tile.inputs, Some(starts), n_outputs, into);
                    self.add_codes(start, n_rows, into);
                }
                Some(inputs) => {
                    self.packed[number].multiply(inputs, None, n_outputs, into);
                    for outputs in into.chunks_exact_mut(n_outputs.max(1)) {
                        for (output, start) in outputs.iter_mut().zip(starts) {
                            output.iter_mut().for_each(|z| *z += start);
                        }
                    }
                }
            }
            if number < last {
                activate(self.network.activation, into.as_flattened_mut());
            }
        }
    }

    /// Adds to the first layer's sums the weights of the indicators that the codes set.
    #[inline(always)]
    fn add_codes(&self, start: usize, n_rows: usize, into: &mut [Lanes]) {
        let (design, layer) = (self.design, self.layers[0]);
        let weights = &self.network.parameters[layer.range()];
        let mut first = design.dense.n_cols;
        for (codes, &width) in design.codes.iter().zip(design.widths) {
            for (row, &code) in codes[start..start + n_rows].iter().enumerate() {
                let panel = &mut into[row / LANES * layer.n_outputs..][..layer.n_outputs];
                for (output, z) in panel.iter_mut().enumerate() {
                    let effects = &weights[output * layer.stride() + first..][..width];
                    z[row % LANES] += effects.get(code as usize).copied().unwrap_or(0.0);
                }
            }
            first += width;
        }
    }
}

/// The dense columns of some rows in panels, the last one filled up with zeros.
#[inline(always)]
fn load(design: &Design<'_>, start: usize, n_rows: usize, into: &mut [Lanes]) {
    let n_columns = design.dense.n_cols;
    let mut column_of_tile = [0.0; TILE_ROWS];
    let n_padded = n_rows.next_multiple_of(LANES);
    for column in 0..n_columns {
        let values = &mut column_of_tile[..n_padded];
        tile::load_dense(design, column, start, n_rows, values);
        tile::prefetch(design, column, start + n_rows, n_rows);
        for (panel, values) in values.as_chunks::<LANES>().0.iter().enumerate() {
            into[panel * n_columns + column] = *values;
        }
    }
}

#[inline(always)]
fn activate(activation: Activation, values: &mut [f64]) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => {
            for z in values {
                // Written so that NaN is kept.
                *z = if *z <= 0.0 { 0.0 } else { *z };
            }
        }
        Activation::Logistic => {
            for z in values {
                let t = exp(-z.abs());
                *z = (if *z < 0.0 { t } else { 1.0 }) / (1.0 + t);
            }
        }
        Activation::Tanh => {
            for z in values {
                let t = exp(-2.0 * z.abs());
                let size = (1.0 - t) / (1.0 + t);
                *z = if *z < 0.0 { -size } else { size };
            }
        }
    }
}
