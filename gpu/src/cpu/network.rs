//! Dense networks: their outputs, and the gradient of a loss by back-propagation.
//!
//! In: a design, the parameters of all layers and a response; out: predictors, or a [`GlmPartial`] whose gradient
//! lies as the parameters do. Tiles of rows go through all layers while they are in the cache, in panels of eight rows
//! whose columns lie side by side. Each sum over inputs begins at its intercept (first layer) or at 0 (the others) and
//! goes in the order of the inputs, whatever rows are around: outputs are the same bits on every device.
//! Source of the method: Rumelhart, Hinton and Williams 1986, doi:10.1038/323533a0.

use pulp::{Simd, WithSimd};

use super::elementary::exp;
use super::glm::Link;
use super::tile::{self, Columns, LANES, TILE_ROWS};
use super::wide;
use crate::device::{Design, GlmPartial, Loss};
use crate::error::Result;
use crate::product::{Activation, Layer, Network, check_network};

/// A column's values of the rows of a panel.
type Lanes = [f64; LANES];

/// Outputs that are summed at once: with [`LANES`] rows they fill half of AVX2's registers.
const GROUP: usize = 4;
/// Columns of residuals and of inputs whose products are summed at once.
const LEFT: usize = 3;
const RIGHT: usize = 2;

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

/// Weights in the order in which the inner loop reads them: for each group of outputs and each input, the group's.
struct Packed {
    n_inputs: usize,
    groups: Vec<[f64; GROUP]>,
}

impl Packed {
    fn new(n_outputs: usize, n_inputs: usize, weight: impl Fn(usize, usize) -> f64) -> Packed {
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
    fn multiply(
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
struct Forward<'a> {
    design: &'a Design<'a>,
    network: &'a Network<'a>,
    layers: Vec<Layer>,
    packed: Vec<Packed>,
    /// The intercepts of each layer.
    starts: Vec<Vec<f64>>,
}

/// A tile of rows, and what each layer made of it.
struct Tile {
    n_panels: usize,
    inputs: Vec<Lanes>,
    outputs: Vec<Vec<Lanes>>,
}

impl<'a> Forward<'a> {
    fn new(design: &'a Design<'a>, network: &'a Network<'a>, layers: Vec<Layer>) -> Forward<'a> {
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

    fn n_outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.n_outputs)
    }

    fn tile(&self) -> Tile {
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
    fn run(&self, start: usize, n_rows: usize, tile: &mut Tile) {
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

/// From the residuals of the last layer to the gradient of all.
struct Backward<'a> {
    forward: &'a Forward<'a>,
    /// The weights of each layer but the first, by inputs.
    packed: Vec<Packed>,
}

impl<'a> Backward<'a> {
    fn new(forward: &'a Forward<'a>) -> Backward<'a> {
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
    fn run(
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

#[cfg(test)]
mod tests {
    use super::{network, network_outputs};
    use crate::cpu::glm::{glm, linear};
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
