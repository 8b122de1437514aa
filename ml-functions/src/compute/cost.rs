//! What `device = 'auto'` comes to: the time that moving the samples takes against the time that it saves.
//!
//! In: rows, their width and the passes over them, and a device's own figures; out: a verdict with its reason, for
//! `EXPLAIN`. The rates are assumptions, chosen against the device; none was measured, since no device has run this.

use auspex_gpu::DeviceInfo;

use crate::estimator::BesideDevice;

/// What a training or a prediction does with its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Number of samples, where it is known.
    pub n_rows: Option<u64>,
    /// Size of an encoded sample.
    pub row_bytes: u64,
    /// Passes over all samples, the readings of the source among them.
    pub n_passes: u64,
    /// What goes on beside that for each sample.
    pub beside_device: BesideDevice,
    /// Samples of a call of a kernel.
    pub call_rows: u64,
    /// Threads that would do it on the CPU.
    pub n_threads: u64,
}

/// What a thread of the CPU passes over in a second.
const CPU_BYTES_PER_S: f64 = 2e9;
/// What comes to a device in a second from memory that is not page-locked.
const TRANSFER_BYTES_PER_S: f64 = 6e9;
/// The share of its memory's speed that kernels reach.
const DEVICE_SHARE: f64 = 0.25;
/// What a device that does not tell its memory's speed is taken for.
const UNKNOWN_BYTES_PER_S: f64 = 2e11;
/// Launching a pass over a block and fetching its partial.
const CALL_S: f64 = 2e-4;
/// Samples of a call of a kernel in a training: those of a block.
pub const BLOCK_ROWS: u64 = 65_536;
/// The share of the memory that blocks may stay in.
const RESIDENT_SHARE: f64 = 0.6;
/// How much sooner the device must end to be worth its risk.
const MARGIN: f64 = 2.0;

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) is_device: bool,
    pub(super) reason: String,
}

/// Weighs a device against the CPU.
pub(super) fn weigh(work: &Work, device: &DeviceInfo, n_devices: usize) -> Verdict {
    let cpu = |reason: String| Verdict {
        is_device: false,
        reason,
    };
    if device.is_simulated {
        return cpu(format!("\"{}\" is no device", device.name));
    }
    let Some(n_rows) = work.n_rows else {
        return cpu("the number of rows is not known".to_owned());
    };
    let n_bytes = n_rows as f64 * work.row_bytes as f64;
    let n_passes = work.n_passes.max(1) as f64;
    let n_devices = n_devices.max(1) as f64;
    let room = device.memory_bytes.unwrap_or(0) as f64 * RESIDENT_SHARE * n_devices;
    // What does not fit comes anew in each pass.
    let again_bytes = (n_bytes - room).max(0.0) * (n_passes - 1.0);
    let moved_bytes = n_bytes + again_bytes + n_rows as f64 * work.beside_device.moved as f64;
    let memory_rate = device.memory_bytes_per_s.unwrap_or(UNKNOWN_BYTES_PER_S) * DEVICE_SHARE;
    let n_calls = n_rows.div_ceil(work.call_rows.max(1)) as f64 * n_passes;
    let transfer_s = moved_bytes / TRANSFER_BYTES_PER_S;
    let kernels_s = (n_bytes * n_passes / memory_rate + n_calls * CALL_S) / n_devices;
    let cpu_rate = CPU_BYTES_PER_S * work.n_threads.max(1) as f64;
    let stays_s = n_rows as f64 * work.beside_device.on_cpu as f64 / cpu_rate;
    let cpu_s = n_bytes * n_passes / cpu_rate + stays_s;
    let device_s = transfer_s + kernels_s + stays_s;
    let is_device = device_s * MARGIN < cpu_s;
    let passes = match work.n_passes {
        0 | 1 => "a pass".to_owned(),
        n => format!("{n} passes"),
    };
    let stays = match work.beside_device.on_cpu {
        0 => String::new(),
        _ => format!(" beside {} of the CPU", time(stays_s)),
    };
    let reason = format!(
        "moving {} takes about {} and {passes} {}{stays}, the CPU about {}",
        size(moved_bytes),
        time(transfer_s),
        time(kernels_s),
        time(cpu_s)
    );
    Verdict { is_device, reason }
}

/// A time in a unit in which small ones can be told apart, too.
fn time(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn size(bytes: f64) -> String {
    if bytes < 1e6 {
        format!("{:.1} kB", bytes / 1e3)
    } else {
        format!("{:.0} MB", bytes / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceInfo {
        DeviceInfo {
            kind: "cuda",
            name: "made up".to_owned(),
            memory_bytes: Some(16_000_000_000),
            driver: None,
            memory_bytes_per_s: Some(9e11),
            is_simulated: false,
        }
    }

    fn work(n_rows: u64, n_passes: u64) -> Work {
        Work {
            n_rows: Some(n_rows),
            row_bytes: 400,
            n_passes,
            beside_device: BesideDevice::default(),
            call_rows: BLOCK_ROWS,
            n_threads: 2,
        }
    }

    #[test]
    fn many_passes_over_many_rows_are_worth_the_transfer() {
        assert!(weigh(&work(10_000_000, 100), &device(), 1).is_device);
        // One pass moves as much as it computes, and little work is mostly calls.
        assert!(!weigh(&work(10_000_000, 1), &device(), 1).is_device);
        assert!(!weigh(&work(1_000, 100), &device(), 1).is_device);
    }

    #[test]
    fn small_calls_are_mostly_launches() {
        let one_thread = |call_rows| Work {
            n_threads: 1,
            call_rows,
            ..work(10_000_000, 1)
        };
        let verdict = weigh(&one_thread(8192), &device(), 1);
        assert!(verdict.is_device, "{verdict:?}");
        assert_eq!(
            verdict.reason,
            "moving 4000 MB takes about 666.7 ms and a pass 262.0 ms, the CPU about 2.00 s"
        );
        assert!(!weigh(&one_thread(1024), &device(), 1).is_device);
        // Little work has its reason in units of its own.
        let verdict = weigh(&work(100, 2), &device(), 1);
        assert_eq!(
            verdict.reason,
            "moving 40.0 kB takes about 7 µs and 2 passes 400 µs, the CPU about 20 µs"
        );
    }

    #[test]
    fn what_stays_on_the_cpu_is_no_gain() {
        let beside = |on_cpu, moved| {
            let trees = Work {
                beside_device: BesideDevice { on_cpu, moved },
                ..work(10_000_000, 100)
            };
            weigh(&trees, &device(), 1)
        };
        assert!(beside(1000, 1000).is_device);
        assert!(!beside(0, 40_000).is_device);
        let verdict = beside(50_000, 0);
        assert!(
            verdict.reason.contains(" beside 125.00 s of the CPU, "),
            "{verdict:?}"
        );
        assert!(!verdict.is_device, "{verdict:?}");
    }

    #[test]
    fn what_does_not_fit_is_moved_in_every_pass() {
        let small = DeviceInfo {
            memory_bytes: Some(100_000_000),
            ..device()
        };
        let verdict = weigh(&work(10_000_000, 100), &small, 1);
        assert!(verdict.reason.starts_with("moving 39"), "{verdict:?}");
        assert!(!verdict.is_device, "{verdict:?}");
    }

    #[test]
    fn without_a_device_or_a_number_of_rows_it_is_the_cpu() {
        let simulated = DeviceInfo {
            is_simulated: true,
            ..device()
        };
        let verdict = weigh(&work(10_000_000, 100), &simulated, 1);
        assert!(!verdict.is_device);
        assert_eq!(verdict.reason, "\"made up\" is no device");
        let unknown = Work {
            n_rows: None,
            ..work(0, 100)
        };
        let verdict = weigh(&unknown, &device(), 1);
        assert_eq!(verdict.reason, "the number of rows is not known");
    }
}
