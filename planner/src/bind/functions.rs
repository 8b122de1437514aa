//! The `ML.` functions in `FROM`, and the statements that are the same operators.
//!
//! In: a call with its models already loaded; out: the call taken apart and planned by `model_plans`.

use std::collections::BTreeMap;

use auspex_sql::{MlArg, MlFunction, ml_function, parse_model_ref};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{self, Query, TableAlias, TableFactor};
use serde_json::Value;

use super::arguments::Arguments;
use super::findings::Findings;
use super::model_plans::{
    anomalies_plan, evaluate_plan, explain_plan, inspect_plan, lineage_plan, predict_plan,
};
use super::model_scope::{BoundModel, model_key, string_literal};
use super::output_names::check_output_names;
use super::table_functions;
use super::values::json;
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
    "feature_cross",
    "features_at_time",
    "forecast",
    "generate_embedding",
    "generate_text",
    "get_insights",
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
    "feature_importance",
    "feature_info",
    "global_explain",
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
    "explain_predict",
    "lineage",
    "predict",
    "roc_curve",
];

/// The functions of the schema `ml` that can be called now, with the arguments of their plain form.
pub fn ml_functions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_rows = ROW_FUNCTIONS.iter().map(|name| match *name {
        "predict" | "explain_predict" | "detect_anomalies" => (*name, "model text, query text"),
        "lineage" => (*name, "model text DEFAULT NULL"),
        _ => (*name, "model text, query text DEFAULT NULL"),
    });
    let of_models = INSPECTIONS.iter().map(|name| (*name, "model text"));
    of_rows.chain(of_models)
}

/// The privilege on its model that a function needs: to apply it, or to look into it.
pub(super) fn privilege_of(function: &str) -> &'static str {
    let short = function.strip_prefix("ml.").unwrap_or(function);
    match INSPECTIONS.contains(&short) || short == "lineage" {
        true => "SELECT",
        false => "EXECUTE",
    }
}

/// Plans `ML.name(…)` in `FROM` with the models of one statement.
#[derive(Debug)]
pub(crate) struct MlRelationPlanner {
    models: BTreeMap<String, BoundModel>,
    findings: Findings,
}

impl MlRelationPlanner {
    pub(crate) fn new(
        models: BTreeMap<String, BoundModel>,
        findings: Findings,
    ) -> MlRelationPlanner {
        MlRelationPlanner { models, findings }
    }
}

impl RelationPlanner for MlRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let Some(call) = ml_function(&relation) else {
            return table_functions::plan(relation, context);
        };
        let call = call.map_err(|error| DataFusionError::from(Error::from(error)))?;
        let mut plan_rows = |query: Box<Query>| context.plan(derived(query));
        let plan = Call::read(call, &self.models, &mut plan_rows)?.plan(&self.findings)?;
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
    /// The model was named with a version or an alias.
    names_version: bool,
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
            names_version: model.version.is_some(),
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

    fn plan(self, findings: &Findings) -> Result<LogicalPlan> {
        self.check()?;
        if ["predict", "explain_predict", "detect_anomalies"].contains(&self.function.as_str())
            && let Some(rows) = &self.rows
        {
            let called = (self.function.as_str(), self.flat);
            check_output_names(&self.bound, called, rows, &self.arguments)?;
        }
        match self.function.as_str() {
            "predict" => {
                let rows = self.rows.ok_or_else(|| needs_rows("predict"))?;
                predict_plan(&self.bound, rows, &self.arguments, self.flat, findings)
            }
            "explain_predict" => {
                let rows = self.rows.ok_or_else(|| needs_rows("explain_predict"))?;
                explain_plan(&self.bound, rows, &self.arguments, findings)
            }
            "detect_anomalies" => {
                let rows = self.rows.ok_or_else(|| needs_rows("detect_anomalies"))?;
                anomalies_plan(&self.bound, rows, &self.arguments, findings)
            }
            "lineage" => {
                let rows = self.rows.ok_or_else(|| needs_rows("lineage"))?;
                lineage_plan(&self.bound, self.names_version, rows)
            }
            "evaluate" | "confusion_matrix" | "roc_curve" => evaluate_plan(
                &self.bound,
                &self.function,
                self.rows,
                &self.arguments,
                self.thresholds,
                findings,
            ),
            _ => inspect_plan(&self.bound, self.function, self.arguments),
        }
    }

    /// Fails for arguments that the function does not take.
    fn check(&self) -> Result<()> {
        let function = self.function.as_str();
        let takes_none = |what: &str| {
            let message = format!("ml.{function} takes no {what}");
            Err(Error::invalid("42883", message, None))
        };
        if self.thresholds.is_some() && function != "roc_curve" {
            return takes_none("array of numbers");
        }
        if !INSPECTIONS.contains(&function) {
            return Ok(());
        }
        if self.rows.is_some() {
            return takes_none("rows");
        }
        let flags: &[&str] = match function {
            "weights" | "advanced_weights" | "centroids" => &["standardize"],
            "global_explain" => &["class_level_explain"],
            _ => &[],
        };
        self.arguments.allow(function, flags)?;
        self.arguments.check_flags(flags)
    }
}

/// That a function of rows was called as an expression, if the name is one's.
pub(super) fn returns_rows(name: &str) -> Option<Error> {
    let short = name.strip_prefix("ml.")?;
    let is_known = INSPECTIONS.contains(&short) || ROW_FUNCTIONS.contains(&short);
    is_known.then(|| {
        let hint = format!("Write SELECT * FROM {name}(...).");
        Error::invalid(
            "42809",
            format!("function {name} returns rows"),
            Some(&hint),
        )
    })
}

/// The name behind `ml.`, if there is such a function.
fn known_function(name: &str) -> Result<String> {
    let short = name.strip_prefix("ml.").unwrap_or(name);
    if short == "train" {
        let message = "function ml.train trains and returns no rows to select from";
        return Err(Error::invalid(
            "42809",
            message,
            Some("Write SELECT ml.train('model')."),
        ));
    }
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
        "explain_predict" => "top_k_features",
        "weights" | "advanced_weights" | "centroids" => "standardize",
        "global_explain" => "class_level_explain",
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
