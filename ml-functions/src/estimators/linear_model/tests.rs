//! Linear models against scikit-learn, against each other's solvers, and at the edges.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use super::ESTIMATORS;
use super::model::LinearModel;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::estimators::in_memory::{Column, InMemory, options, reference};
use crate::features::{
    ClassLabel, FeatureBlock, FeatureEncoder, FeatureStatistics, TargetEncoding, TargetValues,
};
use crate::model::{Inspection, Model, ModelContext, Prediction};
use crate::run::TrainingRun;
use crate::training_set::{AnyPartial, AnyStep, Part, TrainingSet, Visit};

/// Samples with a label, the last of them perhaps for evaluation.
struct Labelled {
    features: InMemory,
    target: TargetEncoding,
    evaluation: Vec<FeatureBlock>,
}

/// The label of each sample.
enum Label {
    Numbers(Vec<f64>),
    Classes(Vec<u32>),
}

impl Labelled {
    fn new(columns: &[(&str, Column)], label: Label, weights: Option<&[f64]>) -> Labelled {
        Labelled::with_blocks(columns, label, weights, 37)
    }

    fn with_blocks(
        columns: &[(&str, Column)],
        label: Label,
        weights: Option<&[f64]>,
        block_rows: usize,
    ) -> Labelled {
        Labelled::of(InMemory::new(columns, block_rows), label, weights)
    }

    fn of(mut features: InMemory, label: Label, weights: Option<&[f64]>) -> Labelled {
        let target = match &label {
            Label::Numbers(values) => TargetEncoding {
                column: "y".to_owned(),
                sql_type: String::new(),
                classes: Vec::new(),
                class_counts: vec![values.len() as u64],
                mean: values.iter().sum::<f64>() / values.len() as f64,
            },
            Label::Classes(values) => {
                let n_classes = values.iter().max().map_or(0, |&greatest| greatest + 1);
                let count =
                    |class: u32| values.iter().filter(|&&value| value == class).count() as u64;
                TargetEncoding {
                    column: "y".to_owned(),
                    sql_type: String::new(),
                    classes: (0..n_classes)
                        .map(|k| ClassLabel::Text(format!("c{k}")))
                        .collect(),
                    class_counts: (0..n_classes).map(count).collect(),
                    mean: 0.0,
                }
            }
        };
        let mut first = 0;
        for block in &mut features.blocks {
            let rows = first..first + block.n_samples;
            first = rows.end;
            block.weights = weights.map(|weights| weights[rows.clone()].to_vec());
            block.target = match &label {
                Label::Numbers(values) => TargetValues::Numbers(values[rows].to_vec()),
                Label::Classes(values) => TargetValues::Classes(values[rows].to_vec()),
            };
        }
        Labelled {
            features,
            target,
            evaluation: Vec::new(),
        }
    }

    fn context<'a>(&'a self, options: &'a crate::options::Options) -> ModelContext<'a> {
        ModelContext {
            encoder: self.encoder(),
            target: Some(&self.target),
            options,
        }
    }
}

#[async_trait]
impl TrainingSet for Labelled {
    fn encoder(&self) -> &FeatureEncoder {
        self.features.encoder()
    }

    fn target(&self) -> Option<&TargetEncoding> {
        Some(&self.target)
    }

    fn n_samples(&self, part: Part) -> u64 {
        match part {
            Part::Training => self.features.n_samples(part),
            Part::Evaluation => self
                .evaluation
                .iter()
                .map(|block| block.n_samples as u64)
                .sum(),
        }
    }

    async fn reduce_any(
        &self,
        step: &dyn AnyStep,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>> {
        if part == Part::Training {
            return self.features.reduce_any(step, part, visit, run).await;
        }
        let mut whole: Option<AnyPartial> = None;
        for block in &self.evaluation {
            let partial = step.run_any(block, &run.compute)?;
            match &mut whole {
                None => whole = Some(partial),
                Some(whole) => step.merge_any(whole, partial)?,
            }
        }
        Ok(whole)
    }

    async fn gather(&self, part: Part, run: &TrainingRun) -> Result<FeatureBlock> {
        self.features.gather(part, run).await
    }
}

fn estimator(name: &str) -> &'static dyn Estimator {
    *ESTIMATORS
        .iter()
        .find(|estimator| estimator.spec().name == name)
        .unwrap()
}

async fn fit_in(
    run: &TrainingRun,
    name: &str,
    samples: &Labelled,
    written: Value,
) -> Result<Box<dyn Model>> {
    let estimator = estimator(name);
    let options = options(estimator, written)?;
    estimator.fit(samples, &options, run).await
}

async fn fit(name: &str, samples: &Labelled, written: Value) -> LinearModel {
    let run = TrainingRun::quiet(0, Compute::cpu());
    let model = fit_in(&run, name, samples, written).await.unwrap();
    model
        .as_any()
        .downcast_ref::<LinearModel>()
        .unwrap()
        .clone()
}

fn sklearn() -> Value {
    serde_json::from_str(include_str!("../../../tests/reference/linear_model.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

fn table(reference: &Value) -> Vec<(&'static str, Column)> {
    let column = |name: &str| reference["columns"][name].as_array().unwrap();
    let number = |name: &str| Column::Numbers(column(name).iter().map(Value::as_f64).collect());
    let text = column("g")
        .iter()
        .map(|value| value.as_str().map(ToOwned::to_owned));
    vec![
        ("a", number("a")),
        ("b", number("b")),
        ("c", number("c")),
        ("g", Column::Texts(text.collect())),
    ]
}

fn label(reference: &Value, name: &str) -> Label {
    let values = floats(&reference["labels"][name]);
    match name {
        "y" => Label::Numbers(values),
        _ => Label::Classes(values.iter().map(|&x| x as u32).collect()),
    }
}

/// Asserts that two sets of coefficients agree: in units of each column's deviation, to a share of the
/// greatest effect.
fn assert_same(samples: &Labelled, found: &[f64], expected: &[f64], tolerance: f64, name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let units: Vec<f64> = samples
        .encoder()
        .numeric()
        .map(|(_, column)| column.stddev)
        .collect();
    let unit = |column: usize| units.get(column).copied().unwrap_or(1.0);
    let scale = expected
        .iter()
        .enumerate()
        .map(|(i, x)| x.abs() * unit(i))
        .fold(0.0_f64, f64::max);
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() * unit(i);
        assert!(
            error <= tolerance * scale,
            "{name}: column {i} is {found}, not {expected}"
        );
    }
}

#[tokio::test]
async fn coefficients_agree_with_scikit_learn() {
    let reference = sklearn();
    let columns = table(&reference);
    let all_weights = floats(&reference["weights"]);
    for case in reference["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let weights = case["weights"]
            .as_bool()
            .unwrap()
            .then_some(all_weights.as_slice());
        let label = label(&reference, case["label"].as_str().unwrap());
        let samples = Labelled::new(&columns, label, weights);
        let estimator = case["estimator"].as_str().unwrap();
        let tolerance = if estimator == "linear_reg" {
            1e-8
        } else {
            1e-6
        };
        let model = fit(estimator, &samples, case["options"].clone()).await;
        let intercepts = floats(&case["intercepts"]);
        let sets = case["coefficients"].as_array().unwrap().iter().map(floats);
        assert_eq!(model.outputs().len(), intercepts.len(), "{name}");
        for ((found, expected), intercept) in model.outputs().zip(sets).zip(intercepts) {
            assert_same(
                &samples,
                &found[..model.n_cols()],
                &expected,
                tolerance,
                name,
            );
            let own = model.own_intercept(found);
            let error = (own - intercept).abs() / intercept.abs().max(1.0);
            assert!(
                error < tolerance * 10.0,
                "{name}: intercept is {own}, not {intercept}"
            );
        }
        if case.get("standard_errors").is_some() {
            assert_sure(&model, &samples, case, name);
        }
    }
}

/// Standard errors and p-values of a case: the intercept first, without the dropped category.
fn assert_sure(model: &LinearModel, samples: &Labelled, case: &Value, name: &str) {
    let options = crate::options::Options::default();
    let batch = inspect(model, samples, &options, "advanced_weights", false).unwrap();
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Float64Type>()
            .values()
            .to_vec()
    };
    let (errors, p_values) = (column("standard_error"), column("p_value"));
    let last_first = |values: &[f64]| -> Vec<f64> {
        values
            .last()
            .into_iter()
            .chain(&values[..values.len() - 1])
            .copied()
            .collect()
    };
    for (found, expected) in [(errors, "standard_errors"), (p_values, "p_values")] {
        let expected = floats(&case[expected]);
        for (found, expected) in last_first(&found).iter().zip(&expected) {
            let error = (found - expected).abs() / expected;
            assert!(error < 1e-5, "{name}: {found} is not {expected}");
        }
        assert_eq!(found.len(), expected.len());
    }
}

fn inspect(
    model: &dyn Model,
    samples: &Labelled,
    options: &crate::options::Options,
    function: &str,
    standardize: bool,
) -> Result<RecordBatch> {
    let mut request = Inspection {
        function: function.to_owned(),
        ..Inspection::default()
    };
    request
        .arguments
        .insert("standardize".to_owned(), json!(standardize));
    model.inspect(&request, &samples.context(options))
}

#[tokio::test]
async fn l1_costs_of_classes_agree_with_scikit_learn() {
    let reference = sklearn();
    let rows: Vec<Vec<f64>> = reference["lasso_logistic"]["z"]
        .as_array()
        .unwrap()
        .iter()
        .map(floats)
        .collect();
    for case in reference["lasso_logistic"]["fits"].as_array().unwrap() {
        let label = label(&reference, case["label"].as_str().unwrap());
        let samples = Labelled::of(InMemory::of_rows(&rows, 40), label, None);
        for strategy in ["AUTO_STRATEGY", "LBFGS", "COORDINATE_DESCENT"] {
            let options = json!({
                "l1_reg": case["l1_reg"], "l2_reg": case["l2_reg"], "optimize_strategy": strategy,
            });
            let model = fit("logistic_reg", &samples, options).await;
            let sets = case["coefficients"].as_array().unwrap().iter().map(floats);
            for (found, expected) in model.outputs().zip(sets) {
                assert_same(
                    &samples,
                    &found[..model.n_cols()],
                    &expected,
                    1e-5,
                    strategy,
                );
            }
        }
    }
}

/// SQL.md §5: the digits that BigQuery's documentation shows.
#[tokio::test]
async fn penguins_give_the_published_digits() {
    for (is_complete, expected) in [
        (
            false,
            [
                "227.01223",
                "81838.159892",
                "0.00507",
                "173.080816",
                "0.872377",
            ],
        ),
        (
            true,
            [
                "225.817334",
                "80540.705944",
                "0.004972",
                "173.080816",
                "0.87529",
            ],
        ),
    ] {
        let (columns, mass) = penguins();
        let samples = Labelled::new(&columns, Label::Numbers(mass.clone()), None);
        let model = fit("linear_reg", &samples, json!({})).await;
        let block = samples.features.whole();
        let Prediction::Values(predicted) = model.predict(&block, &Compute::cpu()).unwrap() else {
            unreachable!()
        };
        let complete = |row: usize| match &columns[5].1 {
            Column::Texts(sex) => sex[row].is_some(),
            Column::Numbers(_) => unreachable!(),
        };
        let rows: Vec<(f64, f64)> = (0..mass.len())
            .filter(|&row| !is_complete || complete(row))
            .map(|row| (mass[row], predicted[row]))
            .collect();
        let n = rows.len() as f64;
        let mean_of =
            |of: &dyn Fn(f64, f64) -> f64| rows.iter().map(|&(y, z)| of(y, z)).sum::<f64>() / n;
        let mut errors: Vec<f64> = rows.iter().map(|(y, z)| (y - z).abs()).collect();
        errors.sort_by(f64::total_cmp);
        let mean = mean_of(&|y, _| y);
        let squared = mean_of(&|y, z| (y - z).powi(2));
        let found = [
            mean_of(&|y, z| (y - z).abs()),
            squared,
            mean_of(&|y, z| (y.ln_1p() - z.ln_1p()).powi(2)),
            errors[(errors.len() - 1) / 2],
            1.0 - squared / mean_of(&|y, _| (y - mean).powi(2)),
        ];
        for (found, expected) in found.iter().zip(expected) {
            // Some pages round, others cut digits off.
            let n_digits = expected.split_once('.').unwrap().1.len();
            let is_rounded = format!("{found:.n_digits$}") == expected;
            let is_cut = format!("{found:.12}").starts_with(expected);
            assert!(is_rounded || is_cut, "{found} is not {expected}");
        }
    }
}

/// The penguins whose mass is known, and that mass.
fn penguins() -> (Vec<(&'static str, Column)>, Vec<f64>) {
    let table = &reference()["penguins"];
    let values = |name: &str| table[name].as_array().unwrap();
    let mass: Vec<Option<f64>> = values("body_mass_g").iter().map(Value::as_f64).collect();
    let known: Vec<usize> = (0..mass.len()).filter(|&row| mass[row].is_some()).collect();
    let number = |name: &str| {
        Column::Numbers(
            known
                .iter()
                .map(|&row| values(name)[row].as_f64())
                .collect(),
        )
    };
    let text = |name: &str| {
        let text = |&row: &usize| values(name)[row].as_str().map(ToOwned::to_owned);
        Column::Texts(known.iter().map(text).collect())
    };
    let columns = vec![
        ("species", text("species")),
        ("island", text("island")),
        ("culmen_length_mm", number("culmen_length_mm")),
        ("culmen_depth_mm", number("culmen_depth_mm")),
        ("flipper_length_mm", number("flipper_length_mm")),
        ("sex", text("sex")),
    ];
    (columns, mass.into_iter().flatten().collect())
}

#[tokio::test]
async fn solvers_of_least_squares_agree() {
    let reference = sklearn();
    let columns = table(&reference);
    let samples = Labelled::new(&columns, label(&reference, "y"), None);
    for (l1, l2) in [(0.0, 0.7), (3.0, 0.0), (3.0, 0.5)] {
        let written = |strategy: &str| {
            // With l1 alone only independent columns have one minimum.
            let mut written = json!({
                "l1_reg": l1, "l2_reg": l2, "optimize_strategy": strategy,
                "category_encoding_method": "DUMMY_ENCODING",
            });
            if strategy == "BATCH_GRADIENT_DESCENT" {
                written["max_iterations"] = json!(20_000);
                written["early_stop"] = json!(false);
            }
            written
        };
        let expected = fit("linear_reg", &samples, written("AUTO_STRATEGY")).await;
        let others = [
            "NEWTON",
            "LBFGS",
            "COORDINATE_DESCENT",
            "BATCH_GRADIENT_DESCENT",
        ];
        for strategy in others {
            let found = fit("linear_reg", &samples, written(strategy)).await;
            assert_same(
                &samples,
                &found.coefficients,
                &expected.coefficients,
                1e-5,
                strategy,
            );
        }
    }
}

#[tokio::test]
async fn solvers_of_classes_agree() {
    let reference = sklearn();
    let columns = table(&reference);
    for name in ["two", "three"] {
        let samples = Labelled::new(&columns, label(&reference, name), None);
        for (l1, l2) in [(0.0, 1.0), (1.0, 1.0)] {
            let written = |strategy: &str| {
                let mut written =
                    json!({"l1_reg": l1, "l2_reg": l2, "optimize_strategy": strategy});
                if strategy == "BATCH_GRADIENT_DESCENT" {
                    written["max_iterations"] = json!(5_000);
                    written["early_stop"] = json!(false);
                }
                written
            };
            let expected = fit("logistic_reg", &samples, written("NEWTON")).await;
            // Gradients alone see the flat valley of l1 costs in raw units less well than curvatures do.
            let of_gradients = if l1 > 0.0 { 3e-4 } else { 1e-4 };
            for (strategy, tolerance) in [("LBFGS", of_gradients), ("COORDINATE_DESCENT", 1e-4)] {
                let mut written = written(strategy);
                written["max_iterations"] = json!(1_000);
                written["early_stop"] = json!(false);
                let found = fit("logistic_reg", &samples, written).await;
                assert_same(
                    &samples,
                    &found.coefficients,
                    &expected.coefficients,
                    tolerance,
                    strategy,
                );
            }
            let found = fit("logistic_reg", &samples, written("BATCH_GRADIENT_DESCENT")).await;
            assert_same(
                &samples,
                &found.coefficients,
                &expected.coefficients,
                0.05,
                "descent",
            );
        }
    }
}

/// Deterministic noise in [0, 1).
fn noise(row: usize, column: usize) -> f64 {
    let seed = (row as u64) << 8 | column as u64;
    (crate::random::mix(seed.wrapping_add(0x9e37)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[tokio::test]
async fn many_rows_start_from_a_share_of_them() {
    let n = 220_000;
    let x = |row: usize, column: usize| noise(row, column) * 4.0 - 2.0;
    let columns: Vec<(&str, Column)> = ["a", "b", "c"]
        .into_iter()
        .enumerate()
        .map(|(j, name)| {
            (
                name,
                Column::Numbers((0..n).map(|row| Some(x(row, j))).collect()),
            )
        })
        .collect();
    let class = |row: usize| {
        let z = 0.8 * x(row, 0) - 1.1 * x(row, 1) + 0.2 * x(row, 2) * x(row, 0) + 0.5;
        u32::from(noise(row, 9) < 1.0 / (1.0 + (-z).exp()))
    };
    let label = || Label::Classes((0..n).map(class).collect());
    let samples = Labelled::with_blocks(&columns, label(), None, 65_536);
    let run = TrainingRun::quiet(0, Compute::cpu());
    let model = fit_in(&run, "logistic_reg", &samples, json!({}))
        .await
        .unwrap();
    let n_iterations = run.iterations().len();
    assert!(n_iterations <= 4, "{n_iterations} passes over all rows");
    assert!(run.warnings().is_empty());
    let model = model.as_any().downcast_ref::<LinearModel>().unwrap();
    let exact = fit(
        "logistic_reg",
        &samples,
        json!({"optimize_strategy": "LBFGS"}),
    )
    .await;
    assert_same(
        &samples,
        &model.coefficients,
        &exact.coefficients,
        1e-7,
        "newton",
    );
}

#[tokio::test]
async fn more_columns_than_sums_can_hold_are_passed_over() {
    let (n, k) = (9_000, 4_200);
    let category = |row: usize| format!("{:05}", row % k);
    let columns = vec![
        (
            "g",
            Column::Texts((0..n).map(|row| Some(category(row))).collect()),
        ),
        (
            "x",
            Column::Numbers((0..n).map(|row| Some(noise(row, 1))).collect()),
        ),
    ];
    let y = (0..n).map(|row| (row % k % 7) as f64 + 2.0 * noise(row, 1) + noise(row, 2));
    let samples = Labelled::with_blocks(&columns, Label::Numbers(y.collect()), None, 2_000);
    let run = TrainingRun::quiet(0, Compute::cpu());
    let written = json!({"l2_reg": 0.5});
    let model = fit_in(&run, "linear_reg", &samples, written).await.unwrap();
    let model = model.as_any().downcast_ref::<LinearModel>().unwrap();
    assert!(run.warnings().is_empty(), "{:?}", run.warnings());
    // At the minimum the gradient of the squared error is the cost's.
    let block = samples.features.whole();
    let Prediction::Values(predicted) = model.predict(&block, &Compute::cpu()).unwrap() else {
        unreachable!()
    };
    let residual = |row: usize| {
        let y = (row % k % 7) as f64 + 2.0 * noise(row, 1) + noise(row, 2);
        y - predicted[row]
    };
    for code in [0, 17, k - 1] {
        let pull: f64 = (0..n).filter(|row| row % k == code).map(residual).sum();
        assert!(
            (pull - 0.5 * model.coefficients[1 + code]).abs() < 1e-5,
            "category {code}"
        );
    }
    let wide = fit_in(
        &run,
        "linear_reg",
        &samples,
        json!({"optimize_strategy": "NORMAL_EQUATION"}),
    );
    assert!(matches!(wide.await, Err(Error::ConflictingOptions { .. })));
}

#[tokio::test]
async fn separated_classes_end_with_a_warning() {
    let columns = vec![(
        "x",
        Column::Numbers((0..40).map(|row| Some(f64::from(row))).collect()),
    )];
    let classes = || Label::Classes((0..40).map(|row| u32::from(row >= 20)).collect());
    let samples = Labelled::new(&columns, classes(), None);
    for strategy in ["NEWTON", "LBFGS"] {
        let run = TrainingRun::quiet(0, Compute::cpu());
        let written = json!({"optimize_strategy": strategy});
        let model = fit_in(&run, "logistic_reg", &samples, written)
            .await
            .unwrap();
        let model = model.as_any().downcast_ref::<LinearModel>().unwrap();
        assert!(model.coefficients.iter().all(|x| x.is_finite()));
        assert!(
            run.warnings()
                .iter()
                .any(|warning| warning.code == "separation"),
            "{strategy}"
        );
        assert!(run.iterations().len() <= 100);
    }
    let by_category = vec![(
        "g",
        Column::Texts(
            (0..60)
                .map(|row| Some(["p", "q", "r"][row % 3].to_owned()))
                .collect(),
        ),
    )];
    let class = |row: usize| u32::from(row.is_multiple_of(3) || row.is_multiple_of(2));
    let samples = Labelled::new(
        &by_category,
        Label::Classes((0..60).map(class).collect()),
        None,
    );
    let run = TrainingRun::quiet(0, Compute::cpu());
    fit_in(&run, "logistic_reg", &samples, json!({}))
        .await
        .unwrap();
    assert_eq!(run.warnings()[0].code, "separation");
    let run = TrainingRun::quiet(0, Compute::cpu());
    fit_in(&run, "logistic_reg", &samples, json!({"l2_reg": 1.0}))
        .await
        .unwrap();
    assert!(run.warnings().is_empty());
}

#[tokio::test]
async fn few_iterations_warn_and_a_warm_start_goes_on() {
    let reference = sklearn();
    let samples = Labelled::new(&table(&reference), label(&reference, "three"), None);
    let run = TrainingRun::quiet(0, Compute::cpu());
    let written = json!({"l2_reg": 0.1, "max_iterations": 2});
    let model = fit_in(&run, "logistic_reg", &samples, written.clone())
        .await
        .unwrap();
    assert_eq!(run.warnings()[0].code, "no_convergence");
    assert_eq!(run.iterations().len(), 2);
    let last_loss = run.iterations()[1].loss;
    let mut run = TrainingRun::quiet(0, Compute::cpu());
    run.warm_start = Some(model.into());
    let model = fit_in(&run, "logistic_reg", &samples, written.clone())
        .await
        .unwrap();
    assert!(run.iterations()[0].loss < last_loss);
    let complete = fit("logistic_reg", &samples, json!({"l2_reg": 0.1})).await;
    let mut run = TrainingRun::quiet(0, Compute::cpu());
    run.warm_start = Some(Arc::new(complete));
    fit_in(&run, "logistic_reg", &samples, json!({"l2_reg": 0.1}))
        .await
        .unwrap();
    assert!(run.iterations().len() <= 2, "{:?}", run.iterations());
    let two = Labelled::new(&table(&reference), label(&reference, "two"), None);
    let mut run = TrainingRun::quiet(0, Compute::cpu());
    run.warm_start = Some(model.into());
    fit_in(&run, "logistic_reg", &two, json!({})).await.unwrap();
    assert_eq!(run.warnings()[0].code, "no_warm_start");
}

#[tokio::test]
async fn the_curve_shows_both_parts() {
    let reference = sklearn();
    let mut samples = Labelled::new(&table(&reference), label(&reference, "y"), None);
    let model = fit("linear_reg", &samples, json!({})).await;
    samples.evaluation = vec![samples.features.blocks[1].clone()];
    let run = TrainingRun::quiet(0, Compute::cpu());
    fit_in(&run, "linear_reg", &samples, json!({}))
        .await
        .unwrap();
    let Prediction::Values(predicted) = model
        .predict(&samples.evaluation[0], &Compute::cpu())
        .unwrap()
    else {
        unreachable!()
    };
    let TargetValues::Numbers(y) = &samples.evaluation[0].target else {
        unreachable!()
    };
    let error = y
        .iter()
        .zip(&predicted)
        .map(|(y, z)| (y - z).powi(2))
        .sum::<f64>();
    let [row] = run.iterations().try_into().unwrap();
    assert!((row.eval_loss.unwrap() - error / y.len() as f64).abs() < 1e-9);
    // Gradient descent obeys its defaults: early_stop by 0.01, 20 iterations.
    let run = TrainingRun::quiet(0, Compute::cpu());
    let written = json!({"optimize_strategy": "BATCH_GRADIENT_DESCENT", "learn_rate_strategy": "CONSTANT", "learn_rate": 0.3});
    fit_in(&run, "linear_reg", &samples, written).await.unwrap();
    let rows = run.iterations();
    assert!(rows.len() > 2 && rows.len() <= 20);
    assert!(rows.windows(2).all(|pair| pair[1].loss < pair[0].loss));
    assert!(
        rows.iter()
            .all(|row| row.learning_rate == Some(0.3) && row.eval_loss.is_some())
    );
    let run = TrainingRun::quiet(0, Compute::cpu());
    let written = json!({"optimize_strategy": "BATCH_GRADIENT_DESCENT", "learn_rate_strategy": "CONSTANT", "learn_rate": 1e300});
    let diverged = fit_in(&run, "linear_reg", &samples, written).await;
    assert!(matches!(diverged, Err(Error::Diverged { .. })));
}

#[tokio::test]
async fn weights_stand_in_the_order_of_the_query() {
    let (columns, mass) = penguins();
    let samples = Labelled::new(&columns, Label::Numbers(mass), None);
    let model = fit("linear_reg", &samples, json!({})).await;
    let options = crate::options::Options::default();
    let batch = inspect(&model, &samples, &options, "weights", false).unwrap();
    let names: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["processed_input", "weight", "category_weights"]);
    let inputs: Vec<_> = batch
        .column(0)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    assert_eq!(
        inputs,
        [
            "species",
            "island",
            "culmen_length_mm",
            "culmen_depth_mm",
            "flipper_length_mm",
            "sex",
            "__INTERCEPT__"
        ]
    );
    let values = batch.column(1).as_primitive::<Float64Type>();
    assert!(values.is_null(0) && values.is_valid(2) && values.is_valid(6));
    let lists = batch.column(2).as_list::<i32>();
    let sexes = lists.value(5);
    let sexes = sexes.as_struct().column(0).as_string::<i32>().clone();
    assert_eq!(
        sexes.iter().flatten().collect::<Vec<_>>(),
        [".", "FEMALE", "MALE", "_null_filler"]
    );
    assert_eq!(lists.value(2).len(), 0);
    // A prediction is the intercept and the effects.
    let standardised = inspect(&model, &samples, &options, "weights", true).unwrap();
    let standardised = standardised.column(1).as_primitive::<Float64Type>();
    let FeatureStatistics::Numeric(length) = &samples.encoder().statistics[2] else {
        unreachable!()
    };
    assert!((standardised.value(2) - values.value(2) * length.stddev).abs() < 1e-9);
    let advanced = inspect(&model, &samples, &options, "advanced_weights", false);
    assert!(matches!(advanced, Err(Error::ConflictingOptions { .. })));
    let written = json!({"category_encoding_method": "DUMMY_ENCODING"});
    let model = fit("linear_reg", &samples, written).await;
    let batch = inspect(&model, &samples, &options, "weights", false).unwrap();
    let sexes = batch.column(2).as_list::<i32>().value(5);
    let sexes = sexes.as_struct().column(0).as_string::<i32>().clone();
    assert_eq!(
        sexes.iter().flatten().collect::<Vec<_>>(),
        [".", "FEMALE", "_null_filler"]
    );
}

#[tokio::test]
async fn classes_have_weights_of_their_own() {
    let reference = sklearn();
    let samples = Labelled::new(&table(&reference), label(&reference, "three"), None);
    let model = fit("logistic_reg", &samples, json!({"l2_reg": 1.0})).await;
    let options = crate::options::Options::default();
    let batch = inspect(&model, &samples, &options, "weights", false).unwrap();
    assert_eq!(batch.num_rows(), 15);
    let labels = batch
        .column_by_name("class_label")
        .unwrap()
        .as_string::<i32>();
    assert_eq!([labels.value(0), labels.value(14)], ["c0", "c2"]);
}

#[tokio::test]
async fn a_loaded_model_predicts_the_same() {
    let reference = sklearn();
    for (name, label_name) in [
        ("linear_reg", "y"),
        ("logistic_reg", "two"),
        ("logistic_reg", "three"),
    ] {
        let samples = Labelled::new(&table(&reference), label(&reference, label_name), None);
        let written = match label_name {
            "three" => json!({"l2_reg": 1.0}),
            _ => json!({"calculate_p_values": true, "category_encoding_method": "DUMMY_ENCODING"}),
        };
        let model = fit(name, &samples, written).await;
        let options = crate::options::Options::default();
        let loaded = (estimator(name).spec().load)(&model.state(), &samples.context(&options));
        let loaded = loaded.unwrap();
        let block = samples.features.whole();
        let prediction = loaded.predict(&block, &Compute::cpu()).unwrap();
        assert_eq!(prediction, model.predict(&block, &Compute::cpu()).unwrap());
        assert_eq!(loaded.as_any().downcast_ref::<LinearModel>(), Some(&model));
        if let Prediction::Probabilities { n_classes, values } = prediction {
            let mut sums = values.chunks(n_classes).map(|row| row.iter().sum::<f64>());
            assert!(sums.all(|sum| (sum - 1.0).abs() < 1e-12));
        }
        let mut damaged = model.state();
        damaged.tensors.remove("intercepts");
        let load = estimator(name).spec().load;
        assert!(matches!(
            load(&damaged, &samples.context(&options)),
            Err(Error::DamagedModel { .. })
        ));
    }
}

#[tokio::test]
async fn options_that_contradict_each_other_are_named() {
    for (name, written, named) in [
        ("linear_reg", json!({"learn_rate": 0.1}), "learn_rate"),
        (
            "linear_reg",
            json!({"ls_init_learn_rate": 0.1, "learn_rate_strategy": "CONSTANT"}),
            "ls_init_learn_rate",
        ),
        (
            "linear_reg",
            json!({"l1_reg": 1.0, "optimize_strategy": "NORMAL_EQUATION"}),
            "l1_reg",
        ),
        (
            "linear_reg",
            json!({"calculate_p_values": true}),
            "DUMMY_ENCODING",
        ),
        (
            "logistic_reg",
            json!({"calculate_p_values": true, "category_encoding_method": "DUMMY_ENCODING", "l1_reg": 1.0}),
            "l1_reg",
        ),
        (
            "logistic_reg",
            json!({"optimize_strategy": "NORMAL_EQUATION"}),
            "optimize_strategy",
        ),
        ("linear_reg", json!({"l2_reg": -1.0}), "l2_reg"),
    ] {
        let message = options(estimator(name), written).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }
    let reference = sklearn();
    let samples = Labelled::new(&table(&reference), label(&reference, "three"), None);
    let p_values =
        json!({"calculate_p_values": true, "category_encoding_method": "DUMMY_ENCODING"});
    let run = TrainingRun::quiet(0, Compute::cpu());
    let error = fit_in(&run, "logistic_reg", &samples, p_values.clone())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("two classes, got 3"), "{error}");
    let twice = Column::Numbers((0..40).map(|row| Some(noise(row, 1))).collect());
    let columns = vec![("x", twice.clone()), ("same", twice)];
    let y = Label::Numbers((0..40).map(|row| noise(row, 2)).collect());
    let error = fit_in(
        &run,
        "linear_reg",
        &Labelled::new(&columns, y, None),
        p_values,
    )
    .await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("feature \"same\" is a linear combination"),
        "{error}"
    );
}

#[tokio::test]
async fn odd_features_and_labels_do_no_harm() {
    let n = 30;
    let of = |value: &dyn Fn(usize) -> f64| {
        Column::Numbers((0..n).map(|row| Some(value(row))).collect())
    };
    let columns = vec![
        ("constant", of(&|_| 7.0)),
        // The greatest that statistics accept.
        ("huge", of(&|row| (noise(row, 1) - 0.5) * 2e150)),
        ("far", of(&|row| 1e12 + row as f64)),
        ("one", Column::Texts(vec![Some("only".to_owned()); n])),
    ];
    let y = |row: usize| 3.0 * row as f64 + noise(row, 1);
    let samples = Labelled::new(&columns, Label::Numbers((0..n).map(y).collect()), None);
    let model = fit("linear_reg", &samples, json!({})).await;
    assert_eq!(model.coefficients[0], 0.0);
    let block = samples.features.whole();
    let Prediction::Values(found) = model.predict(&block, &Compute::cpu()).unwrap() else {
        unreachable!()
    };
    for (row, found) in found.iter().enumerate() {
        assert!(
            (found - y(row)).abs() < 1e-3,
            "row {row} is {found}, not {}",
            y(row)
        );
    }
    let classes = Label::Classes((0..n).map(|row| u32::from(noise(row, 3) > 0.4)).collect());
    let samples = Labelled::new(&columns, classes, None);
    let model = fit("logistic_reg", &samples, json!({})).await;
    assert!(model.coefficients.iter().all(|x| x.is_finite()));
    // No feature says anything: only the intercept is left.
    let constant = vec![("constant", of(&|_| 7.0))];
    let samples = Labelled::new(&constant, Label::Numbers((0..n).map(y).collect()), None);
    let model = fit("linear_reg", &samples, json!({"fit_intercept": false})).await;
    assert!(model.coefficients[0] > 0.0 && model.coefficients[1] == 0.0);
    let model = fit("linear_reg", &samples, json!({})).await;
    assert!((model.coefficients[1] - samples.target.mean).abs() < 1e-9);
    let zero = Labelled::new(
        &constant,
        Label::Numbers((0..n).map(y).collect()),
        Some(&[0.0; 30]),
    );
    let run = TrainingRun::quiet(0, Compute::cpu());
    let error = fit_in(&run, "linear_reg", &zero, json!({})).await;
    assert!(matches!(error, Err(Error::TooFewSamples { .. })));
}
