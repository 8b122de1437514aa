//! Trees that grow on a device are those of the CPU, to the bit. The device here is the reference of all devices; that
//! CUDA's kernels agree with it is tested beside them.

use super::boosting::{binary, mixed};
use super::bundling::one_hot;
use super::*;
use crate::estimators::tree::parameters::GrowPolicy;

fn assert_same_on_a_device(table: &Table, parameters: &TreeParameters, what: &str) {
    let run = |device, n_threads, through_bytes| {
        let run = Run {
            n_threads,
            through_bytes,
            device,
            piece_rows: Some(300),
            ..Run::default()
        };
        fit_with(table, parameters, &run).unwrap().ensemble
    };
    let expected = run(None, 1, false);
    assert!(
        expected.trees.iter().any(|tree| tree.n_nodes() > 1),
        "{what}"
    );
    assert_eq!(run(Some(CpuDevice), 1, false), expected, "{what}");
    assert_eq!(run(Some(CpuDevice), 3, true), expected, "{what}, threads");
}

#[test]
fn any_way_of_growing_gives_the_same_trees() {
    let tables = [
        ("numbers", mixed(1500, 1), Objective::SquaredError),
        ("two classes", binary(1500, 2), Objective::Logistic),
    ];
    for (name, table, objective) in &tables {
        for policy in [GrowPolicy::DepthWise, GrowPolicy::LossGuide] {
            for (max_leaves, gather_rows) in [(0, 0), (12, 0), (12, 100)] {
                let parameters = TreeParameters {
                    max_iterations: 3,
                    min_rel_progress: None,
                    grow_policy: policy,
                    max_leaves,
                    gather_rows,
                    subsample: 0.8,
                    ..TreeParameters::boosted(*objective)
                };
                let what = format!("{name} {policy:?} {max_leaves} {gather_rows}");
                assert_same_on_a_device(table, &parameters, &what);
            }
        }
    }
}

#[test]
fn several_classes_samples_of_columns_and_forests_too() {
    let mut table = binary(900, 5);
    for (row, label) in table.labels.iter_mut().enumerate() {
        *label += (row % 3 == 0) as u8 as f64;
    }
    let mut parameters = TreeParameters {
        max_iterations: 2,
        min_rel_progress: None,
        gather_rows: 0,
        num_parallel_tree: 3,
        ..TreeParameters::boosted(Objective::Softmax { n_classes: 3 })
    };
    parameters.columns.by_tree = 0.7;
    parameters.columns.by_node = 0.7;
    assert_same_on_a_device(&table, &parameters, "classes");
}

#[test]
fn columns_that_share_bytes_are_summed_by_bytes() {
    let table = one_hot(900, 3, 12, 7);
    let parameters = TreeParameters {
        max_iterations: 2,
        min_rel_progress: None,
        ..TreeParameters::boosted(Objective::SquaredError)
    };
    assert!(parameters.bundles);
    assert_same_on_a_device(&table, &parameters, "bundles");
}

#[test]
fn gradients_of_16_bits_are_the_same_sums() {
    // Above 65,536 rows gradients are narrow.
    let table = binary(66_000, 9);
    let parameters = TreeParameters {
        max_iterations: 2,
        min_rel_progress: None,
        max_tree_depth: 3,
        ..TreeParameters::boosted(Objective::Logistic)
    };
    let run = |device| {
        let run = Run {
            n_threads: 2,
            device,
            ..Run::default()
        };
        fit_with(&table, &parameters, &run).unwrap().ensemble
    };
    assert_eq!(run(Some(CpuDevice)), run(None));
}
