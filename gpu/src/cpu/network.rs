//! Dense networks: their outputs, and the gradient of a loss by back-propagation.
//!
//! In: a design, the parameters of all layers and a response; out: predictors, or a [`GlmPartial`] whose gradient
//! lies as the parameters do. Tiles of rows go through all layers while they are in the cache, in panels of eight rows
//! whose columns lie side by side. Each sum over inputs begins at its intercept (first layer) or at 0 (the others) and
//! goes in the order of the inputs, whatever rows are around: outputs are the same bits on every device.
//! Source of the method: Rumelhart, Hinton and Williams 1986, doi:10.1038/323533a0.

mod backward;
mod forward;

use pulp::{Simd, WithSimd};

use super::link::Link;
use super::tile::{self, Columns, LANES, TILE_ROWS};
use super::wide;
use crate::device::{Design, GlmPartial, Loss};
use crate::error::Result;
use crate::product::{Layer, Network, check_network};
use backward::Backward;
use forward::Forward;

/// A column's values of the rows of a panel.
type Lanes = [f64; LANES];

/// See [`crate::Device::network_outputs`].
pub(super) fn network_outputs(design: &Design<'_>, network: &Network<'_>) -> Result<Vec<f64>> {
    tile::check_design("network", design)?;
    let layers = check_network(design, network)?;
    Ok(wide::dispatch(OutputsPass(Forward::new(
        design, network, layers,
    ))))
}

/// See [`crate::Device::network`].
pub(super) fn network(
    design: &Design<'_>,
    response: &[f64],
    weights: Option<&[f64]>,
    network: &Network<'_>,
    loss: Loss,
) -> Result<GlmPartial> {
    let layers = check(design, response, weights, network, loss)?;
    Ok(wide::dispatch(GradientPass {
        forward: Forward::new(design, network, layers),
        response,
        weights,
        loss,
    }))
}

/// The layers, once the shapes of a call were found to belong together.
pub(crate) fn check(
    design: &Design<'_>,
    response: &[f64],
    weights: Option<&[f64]>,
    network: &Network<'_>,
    loss: Loss,
) -> Result<Vec<Layer>> {
    let n_rows = design.dense.n_rows;
    tile::check_design("network", design)?;
    tile::check_length("network", n_rows, response.len())?;
    tile::check_length("network", n_rows, weights.map_or(n_rows, <[f64]>::len))?;
    let layers = check_network(design, network)?;
    if loss != Loss::Softmax {
        tile::check_length("network", 1, network.widths.last().map_or(0, |&n| n))?;
    }
    Ok(layers)
}

struct OutputsPass<'a>(Forward<'a>);

impl WithSimd for OutputsPass<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<f64> {
        let (forward, n_outputs) = (&self.0, self.0.n_outputs());
        let n_rows = forward.design.dense.n_rows;
        let mut tile = forward.tile();
        let mut found = vec![0.0; n_rows * n_outputs];
        for start in (0..n_rows).step_by(TILE_ROWS) {
            let n_tile = TILE_ROWS.min(n_rows - start);
            forward.run(start, n_tile, &mut tile);
            let Some(outputs) = tile.outputs.last() else {
                break;
            };
            let rows = found[start * n_outputs..].chunks_exact_mut(n_outputs.max(1));
            for (row, into) in rows.take(n_tile).enumerate() {
                let panel = &outputs[row / LANES * n_outputs..][..n_outputs];
                for (into, z) in into.iter_mut().zip(panel) {
                    *into = z[row % LANES];
                }
            }
        }
        found
    }
}

struct GradientPass<'a> {
    forward: Forward<'a>,
    response: &'a [f64],
    weights: Option<&'a [f64]>,
    loss: Loss,
}

impl WithSimd for GradientPass<'_> {
    type Output = GlmPartial;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> GlmPartial {
        let (forward, n_outputs) = (&self.forward, self.forward.n_outputs());
        let n_rows = forward.design.dense.n_rows;
        let mut tile = forward.tile();
        let mut residuals = forward.tile().outputs;
        let back = Backward::new(forward);
        let mut z = Columns::new(n_outputs, n_rows);
        let mut link = Link::new(n_outputs, n_rows, false);
        let mut partial = GlmPartial {
            weight: 0.0,
            loss: 0.0,
            gradient: vec![0.0; forward.network.parameters.len()],
            hessian: Vec::new(),
        };
        for start in (0..n_rows).step_by(TILE_ROWS) {
            let n_tile = TILE_ROWS.min(n_rows - start);
            let n_padded = n_tile.next_multiple_of(LANES);
            let rows = start..start + n_tile;
            forward.run(start, n_tile, &mut tile);
            let (Some(outputs), Some(last)) = (tile.outputs.last(), residuals.last_mut()) else {
                break;
            };
            for output in 0..n_outputs {
                let panels = z.column_mut(output, n_padded).as_chunks_mut::<LANES>().0;
                for (panel, into) in panels.iter_mut().enumerate() {
                    *into = outputs[panel * n_outputs + output];
                }
            }
            link.load_weights(self.weights.map(|weights| &weights[rows.clone()]), n_tile);
            link.apply(self.loss, &mut z, &self.response[rows]);
            partial.weight += tile::sum(&link.weights);
            partial.loss += tile::sum(&link.losses);
            for output in 0..n_outputs {
                z.column_mut(output, n_padded)[n_tile..].fill(0.0);
                let panels = z.column(output, n_padded).as_chunks::<LANES>().0;
                for (panel, residual) in panels.iter().enumerate() {
                    last[panel * n_outputs + output] = *residual;
                }
            }
            back.run(start, n_tile, &tile, &mut residuals, &mut partial.gradient);
        }
        partial
    }
}

#[cfg(test)]
mod tests {
    use super::{network, network_outputs};
    use crate::cpu::glm::glm;
    use crate::cpu::linear::linear;
    use crate::cpu::tile::random::{RandomDesign, assert_close};
    use crate::device::Loss;
    use crate::product::{Activation, Network};

    const ACTIVATIONS: [Activation; 4] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Logistic,
        Activation::Tanh,
    ];

    fn parameters(widths: &[usize], n_inputs: usize, seed: u64) -> Vec<f64> {
        let inputs = std::iter::once(&n_inputs).chain(widths);
        let n: usize = inputs.zip(widths).map(|(i, o)| (i + 1) * o).sum();
        (0..n)
            .map(|at| ((at as f64 + 0.7) * (seed as f64 + 1.3)).sin() * 0.5)
            .collect()
    }

    #[test]
    fn one_layer_is_a_linear_model() {
        for seed in 0..24 {
            let samples = RandomDesign::new(seed);
            let design = samples.design();
            let n_outputs = 1 + seed as usize % 5;
            let parameters = parameters(&[n_outputs], design.n_cols(), seed);
            let net = Network {
                widths: &[n_outputs],
                parameters: &parameters,
                activation: Activation::Relu,
            };
            let found = network_outputs(&design, &net).unwrap();
            assert_eq!(found, linear(&design, &parameters, n_outputs).unwrap());
            let y = vec![0.0; samples.n_rows()];
            let w = (seed % 2 > 0).then_some(samples.weights.as_slice());
            let found = network(&design, &y, w, &net, Loss::Softmax).unwrap();
            let expected =
                glm(&design, &y, w, &parameters, n_outputs, Loss::Softmax, false).unwrap();
            assert_close(&found.gradient, &expected.gradient);
            assert_close(
                &[found.loss, found.weight],
                &[expected.loss, expected.weight],
            );
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        for seed in 0..16 {
            let samples = RandomDesign::new(seed);
            let design = samples.design();
            let activation = ACTIVATIONS[seed as usize % 4];
            let (widths, loss): (&[usize], Loss) = match seed % 3 {
                0 => (&[5, 1], Loss::Squared),
                1 => (&[7, 4, 1], Loss::Logistic),
                _ => (&[3, 3], Loss::Softmax),
            };
            let y: Vec<f64> = samples
                .response
                .iter()
                .map(|y| f64::from(u8::from(*y > 0.2)))
                .collect();
            let w = Some(samples.weights.as_slice());
            let parameters = parameters(widths, design.n_cols(), seed);
            let at = |parameters: &[f64]| {
                let net = Network {
                    widths,
                    parameters,
                    activation,
                };
                network(&design, &y, w, &net, loss).unwrap()
            };
            let here = at(&parameters);
            for i in (0..parameters.len()).step_by(1 + parameters.len() / 12) {
                let moved = |by: f64| {
                    let mut parameters = parameters.clone();
                    parameters[i] += by;
                    at(&parameters).loss
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                // A step over the bend of a rectifier is no slope.
                let limit = if activation == Activation::Relu {
                    1e-2
                } else {
                    1e-5
                };
                let scale = here.weight.max(1.0) * limit;
                assert!(
                    (slope - here.gradient[i]).abs() < scale,
                    "seed {seed}, parameter {i}: {slope} {}",
                    here.gradient[i]
                );
            }
        }
    }

    #[test]
    fn outputs_do_not_depend_on_the_rows_around() {
        for seed in 0..24 {
            let samples = RandomDesign::new(seed);
            let design = samples.design();
            let widths = [6, 3];
            let parameters = parameters(&widths, design.n_cols(), seed);
            let net = Network {
                widths: &widths,
                parameters: &parameters,
                activation: ACTIVATIONS[seed as usize % 4],
            };
            let whole = network_outputs(&design, &net).unwrap();
            for row in (0..samples.n_rows()).step_by(11) {
                let one = samples.row(row);
                let alone = network_outputs(&one.design(), &net).unwrap();
                assert_eq!(alone, whole[row * 3..][..3]);
            }
        }
    }

    #[test]
    fn shapes_that_do_not_belong_together_are_refused() {
        let samples = RandomDesign::new(3);
        let design = samples.design();
        let parameters = parameters(&[2], design.n_cols(), 1);
        let net = Network {
            widths: &[2],
            parameters: &parameters,
            activation: Activation::Relu,
        };
        let y = vec![0.0; samples.n_rows()];
        assert!(network(&design, &y, None, &net, Loss::Softmax).is_ok());
        assert!(network(&design, &y, None, &net, Loss::Squared).is_err());
        assert!(network(&design, &y[1..], None, &net, Loss::Softmax).is_err() || y.is_empty());
        let longer = Network {
            widths: &[3],
            ..net
        };
        assert!(network_outputs(&design, &longer).is_err());
    }
}
