//! The `ML.` functions in `FROM`, and the statements that are the same operators.
//!
//! In: a call with its models already loaded; out: a logical plan: predictions are projections,
//! metrics are aggregates, facts about a model are tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_ml::compute::Compute;
use auspex_ml::error::Error as MlError;
use auspex_ml::metrics::aggregate::{EvaluateUdaf, EvaluationOutput};
use auspex_ml::model::Inspection;
use auspex_ml::output;
use auspex_ml::training_set::Part;
use auspex_sql::{MlArg, MlFunction, ml_function, parse_model_ref};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use datafusion::catalog::MemTable;
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, col};
use datafusion::sql::sqlparser::ast::{self, Query, TableAlias, TableFactor};
use serde_json::{Map, Value};

use super::model_scope::{BoundModel, model_key, string_literal};
use super::predict_udf::{Counters, PredictShape, PredictUdf, PredictionCounter};
use super::values::json;
use crate::engine::lock;
use crate::error::{Error, Result, nearest};

/// Functions of SQL.md that have no operator yet.
const PLANNED_FUNCTIONS: &[&str] = &[
    "arima_coefficients",
    "arima_evaluate",
    "bag_of_words",
    "bucketize",
    "correlation",
    "describe_data",
    "detect_change_points",
    "entity_features_at_time",
    "explain_forecast",
    "explain_predict",
    "feature_cross",
    "feature_importance",
    "features_at_time",
    "forecast",
    "generate_embedding",
    "generate_text",
    "get_insights",
    "global_explain",
    "holiday_info",
    "metrics",
    "reconstruction_loss",
    "recommend",
    "seasonality",
    "tfdv_describe",
    "tfdv_validate",
    "transform",
    "trend",
    "trial_info",
    "validate_data_drift",
    "validate_data_skew",
];

/// Functions that answer from a model alone, of any type that has them.
const INSPECTIONS: &[&str] = &[
    "advanced_weights",
    "centroids",
    "classes",
    "feature_info",
    "principal_component_info",
    "principal_components",
    "training_info",
    "weights",
];

/// Functions that take rows.
const ROW_FUNCTIONS: &[&str] = &[
    "confusion_matrix",
    "detect_anomalies",
    "evaluate",
    "predict",
    "roc_curve",
];

/// The values of a call's `STRUCT` argument, or of a statement's `WITH`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments(pub(crate) Map<String, Value>);

impl Arguments {
    /// The number `name` in a range, if it was given.
    fn number(&self, name: &str, allowed: std::ops::RangeInclusive<f64>) -> Result<Option<f64>> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if allowed.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                Err(MlError::InvalidOption {
                    name: name.to_owned(),
                    expected: format!("between {least} and {most}"),
                    found: value.to_string(),
                }
                .into())
            }
        }
    }

    /// Fails for a name that the function does not have.
    fn allow(&self, function: &str, names: &[&str]) -> Result<()> {
        let unknown = self.0.keys().find(|name| !names.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| {
            Err(MlError::UnknownOption {
                name: name.clone(),
                estimator: format!("ml.{function}"),
                nearest: nearest(name, names.iter().copied()),
            }
            .into())
        })
    }
}

/// Plans `ML.name(…)` in `FROM` with the models of one statement.
#[derive(Debug)]
pub(crate) struct MlRelationPlanner {
    models: BTreeMap<String, BoundModel>,
    counters: Counters,
}

impl MlRelationPlanner {
    pub(crate) fn new(
        models: BTreeMap<String, BoundModel>,
        counters: Counters,
    ) -> MlRelationPlanner {
        MlRelationPlanner { models, counters }
    }
}

impl RelationPlanner for MlRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let Some(call) = ml_function(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let call = call.map_err(|error| DataFusionError::from(Error::from(error)))?;
        let mut plan_rows = |query: Box<Query>| context.plan(derived(query));
        let plan = Call::read(call, &self.models, &mut plan_rows)?.plan(&self.counters)?;
        let alias = match relation {
            TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => alias,
            _ => None,
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, alias,
        ))))
    }
}

fn derived(subquery: Box<Query>) -> TableFactor {
    let alias: Option<TableAlias> = None;
    TableFactor::Derived {
        lateral: false,
        subquery,
        alias,
        sample: None,
    }
}

/// A call taken apart.
struct Call {
    function: String,
    bound: BoundModel,
    /// The model was named by a string: the flat shape for tools.
    flat: bool,
    rows: Option<LogicalPlan>,
    thresholds: Option<Vec<f64>>,
    arguments: Arguments,
}

impl Call {
    fn read(
        call: MlFunction,
        models: &BTreeMap<String, BoundModel>,
        plan_rows: &mut dyn FnMut(Box<Query>) -> DfResult<LogicalPlan>,
    ) -> Result<Call> {
        let function = known_function(&call.name)?;
        let mut args = call.args.into_iter();
        let (model, flat) = match args.next() {
            Some(MlArg::Model(model)) => (model, false),
            Some(MlArg::Expr(expr)) => match string_literal(&expr) {
                Some(text) => (parse_model_ref(text)?, true),
                None => return Err(needs_model(&function)),
            },
            _ => return Err(needs_model(&function)),
        };
        let key = model_key(&model);
        let bound = models.get(&key).cloned().ok_or_else(|| Error::Undefined {
            kind: "model",
            name: key,
            nearest: None,
            position: None,
        })?;
        let mut call = Call {
            function,
            bound,
            flat,
            rows: None,
            thresholds: None,
            arguments: Arguments::default(),
        };
        for arg in args {
            call.take(arg, plan_rows)?;
        }
        Ok(call)
    }

    fn take(
        &mut self,
        arg: MlArg,
        plan_rows: &mut dyn FnMut(Box<Query>) -> DfResult<LogicalPlan>,
    ) -> Result<()> {
        match arg {
            MlArg::Query(query) => self.rows = Some(plan_rows(query)?),
            MlArg::Struct(fields) => {
                for (name, expr) in fields {
                    let name = name.unwrap_or_else(|| first_argument(&self.function).to_owned());
                    self.arguments.0.insert(name, literal(&expr)?);
                }
            }
            MlArg::Named(name, expr) => {
                self.arguments
                    .0
                    .insert(name.to_lowercase(), literal(&expr)?);
            }
            MlArg::Expr(expr) => match number_list(&expr) {
                Some(values) => self.thresholds = Some(values),
                None => {
                    let message = format!("unexpected argument {expr} of ml.{}", self.function);
                    let hint =
                        "Give rows as (SELECT ...) or TABLE t, settings as STRUCT(value AS name).";
                    return Err(Error::invalid("42883", message, Some(hint)));
                }
            },
            MlArg::Model(_) => {
                let message = format!("ml.{} takes one model", self.function);
                return Err(Error::invalid("42883", message, None));
            }
        }
        Ok(())
    }

    fn plan(self, counters: &Counters) -> Result<LogicalPlan> {
        match self.function.as_str() {
            "predict" => {
                let rows = self.rows.ok_or_else(|| needs_rows("predict"))?;
                predict_plan(&self.bound, rows, &self.arguments, self.flat, counters)
            }
            "detect_anomalies" => {
                let rows = self.rows.ok_or_else(|| needs_rows("detect_anomalies"))?;
                anomalies_plan(&self.bound, rows, &self.arguments, counters)
            }
            "evaluate" | "confusion_matrix" | "roc_curve" => evaluate_plan(
                &self.bound,
                &self.function,
                self.rows,
                &self.arguments,
                self.thresholds,
            ),
            _ => inspect_plan(&self.bound, self.function, self.arguments),
        }
    }
}

/// The name behind `ml.`, if there is such a function.
fn known_function(name: &str) -> Result<String> {
    let short = name.strip_prefix("ml.").unwrap_or(name);
    if INSPECTIONS.contains(&short) || ROW_FUNCTIONS.contains(&short) {
        return Ok(short.to_owned());
    }
    if PLANNED_FUNCTIONS.contains(&short) || name.starts_with("ai.") {
        return Err(Error::unsupported(format!("function {name}")));
    }
    let names = INSPECTIONS
        .iter()
        .chain(ROW_FUNCTIONS)
        .chain(PLANNED_FUNCTIONS);
    let nearest = nearest(short, names.copied()).map(|name| format!("ml.{name}"));
    Err(Error::Undefined {
        kind: "function",
        name: name.to_owned(),
        nearest,
        position: None,
    })
}

fn needs_model(function: &str) -> Error {
    let message = format!("the first argument of ml.{function} must be a model");
    Error::invalid(
        "42883",
        message,
        Some("Write MODEL name, or the name as a string."),
    )
}

fn needs_rows(function: &str) -> Error {
    let message = format!("ml.{function} needs rows");
    Error::invalid(
        "42883",
        message,
        Some("Give them as (SELECT ...) or TABLE t."),
    )
}

/// What an unnamed value of `STRUCT(…)` means.
fn first_argument(function: &str) -> &'static str {
    match function {
        "detect_anomalies" => "contamination",
        "weights" | "advanced_weights" | "centroids" => "standardize",
        _ => "threshold",
    }
}

fn literal(expr: &ast::Expr) -> Result<Value> {
    match auspex_sql::literal_option(expr) {
        Some(value) => json(&value),
        None => {
            let message = format!("\"{expr}\" is not a constant");
            Err(Error::invalid(
                "42601",
                message,
                Some("Settings of ML functions are literals."),
            ))
        }
    }
}

/// `[0.1, 0.2]` or `GENERATE_ARRAY(from, to, step)` of literals.
fn number_list(expr: &ast::Expr) -> Option<Vec<f64>> {
    if let Some(auspex_sql::OptionValue::Array(values)) = auspex_sql::literal_option(expr) {
        return values.iter().map(number).collect();
    }
    let ast::Expr::Function(function) = expr else {
        return None;
    };
    if !function
        .name
        .to_string()
        .eq_ignore_ascii_case("generate_array")
    {
        return None;
    }
    let ast::FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let numbers: Option<Vec<f64>> = list
        .args
        .iter()
        .map(|arg| match arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => {
                number(&auspex_sql::literal_option(expr)?)
            }
            _ => None,
        })
        .collect();
    let (from, to, step) = match numbers?.as_slice() {
        [from, to] => (*from, *to, 1.0),
        [from, to, step] if *step > 0.0 => (*from, *to, *step),
        _ => return None,
    };
    // Counted in steps, since repeated adding would drift; the slack keeps the end in.
    let n_steps = ((to - from) / step + 1e-9).floor().clamp(-1.0, 1e6) as i64;
    Some((0..=n_steps).map(|idx| from + step * idx as f64).collect())
}

fn number(value: &auspex_sql::OptionValue) -> Option<f64> {
    match value {
        auspex_sql::OptionValue::Integer(value) => Some(*value as f64),
        auspex_sql::OptionValue::Float(value) => Some(*value),
        _ => None,
    }
}

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
    counters: &Counters,
) -> Result<LogicalPlan> {
    let schema = Arc::clone(rows.schema());
    let features = feature_columns(bound, &schema, "rows to predict")?;
    let inputs: Vec<Expr> = schema
        .iter()
        .map(|(q, field)| Expr::Column(Column::from((q, field))))
        .collect();
    let counter = Arc::new(PredictionCounter::new(bound));
    lock(counters).push(Arc::clone(&counter));
    let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    let udf = PredictUdf::columns(bound, shape, fields, counter);
    const STRUCT: &str = "__prediction";
    let mut inner = vec![udf.call(features).alias(STRUCT)];
    inner.extend(inputs.iter().cloned());
    let outputs = names
        .iter()
        .map(|name| get_field(col(STRUCT), name.as_str()).alias(name.as_str()));
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
    counters: &Counters,
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
            counters,
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
        counters,
    )
}

fn anomalies_plan(
    bound: &BoundModel,
    rows: LogicalPlan,
    arguments: &Arguments,
    counters: &Counters,
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
    with_outputs(bound, rows, shape, fields, true, true, counters)
}

/// Plans `EVALUATE` and its relatives: with rows an aggregate over predictions, without rows what
/// training stored.
pub(crate) fn evaluate_plan(
    bound: &BoundModel,
    function: &str,
    rows: Option<LogicalPlan>,
    arguments: &Arguments,
    thresholds: Option<Vec<f64>>,
) -> Result<LogicalPlan> {
    arguments.allow(function, &["threshold", "trial_id"])?;
    let threshold = arguments.number("threshold", 0.0..=1.0)?;
    let output = match function {
        "confusion_matrix" => EvaluationOutput::ConfusionMatrix { threshold },
        "roc_curve" => EvaluationOutput::RocCurve { thresholds },
        _ => EvaluationOutput::Metrics { threshold },
    };
    match rows {
        Some(rows) => aggregate_plan(bound, rows, output),
        None => table_plan(function, output.table(&bound.model.record.evaluation)?),
    }
}

/// Whether an evaluation without rows answers from the rows that the model learned from.
pub(crate) fn is_judged_by_training_rows(bound: &BoundModel) -> bool {
    bound.model.spec.task.is_supervised() && bound.model.record.evaluated_on == Part::Training
}

fn aggregate_plan(
    bound: &BoundModel,
    rows: LogicalPlan,
    output: EvaluationOutput,
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
    let udaf = EvaluateUdaf::new(Arc::clone(&bound.model), Compute::cpu(), output)?;
    const RESULT: &str = "__evaluation";
    let call = AggregateUDF::from(udaf).call(args).alias(RESULT);
    let mut plan = LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), vec![call])?;
    if is_list {
        plan = plan.unnest_column(RESULT)?;
    }
    let outputs = names
        .iter()
        .map(|name| get_field(col(RESULT), name.as_str()).alias(name.as_str()));
    Ok(plan.project(outputs)?.build()?)
}

fn inspect_plan(bound: &BoundModel, function: String, arguments: Arguments) -> Result<LogicalPlan> {
    let request = Inspection {
        function: function.clone(),
        arguments: arguments.0,
    };
    table_plan(&function, bound.model.inspect(&request)?)
}

/// A table that is already here.
fn table_plan(name: &str, batch: RecordBatch) -> Result<LogicalPlan> {
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    let source = provider_as_source(Arc::new(table));
    Ok(LogicalPlanBuilder::scan(name, source, None)?.build()?)
}
