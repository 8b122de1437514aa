//! Ensembles: determinism, samples, objectives, forests, DART, warm start and early stopping.

use super::*;
use crate::error::Error;
use crate::estimators::tree::parameters::{Dart, DartNormalization, GrowPolicy};
use crate::training_set::{ChunkState, section_bytes};

/// A mixed table with missing values, a category and weights.
pub(super) fn mixed(n: usize, seed: u64) -> Table {
    let mut dense: Vec<Vec<f64>> = (0..3).map(|c| draws(n, seed + c)).collect();
    let noise = draws(n, seed + 50);
    let codes: Vec<u32> = draws(n, seed + 60)
        .iter()
        .map(|x| (x * 6.0) as u32)
        .collect();
    let labels = (0..n)
        .map(|i| (7.0 * dense[0][i]).sin() + dense[1][i] + f64::from(codes[i] % 3) + noise[i])
        .collect();
    (0..n).step_by(7).for_each(|row| dense[1][row] = f64::NAN);
    dense.push(vec![3.0; n]);
    dense.push(vec![f64::NAN; n]);
    Table {
        codes: vec![codes],
        category_counts: vec![5],
        weights: Some(
            draws(n, seed + 70)
                .iter()
                .map(|w| (w * 4.0).floor())
                .collect(),
        ),
        chunk_rows: n.div_ceil(7),
        ..Table::regression(dense, labels)
    }
}

pub(super) fn binary(n: usize, seed: u64) -> Table {
    let mut table = mixed(n, seed);
    table
        .labels
        .iter_mut()
        .for_each(|y| *y = f64::from(u8::from(*y > 1.5)));
    table.classes = true;
    table
}

fn parameters(objective: Objective) -> TreeParameters {
    TreeParameters {
        max_iterations: 8,
        min_rel_progress: None,
        ..TreeParameters::boosted(objective)
    }
}

#[test]
fn same_ensemble_for_any_threads_and_through_bytes() {
    // Above 65,536 rows, so that 16-bit gradients and the move to wide sums are visited too.
    for n in [500, 70_000] {
        let table = binary(n, 3);
        for policy in [GrowPolicy::DepthWise, GrowPolicy::LossGuide] {
            let parameters = TreeParameters {
                max_iterations: 3,
                grow_policy: policy,
                max_leaves: 20,
                subsample: 0.7,
                ..parameters(Objective::Logistic)
            };
            let run = |n_threads, through_bytes, piece_rows| {
                let run = Run {
                    n_threads,
                    through_bytes,
                    piece_rows,
                    evaluation: Some(binary(300, 8)),
                    ..Run::default()
                };
                fit_with(&table, &parameters, &run).unwrap()
            };
            let one = run(1, false, None);
            for (n_threads, through_bytes) in [(2, false), (3, false), (2, true)] {
                let other = run(n_threads, through_bytes, None);
                assert_eq!(one.ensemble, other.ensemble);
                assert_eq!(one.losses, other.losses);
            }
            // Losses are added up piece by piece: the last bits depend on where chunks are cut.
            let cut = run(2, false, Some(512));
            assert_eq!(one.ensemble, cut.ensemble);
            assert!(one.losses[2].eval_loss.unwrap() < one.losses[0].eval_loss.unwrap());
        }
    }
}

#[test]
fn losses_fall_for_every_objective() {
    let numbers = mixed(3000, 1);
    let mut positive = numbers.clone();
    positive
        .labels
        .iter_mut()
        .for_each(|y| *y = y.max(0.0).floor());
    let objectives = [
        (Objective::SquaredError, &numbers),
        (Objective::Quantile { alpha: 0.8 }, &numbers),
        (Objective::Huber { slope: 1.0 }, &numbers),
        (Objective::Poisson, &positive),
        (
            Objective::Tweedie {
                variance_power: 1.5,
            },
            &positive,
        ),
    ];
    for (objective, table) in objectives {
        let losses = fit(table, &parameters(objective)).losses;
        assert!(
            losses[7].loss < 0.95 * losses[0].loss,
            "{objective:?} {losses:?}"
        );
        assert!(losses[7].loss >= 0.0);
    }
    let losses = fit(&binary(3000, 1), &parameters(Objective::Logistic)).losses;
    assert!(losses[7].loss < 0.7 * losses[0].loss);
}

#[test]
fn gradients_are_derivatives_of_losses() {
    use crate::estimators::tree::objective::BlockScores;
    let objectives = [
        (Objective::SquaredError, 2.0, true),
        (Objective::Logistic, 1.0, true),
        (Objective::Poisson, 1.0, false),
        (
            Objective::Tweedie {
                variance_power: 1.3,
            },
            1.0,
            true,
        ),
        (Objective::Huber { slope: 0.7 }, 1.0, false),
        (Objective::Quantile { alpha: 0.3 }, 1.0, false),
    ];
    for (objective, factor, has_exact_hessian) in objectives {
        for (label, score) in [(0.0, 0.3), (1.0, -0.4), (1.0, 2.0)] {
            for weight in [1.0, 2.5] {
                let weights = [weight];
                let at = |score: f64| {
                    let (mut g, mut h) = ([0.0], [0.0]);
                    let block = BlockScores {
                        labels: &[label],
                        weights: (weight != 1.0).then_some(&weights[..]),
                        scores: &[score],
                    };
                    let loss = objective.gradients(block, &mut g, &mut h);
                    (loss, g[0], h[0])
                };
                let step = 1e-5;
                let (up, down, (_, g, h)) = (at(score + step), at(score - step), at(score));
                let slope = (up.0 - down.0) / (2.0 * step) / factor;
                assert!((slope - g).abs() < 1e-6, "{objective:?} {slope} {g}");
                let curvature = (up.1 - down.1) / (2.0 * step);
                assert!(
                    !has_exact_hessian || (curvature - h).abs() < 1e-5,
                    "{objective:?}"
                );
            }
        }
    }
}

#[test]
fn softmax_learns_three_classes() {
    let n = 3000;
    let x = draws(n, 1);
    let table = Table {
        classes: true,
        chunk_rows: 800,
        ..Table::regression(
            vec![x.clone()],
            x.iter().map(|x| (x * 3.0).floor()).collect(),
        )
    };
    let fitted = fit(&table, &parameters(Objective::Softmax { n_classes: 3 }));
    assert_eq!(fitted.ensemble.trees.len(), 24);
    assert_eq!(fitted.ensemble.outputs[..4], [0, 1, 2, 0]);
    let is_wrong = |&row: &usize| {
        let best = (0..3)
            .max_by(|&a, &b| fitted.scores[a * n + row].total_cmp(&fitted.scores[b * n + row]));
        best.unwrap() as f64 != table.labels[row]
    };
    // The bins at the two borders hold both classes.
    assert!((0..n).filter(is_wrong).count() <= 24);
    assert!(fitted.losses[7].loss < 0.15);
}

#[test]
fn weights_are_repetitions_and_zeros_are_absences() {
    let n = 300;
    let (x, noise) = (draws(n, 1), draws(n, 2));
    let labels: Vec<f64> = (0..n).map(|i| (x[i] * 4.0).floor() + noise[i]).collect();
    let mut repeated = Table::regression(vec![vec![]], vec![]);
    for i in 0..n {
        for _ in 0..i % 3 {
            repeated.dense[0].push(x[i]);
            repeated.labels.push(labels[i]);
        }
    }
    let weighted = Table {
        weights: Some((0..n).map(|i| (i % 3) as f64).collect()),
        ..Table::regression(vec![x], labels)
    };
    // Few leaves: values of weight 0 have cuts of their own, so that thresholds may differ.
    let mut parameters = parameters(Objective::SquaredError);
    parameters.max_tree_depth = 2;
    parameters.max_iterations = 2;
    let (a, b) = (fit(&weighted, &parameters), fit(&repeated, &parameters));
    for (a, b) in a.ensemble.trees.iter().zip(&b.ensemble.trees) {
        assert_eq!(a.feature, b.feature);
        assert!(
            a.value
                .iter()
                .zip(&b.value)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
    }
}

#[test]
fn forests_average_trees_of_samples() {
    let table = mixed(4000, 5);
    let parameters = TreeParameters {
        num_parallel_tree: 20,
        max_tree_depth: 6,
        ..TreeParameters::forest(Objective::SquaredError)
    };
    let fitted = fit(&table, &parameters);
    assert_eq!(fitted.ensemble.trees.len(), 20);
    assert_ne!(fitted.ensemble.trees[0], fitted.ensemble.trees[1]);
    // A tree's root weighs about four fifths of the samples.
    let total: f64 = table.weights.as_ref().unwrap().iter().sum();
    let share = fitted.ensemble.trees[0].cover[0] / total;
    assert!((0.75..0.85).contains(&share), "{share}");
    assert!(fitted.losses[0].loss < 0.4, "{:?}", fitted.losses);
}

#[test]
fn quantile_leaves_are_quantiles_of_residuals() {
    let n = 2000;
    let x = draws(n, 1);
    let noise = draws(n, 2);
    let labels: Vec<f64> = (0..n)
        .map(|i| 100.0 * (x[i] * 2.0).floor() + noise[i])
        .collect();
    let table = Table {
        chunk_rows: 300,
        ..Table::regression(vec![x.clone()], labels.clone())
    };
    for n_trees in [1, 3] {
        let mut parameters = exact(Objective::Quantile { alpha: 0.9 });
        parameters.max_tree_depth = 1;
        parameters.num_parallel_tree = n_trees;
        let fitted = fit(&table, &parameters);
        let threshold = fitted.ensemble.trees[0].threshold[0];
        for left in [true, false] {
            let rows: Vec<usize> = (0..n).filter(|&i| (x[i] <= threshold) == left).collect();
            let below = rows
                .iter()
                .filter(|&&i| labels[i] <= fitted.scores[i] + 1e-6)
                .count();
            let share = below as f64 / rows.len() as f64;
            assert!((share - 0.9).abs() < 2.0 / rows.len() as f64, "{share}");
        }
    }
}

#[test]
fn dart_drops_and_returns_trees() {
    let table = mixed(2000, 5);
    for normalization in [DartNormalization::Tree, DartNormalization::Forest] {
        let mut parameters = parameters(Objective::SquaredError);
        parameters.dart = Some(Dart {
            dropout: 0.5,
            normalization,
        });
        let run = Run {
            evaluation: Some(mixed(500, 6)),
            ..Run::default()
        };
        // `fit_with` compares kept scores with those of the weighted trees.
        let fitted = fit_with(&table, &parameters, &run).unwrap();
        assert!(fitted.ensemble.weights.iter().any(|&weight| weight < 1.0));
        let losses = &fitted.losses;
        assert!(losses[7].eval_loss.unwrap() < losses[0].eval_loss.unwrap());
    }
}

#[test]
fn warm_start_continues() {
    let table = mixed(2000, 5);
    let whole = fit(&table, &parameters(Objective::SquaredError));
    let half = TreeParameters {
        max_iterations: 4,
        ..parameters(Objective::SquaredError)
    };
    let first = fit(&table, &half);
    let run = Run {
        start: Some(first.ensemble.clone()),
        ..Run::default()
    };
    let second = fit_with(&table, &half, &run).unwrap();
    assert_eq!(second.ensemble.trees.len(), 8);
    assert_eq!(second.ensemble.trees[..4], first.ensemble.trees[..]);
    let difference = second.losses[3].loss - whole.losses[7].loss;
    assert!(difference.abs() < 1e-3 * whole.losses[7].loss);
}

#[test]
fn stops_without_progress_on_the_held_out_part() {
    let n = 300;
    let noise = Table::regression(vec![draws(n, 1)], draws(n, 2));
    let parameters = TreeParameters {
        max_iterations: 20,
        ..TreeParameters::boosted(Objective::SquaredError)
    };
    let run = Run {
        evaluation: Some(Table::regression(vec![draws(n, 3)], draws(n, 4))),
        ..Run::default()
    };
    assert!(fit_with(&noise, &parameters, &run).unwrap().losses.len() < 5);
}

#[test]
fn an_error_of_the_callback_ends_the_training() {
    let table = mixed(100, 1);
    let parameters = parameters(Objective::SquaredError);
    let (bins, ensemble, chunks) = table.begun(None, parameters.objective);
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    // An estimator's future moves between threads.
    let mut cancel = |_| Err(Error::Cancelled);
    let stopped = complete(is_send(boost(
        &chunks,
        &parameters,
        &bins,
        ensemble,
        &mut cancel,
    )));
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

#[test]
fn tiny_and_degenerate_tables() {
    for n in [1, 2] {
        let table = Table::regression(vec![draws(n, 1)], (0..n).map(|i| i as f64).collect());
        let mut parameters = parameters(Objective::SquaredError);
        parameters.regularization.min_tree_child_weight = 0.0;
        let fitted = fit(&table, &parameters);
        assert!(fitted.scores.iter().all(|score| score.is_finite()));
    }
    // Constant and missing columns alone; one class; all weights 0.
    let mut table = Table::regression(vec![vec![2.0; 50], vec![f64::NAN; 50]], draws(50, 1));
    let fitted = fit(&table, &parameters(Objective::SquaredError));
    assert!(fitted.ensemble.trees.iter().all(|tree| n_leaves(tree) == 1));
    table.weights = Some(vec![0.0; 50]);
    table.dense[0] = draws(50, 2);
    let fitted = fit(&table, &parameters(Objective::SquaredError));
    assert!(fitted.scores.iter().all(|&score| score == 0.0));
    table.weights = None;
    table.classes = true;
    table.labels = vec![1.0; 50];
    let fitted = fit(&table, &parameters(Objective::Logistic));
    assert!(
        fitted
            .scores
            .iter()
            .all(|&score| score > 5.0 && score.is_finite())
    );
}

#[test]
fn few_large_gradients_do_not_hide_the_others() {
    // One label a million times the others' range: 16 bits would leave nothing of them.
    let n = 70_000;
    let x = draws(n, 1);
    let mut labels: Vec<f64> = x.iter().map(|x| (x * 8.0).floor()).collect();
    labels[12] = 8e6;
    let mut parameters = exact(Objective::SquaredError);
    parameters.max_iterations = 3;
    parameters.max_tree_depth = 8;
    let fitted = fit(
        &Table::regression(vec![x.clone()], labels.clone()),
        &parameters,
    );
    let near = x[12];
    let wrong = (0..n)
        .filter(|&i| (x[i] - near).abs() > 0.05 && (fitted.scores[i] - labels[i]).abs() > 0.5)
        .count();
    assert!(wrong < n / 50, "{wrong}");
}

#[test]
fn a_chunk_is_small() {
    let table = Table {
        classes: true,
        ..Table::regression(
            (0..28).map(|c| draws(65_536, c)).collect(),
            vec![1.0; 65_536],
        )
    };
    let parameters = parameters(Objective::Logistic);
    let (bins, ensemble) = table.bins(parameters.objective);
    let start = StartTreeChunk {
        bins,
        objective: parameters.objective,
        ensemble,
    };
    let chunk = &mut table.chunks(&start)[0];
    // Before training: bins, label and score.
    let n_bytes: usize = chunk
        .sections()
        .iter()
        .map(|section| section_bytes(section))
        .sum();
    assert_eq!(n_bytes, 65_536 * (28 + 1 + 8));
}
