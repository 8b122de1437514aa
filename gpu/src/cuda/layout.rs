//! Designs on the device: the mirror of `gpu/kernels/design.cuh`, and the way of a block there.
//!
//! In: a design on the host; out: its rows on the device, at once where they stay there, else in stretches of
//! whole chunks through two page-locked buffers on two streams: a stretch is copied while the one before is computed.
//! What a kernel adds up goes by chunks of [`CHUNK_ROWS`] rows in their order either way, so that results do not depend
//! on the device's memory.

use std::sync::Arc;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{DeviceRepr, ValidAsZeroBits};

use super::residents::{Buffer, Key, Role, constant, fingerprint};
use super::session::{Argument, Failure, Lane, Session};
use crate::device::{Design, Elements, RowsId};

/// Rows whose sums are one partial.
pub(super) const CHUNK_ROWS: usize = 2048;
/// Rows of a stretch where rows do not stay on the device: a quarter of a block of training, so that three quarters of its
/// copies run beside kernels.
const STREAM_ROWS: usize = 8 * CHUNK_ROWS;

/// `Design` of `design.cuh`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct DesignArgument {
    dense: u64,
    codes: u64,
    shift: u64,
    scale: u64,
    code_column: u64,
    code_value: u64,
    n_rows: u32,
    n_dense: u32,
    n_columns: u32,
    reserved: u32,
}

// SAFETY: plain numbers in the layout of C, as the kernels declare them.
unsafe impl DeviceRepr for DesignArgument {}

/// `Centroids` of `distances.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct CentroidsArgument {
    pub(super) dense: u64,
    pub(super) table: u64,
    pub(super) offset: u64,
    pub(super) width: u64,
    pub(super) n_centroids: u32,
    pub(super) n_code_columns: u32,
    pub(super) n_entries: u32,
    pub(super) reserved: u32,
}

// SAFETY: as above.
unsafe impl DeviceRepr for CentroidsArgument {}

/// What all rows of a design have together, on the device.
#[derive(Debug)]
pub(super) struct Frame {
    shift: Buffer<f64>,
    scale: Buffer<f64>,
    code_column: Buffer<u32>,
    code_value: Buffer<u32>,
    n_columns: u32,
}

impl Frame {
    pub(super) fn new(session: &Session, design: &Design<'_>) -> Result<Frame, Failure> {
        let columns = design.widths.iter().enumerate();
        let (code_column, code_value): (Vec<u32>, Vec<u32>) = columns
            .flat_map(|(column, &width)| (0..width).map(move |code| (column as u32, code as u32)))
            .unzip();
        let lane = Lane::First;
        let frame = Frame {
            shift: session.upload(lane, design.shift)?,
            scale: session.upload(lane, design.scale)?,
            code_column: session.upload(lane, &code_column)?,
            code_value: session.upload(lane, &code_value)?,
            n_columns: count(design.n_cols())?,
        };
        // The second lane must not begin before the frame is there.
        session.join(Lane::Second)?;
        Ok(frame)
    }
}

/// Some rows of a design, on the device.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) lane: Lane,
    /// The rows of the design that these are.
    pub(super) rows: std::ops::Range<usize>,
    /// The name of the rows, if these are all that it names.
    id: Option<RowsId>,
    elements: SegmentElements,
    _codes: Arc<Buffer<u32>>,
    argument: DesignArgument,
}

#[derive(Debug)]
enum SegmentElements {
    F32(Arc<Buffer<f32>>),
    F64(Arc<Buffer<f64>>),
}

impl Segment {
    fn new(
        session: &Session,
        frame: &Frame,
        design: &Design<'_>,
        lane: Lane,
        rows: std::ops::Range<usize>,
    ) -> Result<Segment, Failure> {
        let id = design.rows.filter(|_| rows.len() == design.dense.n_rows);
        let dense = (design, &rows, id);
        let elements = match design.dense.elements {
            Elements::F32(values) => {
                SegmentElements::F32(upload_columns(session, lane, values, dense)?)
            }
            Elements::F64(values) => {
                SegmentElements::F64(upload_columns(session, lane, values, dense)?)
            }
        };
        let codes = upload_codes(session, lane, dense)?;
        let argument = DesignArgument {
            dense: match &elements {
                SegmentElements::F32(values) => session.raw_address(lane, values),
                SegmentElements::F64(values) => session.raw_address(lane, values),
            },
            codes: session.raw_address(lane, &codes),
            shift: session.raw_address(lane, &frame.shift),
            scale: session.raw_address(lane, &frame.scale),
            code_column: session.raw_address(lane, &frame.code_column),
            code_value: session.raw_address(lane, &frame.code_value),
            n_rows: count(rows.len())?,
            n_dense: count(design.dense.n_cols)?,
            n_columns: frame.n_columns,
            reserved: 0,
        };
        Ok(Segment {
            lane,
            rows,
            id,
            elements,
            _codes: codes,
            argument,
        })
    }

    /// The rows as a kernel takes them.
    pub(super) fn design(&self) -> Argument {
        Argument::Design(self.argument)
    }

    /// The rows without columns: sums over them are of a vector alone.
    pub(super) fn without_columns(&self) -> Argument {
        Argument::Design(DesignArgument {
            n_dense: 0,
            n_columns: 0,
            ..self.argument
        })
    }

    pub(super) fn n_rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn n_chunks(&self) -> usize {
        self.rows.len().div_ceil(CHUNK_ROWS)
    }

    /// A number for each of all rows of the block, those of the segment on the device.
    pub(super) fn vector(
        &self,
        session: &Session,
        role: Role,
        values: &[f64],
    ) -> Result<Arc<Buffer<f64>>, Failure> {
        let values = &values[self.rows.clone()];
        match self.id {
            Some(id) => session.held(Some(Key::Rows(id, role)), || fingerprint(values), values),
            None => {
                let parts = std::iter::once(values);
                Ok(Arc::new(session.stage(self.lane, values.len(), parts)?))
            }
        }
    }

    /// The kernel for the type of the elements.
    pub(super) fn kernel(&self, of_f32: &'static str, of_f64: &'static str) -> &'static str {
        match self.elements {
            SegmentElements::F32(_) => of_f32,
            SegmentElements::F64(_) => of_f64,
        }
    }
}

/// Some rows of a design, and their name if they are all that it names.
type SomeRows<'a> = (&'a Design<'a>, &'a std::ops::Range<usize>, Option<RowsId>);

/// The rows of each column, one column after another.
fn upload_columns<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync + 'static>(
    session: &Session,
    lane: Lane,
    values: &[T],
    (design, rows, id): SomeRows<'_>,
) -> Result<Arc<Buffer<T>>, Failure> {
    let n_rows = design.dense.n_rows;
    if rows.len() == n_rows {
        let key = id.map(|id| Key::Rows(id, Role::Dense));
        return session.held(key, || constant(values.len()), values);
    }
    let columns = (0..design.dense.n_cols).map(|column| column * n_rows);
    let parts = columns.map(|first| &values[first + rows.start..first + rows.end]);
    let buffer = session.stage(lane, rows.len() * design.dense.n_cols, parts)?;
    Ok(Arc::new(buffer))
}

/// The codes of each column, one column after another.
fn upload_codes(
    session: &Session,
    lane: Lane,
    (design, rows, id): SomeRows<'_>,
) -> Result<Arc<Buffer<u32>>, Failure> {
    let key = id.map(|id| Key::Rows(id, Role::Codes));
    let n_codes = rows.len() * design.codes.len();
    let stamp = constant(n_codes);
    if let Some(kept) = key.and_then(|key| session.kept(key, stamp)) {
        return Ok(kept);
    }
    let may_keep = key.is_some() && session.may_keep(n_codes * size_of::<u32>())?;
    let parts = design.codes.iter().map(|codes| &codes[rows.clone()]);
    let codes = Arc::new(session.stage(lane, n_codes, parts)?);
    if let Some(key) = key.filter(|_| may_keep) {
        session.keep(key, stamp, &codes);
    }
    Ok(codes)
}

/// Memory that a call takes beside its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    /// For each row.
    pub(super) row_bytes: usize,
    /// For the partial of each chunk of [`CHUNK_ROWS`] rows.
    pub(super) chunk_bytes: usize,
}

/// Brings the rows of a design to the device, a segment at a time, and works on each.
///
/// `needs` is what the work takes beside the design. Rows that do not stay come in more than one segment, which
/// alternate between the lanes, so that one is copied while the other is computed.
pub(super) fn for_each_segment(
    session: &Session,
    design: &Design<'_>,
    needs: Needs,
    mut work: impl FnMut(&Segment) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let n_rows = design.dense.n_rows;
    if n_rows == 0 {
        return Ok(());
    }
    let frame = Frame::new(session, design)?;
    let element_bytes = match design.dense.elements {
        Elements::F32(_) => 4,
        Elements::F64(_) => 8,
    };
    let room = session.room_bytes()?;
    let design_bytes = design.dense.n_cols * element_bytes + design.codes.len() * 4;
    let is_here = design
        .rows
        .is_some_and(|id| session.has(Key::Rows(id, Role::Dense)));
    let stays = is_here
        || (design.rows.is_some() && session.may_keep(design_bytes.saturating_mul(n_rows))?);
    let new_bytes = needs.row_bytes + if is_here { 0 } else { design_bytes };
    let of_chunks = n_rows
        .div_ceil(CHUNK_ROWS)
        .saturating_mul(needs.chunk_bytes);
    let all_bytes = new_bytes.saturating_mul(n_rows).saturating_add(of_chunks);
    let segment_rows = match (all_bytes <= room, stays) {
        (true, true) => n_rows,
        (true, false) => n_rows.min(STREAM_ROWS),
        (false, _) => {
            // Two segments are on the device at once.
            let chunk_bytes = (design_bytes + needs.row_bytes) * CHUNK_ROWS + needs.chunk_bytes;
            STREAM_ROWS.min(room / (2 * chunk_bytes.max(1)) * CHUNK_ROWS)
        }
    };
    if segment_rows == 0 {
        return Err(Failure::Driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
    }
    let outcome = alternate(session, &frame, design, segment_rows, &mut work);
    // What comes next on the first lane comes after all segments, also after a failure: what both lanes use is freed
    // there.
    let joined = session.join(Lane::First);
    outcome.and(joined)
}

/// Works on segment after segment, on one lane after the other; the next is on its way before a segment is worked on.
fn alternate(
    session: &Session,
    frame: &Frame,
    design: &Design<'_>,
    segment_rows: usize,
    work: &mut impl FnMut(&Segment) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let n_rows = design.dense.n_rows;
    let mut lane = Lane::First;
    let mut bring = |start: usize| {
        let rows = start..n_rows.min(start + segment_rows);
        let segment = Segment::new(session, frame, design, lane, rows);
        lane = lane.other();
        segment
    };
    let mut starts = (0..n_rows).step_by(segment_rows);
    let mut next = starts.next().map(&mut bring).transpose()?;
    while let Some(segment) = next {
        next = starts.next().map(&mut bring).transpose()?;
        work(&segment)?;
    }
    Ok(())
}

/// A number as kernels take it.
pub(super) fn count(n: usize) -> Result<u32, Failure> {
    u32::try_from(n).map_err(|_| Failure::Declined("the block has more than 4 billion rows"))
}

/// Launches of one thread for each of `n`.
pub(super) fn each(n: usize, rows_y: usize) -> super::session::Shape {
    super::session::Shape {
        grid: (n.div_ceil(128), rows_y, 1),
        block: (128, 1),
        shared_bytes: 0,
    }
}

/// Adds the partials of a segment's chunks, `(n_chunks, n_values)`, to running sums, after those
/// of the segment before.
pub(super) fn add_chunks(
    session: &Session,
    segment: &Segment,
    partials: &Buffer<f64>,
    n_values: usize,
    sums: &Buffer<f64>,
) -> Result<(), Failure> {
    session.join(segment.lane)?;
    session.launch(
        segment.lane,
        "sum_chunks",
        each(n_values, 1),
        &[
            session.address(segment.lane, partials),
            Argument::Count(count(segment.n_chunks())?),
            Argument::Count(count(n_values)?),
            session.address(segment.lane, sums),
        ],
    )
}
