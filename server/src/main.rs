//! The `auspex` command.

use std::process::ExitCode;

/// Queries allocate many small buffers on many threads, where the system's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    auspex_server::cli::run()
}
