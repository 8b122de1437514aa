//! Loops with the widest instructions of the machine.
//!
//! In: work whose sums go in lanes of its own, so that its results are the same bits at every width; out: what it gives.
//! `pulp` is built to choose AVX2 at most; this goes on to AVX-512 where there is that.

use pulp::{Arch, WithSimd};

/// Runs the work.
pub(super) fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("fma")
    {
        // SAFETY: the instructions were found.
        return unsafe { with_512(work) };
    }
    Arch::new().dispatch(work)
}

/// The work's loops are inlined here, hence compiled for these instructions; they do not use the lanes of `pulp`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
fn with_512<W: WithSimd>(work: W) -> W::Output {
    work.with_simd(pulp::Scalar::new())
}

/// Asks for what will be read next, a line of the cache at a time: blocks have more columns than the machine notices
/// to be read in order.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T]) {
    for line in values.chunks(64 / size_of::<T>().clamp(1, 64)) {
        prefetch_line(&line[0]);
    }
}

/// Asks for the line of the cache that has a value.
#[inline(always)]
pub(super) fn prefetch_line<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is that of a value; nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
