//! How the partitions of a training are dealt to workers.
//!
//! In: partitions, the bytes that each reads, and the workers' threads; out: the partitions of each worker. Each gets
//! several runs of neighbours from all over the rows: rows that are held out often are the last ones, and ask for little
//! work, so that whoever had no others would wait for the rest in every pass. Runs begin where a power of two does, so
//! that what a pass finds in a run merges into one partial.

/// Runs of a worker, where there are partitions enough.
const RUNS: usize = 4;
/// Runs of all workers, where there are many of them: a pass over blocks brings a partial for each run.
const MOST_RUNS: usize = 32;

/// The partitions of a worker.
struct Share {
    partitions: Vec<usize>,
    /// What they read, and what it should be.
    n_bytes: u128,
    wanted_bytes: u128,
    threads: u128,
}

/// Partitions for each worker, so that each reads a share of the bytes like its share of the threads.
pub(super) fn divide(partitions: &[usize], weights: &[u64], threads: &[u64]) -> Vec<Vec<usize>> {
    let bytes = |partition: &usize| u128::from(weights.get(*partition).copied().unwrap_or(1));
    let mut partitions = partitions.to_vec();
    partitions.sort_unstable();
    let all_bytes: u128 = partitions.iter().map(bytes).sum();
    let threads: Vec<u128> = threads.iter().map(|n| u128::from(*n).max(1)).collect();
    let all_threads = threads.iter().sum::<u128>().max(1);
    let share = |threads: &u128| Share {
        partitions: Vec::new(),
        n_bytes: 0,
        wanted_bytes: all_bytes * threads / all_threads,
        threads: *threads,
    };
    let mut shares: Vec<Share> = threads.iter().map(share).collect();
    let n_workers = shares.len().max(1);
    let n_runs = (RUNS * n_workers).min(MOST_RUNS).max(n_workers);
    let n_used = partitions.iter().filter(|p| bytes(p) > 0).count();
    let run_len = 1_usize << (n_used / n_runs).max(1).ilog2();
    for run in partitions.chunk_by(|a, b| a / run_len == b / run_len) {
        deal(run, run_len, &bytes, &mut shares);
    }
    shares.into_iter().map(|share| share.partitions).collect()
}

/// Gives a run of at most `run_len` partitions to the worker that has least for its threads, or half of it where the
/// whole is more than its share.
fn deal(run: &[usize], run_len: usize, bytes: &impl Fn(&usize) -> u128, shares: &mut [Share]) {
    let n_bytes: u128 = run.iter().map(bytes).sum();
    let least = shares
        .iter_mut()
        .min_by(|a, b| (a.n_bytes * b.threads).cmp(&(b.n_bytes * a.threads)));
    let Some(share) = least.filter(|_| !run.is_empty()) else {
        return;
    };
    // No share is met nearer than by half a partition.
    let most_bytes = share.wanted_bytes + n_bytes / (2 * run.len() as u128);
    if run_len > 1 && n_bytes > 0 && share.n_bytes + n_bytes > most_bytes {
        let half = run_len / 2;
        let (first, second) = run.split_at(run.partition_point(|p| p % run_len < half));
        deal(first, half, bytes, shares);
        deal(second, half, bytes, shares);
        return;
    }
    share.n_bytes += n_bytes;
    share.partitions.extend_from_slice(run);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_bytes_and_threads() {
        let partitions: Vec<usize> = (0..8).collect();
        // Small tables fill the first partitions only.
        let shares = divide(&partitions, &[10, 10, 10, 10, 0, 0, 0, 0], &[2, 2]);
        assert_eq!(shares, [vec![0, 2, 4, 5, 6, 7], vec![1, 3]]);
        let shares = divide(&partitions, &[1; 8], &[1, 3]);
        assert_eq!(shares, [vec![0, 4], vec![1, 2, 3, 5, 6, 7]]);
        let shares = divide(&[5, 3], &[1; 8], &[1, 1, 1]);
        assert_eq!(shares, [vec![3], vec![5], vec![]]);
        assert_eq!(divide(&partitions, &[0; 8], &[1, 1])[0].len(), 8);
        assert_eq!(divide(&partitions, &[1; 8], &[]), Vec::<Vec<usize>>::new());
        // One large file among small ones.
        let shares = divide(&partitions, &[1, 1, 40, 1, 1, 1, 1, 1], &[1, 1]);
        assert_eq!(shares, [vec![0, 2], vec![1, 3, 4, 5, 6, 7]]);
    }

    #[test]
    fn each_worker_has_rows_from_everywhere() {
        let partitions: Vec<usize> = (0..64).collect();
        let mut weights = vec![1; 39];
        weights.resize(64, 0);
        let shares = divide(&partitions, &weights, &[1, 1]);
        let used = |share: &Vec<usize>| -> Vec<usize> {
            share
                .iter()
                .copied()
                .filter(|partition| *partition < 39)
                .collect()
        };
        let expected = [
            vec![
                0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27, 32, 33, 36, 38,
            ],
            vec![
                4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31, 34, 35, 37,
            ],
        ];
        assert_eq!([used(&shares[0]), used(&shares[1])], expected);
        // Whatever part of the rows at the end is held out, the rest is shared.
        for end in 8..39 {
            let n_before = |share: &[usize]| share.iter().filter(|p| **p < end).count();
            let found = [n_before(&expected[0]), n_before(&expected[1])];
            assert!(found[0].abs_diff(found[1]) <= 4, "{end}: {found:?}");
        }
    }

    #[test]
    fn all_partitions_are_dealt_evenly_among_any_number_of_workers() {
        let partitions: Vec<usize> = (0..64).collect();
        for n_workers in [1, 2, 3, 7, 10, 16, 63, 64, 100] {
            let shares = divide(&partitions, &[1; 64], &vec![2; n_workers]);
            let sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{n_workers}: {sizes:?}");
            let mut dealt = shares.concat();
            dealt.sort_unstable();
            assert_eq!(dealt, partitions);
        }
        // Many workers have few runs each.
        let shares = divide(&partitions, &[1; 64], &[1; 16]);
        assert_eq!(shares[0], [0, 1, 32, 33]);
        assert_eq!(shares[15], [30, 31, 62, 63]);
    }
}
