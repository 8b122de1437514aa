//! The cluster estimators against scikit-learn, against what they promise, and at their edges.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use serde_json::{Value, json};

use super::dbscan::Dbscan;
use super::distance::Distance;
use super::kmeans::KMeans;
use super::kmeans_model::KMeansModel;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::estimators::feature_space::{FeatureSpace, Scaling};
use crate::estimators::in_memory::{
    Column, InMemory, assert_close, numbers, options, penguins, reference, rows,
};
use crate::model::{Inspection, Model, ModelContext, Prediction};
use crate::random::Random;
use crate::run::TrainingRun;
use crate::training::SampleShape;
use crate::training_set::TrainingSet;

async fn fit(
    estimator: &dyn Estimator,
    samples: &InMemory,
    written: Value,
    run: &TrainingRun,
) -> Result<Box<dyn Model>> {
    estimator
        .fit(samples, &options(estimator, written)?, run)
        .await
}

fn quiet() -> TrainingRun {
    TrainingRun::quiet(0, Compute::cpu())
}

fn kmeans_of(model: &dyn Model) -> &KMeansModel {
    model.as_any().downcast_ref().unwrap()
}

fn clusters(model: &dyn Model, samples: &InMemory) -> (Vec<Option<u32>>, Vec<f64>) {
    match model.predict(&samples.whole(), &Compute::cpu()).unwrap() {
        Prediction::Clusters { ids, distances, .. } => (ids, distances),
        other => panic!("{other:?}"),
    }
}

/// The sum of squared distances of the samples to their centroids.
fn inertia(model: &dyn Model, samples: &InMemory) -> f64 {
    let (ids, distances) = clusters(model, samples);
    let n_clusters = distances.len() / ids.len();
    let own = distances.chunks_exact(n_clusters).zip(&ids);
    own.map(|(row, id)| row[id.unwrap() as usize].powi(2)).sum()
}

fn inspect(
    model: &dyn Model,
    samples: &InMemory,
    function: &str,
    arguments: Value,
) -> Result<RecordBatch> {
    let options = crate::options::Options::default();
    let context = ModelContext {
        encoder: samples.encoder(),
        target: None,
        options: &options,
    };
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    model.inspect(
        &Inspection {
            function: function.to_owned(),
            arguments,
        },
        &context,
    )
}

/// A run that continues from these centroids.
fn run_from(
    samples: &InMemory,
    scaling: Scaling,
    distance: Distance,
    start: &Value,
) -> TrainingRun {
    let space = FeatureSpace::new(samples.encoder(), scaling);
    let mut centroids = numbers(start);
    centroids
        .chunks_exact_mut(space.n_cols())
        .for_each(|centroid| {
            distance.normalise(centroid);
        });
    let radii = vec![0.0; centroids.len() / space.n_cols()];
    let mut run = quiet();
    run.warm_start = Some(Arc::new(KMeansModel {
        space,
        distance,
        centroids,
        radii,
    }));
    run
}

fn to_the_end() -> Value {
    json!({"early_stop": false, "max_iterations": 300})
}

#[tokio::test]
async fn kmeans_from_the_same_start_agrees_with_scikit_learn() {
    let reference = &reference()["kmeans"];
    let samples = InMemory::of_rows(&rows(&reference["rows"]), 150);
    let run = run_from(
        &samples,
        Scaling::Standardised,
        Distance::Euclidean,
        &reference["start"],
    );
    let model = fit(&KMeans, &samples, to_the_end(), &run).await.unwrap();
    assert_close(
        &[inertia(&*model, &samples)],
        &numbers(&reference["inertia"]),
        1e-9,
    );
    let found = kmeans_of(&*model);
    assert_close(&found.centroids, &numbers(&reference["centroids"]), 1e-9);
    assert_close(&found.radii, &numbers(&reference["radii"]), 1e-9);
    let ids: Vec<f64> = clusters(&*model, &samples)
        .0
        .iter()
        .map(|id| f64::from(id.unwrap()))
        .collect();
    assert_eq!(ids, numbers(&reference["labels"]));
    let last = run.iterations().pop().unwrap();
    assert_close(&[last.loss * 400.0], &numbers(&reference["inertia"]), 1e-9);
    assert!(run.warnings().is_empty());
}

#[tokio::test]
async fn cosine_from_the_same_start_agrees_with_the_definition() {
    let reference = reference();
    let samples = InMemory::of_rows(&rows(&reference["kmeans"]["rows"]), 150);
    let reference = &reference["spherical"];
    let run = run_from(
        &samples,
        Scaling::None,
        Distance::Cosine,
        &reference["start"],
    );
    let mut written = to_the_end();
    written["distance_type"] = "cosine".into();
    written["standardize_features"] = false.into();
    let model = fit(&KMeans, &samples, written, &run).await.unwrap();
    assert_close(
        &kmeans_of(&*model).centroids,
        &numbers(&reference["centroids"]),
        1e-9,
    );
    let last = run.iterations().pop().unwrap();
    assert_close(&[last.loss], &numbers(&reference["loss"]), 1e-9);
}

#[tokio::test]
async fn the_default_start_is_as_good_as_the_best_of_many() {
    let reference = &reference()["kmeans"];
    let samples = InMemory::of_rows(&rows(&reference["rows"]), 400);
    let mut written = to_the_end();
    written["num_clusters"] = 6.into();
    let model = fit(&KMeans, &samples, written, &quiet()).await.unwrap();
    let best = reference["best_inertia_of_six"].as_f64().unwrap();
    assert!(inertia(&*model, &samples) <= 1.01 * best);
}

/// Three separate groups, each with a text of its own that is sometimes missing.
fn groups(n: usize, block_rows: usize) -> InMemory {
    let mut random = Random::new(8, 8);
    let mut noise = |centre: f64| Some(centre + random.unit() - 0.5);
    let centres = [(0.0, 10.0), (100.0, 0.0), (50.0, -40.0)];
    let (mut x, mut y, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..n {
        let centre = centres[i % 3];
        x.push(noise(centre.0));
        y.push(noise(centre.1));
        text.push((i % 7 > 0).then(|| ["a", "b", "c"][i % 3].to_owned()));
    }
    let columns = [
        ("x", Column::Numbers(x)),
        ("text", Column::Texts(text)),
        ("y", Column::Numbers(y)),
    ];
    InMemory::new(&columns, block_rows)
}

#[test]
fn what_kmeans_moves_beside_its_samples_is_counted() {
    let shape = SampleShape {
        n_numeric: 4,
        n_categorical: 0,
        sample_bytes: 16,
    };
    let moved = |distance: &str| {
        let written = json!({"num_clusters": 5, "max_iterations": 3, "distance_type": distance});
        let options = options(&KMeans, written).unwrap();
        KMeans.beside_device(&options, &shape).moved
    };
    // The id and the squared distance of the nearest, for the metrics.
    assert_eq!(moved("EUCLIDEAN"), 12);
    // By the cosine 20 bytes of each pass; for the metrics the squared distances and the squared length.
    assert_eq!(moved("COSINE"), 3 * 20 + 6 * 8);
}

#[tokio::test]
async fn kmeans_finds_separate_groups_by_every_start_and_distance() {
    let samples = groups(600, 100);
    for method in ["KMEANS++", "RANDOM"] {
        for distance in ["EUCLIDEAN", "COSINE"] {
            let written = json!({
                "num_clusters": 3, "kmeans_init_method": method, "distance_type": distance,
                "max_iterations": 100, "early_stop": false,
            });
            let run = quiet();
            let model = fit(&KMeans, &samples, written, &run).await.unwrap();
            let (ids, distances) = clusters(&*model, &samples);
            if method == "KMEANS++" {
                assert!(
                    (3..600).all(|i| ids[i] == ids[i % 3]),
                    "{method} {distance}"
                );
                assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
            }
            // The metrics read the same distances, by Euclid's of the nearest alone.
            let metrics = model.predict_for_metrics(&samples.whole(), &Compute::cpu());
            match (distance, metrics.unwrap()) {
                (
                    "EUCLIDEAN",
                    Prediction::Nearest {
                        ids: of,
                        distances: to,
                    },
                ) => {
                    assert_eq!(ids, of.iter().map(|id| Some(*id)).collect::<Vec<_>>());
                    let own = (0..600).map(|i| distances[3 * i + of[i] as usize]);
                    assert_eq!(to, own.collect::<Vec<_>>());
                }
                (
                    "COSINE",
                    Prediction::Clusters {
                        ids: of,
                        distances: to,
                        ..
                    },
                ) => {
                    assert_eq!((&of, &to), (&ids, &distances));
                }
                (_, other) => panic!("{other:?}"),
            }
            // The radius is the root mean squared distance.
            for (id, radius) in model.cluster_radii().iter().enumerate() {
                let own: Vec<f64> = (0..600)
                    .filter(|i| ids[*i] == Some(id as u32))
                    .map(|i| distances[3 * i + id].powi(2))
                    .collect();
                let rms = (own.iter().sum::<f64>() / own.len() as f64).sqrt();
                assert!((rms - radius).abs() < 1e-9, "{rms} {radius}");
            }
            let extra = run.iterations().pop().unwrap().extra;
            assert_eq!(extra[2]["centroid_id"], 3);
            assert_eq!(
                extra[0]["cluster_radius"].as_f64().unwrap(),
                model.cluster_radii()[0]
            );
            let sizes = (0..3).map(|id| extra[id]["cluster_size"].as_u64().unwrap());
            assert_eq!(sizes.sum::<u64>(), 600);
        }
    }
}

#[tokio::test]
async fn kmeans_does_not_depend_on_the_order_of_its_sample_and_repeats() {
    let samples = groups(500, 64);
    let mut reversed = samples.clone();
    reversed.blocks.reverse();
    let written = json!({"num_clusters": 4, "max_iterations": 1});
    let fit_once = |samples: InMemory| {
        let written = written.clone();
        async move {
            fit(&KMeans, &samples, written, &quiet())
                .await
                .unwrap()
                .state()
        }
    };
    let model = fit_once(samples.clone()).await;
    assert_eq!(model, fit_once(samples).await);
    let other = fit_once(reversed).await;
    assert_close(
        other.f64("centroids").unwrap(),
        model.f64("centroids").unwrap(),
        1e-12,
    );
}

#[tokio::test]
async fn centroids_are_told_in_the_features_own_units() {
    let samples = groups(600, 100);
    let model = fit(&KMeans, &samples, json!({"num_clusters": 3}), &quiet())
        .await
        .unwrap();
    let table = inspect(&*model, &samples, "centroids", json!({})).unwrap();
    assert_eq!(table.num_rows(), 9);
    let names: Vec<_> = table
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        names,
        [
            "centroid_id",
            "feature",
            "numerical_value",
            "categorical_value"
        ]
    );
    let ids = table.column(0).as_primitive::<Int64Type>();
    assert_eq!(ids.values()[..4], [1, 1, 1, 2]);
    let features = table.column(1).as_string::<i32>();
    assert_eq!(
        (features.value(0), features.value(1), features.value(2)),
        ("x", "text", "y")
    );
    let values = table.column(2).as_primitive::<Float64Type>();
    let mut xs = [0, 3, 6].map(|row| values.value(row));
    xs.sort_by(f64::total_cmp);
    for (x, expected) in xs.iter().zip([0.0, 50.0, 100.0]) {
        assert!((x - expected).abs() < 0.2, "{x}");
    }
    let lists = table.column(3).as_list::<i32>();
    assert_eq!((lists.value_length(0), lists.value_length(1)), (0, 4));
    let entry = lists.value(1);
    let entry = entry.as_struct();
    let categories = entry.column(0).as_string::<i32>();
    assert_eq!(
        categories.iter().flatten().collect::<Vec<_>>(),
        ["a", "b", "c", "_null_filler"]
    );
    let shares = entry.column(1).as_primitive::<Float64Type>();
    assert!((shares.values().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let standardised =
        inspect(&*model, &samples, "centroids", json!({"standardize": true})).unwrap();
    let values = standardised.column(2).as_primitive::<Float64Type>();
    assert_eq!(values.value(0), kmeans_of(&*model).centroids[0]);
    assert!(inspect(&*model, &samples, "weights", json!({})).is_err());
}

#[tokio::test]
async fn a_saved_kmeans_predicts_the_same() {
    let samples = penguins(90);
    for distance in ["EUCLIDEAN", "COSINE"] {
        let written = json!({"num_clusters": 4, "distance_type": distance});
        let model = fit(&KMeans, &samples, written, &quiet()).await.unwrap();
        let options = crate::options::Options::default();
        let context = ModelContext {
            encoder: samples.encoder(),
            target: None,
            options: &options,
        };
        let loaded = (KMeans.spec().load)(&model.state(), &context).unwrap();
        assert_eq!(kmeans_of(&*loaded), kmeans_of(&*model));
        assert_eq!(clusters(&*loaded, &samples), clusters(&*model, &samples));
        let between = model.centroid_distances();
        assert!(between[0] == 0.0 && between[1] > 0.0 && between[1] == between[4]);
    }
}

#[tokio::test]
async fn kmeans_names_what_it_cannot_do() {
    let samples = groups(30, 10);
    let error = async |written: Value| match fit(&KMeans, &samples, written, &quiet()).await {
        Ok(model) => panic!("{model:?}"),
        Err(error) => error,
    };
    let custom = error(json!({"kmeans_init_method": "custom"})).await;
    assert_eq!(
        custom.to_string(),
        "kmeans_init_method 'CUSTOM' needs option \"kmeans_init_col\""
    );
    let column = error(json!({"kmeans_init_col": "c"})).await;
    assert!(
        matches!(column, Error::ConflictingOptions { .. }),
        "{column}"
    );
    let many = error(json!({"num_clusters": 31})).await;
    assert_eq!(many.to_string(), "training needs at least 31 rows, got 30");
    let equal = InMemory::of_rows(&vec![vec![1.0, 2.0]; 50], 10);
    let same = fit(&KMeans, &equal, json!({"num_clusters": 2}), &quiet()).await;
    assert!(
        matches!(
            same,
            Err(Error::TooFewSamples {
                needed: 2,
                found: 1,
                ..
            })
        ),
        "{same:?}"
    );
    let huge: Vec<Vec<f64>> = (0..9).map(|i| vec![f64::from(i) * 1e300]).collect();
    let huge = InMemory::of_rows(&huge, 9);
    let written = json!({"num_clusters": 2, "standardize_features": false});
    let diverged = fit(&KMeans, &huge, written, &quiet()).await;
    assert!(
        matches!(diverged, Err(Error::Diverged { .. })),
        "{diverged:?}"
    );
}

#[tokio::test]
async fn a_warm_start_needs_the_same_features_and_clusters() {
    let samples = groups(300, 100);
    let first = fit(&KMeans, &samples, json!({"num_clusters": 3}), &quiet())
        .await
        .unwrap();
    let first: Arc<dyn Model> = Arc::from(first);
    let run_on = || {
        let mut run = quiet();
        run.warm_start = Some(Arc::clone(&first));
        run
    };
    let again = fit(&KMeans, &samples, to_the_end(), &run_on())
        .await
        .unwrap();
    assert_close(
        &kmeans_of(&*again).centroids,
        &kmeans_of(first.as_ref()).centroids,
        1e-3,
    );
    let other = InMemory::of_rows(&[vec![1.0], vec![2.0], vec![5.0]], 3);
    let refused = fit(&KMeans, &other, json!({}), &run_on()).await;
    assert!(
        matches!(refused, Err(Error::ConflictingOptions { .. })),
        "{refused:?}"
    );
    let refused = fit(&KMeans, &samples, json!({"num_clusters": 5}), &run_on()).await;
    assert!(
        matches!(refused, Err(Error::ConflictingOptions { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn iterations_end_early_or_warn() {
    let reference = &reference()["kmeans"];
    let samples = InMemory::of_rows(&rows(&reference["rows"]), 400);
    let count = async |written: Value| {
        let run = run_from(
            &samples,
            Scaling::Standardised,
            Distance::Euclidean,
            &reference["start"],
        );
        fit(&KMeans, &samples, written, &run).await.unwrap();
        (run.iterations().len(), run.warnings().len())
    };
    let (whole, _) = count(to_the_end()).await;
    let (early, warnings) = count(json!({"max_iterations": 300})).await;
    assert!(early < whole && warnings == 0, "{early} {whole}");
    assert_eq!(
        count(json!({"max_iterations": 2, "early_stop": false})).await,
        (2, 1)
    );
}

#[tokio::test]
async fn a_cancelled_run_ends() {
    let samples = groups(300, 100);
    for estimator in [&KMeans as &dyn Estimator, &Dbscan] {
        let run = quiet();
        run.cancel.cancel();
        let ended = fit(estimator, &samples, json!({}), &run).await;
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    }
}

#[tokio::test]
async fn dbscan_agrees_with_scikit_learn() {
    let reference = &reference()["dbscan"];
    let points = rows(&reference["rows"]);
    let samples = InMemory::of_rows(&points, 77);
    for fitted in reference["fits"].as_array().unwrap() {
        let written = json!({"eps": fitted["eps"], "min_samples": fitted["min_samples"]});
        let run = quiet();
        let model = fit(&Dbscan, &samples, written, &run).await.unwrap();
        let n_clusters = fitted["n_clusters"].as_u64().unwrap();
        assert_eq!(run.warnings().len(), usize::from(n_clusters == 0));
        let (ids, distances) = clusters(&*model, &samples);
        assert!(distances.is_empty());
        let mut pairs = BTreeMap::new();
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(
                id.is_none(),
                fitted["is_noise"][i].as_bool().unwrap(),
                "{i}"
            );
            if let Some(label) = fitted["core_labels"][i].as_u64() {
                assert_eq!(*pairs.entry(id.unwrap()).or_insert(label), label, "{i}");
            }
        }
        assert_eq!(pairs.len() as u64, n_clusters);
        // Clusters are numbered in the order of their first sample.
        let core = (0..points.len()).filter(|i| fitted["core_labels"][*i].is_u64());
        let first = core.filter_map(|i| ids[i]).next();
        assert!(first.is_none_or(|id| id < 2));
        let options = crate::options::Options::default();
        let context = ModelContext {
            encoder: samples.encoder(),
            target: None,
            options: &options,
        };
        let loaded = (Dbscan.spec().load)(&model.state(), &context).unwrap();
        assert_eq!(clusters(&*loaded, &samples).0, ids);
    }
}

#[tokio::test]
async fn dbscan_counts_each_category_as_a_column() {
    let text = (0..20)
        .map(|i| Some(["a", "b"][i % 2].to_owned()))
        .collect();
    let columns = [
        ("x", Column::Numbers((0..20).map(|_| Some(1.0)).collect())),
        ("t", Column::Texts(text)),
    ];
    let samples = InMemory::new(&columns, 20);
    let model = fit(&Dbscan, &samples, json!({"eps": 1.0}), &quiet())
        .await
        .unwrap();
    let (ids, _) = clusters(&*model, &samples);
    assert!((0..20).all(|i| ids[i] == Some(i as u32 % 2)));
}
