//! Dense networks: products layer by layer, and back.
//!
//! In: a design and parameters; out: outputs to the bit as on the CPU, or loss and gradient. The first layer's sums are
//! those of linear models, so that codes need no indicators; the other layers multiply what is on the device
//! already. Sums over rows go by chunks in their order, like all.

use super::glm::{add_sums, check_blocks, number, predict};
use super::layout::{self, CHUNK_ROWS, Needs, Segment, add_chunks, count, each};
use super::product::{self, FactorsArgument};
use super::residents::{Buffer, Role};
use super::session::{Argument, Failure, Lane, Session};
use crate::device::{Design, GlmPartial, Loss};
use crate::product::{Activation, Layer, Network};

/// See [`crate::Device::network_outputs`].
pub(super) fn outputs(
    session: &Session,
    design: &Design<'_>,
    network: &Network<'_>,
    layers: &[Layer],
) -> Result<Vec<f64>, Failure> {
    check(design, layers)?;
    let n_outputs = layers.last().map_or(0, |layer| layer.n_outputs);
    let forward = Forward {
        parameters: session.upload(Lane::First, network.parameters)?,
        activation: network.activation,
        layers,
    };
    let mut found = vec![0.0; design.dense.n_rows * n_outputs];
    let needs = Needs {
        row_bytes: 8 * layers.iter().map(|layer| layer.n_outputs).sum::<usize>(),
        chunk_bytes: 0,
    };
    layout::for_each_segment(session, design, needs, |segment| {
        let n = segment.n_rows();
        let mut by_output = vec![0.0; n * n_outputs];
        if let Some(last) = forward.run(session, segment)?.last() {
            session.download(segment.lane, last, &mut by_output)?;
        }
        for (output, values) in by_output.chunks_exact(n).enumerate() {
            let into = found[segment.rows.start * n_outputs + output..].iter_mut();
            for (into, z) in into.step_by(n_outputs).zip(values) {
                *into = *z;
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Declines what the kernels are not for.
fn check(design: &Design<'_>, layers: &[Layer]) -> Result<(), Failure> {
    let widest = layers.iter().map(|layer| layer.n_outputs).max();
    check_blocks(design, widest.unwrap_or(0))?;
    match layers.iter().any(|layer| layer.n_outputs == 0) {
        true => Err(Failure::Declined("a layer has no outputs")),
        false => Ok(()),
    }
}

/// The parameters on the device.
struct Forward<'a> {
    parameters: Buffer<f64>,
    activation: Activation,
    layers: &'a [Layer],
}

impl Forward<'_> {
    /// The address of a parameter.
    fn at(&self, session: &Session, lane: Lane, parameter: usize) -> u64 {
        session.raw_address(lane, &self.parameters) + (parameter * size_of::<f64>()) as u64
    }

    /// The outputs of each layer, `(n_outputs, n_rows)`.
    fn run(&self, session: &Session, segment: &Segment) -> Result<Vec<Buffer<f64>>, Failure> {
        let (lane, n) = (segment.lane, segment.n_rows());
        let mut outputs: Vec<Buffer<f64>> = Vec::with_capacity(self.layers.len());
        for (number, layer) in self.layers.iter().enumerate() {
            let z = session.room(lane, n * layer.n_outputs)?;
            let mut intercepts = 0;
            match outputs.last() {
                None => {
                    let strides = [1, n];
                    predict(
                        session,
                        segment,
                        &self.parameters,
                        layer.n_outputs,
                        strides,
                        &z,
                    )?;
                }
                Some(inputs) => {
                    let factors = FactorsArgument {
                        left: session.raw_address(lane, inputs),
                        right: self.at(session, lane, layer.start),
                        left_row: 1,
                        left_inner: count(n)?,
                        right_inner: 1,
                        right_column: count(layer.stride())?,
                        n_rows: count(n)?,
                        n_inner: count(layer.n_inputs)?,
                        n_columns: count(layer.n_outputs)?,
                        inner_per_block: count(layer.n_inputs)?,
                    };
                    product::launch(
                        session,
                        lane,
                        "gemm_f64",
                        factors,
                        session.address(lane, &z),
                    )?;
                    intercepts = self.at(session, lane, layer.start + layer.n_inputs);
                }
            }
            let is_last = number + 1 == self.layers.len();
            let activation = if is_last {
                Activation::Identity
            } else {
                self.activation
            };
            let arguments = [
                Argument::Count(count(n)?),
                Argument::Address(intercepts),
                Argument::Count(count(layer.stride())?),
                Argument::Count(number_of(activation)),
                session.address(lane, &z),
            ];
            session.launch(lane, "activate", each(n, layer.n_outputs), &arguments)?;
            outputs.push(z);
        }
        Ok(outputs)
    }
}

/// A call of [`crate::Device::network`].
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) design: &'a Design<'a>,
    pub(super) response: &'a [f64],
    pub(super) weights: Option<&'a [f64]>,
    pub(super) network: &'a Network<'a>,
    pub(super) layers: Vec<Layer>,
    pub(super) loss: Loss,
}

/// What a pass adds up over segments.
struct Running {
    /// Of the first layer `(n_outputs, n_inputs + 1)`, of the others `(n_inputs, n_outputs)`.
    gradients: Vec<Buffer<f64>>,
    /// Of the other layers' intercepts.
    intercepts: Vec<Buffer<f64>>,
    loss: Buffer<f64>,
    weight: Buffer<f64>,
}

impl Pass<'_> {
    pub(super) fn run(&self, session: &Session) -> Result<GlmPartial, Failure> {
        check(self.design, &self.layers)?;
        let lane = Lane::First;
        let forward = Forward {
            parameters: session.upload(lane, self.network.parameters)?,
            activation: self.network.activation,
            layers: &self.layers,
        };
        let zeros = |n: usize| session.zeros(lane, n);
        let gradients = self.layers.iter().map(|layer| zeros(layer.range().len()));
        let intercepts = self.layers.iter().map(|layer| zeros(layer.n_outputs));
        let running = Running {
            gradients: gradients.collect::<Result<_, _>>()?,
            intercepts: intercepts.collect::<Result<_, _>>()?,
            loss: zeros(1)?,
            weight: zeros(1)?,
        };
        let of_layers: usize = self.layers.iter().map(|layer| layer.n_outputs).sum();
        let needs = Needs {
            row_bytes: 8 * (3 + 2 * of_layers),
            chunk_bytes: 8 * (self.network.parameters.len() + of_layers + 2),
        };
        layout::for_each_segment(session, self.design, needs, |segment| {
            self.add(session, segment, &forward, &running)
        })?;
        let mut partial = GlmPartial {
            weight: self.design.dense.n_rows as f64,
            loss: 0.0,
            gradient: vec![0.0; self.network.parameters.len()],
            hessian: Vec::new(),
        };
        session.download(lane, &running.loss, std::slice::from_mut(&mut partial.loss))?;
        if self.weights.is_some() {
            let weight = std::slice::from_mut(&mut partial.weight);
            session.download(lane, &running.weight, weight)?;
        }
        for (number, layer) in self.layers.iter().enumerate() {
            let into = &mut partial.gradient[layer.range()];
            if number == 0 {
                session.download(lane, &running.gradients[0], into)?;
                continue;
            }
            let mut by_input = vec![0.0; layer.n_inputs * layer.n_outputs];
            let mut intercepts = vec![0.0; layer.n_outputs];
            session.download(lane, &running.gradients[number], &mut by_input)?;
            session.download(lane, &running.intercepts[number], &mut intercepts)?;
            for (output, into) in into.chunks_exact_mut(layer.stride()).enumerate() {
                for (input, into) in into[..layer.n_inputs].iter_mut().enumerate() {
                    *into = by_input[input * layer.n_outputs + output];
                }
                into[layer.n_inputs] = intercepts[output];
            }
        }
        Ok(partial)
    }

    fn add(
        &self,
        session: &Session,
        segment: &Segment,
        forward: &Forward<'_>,
        running: &Running,
    ) -> Result<(), Failure> {
        let (lane, n) = (segment.lane, segment.n_rows());
        let response = segment.vector(session, Role::Response, self.response)?;
        let weights = self
            .weights
            .map(|weights| segment.vector(session, Role::Weights, weights));
        let weights = weights.transpose()?;
        let mut outputs = forward.run(session, segment)?;
        let Some(mut residuals) = outputs.pop() else {
            return Ok(());
        };
        let losses = session.room(lane, n)?;
        let weights_address = weights
            .as_deref()
            .map_or(0, |w| session.raw_address(lane, w));
        let arguments = [
            Argument::Count(count(n)?),
            Argument::Count(count(
                self.layers.last().map_or(0, |layer| layer.n_outputs),
            )?),
            Argument::Count(number(self.loss)),
            session.address(lane, &response),
            Argument::Address(weights_address),
            session.address(lane, &residuals),
            session.address(lane, &losses),
            Argument::Address(0),
        ];
        session.launch(lane, "link", each(n, 1), &arguments)?;
        let ones = (segment.without_columns(), 1);
        add_sums(session, segment, ones, (&losses, 1), &running.loss)?;
        if let Some(weights) = &weights {
            add_sums(session, segment, ones, (weights, 1), &running.weight)?;
        }
        for (number, layer) in self.layers.iter().enumerate().rev() {
            let vectors = (&residuals, layer.n_outputs);
            let Some(inputs) = outputs.pop() else {
                let columns = (segment.design(), self.design.n_cols() + 1);
                return add_sums(session, segment, columns, vectors, &running.gradients[0]);
            };
            add_sums(session, segment, ones, vectors, &running.intercepts[number])?;
            add_products(
                session,
                segment,
                layer,
                [&residuals, &inputs],
                &running.gradients[number],
            )?;
            residuals = self.descend(session, segment, forward, layer, [&residuals, &inputs])?;
        }
        Ok(())
    }

    /// The residuals of a layer's inputs: those of its outputs through its weights, and the slope of the activation.
    fn descend(
        &self,
        session: &Session,
        segment: &Segment,
        forward: &Forward<'_>,
        layer: &Layer,
        [residuals, inputs]: [&Buffer<f64>; 2],
    ) -> Result<Buffer<f64>, Failure> {
        let (lane, n) = (segment.lane, segment.n_rows());
        let lower = session.room(lane, n * layer.n_inputs)?;
        let factors = FactorsArgument {
            left: session.raw_address(lane, residuals),
            right: forward.at(session, lane, layer.start),
            left_row: 1,
            left_inner: count(n)?,
            right_inner: count(layer.stride())?,
            right_column: 1,
            n_rows: count(n)?,
            n_inner: count(layer.n_outputs)?,
            n_columns: count(layer.n_inputs)?,
            inner_per_block: count(layer.n_outputs)?,
        };
        let out = session.address(lane, &lower);
        product::launch(session, lane, "gemm_f64", factors, out)?;
        let arguments = [
            Argument::Count(count(n)?),
            Argument::Count(number_of(self.network.activation)),
            session.address(lane, inputs),
            out,
        ];
        session.launch(lane, "descend", each(n, layer.n_inputs), &arguments)?;
        Ok(lower)
    }
}

/// Adds a segment's sums of residuals times inputs to running sums `(n_inputs, n_outputs)`.
fn add_products(
    session: &Session,
    segment: &Segment,
    layer: &Layer,
    [residuals, inputs]: [&Buffer<f64>; 2],
    sums: &Buffer<f64>,
) -> Result<(), Failure> {
    let (lane, n) = (segment.lane, segment.n_rows());
    let n_values = layer.n_inputs * layer.n_outputs;
    let partials = session.room(lane, segment.n_chunks() * n_values)?;
    let factors = FactorsArgument {
        left: session.raw_address(lane, residuals),
        right: session.raw_address(lane, inputs),
        left_row: count(n)?,
        left_inner: 1,
        right_inner: 1,
        right_column: count(n)?,
        n_rows: count(layer.n_outputs)?,
        n_inner: count(n)?,
        n_columns: count(layer.n_inputs)?,
        inner_per_block: CHUNK_ROWS as u32,
    };
    let out = session.address(lane, &partials);
    product::launch(session, lane, "gemm_f64", factors, out)?;
    add_chunks(session, segment, &partials, n_values, sums)
}

/// The number of an activation in `network.cu`.
fn number_of(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Logistic => 2,
        Activation::Tanh => 3,
    }
}
