//! Columns that share a byte change no tree.

use proptest::prelude::*;

use super::*;
use crate::estimators::tree::bundling::bundle;
use crate::estimators::tree::parameters::GrowPolicy;

/// `n_groups` texts as a column for each of their values, some missing, beside two columns of numbers and
/// one that is mostly 0 but has values of its own.
pub(super) fn one_hot(n: usize, n_groups: usize, n_values: usize, seed: u64) -> Table {
    let mut dense = vec![draws(n, seed), draws(n, seed + 1)];
    let noise = draws(n, seed + 2);
    let mut labels: Vec<f64> = (0..n).map(|i| dense[0][i] + 0.3 * noise[i]).collect();
    for group in 0..n_groups as u64 {
        let values = draws(n, seed + 10 + group);
        let code = |i: usize| (values[i] * values[i] * n_values as f64) as usize;
        for value in 0..n_values {
            dense.push(
                (0..n)
                    .map(|i| f64::from(u8::from(code(i) == value)))
                    .collect(),
            );
        }
        for (i, label) in labels.iter_mut().enumerate() {
            *label += ((code(i) * 7 + group as usize) % 5) as f64 / 4.0;
        }
    }
    let rare = draws(n, seed + 99);
    dense.push(
        rare.iter()
            .map(|&x| if x < 0.95 { 0.0 } else { (x * 200.0).floor() })
            .collect(),
    );
    // Missing where it is the only column of its group in use, and where it is not.
    let missing = dense.len().min(5) - 1;
    (0..n)
        .step_by(41)
        .for_each(|i| dense[missing][i] = f64::NAN);
    Table {
        chunk_rows: n.div_ceil(3),
        ..Table::regression(dense, labels)
    }
}

fn bundled_bytes(table: &Table) -> Option<usize> {
    let (bins, _, chunks) = table.begun(None, Objective::SquaredError);
    let chunks = Chunks {
        n_threads: 2,
        ..chunks
    };
    let bundles = complete(bundle(&chunks, &bins)).unwrap();
    let state = chunks.training.lock().unwrap()[0].1.clone();
    assert_eq!(state.bins.len(), state.n_rows * state.n_columns);
    bundles.map(|_| state.n_columns)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn bundled_trees_are_those_of_single_columns(seed in 0u64..1000, leaf_wise in any::<bool>()) {
        let table = one_hot(900, 3, 12, seed * 1000);
        let mut parameters = TreeParameters {
            max_iterations: 3,
            min_rel_progress: None,
            subsample: 0.9,
            ..TreeParameters::boosted(Objective::SquaredError)
        };
        parameters.columns.by_node = 0.7;
        if leaf_wise {
            parameters.grow_policy = GrowPolicy::LossGuide;
            parameters.max_leaves = 20;
        }
        let run = Run {
            n_threads: 2,
            through_bytes: true,
            evaluation: Some(one_hot(300, 3, 12, seed * 1000 + 500)),
            ..Run::default()
        };
        let bundled = fit_with(&table, &parameters, &run).unwrap();
        parameters.bundles = false;
        let single = fit_with(&table, &parameters, &run).unwrap();
        prop_assert_eq!(bundled.ensemble, single.ensemble);
        prop_assert_eq!(bundled.losses, single.losses);
    }
}

#[test]
fn one_hot_columns_share_bytes() {
    // 36 indicators and 3 others; the missing values cost a byte or two.
    let n_bytes = bundled_bytes(&one_hot(900, 3, 12, 1)).unwrap();
    assert!((6..=11).contains(&n_bytes), "{n_bytes}");
    // A byte holds 127 columns of two bins and a missing one.
    let n_bytes = bundled_bytes(&one_hot(4000, 1, 200, 1)).unwrap();
    assert!((4..=8).contains(&n_bytes), "{n_bytes}");
}

#[test]
fn dense_columns_do_not_share() {
    assert_eq!(bundled_bytes(&one_hot(900, 0, 0, 1)), None);
    // Sparse, but never apart.
    let used: Vec<f64> = (0..900).map(|i| f64::from(u8::from(i % 10 == 0))).collect();
    assert_eq!(
        bundled_bytes(&Table::regression(vec![used; 8], draws(900, 1))),
        None
    );
}
