//! Page-locked memory of the host, through which rows that do not stay stream to a device.
//!
//! In: slices of the host; out: copies that are on their way when the call returns, so that one lane's rows are copied while
//! the other lane computes. The driver reads memory that is not page-locked before the call returns, and waits for the
//! lane to do so. What was handed over may be written anew only when its copy is done: the buffer is filled from its
//! begin to its end, and then waits for the last copy.

use std::sync::Arc;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, DeviceRepr, DriverError, PinnedHostSlice,
};

/// The least buffer.
const MIN_BYTES: usize = 1 << 16;
/// The greatest buffer: page-locked memory is taken from the whole machine. A stretch of rows of 100 columns of f32 fits.
const MAX_BYTES: usize = 8 << 20;
/// Where each slice begins: a multiple of the size of every element.
const ALIGNMENT: usize = 8;

/// The buffer of a lane; none until rows stream.
#[derive(Debug, Default)]
pub(super) struct Staging {
    buffer: Option<PinnedHostSlice<u8>>,
    used_bytes: usize,
    /// Comes after the last copy out of the buffer.
    copied: Option<CudaEvent>,
    /// Whether the system has no page-locked memory to give; the driver then copies as from any memory.
    is_refused: bool,
}

impl Staging {
    /// Fills a buffer of the device with the parts, one after another.
    pub(super) fn copy<'a, T: DeviceRepr + Copy + 'a>(
        &mut self,
        stream: &Arc<CudaStream>,
        parts: impl Iterator<Item = &'a [T]>,
        into: &mut CudaSlice<T>,
    ) -> Result<(), DriverError> {
        self.reserve(stream.context(), size_of::<T>() * into.len())?;
        let mut n_copied = 0;
        if self.buffer.is_none() {
            for part in parts {
                give(stream, part, into, n_copied)?;
                n_copied += part.len();
            }
            return Ok(());
        }
        let mut begin = self.used_bytes;
        for mut part in parts {
            while !part.is_empty() {
                let n_staged = self.put(part)?;
                part = &part[n_staged..];
                if n_staged == 0 {
                    n_copied += self.flush(stream, begin, into, n_copied)?;
                    self.wait()?;
                    begin = 0;
                }
            }
        }
        self.flush(stream, begin, into, n_copied)?;
        Ok(())
    }

    /// Makes room for so many bytes, or for as many as there can be.
    fn reserve(&mut self, context: &Arc<CudaContext>, n_bytes: usize) -> Result<(), DriverError> {
        if self.is_refused {
            return Ok(());
        }
        // As much again for what goes with the rows, so that nothing waits for its own copy.
        let wanted = n_bytes.saturating_mul(2).clamp(MIN_BYTES, MAX_BYTES);
        if self.n_bytes() < wanted {
            self.wait()?;
            self.buffer = None;
            let n_bytes = wanted.next_power_of_two();
            // SAFETY: every byte that is copied was written before.
            match unsafe { context.alloc_pinned(n_bytes) } {
                Ok(buffer) => self.buffer = Some(buffer),
                Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => self.is_refused = true,
                Err(error) => return Err(error),
            }
        }
        self.used_bytes = self.used_bytes.next_multiple_of(ALIGNMENT);
        if self.used_bytes + n_bytes > self.n_bytes() {
            self.wait()?;
        }
        Ok(())
    }

    fn n_bytes(&self) -> usize {
        self.buffer.as_ref().map_or(0, PinnedHostSlice::num_bytes)
    }

    /// Writes what has room of some elements behind what is there; how many that are.
    fn put<T: DeviceRepr + Copy>(&mut self, elements: &[T]) -> Result<usize, DriverError> {
        let room = self.n_bytes().saturating_sub(self.used_bytes) / size_of::<T>();
        let n = elements.len().min(room);
        if let Some(buffer) = &mut self.buffer {
            let start = buffer.as_mut_ptr()?;
            // SAFETY: the room begins `used_bytes` into the buffer, which is aligned for every element there, and has
            // place for `n`; nothing reads it, since the copies out of it were waited for.
            unsafe {
                let into = start.add(self.used_bytes).cast::<T>();
                std::ptr::copy_nonoverlapping(elements.as_ptr(), into, n);
            }
            self.used_bytes += n * size_of::<T>();
        }
        Ok(n)
    }

    /// Starts the copy of what lies from `begin` on to `into[at..]`; how many elements that are.
    fn flush<T: DeviceRepr + Copy>(
        &mut self,
        stream: &Arc<CudaStream>,
        begin: usize,
        into: &mut CudaSlice<T>,
        at: usize,
    ) -> Result<usize, DriverError> {
        let n = (self.used_bytes - begin) / size_of::<T>();
        if let Some(buffer) = self.buffer.as_ref().filter(|_| n > 0) {
            let start = buffer.as_ptr()?;
            // SAFETY: `put` has written these elements there.
            let staged = unsafe { std::slice::from_raw_parts(start.add(begin).cast::<T>(), n) };
            give(stream, staged, into, at)?;
            self.copied = Some(stream.record_event(None)?);
        }
        Ok(n)
    }

    /// Waits for the copies out of the buffer, which then may be written anew.
    fn wait(&mut self) -> Result<(), DriverError> {
        self.used_bytes = 0;
        match self.copied.take() {
            Some(copied) => copied.synchronize(),
            None => Ok(()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A device that failed reads nothing any more.
        let _ = self.wait();
    }
}

/// Starts a copy to `into[at..]`.
fn give<T: DeviceRepr>(
    stream: &Arc<CudaStream>,
    elements: &[T],
    into: &mut CudaSlice<T>,
    at: usize,
) -> Result<(), DriverError> {
    let place = into.try_slice_mut(at..at + elements.len());
    match place {
        Some(mut place) if !elements.is_empty() => stream.memcpy_htod(elements, &mut place),
        Some(_) => Ok(()),
        None => Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE)),
    }
}
