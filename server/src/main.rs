//! The `auspex` command.

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

/// Queries allocate many small buffers on many threads, where the system's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's header.
const PURGE_DELAY: c_int = 15;
/// The option's value unless somebody set it.
const USUAL_DELAY_MS: c_long = 1000;
/// Freed pages go back to the system so soon.
const SHORT_DELAY_MS: c_long = 50;

unsafe extern "C" {
    fn mi_option_get(option: c_int) -> c_long;
    fn mi_option_set(option: c_int, value: c_long);
}

fn main() -> ExitCode {
    auspex_server::cli::run(keep_little)
}

/// Gives freed memory back soon, and takes it in small pages: of a huge one, a few bytes in use keep 2 MB. What the
/// environment says (`MIMALLOC_PURGE_DELAY`) stays.
fn keep_little() {
    // SAFETY: options are integers that mimalloc reads and writes atomically at any time.
    unsafe {
        if mi_option_get(PURGE_DELAY) == USUAL_DELAY_MS {
            mi_option_set(PURGE_DELAY, SHORT_DELAY_MS);
        }
    }
    #[cfg(target_os = "linux")]
    no_huge_pages();
}

#[cfg(target_os = "linux")]
fn no_huge_pages() {
    use std::ffi::c_ulong;

    /// `PR_SET_THP_DISABLE` of `linux/prctl.h`.
    const SET_THP_DISABLE: c_int = 41;

    unsafe extern "C" {
        fn prctl(option: c_int, ...) -> c_int;
    }
    const ON: c_ulong = 1;
    const UNUSED: c_ulong = 0;
    // SAFETY: this option takes four integers and sets a flag of the process. Where the system knows no such flag, nothing
    // happens.
    unsafe {
        prctl(SET_THP_DISABLE, ON, UNUSED, UNUSED, UNUSED);
    }
}
