//! Agreement with XGBoost's `hist`: the same splits of the first trees on a table without ties.
//!
//! `tests/reference/xgboost_trees.py` wrote the table and XGBoost's trees.

use serde_json::Value;

use super::*;

fn reference() -> Value {
    let text = std::fs::read_to_string("../tests/reference/xgboost_trees.json").unwrap();
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap();
    values.iter().map(|value| value.as_f64().unwrap()).collect()
}

/// Compares a node and those below: the feature, the rows on either side, the gain, and the leaf's value.
fn check(tree: &Tree, at: usize, expected: &Value, columns: &[Vec<f64>], rows: &[usize]) -> usize {
    let expected = expected.as_array().unwrap();
    let number = |at: usize| expected[at].as_f64().unwrap();
    if expected.len() == 1 {
        assert_eq!(tree.feature[at], -1, "a leaf of XGBoost's was split");
        let difference = tree.value[at] - number(0);
        assert!(
            difference.abs() < 2e-5 * (1.0 + number(0).abs()),
            "{difference}"
        );
        return 0;
    }
    assert_eq!(f64::from(tree.feature[at]), number(0));
    assert!((tree.gain[at] / number(2) - 1.0).abs() < 1e-4);
    let column = &columns[tree.feature[at] as usize];
    let goes_left = |row: &usize| column[*row] < number(1);
    for row in rows {
        assert_eq!(column[*row] <= tree.threshold[at], goes_left(row));
    }
    let (left, right): (Vec<usize>, Vec<usize>) = rows.iter().partition(|row| goes_left(row));
    let children = tree.children[at];
    1 + check(tree, children.0 as usize, &expected[3], columns, &left)
        + check(tree, children.1 as usize, &expected[4], columns, &right)
}

#[test]
fn first_trees_are_those_of_xgboost() {
    let reference = reference();
    let columns: Vec<Vec<f64>> = reference["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect();
    for (name, objective) in [
        ("squared_error", Objective::SquaredError),
        ("logistic", Objective::Logistic),
    ] {
        let expected = &reference[name];
        let table = Table {
            classes: objective == Objective::Logistic,
            ..Table::regression(columns.clone(), numbers(&expected["labels"]))
        };
        for gather_rows in [0, 8192] {
            let parameters = TreeParameters {
                max_iterations: 3,
                max_tree_depth: 4,
                min_rel_progress: None,
                gather_rows,
                ..TreeParameters::boosted(objective)
            };
            let fitted = fit(&table, &parameters);
            let rows: Vec<usize> = (0..table.labels.len()).collect();
            let trees = expected["trees"].as_array().unwrap();
            assert_eq!(fitted.ensemble.trees.len(), trees.len());
            for (tree, expected) in fitted.ensemble.trees.iter().zip(trees) {
                let n_splits = check(tree, 0, expected, &columns, &rows);
                assert!(n_splits >= 10, "{name} {n_splits}");
            }
        }
    }
}
