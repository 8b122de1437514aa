//! The contract of a device, and the views of samples that its kernels take.
//!
//! In: a [`Design`] (dense columns and one-hot codes of one block); out: partials in f64. Every kernel
//! adds in an order that depends on the block alone, so that results are reproducible to the bit.

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::Result;
use crate::product::{Neighbours, Network, Product, ProductElements};
use crate::trees::{Bins, Forest, Pairs, Parted, RowOrder, RowSets, RowSplit, Version};

/// What a device is.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceInfo {
    /// `cpu`, `cuda`.
    pub kind: &'static str,
    /// The device's own name.
    pub name: String,
    /// Its memory, where that is not the machine's.
    pub memory_bytes: Option<u64>,
    /// The driver and its version.
    pub driver: Option<String>,
    /// What its memory can move in a second, by the driver's figures.
    pub memory_bytes_per_s: Option<f64>,
    /// Whether a program stands in for it, so that it proves results and nothing about speed.
    pub is_simulated: bool,
}

/// What a device did for one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Kernels that were started.
    pub n_launches: u64,
    /// Bytes that were moved to the device.
    pub uploaded_bytes: u64,
    /// Bytes that were moved from it.
    pub downloaded_bytes: u64,
    /// Time that kernels took, by the device's own clock.
    pub kernel_ns: u64,
}

impl Figures {
    /// Both together.
    pub fn plus(&self, other: &Figures) -> Figures {
        Figures {
            n_launches: self.n_launches + other.n_launches,
            uploaded_bytes: self.uploaded_bytes + other.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes + other.downloaded_bytes,
            kernel_ns: self.kernel_ns + other.kernel_ns,
        }
    }
}

/// Names the rows of a block through a run: whatever a call takes of them stays on the device until the run ends, as far as
/// its memory goes, and is not brought there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowsId {
    /// 0 for training, 1 for evaluation.
    pub part: u32,
    /// The first row in the chunk.
    pub first_row: u32,
    /// The number of the chunk.
    pub chunk: u64,
}

/// The elements of a matrix.
#[derive(Debug, Clone, Copy)]
pub enum Elements<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit floats.
    F64(&'a [f64]),
}

/// A dense column-major matrix: column `j` is `elements[j * n_rows..][..n_rows]`.
#[derive(Debug, Clone, Copy)]
pub struct MatrixView<'a> {
    /// Number of rows.
    pub n_rows: usize,
    /// Number of columns.
    pub n_cols: usize,
    /// The elements.
    pub elements: Elements<'a>,
}

/// The design matrix of a block without materialising it: each dense column as
/// `(x - shift[j]) * scale[j]`, then for each code column `widths[c]` indicator columns; a code at
/// or beyond its width has no indicator. It has `n_cols()` columns and no intercept.
#[derive(Debug, Clone, Copy)]
pub struct Design<'a> {
    /// Names the dense columns and the codes, where they are the same in every call of the run.
    pub rows: Option<RowsId>,
    /// The dense columns as stored.
    pub dense: MatrixView<'a>,
    /// Subtracted from each dense column; length `dense.n_cols`.
    pub shift: &'a [f64],
    /// Multiplied to each shifted dense column; length `dense.n_cols`.
    pub scale: &'a [f64],
    /// The code columns; each of length `dense.n_rows`.
    pub codes: &'a [Vec<u32>],
    /// Indicator columns of each code column.
    pub widths: &'a [usize],
}

impl Design<'_> {
    /// Number of columns: dense ones, then indicators.
    pub fn n_cols(&self) -> usize {
        self.dense.n_cols + self.widths.iter().sum::<usize>()
    }
}

/// Weighted sums of products over the rows of a block, for p columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    /// Σ w, Σ w·y, Σ w·y².
    pub moments: [f64; 3],
    /// Σ w·x, length p.
    pub x_sums: Vec<f64>,
    /// Σ w·x·y, length p (zeros without y).
    pub xy: Vec<f64>,
    /// Σ w·x·xᵀ, `(p, p)` symmetric, both triangles filled.
    pub xx: Vec<f64>,
}

/// The loss of a generalised linear model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Loss {
    /// ½ (y − z)².
    Squared,
    /// log(1 + exp(z)) − y·z with y in {0, 1}; one output.
    Logistic,
    /// −log softmax(z)\[y\] with y a class; `n_outputs` outputs.
    Softmax,
}

/// Loss and derivatives of a generalised linear model over the rows of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct GlmPartial {
    /// Σ w.
    pub weight: f64,
    /// Σ w·loss.
    pub loss: f64,
    /// Gradient, `(n_outputs, p + 1)` row-major, the intercept last in each row.
    pub gradient: Vec<f64>,
    /// Hessian of the flattened gradient, symmetric and full; empty unless asked for.
    pub hessian: Vec<f64>,
}

/// The nearest centroid of each row, and sums for the next centroids.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    /// The nearest centroid of each row; the lower number at ties.
    pub ids: Vec<u32>,
    /// Squared distance of each row to its nearest centroid.
    pub squared_distances: Vec<f64>,
    /// Sums over the rows of each centroid.
    pub sums: ClusterSums,
}

/// Sums over rows by their nearest centroid.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSums {
    /// Σ w of each centroid's rows.
    pub weights: Vec<f64>,
    /// Σ w·x of each centroid's rows, `(n_centroids, p)` row-major.
    pub sums: Vec<f64>,
    /// Σ w·d² of each centroid's rows, for their squared distances to it.
    pub squares: Vec<f64>,
}

/// A device that runs kernels over one block at a time.
pub trait Device: Debug + Send + Sync {
    /// What it is.
    fn info(&self) -> DeviceInfo;

    /// The same device for another run, which has nothing in common with this one: names of rows mean other rows.
    fn another_run(&self) -> Arc<dyn Device>;

    /// Weighted sums of products; `response` and `weights` have one value a row.
    fn gram(
        &self,
        design: &Design<'_>,
        response: Option<&[f64]>,
        weights: Option<&[f64]>,
    ) -> Result<Gram>;

    /// `z = X·βᵀ + intercept`: `(n_rows, n_outputs)` row-major, for `coefficients`
    /// `(n_outputs, p + 1)` row-major with the intercept last.
    fn linear(
        &self,
        design: &Design<'_>,
        coefficients: &[f64],
        n_outputs: usize,
    ) -> Result<Vec<f64>>;

    /// Loss, gradient and (with `with_hessian`) Hessian of a generalised linear model.
    #[allow(
        clippy::too_many_arguments,
        reason = "the operands of one formula; a struct would name them twice"
    )]
    fn glm(
        &self,
        design: &Design<'_>,
        response: &[f64],
        weights: Option<&[f64]>,
        coefficients: &[f64],
        n_outputs: usize,
        loss: Loss,
        with_hessian: bool,
    ) -> Result<GlmPartial>;

    /// The Hessian of a generalised linear model times a direction, without the Hessian: a vector like the gradient.
    /// `coefficients` and `direction` are `(n_outputs, p + 1)` row-major with the intercept last.
    fn hessian_product(
        &self,
        design: &Design<'_>,
        weights: Option<&[f64]>,
        coefficients: &[f64],
        direction: &[f64],
        n_outputs: usize,
        loss: Loss,
    ) -> Result<Vec<f64>>;

    /// A product of two matrices in the type of their elements, column after column.
    fn gemm(&self, product: &Product<'_>) -> Result<ProductElements>;

    /// Loss and gradient of a dense network, whose last layer's outputs are the predictors of the loss. The
    /// gradient lies as the parameters do; there is no Hessian.
    fn network(
        &self,
        design: &Design<'_>,
        response: &[f64],
        weights: Option<&[f64]>,
        network: &Network<'_>,
        loss: Loss,
    ) -> Result<GlmPartial>;

    /// The outputs of a dense network's last layer, `(n_rows, n_outputs)` row-major.
    fn network_outputs(&self, design: &Design<'_>, network: &Network<'_>) -> Result<Vec<f64>>;

    /// The nearest of `centroids` `(n_centroids, p)` row-major by Euclid, over the design's columns.
    fn nearest(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Nearest>;

    /// The sums of [`Device::nearest`] alone, so that nothing of each row comes back from a device.
    fn cluster_sums(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<ClusterSums>;

    /// Squared distances to every centroid, `(n_rows, n_centroids)` row-major.
    fn squared_distances(&self, design: &Design<'_>, centroids: &[f64]) -> Result<Vec<f64>>;

    /// The `n_neighbours` nearest of `points` `(n_points, p)` row-major of each row, the nearest first.
    fn neighbours(
        &self,
        design: &Design<'_>,
        points: &[f64],
        n_neighbours: usize,
    ) -> Result<Neighbours>;

    /// Sums of gradients and hessians by bin, `(n_sets, columns.len(), 256)` row-major; exact.
    fn histogram(
        &self,
        bins: &Bins<'_>,
        pairs: &Pairs<'_>,
        sets: &RowSets<'_>,
        columns: &[u32],
    ) -> Result<Vec<[i64; 2]>>;

    /// Puts the rows of each set that go left before those that go right, each in their order. The sets must
    /// not overlap; `next` is the version of the order that comes of it.
    fn partition(
        &self,
        bins: &Bins<'_>,
        order: &RowOrder<'_>,
        splits: &[RowSplit],
        next: Version,
    ) -> Result<Parted>;

    /// The scores of an ensemble of trees, `(n_rows, n_outputs)` row-major; of the design only dense
    /// columns and codes count.
    fn forest(&self, design: &Design<'_>, forest: &Forest<'_>) -> Result<Vec<f64>>;

    /// What it did since this handle was made.
    fn figures(&self) -> Figures {
        Figures::default()
    }
}
