//! What [`TreeEnsemble::check`] lets through.

use super::super::testing::{ensemble_of, leaf, split};
use super::*;

fn sound() -> TreeEnsemble {
    let mut tree = split(
        0,
        0.5,
        split(1, 0.0, leaf(1.0, 1.0), leaf(2.0, 1.0)),
        leaf(3.0, 1.0),
    );
    tree.category_words = vec![5];
    tree.categories[1] = (0, 1);
    ensemble_of(vec![tree.clone(), tree], 1, vec![3])
}

/// Checks that a change makes an error that says `what`.
fn assert_damaged(what: &str, change: impl Fn(&mut TreeEnsemble)) {
    let mut ensemble = sound();
    change(&mut ensemble);
    let message = ensemble.check().unwrap_err().to_string();
    assert!(message.contains(what), "{message} does not say {what}");
}

#[test]
fn a_sound_ensemble_passes() {
    sound().check().unwrap();
    ensemble_of(Vec::new(), 0, vec![]).check().unwrap();
}

#[test]
fn damage_is_named() {
    assert_damaged("weights", |e| e.weights[0] = f64::NAN);
    assert_damaged("weights", |e| e.weights.truncate(1));
    assert_damaged("outputs", |e| e.outputs[1] = 1);
    assert_damaged("outputs", |e| e.outputs.push(0));
    assert_damaged("base scores", |e| e.base_scores.clear());
    assert_damaged("base scores", |e| e.base_scores[0] = f64::INFINITY);
    assert_damaged("category counts", |e| e.category_counts[0] = usize::MAX);
    assert_damaged("number of features", |e| e.n_dense = usize::MAX);
    assert_damaged("number of nodes in tree 0", |e| {
        e.trees[0] = Tree::default()
    });
    assert_damaged("number of nodes in tree 1", |e| e.trees[1].gain.truncate(2));
    assert_damaged("number of nodes", |e| e.trees[1].feature.truncate(2));
    assert_damaged("feature of a node", |e| e.trees[0].feature[1] = 2);
    assert_damaged("threshold of a node", |e| {
        e.trees[0].threshold[0] = f64::NAN
    });
    assert_damaged("categories of a node", |e| {
        e.trees[0].categories[1] = (1, 1)
    });
    assert_damaged("categories of a node", |e| {
        e.trees[0].categories[1] = (u32::MAX, u32::MAX)
    });
    assert_damaged("value of a node", |e| {
        e.trees[0].value[2] = f64::NEG_INFINITY
    });
    assert_damaged("gain of a node", |e| e.trees[0].gain[0] = f64::NAN);
    assert_damaged("cover of a node", |e| e.trees[0].cover[0] = -1.0);
}

#[test]
fn walks_that_would_not_end_are_damage() {
    assert_damaged("children of a node", |e| e.trees[0].children[1] = (1, 3));
    assert_damaged("children of a node", |e| e.trees[0].children[1] = (0, 3));
    assert_damaged("children of a node", |e| e.trees[0].children[1] = (2, 5));
    assert_damaged("children of a node", |e| e.trees[0].children[1] = (2, 2));
    assert_damaged("children of a node", |e| e.trees[0].children[1] = (2, 4));
    assert_damaged("parent of a node", |e| e.trees[0].feature[1] = LEAF);
}

#[test]
fn null_is_a_category_and_what_was_never_seen_goes_the_missing_way() {
    let mut ensemble = sound();
    // Bits 0 and 2 of three categories, code 3 is NULL, code 4 was never seen.
    let ways = |ensemble: &TreeEnsemble| -> Vec<bool> {
        let Split::Categorical { feature: 0, set } = ensemble.split(&ensemble.trees[0], 1) else {
            panic!("the split is categorical");
        };
        (0..5).map(|code| set.contains(code)).collect()
    };
    assert_eq!(ways(&ensemble), [true, false, true, false, false]);
    ensemble.trees[0].missing_left[1] = true;
    assert_eq!(ways(&ensemble), [true, false, true, false, true]);
    ensemble.trees[0].category_words[0] = 8;
    assert_eq!(ways(&ensemble), [false, false, false, true, true]);
    ensemble.trees[0].categories[1] = (0, 0);
    assert_eq!(ways(&ensemble), [true; 5]);
}
