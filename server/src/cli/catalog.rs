//! `auspex catalog check` and `auspex catalog gc`: the upkeep of a warehouse, beside the servers that use it.
//!
//! In: a warehouse; out: what was found or removed, a line each, and a last line that sums up. The exit status of a check
//! is 1 if anything is wrong.

use std::time::Duration;

use auspex_planner::{Engine, GarbageOptions};

use super::{CatalogCommand, CliError, GcArgs, Success, print_line, start_logging};
use crate::config::{Config, EngineArgs, age};
use crate::config_server::LogFormat;

/// Runs a command about the catalog.
pub(super) async fn catalog(command: CatalogCommand) -> Result<Success, CliError> {
    start_logging("warn", LogFormat::Text);
    match command {
        CatalogCommand::Check(args) => Box::pin(check(args)).await,
        CatalogCommand::Gc(args) => collect(args).await,
    }
}

async fn check(args: EngineArgs) -> Result<Success, CliError> {
    let report = Box::pin(Engine::check(Config::resolve(args, None)?.engine)).await?;
    for problem in &report.problems {
        print_line(&format!("{}: {}", problem.place, problem.what))?;
    }
    print_line(&format!(
        "{} records, {} snapshots, {} objects, {} files checked; {} problems; {} files ({}) that \
         nothing names",
        report.records,
        report.snapshots,
        report.objects,
        report.files,
        report.problems.len(),
        report.unnamed_files,
        size(report.unnamed_bytes)
    ))?;
    Ok(match report.problems.is_empty() {
        true => Success::All,
        false => Success::NotAll,
    })
}

async fn collect(args: GcArgs) -> Result<Success, CliError> {
    let older_than: Duration = age(&args.older_than)?;
    let config = Config::resolve(args.engine, None)?.engine;
    let engine = Box::pin(Engine::open_existing(config)).await?;
    let options = GarbageOptions {
        older_than,
        dry_run: args.dry_run,
    };
    let garbage = Box::pin(engine.collect_garbage(options)).await?;
    for file in &garbage.removed {
        print_line(&format!("{}: {}", file.path, file.reason))?;
    }
    let bytes = garbage.removed.iter().map(|file| file.bytes).sum();
    let verb = if args.dry_run { "to remove" } else { "removed" };
    let waiting = match garbage.n_waiting {
        0 => String::new(),
        count => format!(
            "; {count} files ({}) that no version of their tables has named wait until these keep them no longer \
             (delta.deletedFileRetentionDuration, else 7 days)",
            size(garbage.waiting_bytes)
        ),
    };
    let n_removed = garbage.removed.len();
    print_line(&format!(
        "{n_removed} files ({}) {verb}{waiting}",
        size(bytes)
    ))?;
    Ok(Success::All)
}

/// Bytes in the unit that suits them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}
