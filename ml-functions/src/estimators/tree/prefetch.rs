//! Asks the processor to fetch a cache line that will be read soon.
//!
//! In: a slice and a position; out: nothing but time. Never reads or writes memory.

/// Fetches the line of `values[at]`; a position beyond the end is harmless.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = values.as_ptr().wrapping_add(at).cast::<i8>();
        // SAFETY: SSE, which the instruction belongs to, is part of x86-64, and it faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}
