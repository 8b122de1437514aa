//! `pca` against published numbers, against scikit-learn, and at its edges.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use serde_json::{Value, json};

use super::pca::Pca;
use super::pca_model::PcaModel;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::estimators::in_memory::{
    Column, InMemory, assert_close, numbers, options, penguins, reference, rows,
};
use crate::model::{Inspection, Model, ModelContext, Prediction};
use crate::options::Options;
use crate::run::TrainingRun;
use crate::training_set::TrainingSet;

async fn fit(samples: &InMemory, written: Value) -> Result<Box<dyn Model>> {
    let run = TrainingRun::quiet(0, Compute::cpu());
    Pca.fit(samples, &options(&Pca, written)?, &run).await
}

fn pca_of(model: &dyn Model) -> &PcaModel {
    model.as_any().downcast_ref().unwrap()
}

fn inspect(model: &dyn Model, samples: &InMemory, function: &str) -> RecordBatch {
    let options = Options::default();
    let context = ModelContext {
        encoder: samples.encoder(),
        target: None,
        options: &options,
    };
    let request = Inspection {
        function: function.to_owned(),
        ..Inspection::default()
    };
    model.inspect(&request, &context).unwrap()
}

fn rounded(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

/// Published by BigQuery ML for `model_type = 'pca', num_principal_components = 3` on the penguins.
#[tokio::test]
async fn the_published_components_of_the_penguins_are_found() {
    let samples = penguins(100);
    let model = fit(&samples, json!({"num_principal_components": 3}))
        .await
        .unwrap();
    let info = inspect(&*model, &samples, "principal_component_info");
    let column = |idx: usize| -> Vec<f64> {
        let column = info.column(idx).as_primitive::<Float64Type>();
        column.values().iter().map(|x| rounded(*x)).collect()
    };
    assert_eq!(
        info.column(0).as_primitive::<Int64Type>().values()[..],
        [0, 1, 2]
    );
    assert_eq!(column(1), [3.278657, 1.270829, 1.125354]);
    assert_eq!(column(2), [0.469357, 0.181926, 0.1611]);
    assert_eq!(column(3)[2], 0.812383);

    let table = inspect(&*model, &samples, "principal_components");
    assert_eq!(table.num_rows(), 21);
    let features = table.column(1).as_string::<i32>();
    let loading = |feature: &str, category: Option<&str>| {
        let row = (0..7).find(|row| features.value(*row) == feature).unwrap();
        let Some(category) = category else {
            return rounded(table.column(2).as_primitive::<Float64Type>().value(row));
        };
        let entries = table.column(3).as_list::<i32>().value(row);
        let entries = entries.as_struct();
        let names = entries.column(0).as_string::<i32>();
        let at = (0..names.len())
            .find(|i| names.value(*i).starts_with(category))
            .unwrap();
        rounded(entries.column(1).as_primitive::<Float64Type>().value(at))
    };
    assert_eq!(loading("culmen_length_mm", None), 0.401489);
    assert_eq!(loading("culmen_depth_mm", None), -0.377482);
    assert_eq!(loading("flipper_length_mm", None), 0.524052);
    assert_eq!(loading("body_mass_g", None), 0.501174);
    assert_eq!(loading("species", Some("Gentoo")), 0.250689);
    assert_eq!(loading("species", Some("Adelie")), -0.206223);
    assert_eq!(loading("island", Some("Biscoe")), 0.197611);
    assert_eq!(loading("sex", Some("_null_filler")), -0.003463);
}

#[tokio::test]
async fn pca_agrees_with_scikit_learn() {
    let reference = reference();
    let samples = InMemory::of_rows(&rows(&reference["kmeans"]["rows"]), 130);
    let reference = &reference["pca"];
    for solver in ["FULL", "RANDOMIZED"] {
        let written = json!({"num_principal_components": 3, "pca_solver": solver});
        let model = fit(&samples, written).await.unwrap();
        let found = pca_of(&*model);
        assert_close(
            &found.eigenvalues,
            &numbers(&reference["eigenvalues"]),
            1e-9,
        );
        let ratios: Vec<f64> = found
            .eigenvalues
            .iter()
            .map(|value| value / found.total_variance)
            .collect();
        assert_close(&ratios, &numbers(&reference["ratios"]), 1e-9);
        let sizes = |values: &[f64]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
        let components = numbers(&reference["components"]);
        assert_close(&sizes(&found.components), &sizes(&components), 1e-5);
        let Prediction::Components { values, .. } =
            model.predict(&samples.whole(), &Compute::cpu()).unwrap()
        else {
            panic!("not components");
        };
        assert_close(
            &sizes(&values[..15]),
            &numbers(&reference["coordinates"]),
            1e-5,
        );
    }
    let written = json!({"num_principal_components": 3, "scale_features": false});
    let model = fit(&samples, written).await.unwrap();
    let expected = numbers(&reference["centred_eigenvalues"]);
    assert_close(&pca_of(&*model).eigenvalues, &expected, 1e-9);
}

#[tokio::test]
async fn all_components_reconstruct_the_samples() {
    let samples = penguins(344);
    for n_components in [3, 14] {
        let written = json!({"num_principal_components": n_components});
        let model = fit(&samples, written).await.unwrap();
        let found = pca_of(&*model);
        let Prediction::Components {
            reconstruction_errors,
            mean_squares,
            ..
        } = model.predict(&samples.whole(), &Compute::cpu()).unwrap()
        else {
            panic!("not components");
        };
        let whole: f64 = mean_squares.iter().sum();
        let left: f64 = reconstruction_errors.iter().sum();
        let explained = found.eigenvalues.iter().sum::<f64>() / found.total_variance;
        assert!(
            (1.0 - left / whole - explained).abs() < 1e-12,
            "{explained}"
        );
        assert_eq!(model.n_components(), n_components);
    }
}

#[tokio::test]
async fn the_fewest_components_explain_the_ratio() {
    let samples = penguins(100);
    for (ratio, expected) in [(0.4, 1), (0.47, 2), (0.8, 3), (0.812, 3), (0.82, 4)] {
        let written = json!({"pca_explained_variance_ratio": ratio});
        let model = fit(&samples, written).await.unwrap();
        assert_eq!(model.n_components(), expected, "{ratio}");
    }
}

#[tokio::test]
async fn a_saved_pca_predicts_the_same() {
    let samples = penguins(100);
    let model = fit(&samples, json!({"num_principal_components": 2}))
        .await
        .unwrap();
    let options = Options::default();
    let context = ModelContext {
        encoder: samples.encoder(),
        target: None,
        options: &options,
    };
    let loaded = (Pca.spec().load)(&model.state(), &context).unwrap();
    assert_eq!(pca_of(&*loaded), pca_of(&*model));
}

#[tokio::test]
async fn many_columns_are_turned_not_multiplied() {
    // More categories than columns whose covariances are computed.
    let n = 4500;
    let text = (0..n).map(|i| Some(format!("t{i}"))).collect();
    let number = |scale: f64| {
        Column::Numbers(
            (0..n)
                .map(|i| Some(f64::from(i as u32 % 97) * scale))
                .collect(),
        )
    };
    let columns = [
        ("x", number(1.0)),
        ("y", number(-3.0)),
        ("t", Column::Texts(text)),
    ];
    let samples = InMemory::new(&columns, 1000);
    let model = fit(&samples, json!({"num_principal_components": 1}))
        .await
        .unwrap();
    let found = pca_of(&*model);
    assert_close(&[found.eigenvalues[0]], &[2.0], 1e-3);
    assert_close(
        &found.components[..2],
        &[0.5_f64.sqrt(), -0.5_f64.sqrt()],
        1e-3,
    );
    for written in [
        json!({"num_principal_components": 1, "pca_solver": "full"}),
        json!({"pca_explained_variance_ratio": 0.5}),
    ] {
        let error = fit(&samples, written).await.unwrap_err();
        assert!(error.to_string().ends_with("got 4502"), "{error}");
    }
}

#[tokio::test]
async fn pca_names_what_it_cannot_do() {
    let samples = penguins(100);
    for written in [
        json!({}),
        json!({"num_principal_components": 2, "pca_explained_variance_ratio": 0.5}),
        json!({"pca_explained_variance_ratio": 0.5, "pca_solver": "RANDOMIZED"}),
    ] {
        let error = fit(&samples, written).await.unwrap_err();
        assert!(matches!(error, Error::ConflictingOptions { .. }), "{error}");
    }
    let error = fit(&samples, json!({"num_principal_components": 15}))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "option \"num_principal_components\" must be at most 14, the number of columns with each \
         category as one, got 15"
    );
    let one = InMemory::of_rows(&[vec![1.0, 2.0]], 1);
    let error = fit(&one, json!({"num_principal_components": 1}))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooFewSamples {
                needed: 2,
                found: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn features_that_do_not_vary_are_a_warning() {
    let samples = InMemory::of_rows(&vec![vec![4.0, 2.0]; 10], 4);
    let run = TrainingRun::quiet(0, Compute::cpu());
    let options = options(&Pca, json!({"pca_explained_variance_ratio": 0.9})).unwrap();
    let model = Pca.fit(&samples, &options, &run).await.unwrap();
    assert_eq!(
        (model.n_components(), pca_of(&*model).eigenvalues[0]),
        (1, 0.0)
    );
    assert_eq!(run.warnings()[0].code, "zero_variance");
}
