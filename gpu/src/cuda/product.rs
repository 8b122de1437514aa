//! Products of two matrices: tiles on the device, a long inner side in parts whose sums are added in their order.
//!
//! In: factors on the host, or addresses of factors on the device; out: the product column after column. Rows of left that
//! do not fit come in stretches through both lanes; an element is the same bits in any stretch.

use std::ops::Range;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{DeviceRepr, ValidAsZeroBits};

use super::layout::{count, each};
use super::residents::Buffer;
use super::session::{Argument, Failure, Lane, Session, Shape};
use crate::product::{Factors, Layout, Product, ProductElements};

/// Rows and columns of a block's tile, and threads of a side of a block; as in `product.cu`.
const TILE: usize = 64;
const SIDE: u32 = 16;
const MAX_BLOCKS: usize = 65_535;
/// Inner elements of a part.
const PART: usize = 2048;
/// Elements of a result up to which there are parts: a larger one has tiles enough for a device.
const SMALL_RESULT: usize = 1 << 16;

/// `Factors` of `product.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct FactorsArgument {
    pub(super) left: u64,
    pub(super) right: u64,
    pub(super) left_row: u32,
    pub(super) left_inner: u32,
    pub(super) right_inner: u32,
    pub(super) right_column: u32,
    pub(super) n_rows: u32,
    pub(super) n_inner: u32,
    pub(super) n_columns: u32,
    pub(super) inner_per_block: u32,
}

// SAFETY: plain numbers in the layout of C, as the kernels declare them.
unsafe impl DeviceRepr for FactorsArgument {}

/// The kernels of a type.
#[derive(Debug, Clone, Copy)]
struct Kernels {
    gemm: &'static str,
    sum: &'static str,
}

/// Starts the product of factors on the device; `out` has room for the result of each part.
pub(super) fn launch(
    session: &Session,
    lane: Lane,
    kernel: &str,
    factors: FactorsArgument,
    out: Argument,
) -> Result<(), Failure> {
    let tiles = |n: u32| (n as usize).div_ceil(TILE);
    let parts = (factors.n_inner.div_ceil(factors.inner_per_block.max(1))).max(1);
    if tiles(factors.n_columns) > MAX_BLOCKS || parts as usize > MAX_BLOCKS {
        return Err(Failure::Declined("the product is too large"));
    }
    let shape = Shape {
        grid: (
            tiles(factors.n_rows),
            tiles(factors.n_columns),
            parts as usize,
        ),
        block: (SIDE, SIDE),
        shared_bytes: 0,
    };
    session.launch(lane, kernel, shape, &[Argument::Factors(factors), out])
}

/// See [`crate::Device::gemm`].
pub(super) fn gemm(session: &Session, product: &Product<'_>) -> Result<ProductElements, Failure> {
    let of_f32 = Kernels {
        gemm: "gemm_f32",
        sum: "sum_products_f32",
    };
    let of_f64 = Kernels {
        gemm: "gemm_f64",
        sum: "sum_products_f64",
    };
    Ok(match product.factors {
        Factors::F32(left, right) => {
            ProductElements::F32(multiply(session, product, (left, right), of_f32)?)
        }
        Factors::F64(left, right) => {
            ProductElements::F64(multiply(session, product, (left, right), of_f64)?)
        }
    })
}

fn multiply<T: DeviceRepr + ValidAsZeroBits + Copy + Default>(
    session: &Session,
    product: &Product<'_>,
    (left, right): (&[T], &[T]),
    kernels: Kernels,
) -> Result<Vec<T>, Failure> {
    let (n_rows, n_inner, n_cols) = (product.n_rows, product.n_inner, product.n_cols);
    let mut elements = vec![T::default(); n_rows * n_cols];
    if elements.is_empty() {
        return Ok(elements);
    }
    // Told by the shape alone, so that results do not depend on the device's memory.
    let n_parts = match n_rows * n_cols <= SMALL_RESULT {
        true => n_inner.div_ceil(PART).max(1),
        false => 1,
    };
    let job = Job {
        product,
        kernels,
        inner_per_block: if n_parts > 1 { PART } else { n_inner.max(1) },
        n_parts,
        right: session.upload(Lane::First, right)?,
    };
    // The second lane must not begin before the right factor is there.
    session.join(Lane::Second)?;
    let results = n_cols * if n_parts > 1 { n_parts + 1 } else { 1 };
    let row_bytes = size_of::<T>() * (n_inner + results);
    let room = session.room_bytes()?;
    let stretch = match row_bytes.saturating_mul(n_rows) <= room {
        true => n_rows,
        // Two are on the device at once.
        false => room / 2 / row_bytes,
    };
    if stretch == 0 {
        return Err(Failure::Driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
    }
    let outcome = job.run_all(session, left, stretch, &mut elements);
    // The right factor is let go on the first lane, behind all that read it.
    session.join(Lane::First)?;
    outcome.map(|()| elements)
}

/// What all stretches of rows have together.
struct Job<'a, T> {
    product: &'a Product<'a>,
    kernels: Kernels,
    inner_per_block: usize,
    n_parts: usize,
    right: Buffer<T>,
}

/// Some rows of the left factor, on the device.
struct Stretch<T> {
    lane: Lane,
    rows: Range<usize>,
    left: Buffer<T>,
}

impl<T: DeviceRepr + ValidAsZeroBits + Copy + Default> Job<'_, T> {
    /// Stretch after stretch, on one lane after the other; the next is on its way before one is multiplied.
    fn run_all(
        &self,
        session: &Session,
        left: &[T],
        stretch_rows: usize,
        elements: &mut [T],
    ) -> Result<(), Failure> {
        let n_rows = self.product.n_rows;
        let mut lane = Lane::First;
        let mut bring = |start: usize| -> Result<Stretch<T>, Failure> {
            let rows = start..n_rows.min(start + stretch_rows);
            let left = self.upload_left(session, lane, left, &rows)?;
            let stretch = Stretch { lane, rows, left };
            lane = lane.other();
            Ok(stretch)
        };
        let mut starts = (0..n_rows).step_by(stretch_rows);
        let mut next = starts.next().map(&mut bring).transpose()?;
        while let Some(stretch) = next {
            next = starts.next().map(&mut bring).transpose()?;
            self.run(session, stretch, elements)?;
        }
        Ok(())
    }

    fn run(
        &self,
        session: &Session,
        stretch: Stretch<T>,
        elements: &mut [T],
    ) -> Result<(), Failure> {
        let (n_inner, n_cols) = (self.product.n_inner, self.product.n_cols);
        let Stretch { lane, rows, left } = stretch;
        let n_values = rows.len() * n_cols;
        let parts = session.room(lane, n_values * self.n_parts)?;
        let [left_layout, right_layout] = self.product.layouts;
        let [left_row, left_inner] = steps(left_layout, [rows.len(), n_inner]);
        let [right_inner, right_column] = steps(right_layout, [n_inner, n_cols]);
        let factors = FactorsArgument {
            left: session.raw_address(lane, &left),
            right: session.raw_address(lane, &self.right),
            left_row: count(left_row)?,
            left_inner: count(left_inner)?,
            right_inner: count(right_inner)?,
            right_column: count(right_column)?,
            n_rows: count(rows.len())?,
            n_inner: count(n_inner)?,
            n_columns: count(n_cols)?,
            inner_per_block: count(self.inner_per_block)?,
        };
        let out = session.address(lane, &parts);
        launch(session, lane, self.kernels.gemm, factors, out)?;
        let summed;
        let result = if self.n_parts > 1 {
            summed = session.room(lane, n_values)?;
            let arguments = [
                out,
                Argument::Count(count(self.n_parts)?),
                Argument::Count(count(n_values)?),
                session.address(lane, &summed),
            ];
            session.launch(lane, self.kernels.sum, each(n_values, 1), &arguments)?;
            &summed
        } else {
            &parts
        };
        if rows.len() == self.product.n_rows {
            return session.download(lane, result, elements);
        }
        let mut stretch = vec![T::default(); n_values];
        session.download(lane, result, &mut stretch)?;
        for (column, values) in stretch.chunks_exact(rows.len()).enumerate() {
            let first = column * self.product.n_rows;
            elements[first + rows.start..first + rows.end].copy_from_slice(values);
        }
        Ok(())
    }

    /// Some rows of the left factor, as they lie.
    fn upload_left(
        &self,
        session: &Session,
        lane: Lane,
        left: &[T],
        rows: &Range<usize>,
    ) -> Result<Buffer<T>, Failure> {
        let (n_rows, n_inner) = (self.product.n_rows, self.product.n_inner);
        if rows.len() == n_rows {
            return session.upload(lane, left);
        }
        let n = rows.len() * n_inner;
        if self.product.layouts[0] == Layout::ByRows {
            let part = &left[rows.start * n_inner..rows.end * n_inner];
            return session.stage(lane, n, std::iter::once(part));
        }
        let columns = (0..n_inner).map(|inner| inner * n_rows);
        let parts = columns.map(|first| &left[first + rows.start..first + rows.end]);
        session.stage(lane, n, parts)
    }
}

/// Steps from an element to that of the next row, and of the next column.
fn steps(layout: Layout, [n_rows, n_cols]: [usize; 2]) -> [usize; 2] {
    match layout {
        Layout::ByColumns => [1, n_rows],
        Layout::ByRows => [n_cols, 1],
    }
}
