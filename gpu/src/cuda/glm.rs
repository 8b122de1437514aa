//! Generalised linear models: predictors, then losses with residuals, then sums of columns.

use super::gram::Tiles;
use super::layout::{self, CHUNK_ROWS, Needs, Segment, add_chunks, count, each};
use super::residents::{Buffer, Role};
use super::session::{Argument, Failure, Lane, Session, Shape};
use crate::cpu::{check_design, check_length};
use crate::device::{Design, GlmPartial, Loss};
use crate::error::Result;

/// Threads of a block that reduces; as in `design.cuh`.
const REDUCERS: u32 = 128;
/// Most columns or outputs: blocks along one axis of a grid.
const MAX_BLOCKS: usize = 65_535;

/// Checks the shapes of a call of `linear`.
pub(super) fn check_linear(
    design: &Design<'_>,
    coefficients: &[f64],
    n_outputs: usize,
) -> Result<()> {
    check_design("linear", design)?;
    let n_coefficients = n_outputs * (design.n_cols() + 1);
    check_length("linear", n_coefficients, coefficients.len())
}

/// See [`crate::Device::linear`].
pub(super) fn linear(
    session: &Session,
    design: &Design<'_>,
    coefficients: &[f64],
    n_outputs: usize,
) -> std::result::Result<Vec<f64>, Failure> {
    check_blocks(design, n_outputs)?;
    let coefficients = session.upload(Lane::First, coefficients)?;
    let mut predictors = vec![0.0; design.dense.n_rows * n_outputs];
    if n_outputs == 0 {
        return Ok(predictors);
    }
    let needs = Needs {
        row_bytes: 8 * n_outputs,
        chunk_bytes: 0,
    };
    layout::for_each_segment(session, design, needs, |segment| {
        let z = session.room(segment.lane, segment.n_rows() * n_outputs)?;
        let strides = [n_outputs, 1];
        predict(session, segment, &coefficients, n_outputs, strides, &z)?;
        let into = segment.rows.start * n_outputs..segment.rows.end * n_outputs;
        session.download(segment.lane, &z, &mut predictors[into])
    })?;
    Ok(predictors)
}

pub(super) fn check_blocks(
    design: &Design<'_>,
    n_outputs: usize,
) -> std::result::Result<(), Failure> {
    if design.n_cols().max(n_outputs) >= MAX_BLOCKS {
        return Err(Failure::Declined(
            "there are more than 65534 columns or outputs",
        ));
    }
    Ok(())
}

/// Writes the predictors of a segment with the strides of rows and outputs.
pub(super) fn predict(
    session: &Session,
    segment: &Segment,
    coefficients: &Buffer<f64>,
    n_outputs: usize,
    [row_stride, output_stride]: [usize; 2],
    z: &Buffer<f64>,
) -> std::result::Result<(), Failure> {
    let arguments = [
        segment.design(),
        session.address(segment.lane, coefficients),
        Argument::Count(count(row_stride)?),
        Argument::Count(count(output_stride)?),
        session.address(segment.lane, z),
    ];
    let kernel = segment.kernel("linear_f32", "linear_f64");
    let shape = each(segment.n_rows(), n_outputs);
    session.launch(segment.lane, kernel, shape, &arguments)
}

/// A call of [`crate::Device::glm`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) design: &'a Design<'a>,
    pub(super) response: &'a [f64],
    pub(super) weights: Option<&'a [f64]>,
    pub(super) coefficients: &'a [f64],
    pub(super) n_outputs: usize,
    pub(super) loss: Loss,
    pub(super) with_hessian: bool,
}

/// What a pass adds up over segments.
struct Running {
    coefficients: Buffer<f64>,
    /// `(n_outputs, n_columns + 1)`.
    gradient: Buffer<f64>,
    loss: Buffer<f64>,
    weight: Buffer<f64>,
    /// One for each pair of outputs, with the Hessian.
    pairs: Vec<Tiles>,
}

impl Pass<'_> {
    /// Checks the shapes.
    pub(super) fn check(&self) -> Result<()> {
        let n_rows = self.design.dense.n_rows;
        check_design("glm", self.design)?;
        check_length("glm", n_rows, self.response.len())?;
        check_length("glm", n_rows, self.weights.map_or(n_rows, <[f64]>::len))?;
        let n_coefficients = self.n_outputs * (self.design.n_cols() + 1);
        check_length("glm", n_coefficients, self.coefficients.len())?;
        match self.loss {
            Loss::Softmax => Ok(()),
            Loss::Squared | Loss::Logistic => check_length("glm", 1, self.n_outputs),
        }
    }

    pub(super) fn run(&self, session: &Session) -> std::result::Result<GlmPartial, Failure> {
        check_blocks(self.design, self.n_outputs)?;
        let n_pairs = match self.with_hessian {
            true => self.n_outputs * (self.n_outputs + 1) / 2,
            false => 0,
        };
        let pair = |_| Tiles::new(session, self.design.n_cols());
        let mut running = Running {
            coefficients: session.upload(Lane::First, self.coefficients)?,
            gradient: session.zeros(Lane::First, self.coefficients.len())?,
            loss: session.zeros(Lane::First, 1)?,
            weight: session.zeros(Lane::First, 1)?,
            pairs: (0..n_pairs)
                .map(pair)
                .collect::<std::result::Result<_, _>>()?,
        };
        let of_pairs: usize = running.pairs.iter().map(Tiles::partial_bytes).sum();
        let needs = Needs {
            row_bytes: 8 * (3 + self.n_outputs + n_pairs),
            chunk_bytes: 8 * (self.coefficients.len() + 2) + of_pairs,
        };
        if self.n_outputs > 0 {
            layout::for_each_segment(session, self.design, needs, |segment| {
                self.add(session, segment, &mut running)
            })?;
        }
        let mut partial = GlmPartial {
            weight: self.design.dense.n_rows as f64,
            loss: 0.0,
            gradient: vec![0.0; self.coefficients.len()],
            hessian: Vec::new(),
        };
        let lane = Lane::First;
        session.download(lane, &running.gradient, &mut partial.gradient)?;
        session.download(lane, &running.loss, std::slice::from_mut(&mut partial.loss))?;
        if self.weights.is_some() {
            session.download(
                lane,
                &running.weight,
                std::slice::from_mut(&mut partial.weight),
            )?;
        }
        if self.with_hessian {
            partial.hessian = self.hessian(session, running.pairs)?;
        }
        Ok(partial)
    }

    fn add(
        &self,
        session: &Session,
        segment: &Segment,
        running: &mut Running,
    ) -> std::result::Result<(), Failure> {
        let (lane, n) = (segment.lane, segment.n_rows());
        let response = segment.vector(session, Role::Response, self.response)?;
        let weights = self
            .weights
            .map(|weights| segment.vector(session, Role::Weights, weights));
        let weights = weights.transpose()?;
        let z = session.room(lane, n * self.n_outputs)?;
        let losses = session.room(lane, n)?;
        let curvature = session.room::<f64>(lane, n * running.pairs.len())?;
        let outputs = self.n_outputs;
        predict(session, segment, &running.coefficients, outputs, [1, n], &z)?;
        let address = |vector: Option<&Buffer<f64>>| {
            Argument::Address(vector.map_or(0, |vector| session.raw_address(lane, vector)))
        };
        let has_pairs = !running.pairs.is_empty();
        let arguments = [
            Argument::Count(count(n)?),
            Argument::Count(count(outputs)?),
            Argument::Count(number(self.loss)),
            address(Some(&response)),
            address(weights.as_deref()),
            address(Some(&z)),
            address(Some(&losses)),
            address(has_pairs.then_some(&curvature)),
        ];
        session.launch(lane, "link", each(n, 1), &arguments)?;
        let columns = self.design.n_cols() + 1;
        let design = segment.design();
        add_sums(
            session,
            segment,
            (design, columns),
            (&z, outputs),
            &running.gradient,
        )?;
        let ones = (segment.without_columns(), 1);
        add_sums(session, segment, ones, (&losses, 1), &running.loss)?;
        if let Some(weights) = &weights {
            add_sums(session, segment, ones, (weights, 1), &running.weight)?;
        }
        let start = session.raw_address(lane, &curvature);
        for (pair, tiles) in running.pairs.iter_mut().enumerate() {
            tiles.add(session, segment, 0, start + (pair * n * 8) as u64)?;
        }
        Ok(())
    }

    /// Puts the blocks of pairs of outputs (0,0), (1,0), (1,1), (2,0) … into the whole Hessian.
    fn hessian(
        &self,
        session: &Session,
        pairs: Vec<Tiles>,
    ) -> std::result::Result<Vec<f64>, Failure> {
        let stride = self.design.n_cols() + 1;
        let size = self.n_outputs * stride;
        let mut hessian = vec![0.0; size * size];
        let outputs = (0..self.n_outputs).flat_map(|a| (0..=a).map(move |b| (a, b)));
        for ((a, b), tiles) in outputs.zip(pairs) {
            let matrix = tiles.finish(session)?;
            for i in 0..stride {
                for j in 0..stride {
                    // Behind the ones lies a response that there is not.
                    let value = matrix[i * (stride + 1) + j];
                    hessian[(a * stride + i) * size + b * stride + j] = value;
                    hessian[(b * stride + j) * size + a * stride + i] = value;
                }
            }
        }
        Ok(hessian)
    }
}

/// Adds a segment's sums of vectors times columns to running sums `(n_vectors, n_columns)`.
pub(super) fn add_sums(
    session: &Session,
    segment: &Segment,
    (design, n_columns): (Argument, usize),
    (vectors, n_vectors): (&Buffer<f64>, usize),
    sums: &Buffer<f64>,
) -> std::result::Result<(), Failure> {
    let n_values = n_vectors * n_columns;
    let partials = session.room(segment.lane, segment.n_chunks() * n_values)?;
    let shape = Shape {
        grid: (segment.n_chunks(), n_columns, n_vectors),
        block: (REDUCERS, 1),
        shared_bytes: 0,
    };
    let arguments = [
        design,
        session.address(segment.lane, vectors),
        Argument::Count(CHUNK_ROWS as u32),
        session.address(segment.lane, &partials),
    ];
    let kernel = segment.kernel("weighted_sums_f32", "weighted_sums_f64");
    session.launch(segment.lane, kernel, shape, &arguments)?;
    add_chunks(session, segment, &partials, n_values, sums)
}

/// The number of a loss in `glm.cu`.
pub(super) fn number(loss: Loss) -> u32 {
    match loss {
        Loss::Squared => 0,
        Loss::Logistic => 1,
        Loss::Softmax => 2,
    }
}
