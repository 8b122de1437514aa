//! What a kernel takes, whether it gives what the CPU gives, and the lines of the tables.
//!
//! In: a kernel as a function of a device; out: its times after its results were compared.

use std::time::Instant;

use auspex_gpu::{CpuDevice, Device, RowsId};

/// The name under which rows stay on the device.
const ROWS: RowsId = RowsId {
    part: 0,
    first_row: 0,
    chunk: 0,
};

/// How far sums in double may differ from the CPU's, relative to the greatest: they are added in another order.
pub(crate) const SUMS: f64 = 1e-9;
/// The same of products of f32 factors, whose terms are rounded to f32.
pub(crate) const SINGLE: f64 = 1e-4;

/// The numbers that a kernel gives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Those that are the CPU's to the bit.
    pub(crate) exact: Vec<f64>,
    /// Numbers of points, which are the CPU's; of their own type, so that no time goes into another form of them.
    pub(crate) ids: Vec<u32>,
    /// Those that agree but for rounding.
    pub(crate) sums: Vec<f64>,
}

impl Found {
    /// Numbers that are the CPU's to the bit.
    pub(crate) fn exact(exact: Vec<f64>) -> Found {
        Found {
            exact,
            ..Found::default()
        }
    }

    /// Sums over rows.
    pub(crate) fn sums(sums: Vec<f64>) -> Found {
        Found {
            sums,
            ..Found::default()
        }
    }

    /// The greatest difference, relative to the greatest number.
    fn difference(&self, expected: &Found) -> f64 {
        let exact = difference(&self.exact, &expected.exact);
        let ids = if self.ids == expected.ids {
            0.0
        } else {
            f64::INFINITY
        };
        exact.max(ids).max(difference(&self.sums, &expected.sums))
    }

    /// Whether these are the expected numbers, sums within the tolerance.
    fn is_right(&self, expected: &Found, tolerance: f64) -> bool {
        let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        bits(&self.exact) == bits(&expected.exact)
            && self.ids == expected.ids
            && difference(&self.sums, &expected.sums) <= tolerance
    }
}

/// The greatest difference, relative to the greatest number; infinite where one is no number or missing.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let greatest = expected
        .iter()
        .fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |most: f64, (a, b)| match (a - b).abs() / greatest {
        difference if difference.is_nan() => f64::INFINITY,
        difference => most.max(difference),
    })
}

/// The fastest of some runs.
fn fastest_ms(n_runs: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..n_runs).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    });
    times.fold(f64::INFINITY, f64::min)
}

/// The device that is measured, and what was found wrong with it so far.
pub(crate) struct Report<'a> {
    pub(crate) device: &'a dyn Device,
    pub(crate) n_runs: usize,
    pub(crate) wrong: Vec<String>,
}

impl Report<'_> {
    /// Prints the head of the table.
    pub(crate) fn begin(&self, n_rows: usize) {
        let (info, n_runs) = (self.device.info(), self.n_runs);
        let kind = info.kind;
        println!("{} ({kind}), {n_rows} rows, fastest of {n_runs}", info.name);
        println!(
            "| kernel | columns | cpu ms | {kind} ms | without moving rows | difference | allowed |"
        );
        println!("|---|---|---|---|---|---|---|");
    }

    /// Compares a kernel's results with the CPU's, once with rows that are moved and once with rows that stayed on the
    /// device, and prints the line of its times; returns the CPU's. `tolerance` is of its sums.
    pub(crate) fn measure(
        &mut self,
        name: &str,
        n_columns: usize,
        tolerance: f64,
        run: impl Fn(&dyn Device, Option<RowsId>) -> Found,
    ) -> f64 {
        let (device, n_runs) = (self.device, self.n_runs);
        // In a run of its own, whose names mean these rows.
        let kept = device.another_run();
        drop(run(kept.as_ref(), Some(ROWS)));
        let expected = run(&CpuDevice, None);
        let found = [run(device, None), run(kept.as_ref(), Some(ROWS))];
        let differences = found.iter().map(|found| found.difference(&expected));
        let difference = differences.fold(0.0, f64::max);
        let allowed = match expected.sums.is_empty() {
            true => "none".to_owned(),
            false => format!("{tolerance:.0e}"),
        };
        let all_right = found
            .iter()
            .all(|found| found.is_right(&expected, tolerance));
        if !all_right {
            let line = format!("{name}: differs by {difference:.1e}, allowed is {allowed}");
            self.wrong.push(line);
        }
        let cpu_ms = fastest_ms(n_runs, || drop(run(&CpuDevice, None)));
        let device_ms = fastest_ms(n_runs, || drop(run(device, None)));
        let kept_ms = fastest_ms(n_runs, || drop(run(kept.as_ref(), Some(ROWS))));
        println!(
            "| {name} | {n_columns} | {cpu_ms:.1} | {device_ms:.1} | {kept_ms:.1} | {difference:.1e} | {allowed} |"
        );
        cpu_ms
    }
}

/// The CPU's time against that of another library in the same run.
pub(crate) struct Ratio {
    name: String,
    peer: &'static str,
    /// Ours, then the peer's.
    times_ms: [f64; 2],
    bar: f64,
}

impl Ratio {
    pub(crate) fn new(name: &str, times_ms: [f64; 2], peer: &'static str, bar: f64) -> Ratio {
        Ratio {
            name: name.to_owned(),
            peer,
            times_ms,
            bar,
        }
    }

    pub(crate) fn print(&self) {
        let (name, peer, bar) = (&self.name, self.peer, self.bar);
        let [ms, peer_ms] = self.times_ms;
        let ratio = ms / peer_ms;
        println!("| {name} | {ms:.1} | {peer} | {peer_ms:.1} | {ratio:.2} | {bar} |");
    }
}

/// The fastest of runs of two that take turns, so that both have the machine as it is.
pub(crate) fn fastest_of_both(
    n_runs: usize,
    mut ours: impl FnMut(),
    mut peer: impl FnMut(),
) -> [f64; 2] {
    let once = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut least = [f64::INFINITY; 2];
    for _ in 0..2 * n_runs {
        least[0] = least[0].min(once(&mut ours));
        least[1] = least[1].min(once(&mut peer));
    }
    least
}

/// The milliseconds in the line of `peers.py` that has a word.
pub(crate) fn peer_ms(python: &str, n_rows: usize, word: &str) -> f64 {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/kernels/peers.py");
    let rows = n_rows.to_string();
    let done = std::process::Command::new(python)
        .args([script, &rows, word])
        .output();
    let text = String::from_utf8(done.unwrap().stdout).unwrap();
    let line = text.lines().find(|line| line.contains(word)).unwrap();
    let number = line.rsplit(": ").next().unwrap().trim_end_matches(" ms");
    number.parse().unwrap()
}

#[cfg(test)]
mod tests {
    use super::{Found, SUMS};

    #[test]
    fn what_differs_beyond_the_tolerance_is_wrong() {
        let found = |exact: &[f64], sums: &[f64]| Found {
            exact: exact.to_vec(),
            sums: sums.to_vec(),
            ids: vec![3],
        };
        let other_id = Found {
            ids: vec![4],
            ..found(&[0.0, 2.0], &[1.0, 1000.0])
        };
        let expected = found(&[0.0, 2.0], &[1.0, 1000.0]);
        let rounded = found(&[0.0, 2.0], &[1.0 + 1e-7, 1000.0]);
        assert!(expected.is_right(&expected, 0.0));
        assert!(rounded.is_right(&expected, SUMS));
        assert!((rounded.difference(&expected) - 1e-10).abs() < 1e-12);
        for wrong in [
            // A bit of what must have none, a sum, no number, and too few of either.
            found(&[0.0, 2.0_f64.next_up()], &[1.0, 1000.0]),
            found(&[-0.0, 2.0], &[1.0, 1000.0]),
            found(&[0.0, 2.0], &[1.0 + 1e-5, 1000.0]),
            found(&[0.0, 2.0], &[f64::NAN, 1000.0]),
            found(&[f64::NAN, 2.0], &[1.0, 1000.0]),
            found(&[0.0], &[1.0, 1000.0]),
            found(&[0.0, 2.0], &[1.0]),
            other_id,
        ] {
            assert!(!wrong.is_right(&expected, SUMS), "{wrong:?}");
        }
    }
}
