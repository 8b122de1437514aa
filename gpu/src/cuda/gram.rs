//! Sums of products: tiles of 32 × 32 columns on the device, put together on the host.

use super::layout::{self, CHUNK_ROWS, Needs, Segment};
use super::residents::{Buffer, Role};
use super::session::{Argument, Failure, Lane, Session, Shape};
use crate::cpu::{check_design, check_length};
use crate::device::{Design, Gram};
use crate::error::Result;

/// Columns of a tile; as in `gram.cu`.
const TILE: usize = 32;
/// Columns beyond which the partials of a block would not fit.
const MAX_COLUMNS: usize = 4096;

/// Checks the shapes of a call.
pub(super) fn check(
    design: &Design<'_>,
    response: Option<&[f64]>,
    weights: Option<&[f64]>,
) -> Result<()> {
    check_design("gram", design)?;
    for vector in [response, weights].into_iter().flatten() {
        check_length("gram", design.dense.n_rows, vector.len())?;
    }
    Ok(())
}

/// See [`crate::Device::gram`].
pub(super) fn gram(
    session: &Session,
    design: &Design<'_>,
    response: Option<&[f64]>,
    weights: Option<&[f64]>,
) -> std::result::Result<Gram, Failure> {
    let mut tiles = Tiles::new(session, design.n_cols())?;
    let needs = Needs {
        row_bytes: 16,
        chunk_bytes: tiles.partial_bytes(),
    };
    layout::for_each_segment(session, design, needs, |segment| {
        let on_device = |role: Role, vector: Option<&[f64]>| {
            let vector = vector.map(|vector| segment.vector(session, role, vector));
            vector.transpose()
        };
        let response = on_device(Role::Response, response)?;
        let weights = on_device(Role::Weights, weights)?;
        let address = |vector: &Option<std::sync::Arc<Buffer<f64>>>| {
            vector
                .as_ref()
                .map_or(0, |vector| session.raw_address(segment.lane, vector))
        };
        tiles.add(session, segment, address(&response), address(&weights))
    })?;
    let p = design.n_cols();
    let sums = tiles.finish(session)?;
    let at = |i: usize, j: usize| sums[i * (p + 2) + j];
    Ok(Gram {
        moments: [at(p, p), at(p + 1, p), at(p + 1, p + 1)],
        x_sums: (0..p).map(|j| at(p, j)).collect(),
        xy: (0..p).map(|j| at(p + 1, j)).collect(),
        xx: (0..p * p).map(|ij| at(ij / p, ij % p)).collect(),
    })
}

/// Running sums of the products of all pairs of columns, ones and the response.
#[derive(Debug)]
pub(super) struct Tiles {
    n_columns: usize,
    n_tiles: usize,
    sums: Buffer<f64>,
}

impl Tiles {
    pub(super) fn new(session: &Session, n_columns: usize) -> std::result::Result<Tiles, Failure> {
        if n_columns > MAX_COLUMNS {
            return Err(Failure::Declined("there are more than 4096 columns"));
        }
        let per_side = (n_columns + 2).div_ceil(TILE);
        let n_tiles = per_side * (per_side + 1) / 2;
        Ok(Tiles {
            n_columns,
            n_tiles,
            sums: session.zeros(Lane::First, n_tiles * TILE * TILE)?,
        })
    }

    /// Bytes of the partial of a chunk.
    pub(super) fn partial_bytes(&self) -> usize {
        self.n_tiles * TILE * TILE * size_of::<f64>()
    }

    /// Adds a segment; response and weights are addresses of vectors, or 0 for none.
    pub(super) fn add(
        &mut self,
        session: &Session,
        segment: &Segment,
        response: u64,
        weights: u64,
    ) -> std::result::Result<(), Failure> {
        let n_values = self.n_tiles * TILE * TILE;
        let partials = session.room(segment.lane, segment.n_chunks() * n_values)?;
        let shape = Shape {
            grid: (segment.n_chunks(), self.n_tiles, 1),
            block: (16, 16),
            shared_bytes: 0,
        };
        let arguments = [
            segment.design(),
            Argument::Address(response),
            Argument::Address(weights),
            Argument::Count(CHUNK_ROWS as u32),
            session.address(segment.lane, &partials),
        ];
        let kernel = segment.kernel("gram_f32", "gram_f64");
        session.launch(segment.lane, kernel, shape, &arguments)?;
        layout::add_chunks(session, segment, &partials, n_values, &self.sums)
    }

    /// The whole symmetric matrix over the columns, ones and the response.
    pub(super) fn finish(self, session: &Session) -> std::result::Result<Vec<f64>, Failure> {
        let mut tiles = vec![0.0; self.n_tiles * TILE * TILE];
        session.download(Lane::First, &self.sums, &mut tiles)?;
        let side = self.n_columns + 2;
        let mut matrix = vec![0.0; side * side];
        for i in 0..side {
            for j in 0..=i {
                let (row, column) = (i / TILE, j / TILE);
                let tile = row * (row + 1) / 2 + column;
                let value = tiles[tile * TILE * TILE + i % TILE * TILE + j % TILE];
                matrix[i * side + j] = value;
                matrix[j * side + i] = value;
            }
        }
        Ok(matrix)
    }
}
