//! Saving, loading, and files with holes in them.

use proptest::prelude::*;

use super::super::testing::{Numbers, Shape, random_ensemble};
use super::*;

fn ensemble(seed: u64) -> TreeEnsemble {
    let shape = Shape {
        n_trees: 4,
        n_outputs: 2,
        n_dense: 3,
        category_counts: vec![3, 100],
        max_leaves: 12,
        is_chain: false,
    };
    random_ensemble(&shape, &mut Numbers(seed))
}

fn saved(ensemble: &TreeEnsemble) -> ModelState {
    let mut state = ModelState::default();
    ensemble.save(&mut state);
    state
}

#[test]
fn what_was_saved_is_loaded() {
    for seed in 0..50 {
        let ensemble = ensemble(seed);
        assert_eq!(TreeEnsemble::load(&saved(&ensemble)).unwrap(), ensemble);
    }
    let empty = TreeEnsemble {
        base_scores: vec![1.0],
        ..TreeEnsemble::default()
    };
    assert_eq!(TreeEnsemble::load(&saved(&empty)).unwrap(), empty);
}

#[test]
fn a_tensor_that_is_missing_or_of_another_type_or_length_is_an_error() {
    let sound = saved(&ensemble(1));
    for name in sound.tensors.keys() {
        let mut state = sound.clone();
        state.tensors.remove(name);
        assert!(TreeEnsemble::load(&state).is_err(), "without {name}");
        let mut state = sound.clone();
        let tensor = Tensor {
            shape: vec![1],
            data: TensorData::F32(vec![0.0]),
        };
        state.tensors.insert(name.clone(), tensor);
        assert!(TreeEnsemble::load(&state).is_err(), "other type of {name}");
        for is_longer in [false, true] {
            let mut state = sound.clone();
            match &mut state.tensors.get_mut(name).unwrap().data {
                TensorData::U32(values) if is_longer => values.push(0),
                TensorData::U32(values) => values.truncate(values.len() - 1),
                TensorData::F64(values) if is_longer && name != "trees.base_scores" => {
                    values.push(0.0)
                }
                TensorData::F64(values) => values.clear(),
                TensorData::U8(values) if is_longer => values.push(0),
                TensorData::U8(values) => values.truncate(values.len() - 1),
                TensorData::F32(_) => unreachable!(),
            }
            let loaded = TreeEnsemble::load(&state);
            assert!(
                loaded.is_err() || name == "trees.base_scores" && is_longer,
                "length of {name}"
            );
        }
    }
    let state = ModelState {
        head: serde_json::json!({}),
        ..sound
    };
    assert!(TreeEnsemble::load(&state).is_err());
}

proptest! {
    #[test]
    fn a_changed_number_is_loaded_or_an_error(seed: u64, at: prop::sample::Index, value: u32) {
        let sound = saved(&ensemble(seed % 20));
        let names: Vec<&String> = sound.tensors.keys().collect();
        for name in names {
            let mut state = sound.clone();
            match &mut state.tensors.get_mut(name).unwrap().data {
                TensorData::U32(values) if !values.is_empty() => {
                    let at = at.index(values.len());
                    values[at] = if seed % 2 == 0 { value } else { value % 8 };
                }
                TensorData::F64(values) => {
                    let at = at.index(values.len());
                    values[at] = [f64::NAN, f64::INFINITY, -1.0][value as usize % 3];
                }
                _ => {}
            }
            // What loads must be fit for use: every walk ends.
            if let Ok(loaded) = TreeEnsemble::load(&state) {
                loaded.check().unwrap();
            }
        }
    }
}
