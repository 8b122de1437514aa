//! Distances to centroids, the nearest of them, and the sums of their rows.

use super::layout::{self, CHUNK_ROWS, CentroidsArgument, Needs, Segment, add_chunks, count, each};
use super::residents::{Buffer, Role};
use super::session::{Argument, Failure, Lane, Session, Shape};
use crate::cpu::{check_centroids, check_length, code_distances};
use crate::device::{ClusterSums, Design, Nearest};
use crate::error::Result;
use crate::product::Neighbours;

/// Bytes of shared memory that each launch may ask for on every device.
const SHARED_BYTES: usize = 48 << 10;
/// Most threads of a block that adds rows to sums of their own.
const MAX_ADDERS: usize = 64;
/// Centroids that a thread compares at once; as in `distances.cu`.
const GROUP: usize = 4;
const MAX_BLOCKS: usize = 65_535;
/// What is added up beside the columns: ones, and squared distances.
const BEYOND_COLUMNS: usize = 2;

/// The number of centroids, once the shapes were found to belong together.
pub(super) fn check(
    design: &Design<'_>,
    centroids: &[f64],
    weights: Option<&[f64]>,
) -> Result<usize> {
    if let Some(weights) = weights {
        check_length("nearest", design.dense.n_rows, weights.len())?;
    }
    check_centroids("nearest", design, centroids)
}

/// The centroids on the device.
struct Centroids {
    dense: Buffer<f64>,
    table: Buffer<f64>,
    offset: Buffer<u32>,
    width: Buffer<u32>,
    n_centroids: u32,
    n_code_columns: u32,
    n_entries: u32,
}

impl Centroids {
    fn new(
        session: &Session,
        design: &Design<'_>,
        centroids: &[f64],
        n_centroids: usize,
    ) -> std::result::Result<Centroids, Failure> {
        let (n_dense, n_cols) = (design.dense.n_cols, design.n_cols());
        let mut offsets = Vec::with_capacity(design.widths.len());
        let mut n_entries = 0;
        for width in design.widths {
            offsets.push(count(n_entries)?);
            n_entries += width + 1;
        }
        let mut dense = Vec::with_capacity(n_centroids * n_dense);
        let mut table = Vec::with_capacity(n_centroids * n_entries);
        for centroid in centroids.chunks_exact(n_cols) {
            let (numbers, mut indicators) = centroid.split_at(n_dense);
            dense.extend_from_slice(numbers);
            for &width in design.widths {
                let (column, rest) = indicators.split_at(width);
                table.extend(code_distances(column));
                indicators = rest;
            }
        }
        let widths: Vec<u32> = design.widths.iter().map(|&width| width as u32).collect();
        let lane = Lane::First;
        Ok(Centroids {
            dense: session.upload(lane, &dense)?,
            table: session.upload(lane, &table)?,
            offset: session.upload(lane, &offsets)?,
            width: session.upload(lane, &widths)?,
            n_centroids: count(n_centroids)?,
            n_code_columns: count(design.widths.len())?,
            n_entries: count(n_entries)?,
        })
    }

    fn argument(&self, session: &Session, lane: Lane) -> Argument {
        Argument::Centroids(CentroidsArgument {
            dense: session.raw_address(lane, &self.dense),
            table: session.raw_address(lane, &self.table),
            offset: session.raw_address(lane, &self.offset),
            width: session.raw_address(lane, &self.width),
            n_centroids: self.n_centroids,
            n_code_columns: self.n_code_columns,
            n_entries: self.n_entries,
            reserved: 0,
        })
    }
}

/// See [`crate::Device::nearest`].
pub(super) fn nearest(
    session: &Session,
    design: &Design<'_>,
    centroids: &[f64],
    n_centroids: usize,
    weights: Option<&[f64]>,
) -> std::result::Result<Nearest, Failure> {
    let n_rows = design.dense.n_rows;
    let (mut ids, mut squared_distances) = (vec![0; n_rows], vec![0.0; n_rows]);
    let rows = Some((ids.as_mut_slice(), squared_distances.as_mut_slice()));
    let sums = assign(session, design, (centroids, n_centroids), weights, rows)?;
    Ok(Nearest {
        ids,
        squared_distances,
        sums,
    })
}

/// See [`crate::Device::cluster_sums`].
pub(super) fn cluster_sums(
    session: &Session,
    design: &Design<'_>,
    centroids: &[f64],
    n_centroids: usize,
    weights: Option<&[f64]>,
) -> std::result::Result<ClusterSums, Failure> {
    assign(session, design, (centroids, n_centroids), weights, None)
}

/// Adds up rows by their nearest centroid; brings what it finds of each row to the host only where there is a place for it:
/// ids and squared distances.
fn assign(
    session: &Session,
    design: &Design<'_>,
    (centroids, n_centroids): (&[f64], usize),
    weights: Option<&[f64]>,
    mut of_rows: Option<(&mut [u32], &mut [f64])>,
) -> std::result::Result<ClusterSums, Failure> {
    if n_centroids > SHARED_BYTES / 8 {
        return Err(Failure::Declined("there are more than 6144 centroids"));
    }
    let p = design.n_cols();
    if p + BEYOND_COLUMNS > MAX_BLOCKS {
        return Err(Failure::Declined("there are more than 65533 columns"));
    }
    let n_values = (p + BEYOND_COLUMNS) * n_centroids;
    let on_device = Centroids::new(session, design, centroids, n_centroids)?;
    let sums = session.zeros(Lane::First, n_values)?;
    let needs = Needs {
        row_bytes: 24,
        chunk_bytes: 8 * n_values,
    };
    layout::for_each_segment(session, design, needs, |segment| {
        let (lane, rows) = (segment.lane, segment.rows.clone());
        let ids = session.room(lane, segment.n_rows())?;
        let distances = session.room(lane, segment.n_rows())?;
        let arguments = [
            segment.design(),
            on_device.argument(session, lane),
            session.address(lane, &ids),
            session.address(lane, &distances),
        ];
        let kernel = segment.kernel("nearest_f32", "nearest_f64");
        session.launch(lane, kernel, each(segment.n_rows(), 1), &arguments)?;
        let weights = weights.map(|weights| segment.vector(session, Role::Weights, weights));
        let weights = weights.transpose()?;
        add_rows(
            session,
            segment,
            (&ids, &distances, weights.as_deref()),
            (n_centroids, n_values),
            &sums,
        )?;
        let Some((all_ids, all_distances)) = &mut of_rows else {
            return Ok(());
        };
        session.download(lane, &ids, &mut all_ids[rows.clone()])?;
        session.download(lane, &distances, &mut all_distances[rows])
    })?;
    let mut by_column = vec![0.0; n_values];
    session.download(Lane::First, &sums, &mut by_column)?;
    let (columns, beyond) = by_column.split_at(p * n_centroids);
    let (weights, squares) = beyond.split_at(n_centroids);
    let by_centroid = (0..n_centroids * p).map(|at| columns[at % p * n_centroids + at / p]);
    Ok(ClusterSums {
        weights: weights.to_vec(),
        sums: by_centroid.collect(),
        squares: squares.to_vec(),
    })
}

/// See [`crate::Device::neighbours`].
pub(super) fn neighbours(
    session: &Session,
    design: &Design<'_>,
    points: &[f64],
    n_points: usize,
    n_neighbours: usize,
) -> std::result::Result<Neighbours, Failure> {
    let n_found = design.dense.n_rows * n_neighbours;
    let mut found = Neighbours {
        ids: vec![0; n_found],
        squared_distances: vec![f64::INFINITY; n_found],
    };
    if n_found == 0 {
        return Ok(found);
    }
    let on_device = Centroids::new(session, design, points, n_points)?;
    let needs = Needs {
        row_bytes: 12 * n_neighbours,
        chunk_bytes: 0,
    };
    layout::for_each_segment(session, design, needs, |segment| {
        let (lane, n) = (segment.lane, segment.n_rows());
        let ids = session.room(lane, n * n_neighbours)?;
        let distances = session.room(lane, n * n_neighbours)?;
        let arguments = [
            segment.design(),
            on_device.argument(session, lane),
            Argument::Count(count(n_neighbours)?),
            session.address(lane, &ids),
            session.address(lane, &distances),
        ];
        let kernel = segment.kernel("neighbours_f32", "neighbours_f64");
        session.launch(lane, kernel, each(n, 1), &arguments)?;
        // By places in the lists, so that neighbouring threads write side by side.
        let mut ids_by_place = vec![0u32; n * n_neighbours];
        let mut distances_by_place = vec![0.0; n * n_neighbours];
        session.download(lane, &ids, &mut ids_by_place)?;
        session.download(lane, &distances, &mut distances_by_place)?;
        let first = segment.rows.start * n_neighbours;
        for at in 0..n * n_neighbours {
            let (place, row) = (at / n, at % n);
            found.ids[first + row * n_neighbours + place] = ids_by_place[at];
            found.squared_distances[first + row * n_neighbours + place] = distances_by_place[at];
        }
        Ok(())
    })?;
    Ok(found)
}

/// Adds the rows of a segment to the sums of their centroids: `n_centroids` of each column and of what is beyond them.
fn add_rows(
    session: &Session,
    segment: &Segment,
    (ids, squared_distances, weights): (&Buffer<u32>, &Buffer<f64>, Option<&Buffer<f64>>),
    (n_centroids, n_values): (usize, usize),
    sums: &Buffer<f64>,
) -> std::result::Result<(), Failure> {
    let n_adders = (SHARED_BYTES / 8 / n_centroids).min(MAX_ADDERS);
    let partials = session.room(segment.lane, segment.n_chunks() * n_values)?;
    let shape = Shape {
        grid: (segment.n_chunks(), n_values / n_centroids, 1),
        block: (n_adders as u32, 1),
        shared_bytes: n_adders * n_centroids * 8,
    };
    let weights = weights.map_or(0, |weights| session.raw_address(segment.lane, weights));
    let arguments = [
        segment.design(),
        session.address(segment.lane, ids),
        session.address(segment.lane, squared_distances),
        Argument::Address(weights),
        Argument::Count(count(n_centroids)?),
        Argument::Count(CHUNK_ROWS as u32),
        session.address(segment.lane, &partials),
    ];
    let kernel = segment.kernel("cluster_sums_f32", "cluster_sums_f64");
    session.launch(segment.lane, kernel, shape, &arguments)?;
    add_chunks(session, segment, &partials, n_values, sums)
}

/// See [`crate::Device::squared_distances`].
pub(super) fn squared_distances(
    session: &Session,
    design: &Design<'_>,
    centroids: &[f64],
    n_centroids: usize,
) -> std::result::Result<Vec<f64>, Failure> {
    let n_groups = n_centroids.div_ceil(GROUP);
    if n_groups > MAX_BLOCKS {
        return Err(Failure::Declined("there are more than 262140 centroids"));
    }
    let on_device = Centroids::new(session, design, centroids, n_centroids)?;
    let mut distances = vec![0.0; design.dense.n_rows * n_centroids];
    let needs = Needs {
        row_bytes: 8 * n_centroids,
        chunk_bytes: 0,
    };
    layout::for_each_segment(session, design, needs, |segment| {
        let found = session.room(segment.lane, segment.n_rows() * n_centroids)?;
        let arguments = [
            segment.design(),
            on_device.argument(session, segment.lane),
            session.address(segment.lane, &found),
        ];
        let kernel = segment.kernel("distances_f32", "distances_f64");
        let shape = each(segment.n_rows(), n_groups);
        session.launch(segment.lane, kernel, shape, &arguments)?;
        let into = segment.rows.start * n_centroids..segment.rows.end * n_centroids;
        session.download(segment.lane, &found, &mut distances[into])
    })?;
    Ok(distances)
}
