//! From the residuals of a network's last layer to the gradient of all its parameters.
//!
//! In: a tile of rows with the outputs of every layer, and the residuals of the last; out: their products, added to the
//! gradient.

use super::Lanes;
use super::forward::{Forward, Packed, Tile};
use crate::cpu::tile::{self, LANES};
use crate::product::{Activation, Layer};

/// Columns of residuals and of inputs whose products are summed at once.
const LEFT: usize = 3;
const RIGHT: usize = 2;

/// From the residuals of the last layer to the gradient of all.
pub(super) struct Backward<'a> {
    forward: &'a Forward<'a>,
    /// The weights of each layer but the first, by inputs.
    packed: Vec<Packed>,
}

impl<'a> Backward<'a> {
    pub(super) fn new(forward: &'a Forward<'a>) -> Backward<'a> {
        let packed = forward.layers.iter().skip(1).map(|layer| {
            let weights = &forward.network.parameters[layer.range()];
            Packed::new(layer.n_inputs, layer.n_outputs, |input, output| {
                weights[output * layer.stride() + input]
            })
        });
        Backward {
            packed: packed.collect(),
            forward,
        }
    }

    #[inline(always)]
    pub(super) fn run(
        &self,
        start: usize,
        n_rows: usize,
        tile: &Tile,
        residuals: &mut [Vec<Lanes>],
        gradient: &mut [f64],
    ) {
        let forward = self.forward;
        for (number, layer) in forward.layers.iter().enumerate().rev() {
            let into = &mut gradient[layer.range()];
            let (before, behind) = residuals.split_at_mut(number);
            let own = &behind[0][..tile.n_panels * layer.n_outputs];
            for output in 0..layer.n_outputs {
                let panels = own.iter().skip(output).step_by(layer.n_outputs);
                into[output * layer.stride() + layer.n_inputs] += sum_of(panels);
            }
            let Some(lower) = before.last_mut() else {
                add_products(
                    own,
                    layer.n_outputs,
                    (&tile.inputs, forward.design.dense.n_cols),
                    layer,
                    into,
                );
                self.scatter(start, n_rows, own, into);
                continue;
            };
            let inputs = &tile.outputs[number - 1][..tile.n_panels * layer.n_inputs];
            add_products(own, layer.n_outputs, (inputs, layer.n_inputs), layer, into);
            let lower = &mut lower[..tile.n_panels * layer.n_inputs];
            self.packed[number - 1].multiply(own, None, layer.n_inputs, lower);
            let activation = forward.network.activation;
            descend(activation, inputs.as_flattened(), lower.as_flattened_mut());
            // Rows that are not there have no residual, whatever the parameters are.
            let n_filled = n_rows % LANES;
            if n_filled > 0 {
                let first = (tile.n_panels - 1) * layer.n_inputs;
                lower[first..]
                    .iter_mut()
                    .for_each(|lanes| lanes[n_filled..].fill(0.0));
            }
        }
    }

    /// Adds the residuals of the first layer to the gradients of the indicators that the codes set.
    #[inline(always)]
    fn scatter(&self, start: usize, n_rows: usize, residuals: &[Lanes], gradient: &mut [f64]) {
        let (design, layer) = (self.forward.design, self.forward.layers[0]);
        let mut first = design.dense.n_cols;
        for (codes, &width) in design.codes.iter().zip(design.widths) {
            for (row, &code) in codes[start..start + n_rows].iter().enumerate() {
                if (code as usize) < width {
                    let panel = &residuals[row / LANES * layer.n_outputs..][..layer.n_outputs];
                    for (output, residual) in panel.iter().enumerate() {
                        let at = output * layer.stride() + first + code as usize;
                        gradient[at] += residual[row % LANES];
                    }
                }
            }
            first += width;
        }
    }
}

#[inline(always)]
fn sum_of<'a>(panels: impl Iterator<Item = &'a Lanes>) -> f64 {
    let mut sums = [0.0; LANES];
    for panel in panels {
        for (sum, x) in sums.iter_mut().zip(panel) {
            *sum += x;
        }
    }
    tile::sum_lanes(&sums)
}

/// gradient\[output\]\[input\] += Σ residual·input over the rows of a tile, some pairs of columns at a time.
#[inline(always)]
fn add_products(
    residuals: &[Lanes],
    n_outputs: usize,
    (inputs, n_inputs): (&[Lanes], usize),
    layer: &Layer,
    gradient: &mut [f64],
) {
    if n_outputs == 0 || n_inputs == 0 {
        return;
    }
    for first_output in (0..n_outputs).step_by(LEFT) {
        // Beyond the last column it is repeated, and its products are not used.
        let outputs = [0, 1, 2].map(|i| (first_output + i).min(n_outputs - 1));
        for first_input in (0..n_inputs).step_by(RIGHT) {
            let columns = [0, 1].map(|j| (first_input + j).min(n_inputs - 1));
            let mut sums = [[[0.0; LANES]; RIGHT]; LEFT];
            let panels = residuals
                .chunks_exact(n_outputs)
                .zip(inputs.chunks_exact(n_inputs));
            for (residuals, inputs) in panels {
                for (sums, &output) in sums.iter_mut().zip(&outputs) {
                    let residual = &residuals[output];
                    for (sums, &column) in sums.iter_mut().zip(&columns) {
                        let lanes = residual.iter().zip(&inputs[column]);
                        for (sum, (residual, x)) in sums.iter_mut().zip(lanes) {
                            *sum = residual.mul_add(*x, *sum);
                        }
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate().take(n_outputs - first_output) {
                for (j, sums) in sums.iter().enumerate().take(n_inputs - first_input) {
                    let at = (first_output + i) * layer.stride() + first_input + j;
                    gradient[at] += tile::sum_lanes(sums);
                }
            }
        }
    }
}

/// Multiplies residuals by the slope of the activation, which its value tells.
#[inline(always)]
fn descend(activation: Activation, values: &[f64], residuals: &mut [f64]) {
    let rows = residuals.iter_mut().zip(values);
    match activation {
        Activation::Identity => {}
        Activation::Relu => {
            for (residual, a) in rows {
                *residual = if *a <= 0.0 { 0.0 } else { *residual };
            }
        }
        Activation::Logistic => {
            for (residual, a) in rows {
                *residual *= a * (1.0 - a);
            }
        }
        Activation::Tanh => {
            for (residual, a) in rows {
                *residual *= 1.0 - a * a;
            }
        }
    }
}
