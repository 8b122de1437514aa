//! The logical plans of what a model answers: predictions and explanations are projections, evaluations
//! are aggregates, tables about the model are scans of what is already here.
//!
//! In: a bound model, planned rows and settings; out: a plan with the columns of SQL.md §3.

use std::sync::Arc;

use auspex_ml::error::Error as MlError;
use auspex_ml::metrics::aggregate::{EvaluateUdaf, EvaluationOutput};
use auspex_ml::model::Inspection;
use auspex_ml::output;
use auspex_ml::run::Warning;
use auspex_ml::training_set::Part;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use datafusion::catalog::MemTable;
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use serde_json::Value;

use super::arguments::Arguments;
use super::findings::Findings;
use super::model_scope::BoundModel;
use super::output_column::output_column;
use super::predict_udf::{PredictShape, PredictUdf};
use crate::error::{Error, Result, nearest};

/// The column `name` of some rows, in exact case or else in any.
fn column(schema: &DFSchema, name: &str, place: &'static str, role: &'static str) -> Result<Expr> {
    let find = |matches: &dyn Fn(&str) -> bool| {
        let found = schema.iter().find(|(_, field)| matches(field.name()));
        found.map(|(qualifier, field)| Expr::Column(Column::from((qualifier, field))))
    };
    find(&|candidate| candidate == name)
        .or_else(|| find(&|candidate| candidate.eq_ignore_ascii_case(name)))
        .ok_or_else(|| {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let nearest = nearest(name, names);
            MlError::MissingColumn {
                column: name.to_owned(),
                place,
                role,
                nearest,
            }
            .into()
        })
}

fn feature_columns(
    bound: &BoundModel,
    schema: &DFSchema,
    place: &'static str,
) -> Result<Vec<Expr>> {
    let features = &bound.model.encoder.schema.features;
    features
        .iter()
        .map(|feature| column(schema, &feature.name, place, "feature"))
        .collect()
}

/// The model's outputs, then all input columns.
fn with_outputs(
    bound: &BoundModel,
    rows: LogicalPlan,
    shape: PredictShape,
    fields: Vec<Field>,
    outputs_first: bool,
    keep_inputs: bool,
    findings: &Findings,
) -> Result<LogicalPlan> {
    let schema = Arc::clone(rows.schema());
    let features = feature_columns(bound, &schema, "rows to predict")?;
    let inputs: Vec<Expr> = schema
        .iter()
        .map(|(q, field)| Expr::Column(Column::from((q, field))))
        .collect();
    let surprises = Arc::default();
    let name = format!("predict#{}", findings.n_counted());
    findings.count(bound, "PREDICT", Arc::clone(&surprises));
    let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    let udf = PredictUdf::columns(name, bound, shape, fields, surprises);
    const STRUCT: &str = "__prediction";
    let mut inner = vec![udf.call(features).alias(STRUCT)];
    inner.extend(inputs.iter().cloned());
    let outputs = names.iter().map(|name| output_column(col(STRUCT), name));
    let kept = if keep_inputs { inputs } else { Vec::new() };
    let outer: Vec<Expr> = if outputs_first {
        outputs.chain(kept).collect()
    } else {
        kept.into_iter().chain(outputs).collect()
    };
    Ok(LogicalPlanBuilder::from(rows)
        .project(inner)?
        .project(outer)?
        .build()?)
}

/// Plans `PREDICT`: in the flat shape the input columns come first (SQL.md §1 rule 10).
pub(crate) fn predict_plan(
    bound: &BoundModel,
    rows: LogicalPlan,
    arguments: &Arguments,
    flat: bool,
    findings: &Findings,
) -> Result<LogicalPlan> {
    arguments.allow(
        "predict",
        &["threshold", "keep_original_columns", "trial_id"],
    )?;
    let threshold = arguments.number("threshold", 0.0..=1.0)?;
    let keep = arguments
        .0
        .get("keep_original_columns")
        .is_none_or(|v| v != &Value::Bool(false));
    if flat {
        let fields = output::flat_fields(&bound.model);
        return with_outputs(
            bound,
            rows,
            PredictShape::Flat,
            fields,
            false,
            true,
            findings,
        );
    }
    let fields = output::predict_fields(&bound.model);
    with_outputs(
        bound,
        rows,
        PredictShape::Columns { threshold },
        fields,
        true,
        keep,
        findings,
    )
}

/// Plans `EXPLAIN_PREDICT`. Attributions are exact, so the options that make others' approximate are
/// accepted and change nothing.
pub(crate) fn explain_plan(
    bound: &BoundModel,
    rows: LogicalPlan,
    arguments: &Arguments,
    findings: &Findings,
) -> Result<LogicalPlan> {
    let allowed = [
        "top_k_features",
        "threshold",
        "integrated_gradients_num_steps",
        "approx_feature_contrib",
    ];
    arguments.allow("explain_predict", &allowed)?;
    let top_k = arguments
        .number("top_k_features", 1.0..=1_000_000.0)?
        .unwrap_or(5.0);
    let threshold = arguments.number("threshold", 0.0..=1.0)?;
    let fields = output::explain_fields(&bound.model);
    let shape = PredictShape::Explanations {
        top_k: top_k as usize,
        threshold,
    };
    with_outputs(bound, rows, shape, fields, true, true, findings)
}

/// The rows of `ml.lineage` that are about a model, or about the version that was named.
pub(super) fn lineage_plan(
    bound: &BoundModel,
    names_version: bool,
    rows: LogicalPlan,
) -> Result<LogicalPlan> {
    let mut wanted = col("model").eq(lit(bound.name.as_str()));
    if names_version {
        wanted = wanted.and(col("version").eq(lit(bound.version.cast_signed())));
    }
    Ok(LogicalPlanBuilder::from(rows).filter(wanted)?.build()?)
}

pub(super) fn anomalies_plan(
    bound: &BoundModel,
    rows: LogicalPlan,
    arguments: &Arguments,
    findings: &Findings,
) -> Result<LogicalPlan> {
    arguments.allow("detect_anomalies", &["contamination"])?;
    let fields = output::anomaly_fields(&bound.model)?;
    let contamination = arguments
        .number("contamination", 0.0..=0.5)?
        .ok_or_else(|| {
            let hint = "Give the share of anomalies: STRUCT(0.02 AS contamination).";
            Error::invalid(
                "42883",
                "ml.detect_anomalies needs a contamination",
                Some(hint),
            )
        })?;
    let threshold = bound
        .model
        .record
        .evaluation
        .anomaly_threshold(contamination)
        .ok_or_else(|| {
            Error::unsupported(format!(
                "ml.detect_anomalies of a {} model",
                bound.model.spec.name
            ))
        })?;
    let shape = PredictShape::Anomalies { threshold };
    with_outputs(bound, rows, shape, fields, true, true, findings)
}

/// Plans `EVALUATE` and its relatives: with rows an aggregate over predictions, without rows what
/// training stored.
pub(crate) fn evaluate_plan(
    bound: &BoundModel,
    function: &str,
    rows: Option<LogicalPlan>,
    arguments: &Arguments,
    thresholds: Option<Vec<f64>>,
    findings: &Findings,
) -> Result<LogicalPlan> {
    arguments.allow(function, &["threshold", "trial_id"])?;
    let threshold = arguments.number("threshold", 0.0..=1.0)?;
    let output = match function {
        "confusion_matrix" => EvaluationOutput::ConfusionMatrix { threshold },
        "roc_curve" => EvaluationOutput::RocCurve { thresholds },
        _ => EvaluationOutput::Metrics { threshold },
    };
    match rows {
        Some(rows) => aggregate_plan(bound, rows, output, findings),
        None => {
            if is_judged_by_training_rows(bound) {
                findings.warn(bound, "EVALUATE", no_held_out_rows(bound));
            }
            let arguments = format!("{output:?}");
            let table = output.table(&bound.model.record.evaluation)?;
            table_plan(bound, function, &arguments, table)
        }
    }
}

/// Whether an evaluation without rows answers from the rows that the model learned from.
fn is_judged_by_training_rows(bound: &BoundModel) -> bool {
    bound.model.spec.task.is_supervised() && bound.model.record.evaluated_on == Part::Training
}

fn no_held_out_rows(bound: &BoundModel) -> Warning {
    let hint = "Evaluate it on other rows: EVALUATE MODEL ... ON (SELECT ...).";
    Warning {
        code: "no_held_out_rows".to_owned(),
        message: format!(
            "model \"{}\" held no rows out, so these are the metrics of its training rows",
            bound.name
        ),
        hint: Some(hint.to_owned()),
    }
}

fn aggregate_plan(
    bound: &BoundModel,
    rows: LogicalPlan,
    output: EvaluationOutput,
    findings: &Findings,
) -> Result<LogicalPlan> {
    let schema = Arc::clone(rows.schema());
    let place = "rows to evaluate";
    let label = bound.model.target.iter();
    let label = label.map(|target| column(&schema, &target.column, place, "label"));
    let mut args: Vec<Expr> = label.collect::<Result<_>>()?;
    args.extend(feature_columns(bound, &schema, place)?);
    let names: Vec<String> = output
        .fields(&bound.model)
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let is_list = output.is_list();
    let udaf = EvaluateUdaf::new(Arc::clone(&bound.model), bound.compute.clone(), output)?
        .named(format!("evaluate#{}", findings.n_counted()));
    findings.count(bound, "EVALUATE", udaf.found());
    const RESULT: &str = "__evaluation";
    let call = AggregateUDF::from(udaf).call(args).alias(RESULT);
    let mut plan = LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), vec![call])?;
    if is_list {
        plan = plan.unnest_column(RESULT)?;
    }
    let outputs = names.iter().map(|name| output_column(col(RESULT), name));
    Ok(plan.project(outputs)?.build()?)
}

pub(super) fn inspect_plan(
    bound: &BoundModel,
    function: String,
    arguments: Arguments,
) -> Result<LogicalPlan> {
    let request = Inspection {
        function: function.clone(),
        arguments: arguments.0,
    };
    let table = bound.model.inspect(&request)?;
    let arguments = Value::Object(request.arguments);
    table_plan(bound, &function, &arguments.to_string(), table)
}

/// A table that is already here. DataFusion takes two scans of one name for the same scan, so that the
/// name says which model answered what.
fn table_plan(
    bound: &BoundModel,
    function: &str,
    arguments: &str,
    batch: RecordBatch,
) -> Result<LogicalPlan> {
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    let source = provider_as_source(Arc::new(table));
    let name = format!("{function}({}@{}, {arguments})", bound.name, bound.version);
    let scan = LogicalPlanBuilder::scan(TableReference::bare(name), source, None)?;
    Ok(scan.alias(function)?.build()?)
}
