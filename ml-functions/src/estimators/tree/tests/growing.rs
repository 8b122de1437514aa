//! Splits and leaves of single trees.

use proptest::prelude::*;

use super::*;
use crate::estimators::tree::parameters::GrowPolicy;

#[test]
fn hand_computed_split() {
    // Means 1 and 5 on either side of 2.5; gain = Σ G²/H: (2·2)²/2 + (2·2)²/2 - 0 = 16.
    let table = Table::regression(vec![vec![1.0, 2.0, 3.0, 4.0]], vec![0.0, 2.0, 4.0, 6.0]);
    let mut parameters = exact(Objective::SquaredError);
    parameters.max_tree_depth = 1;
    let tree = &fit(&table, &parameters).ensemble.trees[0];
    assert_eq!(tree.feature, [0, -1, -1]);
    assert_eq!(tree.threshold[0], 2.5);
    assert_eq!(tree.value[1..], [-2.0, 2.0]);
    assert!((tree.gain[0] - 16.0).abs() < 1e-6);
    assert_eq!(tree.cover, [4.0, 2.0, 2.0]);
}

#[test]
fn l1_l2_and_min_split_loss() {
    let table = Table::regression(vec![vec![1.0, 2.0, 3.0, 4.0]], vec![0.0, 2.0, 4.0, 6.0]);
    let mut parameters = exact(Objective::SquaredError);
    parameters.max_tree_depth = 1;
    parameters.regularization.l1_reg = 1.0;
    parameters.regularization.l2_reg = 1.0;
    // T(±4) = ±3: value ∓3/3, gain 9/3 + 9/3 = 6.
    let tree = &fit(&table, &parameters).ensemble.trees[0];
    assert_eq!(tree.value[1..], [-1.0, 1.0]);
    assert!((tree.gain[0] - 6.0).abs() < 1e-6);
    parameters.regularization.min_split_loss = 6.5;
    assert_eq!(n_leaves(&fit(&table, &parameters).ensemble.trees[0]), 1);
    parameters.regularization.min_split_loss = 0.0;
    parameters.regularization.min_tree_child_weight = 2.5;
    assert_eq!(n_leaves(&fit(&table, &parameters).ensemble.trees[0]), 1);
}

#[test]
fn missing_values_go_where_they_fit() {
    let nan = f64::NAN;
    for (missing_label, missing_left) in [(0.0, true), (6.0, false)] {
        let table = Table::regression(
            vec![vec![1.0, 2.0, 3.0, 4.0, nan]],
            vec![0.0, 0.0, 6.0, 6.0, missing_label],
        );
        let mut parameters = exact(Objective::SquaredError);
        parameters.max_tree_depth = 1;
        let tree = &fit(&table, &parameters).ensemble.trees[0];
        assert_eq!(
            (tree.threshold[0], tree.missing_left[0]),
            (2.5, missing_left)
        );
    }
    // Missing against the rest; infinities are numbers.
    let table = Table::regression(
        vec![vec![1.0, f64::INFINITY, f64::NEG_INFINITY, nan]],
        vec![1.0, 1.0, 1.0, 5.0],
    );
    let mut parameters = exact(Objective::SquaredError);
    parameters.max_tree_depth = 1;
    let fitted = fit(&table, &parameters);
    assert_eq!(fitted.scores, [1.0, 1.0, 1.0, 5.0]);
    // None seen: the heavier side.
    let table = Table::regression(vec![vec![1.0, 2.0, 3.0]], vec![0.0, 9.0, 9.0]);
    assert!(!fit(&table, &parameters).ensemble.trees[0].missing_left[0]);
    let table = Table::regression(vec![vec![1.0, 2.0, 3.0]], vec![0.0, 0.0, 9.0]);
    assert!(fit(&table, &parameters).ensemble.trees[0].missing_left[0]);
}

/// The greatest gain over all partitions of categories.
fn brute_force_partition(sums: &[(f64, f64)]) -> f64 {
    let score = |s: (f64, f64)| s.0 * s.0 / s.1;
    let total = sums.iter().fold((0.0, 0.0), |t, s| (t.0 + s.0, t.1 + s.1));
    (1..(1u32 << sums.len()) - 1)
        .map(|set| {
            let left = sums
                .iter()
                .enumerate()
                .filter(|(code, _)| set >> code & 1 == 1)
                .fold((0.0, 0.0), |t, (_, s)| (t.0 + s.0, t.1 + s.1));
            score(left) + score((total.0 - left.0, total.1 - left.1)) - score(total)
        })
        .fold(0.0, f64::max)
}

proptest! {
    #[test]
    fn categorical_split_is_the_best_partition(
        rows in prop::collection::vec((0u32..7, -50i32..50), 8..60),
    ) {
        let labels: Vec<f64> = rows.iter().map(|&(_, y)| f64::from(y)).collect();
        let mean = labels.iter().sum::<f64>() / labels.len() as f64;
        let mut sums = vec![(0.0, 0.0); 7];
        for (&(code, _), y) in rows.iter().zip(&labels) {
            sums[code as usize].0 += mean - y;
            sums[code as usize].1 += 1.0;
        }
        sums.retain(|s| s.1 > 0.0);
        prop_assume!(sums.len() >= 2);
        let table = Table {
            codes: vec![rows.iter().map(|&(code, _)| code).collect()],
            // The last code is NULL.
            category_counts: vec![6],
            ..Table::regression(vec![], labels)
        };
        let mut parameters = exact(Objective::SquaredError);
        parameters.max_tree_depth = 1;
        let tree = fit(&table, &parameters).ensemble.trees.remove(0);
        let best = brute_force_partition(&sums);
        prop_assert!((tree.gain[0] - best).abs() < 1e-5 * (1.0 + best), "{} {best}", tree.gain[0]);
    }

    #[test]
    fn monotone_constraints_hold(seed in 0u64..1000, direction in prop::sample::select(vec![-1i8, 1])) {
        let n = 200;
        let (a, b, noise) = (draws(n, seed), draws(n, seed + 5000), draws(n, seed + 9000));
        let labels = (0..n).map(|i| (6.0 * a[i]).sin() + b[i] + noise[i]).collect();
        let table = Table::regression(vec![a, b.clone()], labels);
        let mut parameters = exact(Objective::SquaredError);
        parameters.max_iterations = 5;
        parameters.regularization.monotone = vec![direction, 0];
        let fitted = fit(&table, &parameters);
        for tree in &fitted.ensemble.trees {
            for &other in b.iter().take(10) {
                let values: Vec<f64> =
                    (0..=50).map(|i| walk(tree, &[f64::from(i) / 50.0, other])).collect();
                for pair in values.windows(2) {
                    prop_assert!(f64::from(direction) * (pair[1] - pair[0]) >= 0.0);
                }
            }
        }
    }

    #[test]
    fn first_tree_is_that_of_exact_greedy(seed in 0u64..1000, depth in 1usize..5) {
        let n = 120;
        let columns: Vec<Vec<f64>> = (0..4).map(|c| draws(n, seed * 10 + c)).collect();
        let noise = draws(n, seed * 10 + 9);
        let labels: Vec<f64> = (0..n)
            .map(|i| columns[0][i] * columns[1][i] * 3.0 + columns[2][i] + noise[i])
            .collect();
        let mut parameters = exact(Objective::SquaredError);
        parameters.max_tree_depth = depth;
        parameters.regularization.l2_reg = 1.0;
        parameters.regularization.min_tree_child_weight = 3.0;
        let tree = fit(&Table::regression(columns.clone(), labels.clone()), &parameters)
            .ensemble.trees.remove(0);
        let mean = labels.iter().sum::<f64>() / n as f64;
        let gradients: Vec<f64> = labels.iter().map(|y| mean - y).collect();
        check_greedy(&tree, 0, &columns, &gradients, (0..n).collect(), depth);
    }
}

/// Compares a node and those below it with XGBoost's exact greedy search (λ = 1, least weight 3).
fn check_greedy(
    tree: &Tree,
    node: usize,
    columns: &[Vec<f64>],
    gradients: &[f64],
    rows: Vec<usize>,
    depth: usize,
) {
    let score = |rows: &[usize]| {
        let g: f64 = rows.iter().map(|&row| gradients[row]).sum();
        (
            g * g / (rows.len() as f64 + 1.0),
            -g / (rows.len() as f64 + 1.0),
        )
    };
    let mut best = (1e-6, 0, 0.0);
    for (feature, column) in columns.iter().enumerate() {
        for &row in &rows {
            let (left, right): (Vec<usize>, Vec<usize>) = rows
                .iter()
                .partition(|&&other| column[other] <= column[row]);
            let gain = score(&left).0 + score(&right).0 - score(&rows).0;
            if left.len() >= 3 && right.len() >= 3 && gain > best.0 {
                best = (gain, feature, column[row]);
            }
        }
    }
    if depth == 0 || best.0 <= 1e-6 {
        assert_eq!(tree.feature[node], -1);
        assert!((tree.value[node] - score(&rows).1).abs() < 1e-9);
        return;
    }
    assert_eq!(tree.feature[node], best.1 as i32);
    assert!((tree.gain[node] - best.0).abs() < 1e-5);
    let (left, right): (Vec<usize>, Vec<usize>) = rows
        .iter()
        .partition(|&&row| columns[best.1][row] <= tree.threshold[node]);
    assert!(left.iter().all(|&row| columns[best.1][row] <= best.2));
    let children = tree.children[node];
    check_greedy(
        tree,
        children.0 as usize,
        columns,
        gradients,
        left,
        depth - 1,
    );
    check_greedy(
        tree,
        children.1 as usize,
        columns,
        gradients,
        right,
        depth - 1,
    );
}

fn walk(tree: &Tree, values: &[f64]) -> f64 {
    let mut node = 0;
    while tree.feature[node] >= 0 {
        let goes_left = values[tree.feature[node] as usize] <= tree.threshold[node];
        let (left, right) = tree.children[node];
        node = if goes_left { left } else { right } as usize;
    }
    tree.value[node]
}

fn noisy_table(n: usize) -> Table {
    let columns: Vec<Vec<f64>> = (0..5).map(|c| draws(n, c)).collect();
    let noise = draws(n, 77);
    let labels = (0..n)
        .map(|i| (8.0 * columns[0][i]).sin() + columns[1][i] * columns[2][i] + noise[i])
        .collect();
    Table::regression(columns, labels)
}

#[test]
fn leaf_wise_growth_takes_the_greatest_gains() {
    let table = noisy_table(2000);
    let mut parameters = exact(Objective::SquaredError);
    parameters.grow_policy = GrowPolicy::LossGuide;
    parameters.max_tree_depth = 0;
    for max_leaves in [1, 2, 3, 8, 31] {
        parameters.max_leaves = max_leaves;
        let fitted = fit(&table, &parameters);
        let tree = &fitted.ensemble.trees[0];
        assert_eq!(n_leaves(tree), max_leaves);
        // Greedy by gain: growing by one leaf adds the best split of all leaves, so that trees of
        // fewer leaves have the same splits; their least gains bound those of later ones' parents.
        let mut gains: Vec<f64> = tree
            .gain
            .iter()
            .copied()
            .filter(|&gain| gain > 0.0)
            .collect();
        gains.sort_by(f64::total_cmp);
        parameters.max_leaves = max_leaves + 1;
        let larger = fit(&table, &parameters).ensemble.trees.remove(0);
        let mut more: Vec<f64> = larger
            .gain
            .iter()
            .copied()
            .filter(|&gain| gain > 0.0)
            .collect();
        more.sort_by(f64::total_cmp);
        assert_eq!(more.len(), gains.len() + 1);
        assert!(gains.iter().all(|gain| more.contains(gain)));
    }
}

#[test]
fn memory_and_bringing_rows_together_do_not_change_the_tree() {
    let mut table = noisy_table(3000);
    table.codes = vec![(0..3000).map(|row| row % 13).collect()];
    table.category_counts = vec![12];
    (0..3000)
        .step_by(9)
        .for_each(|row| table.dense[1][row] = f64::NAN);
    table.weights = Some(draws(3000, 5).iter().map(|w| (w * 3.0).floor()).collect());
    table.chunk_rows = 700;
    for (policy, max_leaves) in [
        (GrowPolicy::LossGuide, 40),
        (GrowPolicy::DepthWise, 40),
        (GrowPolicy::DepthWise, 0),
    ] {
        let mut parameters = exact(Objective::SquaredError);
        parameters.grow_policy = policy;
        parameters.max_leaves = max_leaves;
        parameters.max_tree_depth = 9;
        parameters.regularization.min_tree_child_weight = 1.0;
        parameters.regularization.monotone = vec![0, 0, 1, 0, 0, 0];
        parameters.max_iterations = 3;
        parameters.subsample = 0.9;
        parameters.columns.by_level = 0.9;
        parameters.columns.by_node = 0.8;
        parameters.gather_rows = 0;
        let by_histograms = fit(&table, &parameters);
        assert!(n_leaves(&by_histograms.ensemble.trees[0]) >= 40);
        for (gather_rows, working_bytes) in [
            (0, 0),
            (8192, 256 << 20),
            (8192, 0),
            (100, 256 << 20),
            (700, 20_000),
        ] {
            parameters.gather_rows = gather_rows;
            parameters.working_bytes = working_bytes;
            let other = fit(&table, &parameters);
            assert_eq!(
                other.ensemble, by_histograms.ensemble,
                "{policy:?} {gather_rows}"
            );
        }
    }
}

#[test]
fn column_samples() {
    let table = noisy_table(500);
    let mut parameters = exact(Objective::SquaredError);
    parameters.columns.by_tree = 0.4;
    parameters.max_iterations = 12;
    let trees = fit(&table, &parameters).ensemble.trees;
    let mut all = std::collections::BTreeSet::new();
    for tree in &trees {
        let used: std::collections::BTreeSet<i32> =
            tree.feature.iter().copied().filter(|&f| f >= 0).collect();
        assert!(used.len() <= 2, "{used:?}");
        all.extend(used);
    }
    assert!(all.len() >= 4);
    parameters.columns.by_tree = 1.0;
    parameters.columns.by_level = 0.2;
    parameters.columns.by_node = 1.0;
    for tree in fit(&table, &parameters).ensemble.trees {
        let (left, right) = tree.children[0];
        let [left, right] = [left, right].map(|node| tree.feature[node as usize]);
        assert!(left == right || left < 0 || right < 0);
    }
}
