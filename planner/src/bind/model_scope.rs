//! The models that a statement names, loaded before it is planned.
//!
//! In: a syntax tree; out: the tree with query texts and scalar predictions replaced by what the
//! planner knows, and the functions and relations that stand for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_ml::compute::Compute;
use auspex_ml::features::{Feature, FeatureKind};
use auspex_ml::output::ScalarOutput;
use auspex_ml::trained_model::TrainedModel;
use auspex_sql::{
    MlArg, ModelRef, PredictArgs, PredictKind, ScalarPredict, VersionRef, ml_function,
    parse_model_ref, parse_query, scalar_predict,
};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, TableFactor, Value, VisitMut, VisitorMut,
};

use super::column_aliases::ColumnAliases;
use super::file_functions::FileScope;
use super::findings::Findings;
use super::functions::{MlRelationPlanner, privilege_of};
use super::given_tables::GivenTables;
use super::predict_udf::PredictUdf;
use crate::error::{Error, Result};
use crate::observe::Counter;
use crate::query_meaning;
use crate::session::Session;

/// A model version that a statement uses.
#[derive(Debug, Clone)]
pub(crate) struct BoundModel {
    /// The name as the catalog has it: `churn`, `sales.churn`.
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) model: Arc<TrainedModel>,
    /// Counts the rows that it predicts.
    pub(crate) predicted: Counter,
    /// Where it predicts.
    pub(crate) compute: Compute,
}

/// The function that tells what a model was trained on.
const LINEAGE: &str = "ml.lineage";

/// The models of one statement.
#[derive(Debug, Default)]
pub(crate) struct ModelScope {
    pub(crate) models: BTreeMap<String, BoundModel>,
    functions: Vec<Arc<ScalarUDF>>,
    pub(crate) findings: Findings,
}

/// The key of a reference: its text in canonical form.
pub(crate) fn model_key(model: &ModelRef) -> String {
    let name = model.name.parts.join(".");
    match &model.version {
        None => name,
        Some(VersionRef::Number(number)) => format!("{name}@{number}"),
        Some(VersionRef::Alias(alias)) => format!("{name}@{alias}"),
    }
}

impl ModelScope {
    /// Finds and loads the models of a statement, and rewrites what stands for them.
    pub(crate) async fn bind(
        session: &Arc<Session>,
        statement: &mut ast::Statement,
    ) -> Result<ModelScope> {
        let mut collector = Collector {
            dialect: query_meaning::dialect(session),
            found: BTreeMap::new(),
        };
        if let ControlFlow::Break(error) = statement.visit(&mut collector) {
            return Err(error);
        }
        let mut scope = ModelScope {
            findings: Findings::current(),
            ..ModelScope::default()
        };
        for (key, model) in collector.found {
            let (model, privileges) = model;
            let mut bound = None;
            for privilege in privileges {
                bound = Some(session.load_model(&model, privilege).await?);
            }
            let Some(bound) = bound else {
                continue;
            };
            scope.findings.use_model(&bound);
            scope.models.insert(key, bound);
        }
        if !scope.models.is_empty()
            && let ControlFlow::Break(error) = statement.visit(&mut Rewriter {
                scope: &mut scope,
                functions: Vec::new(),
            })
        {
            return Err(error);
        }
        Ok(scope)
    }

    /// The model of a reference that `bind` found.
    pub(crate) fn get(&self, model: &ModelRef) -> Result<&BoundModel> {
        let key = model_key(model);
        self.models.get(&key).ok_or_else(|| Error::Undefined {
            kind: "model",
            name: key,
            nearest: None,
            position: None,
        })
    }

    /// A state that plans the statement's predictions, `ML.` functions and functions that read files.
    pub(crate) fn install(
        &self,
        mut state: SessionState,
        given: GivenTables,
        files: FileScope,
    ) -> Result<SessionState> {
        let planner = MlRelationPlanner::new(self.models.clone(), self.findings.clone());
        // The last one is asked first. A state that is built with them would hash the names of all functions once more.
        state.register_relation_planner(Arc::new(planner))?;
        state.register_relation_planner(Arc::new(files))?;
        state.register_relation_planner(Arc::new(given))?;
        state.register_relation_planner(Arc::new(ColumnAliases))?;
        for function in &self.functions {
            state.register_udf(Arc::clone(function))?;
        }
        Ok(state)
    }
}

/// First pass: query texts become queries, references are collected.
struct Collector {
    dialect: auspex_sql::Dialect,
    /// The references, with the privileges that their uses need.
    found: BTreeMap<String, (ModelRef, BTreeSet<&'static str>)>,
}

impl Collector {
    fn see(&mut self, model: ModelRef, privilege: &'static str) {
        let key = model_key(&model);
        let found = self.found.entry(key);
        let (_, privileges) = found.or_insert_with(|| (model, BTreeSet::new()));
        privileges.insert(privilege);
    }

    fn table_function(&mut self, factor: &mut TableFactor) -> Result<()> {
        let Some(call) = ml_function(factor) else {
            return Ok(());
        };
        let call = call?;
        if call.name == LINEAGE && call.args.len() == 1 {
            // The rows of the view are cut down to those of the model.
            let query = parse_query("SELECT * FROM ml.lineage", self.dialect)?;
            push_argument(factor, Expr::Subquery(query));
        }
        let privilege = privilege_of(&call.name);
        for (idx, arg) in call.args.iter().enumerate() {
            match arg {
                MlArg::Model(model) => self.see(model.clone(), privilege),
                MlArg::Expr(expr) if idx == 0 => {
                    if let Some(text) = string_literal(expr) {
                        self.see(parse_model_ref(text)?, privilege);
                    }
                }
                MlArg::Expr(expr) if idx == 1 => {
                    if let Some(text) = string_literal(expr) {
                        let query = parse_query(text, self.dialect)?;
                        replace_argument(factor, idx, Expr::Subquery(query));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl VisitorMut for Collector {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.table_function(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::Function(function) = expr {
            match scalar_predict(function) {
                None => {}
                Some(Ok(call)) => self.see(call.model, "EXECUTE"),
                Some(Err(error)) => return ControlFlow::Break(error.into()),
            }
        }
        ControlFlow::Continue(())
    }
}

/// Second pass: scalar predictions become calls of functions that are bound to their model.
struct Rewriter<'a> {
    scope: &'a mut ModelScope,
    /// The functions made so far, by model and by what is asked of it.
    functions: Vec<((String, ScalarOutput), String)>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let call = match scalar_predict(function) {
            None => return ControlFlow::Continue(()),
            Some(Err(error)) => return ControlFlow::Break(error.into()),
            Some(Ok(call)) => call,
        };
        match self.bound_call(call) {
            Ok((name, args)) => {
                function.name = ObjectName::from(vec![Ident::with_quote('"', name)]);
                let args = args
                    .into_iter()
                    .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
                    .collect();
                function.args = FunctionArguments::List(FunctionArgumentList {
                    duplicate_treatment: None,
                    args,
                    clauses: Vec::new(),
                });
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Rewriter<'_> {
    fn bound_call(&mut self, call: ScalarPredict) -> Result<(String, Vec<Expr>)> {
        let bound = self.scope.get(&call.model)?.clone();
        let output = match call.kind {
            PredictKind::Predict => ScalarOutput::Predict,
            PredictKind::PredictProba => ScalarOutput::PredictProba { class: call.label },
        };
        let features: Vec<&str> = bound
            .model
            .encoder
            .schema
            .features
            .iter()
            .map(|f| f.name.as_str())
            .collect();
        let args = feature_arguments(&bound.name, &features, call.args)?;
        let features = &bound.model.encoder.schema.features;
        let args = features.iter().zip(args).map(typed).collect();
        let key = (model_key(&call.model), output);
        // Calls that ask a model for the same are one function, so that GROUP BY finds the call that SELECT has.
        if let Some((_, name)) = self.functions.iter().find(|(known, _)| *known == key) {
            return Ok((name.clone(), args));
        }
        let surprises = Arc::default();
        let udf = PredictUdf::scalar(
            format!("predict#{}", self.scope.findings.n_counted()),
            &bound,
            key.1.clone(),
            Arc::clone(&surprises),
        )?;
        let name = udf.name().to_owned();
        self.functions.push((key, name.clone()));
        self.scope.functions.push(Arc::new(udf));
        self.scope.findings.count(&bound, "PREDICT", surprises);
        Ok((name, args))
    }
}

/// The arguments in the order of the model's features: by name where all have one, else by place.
fn feature_arguments(model: &str, features: &[&str], args: PredictArgs) -> Result<Vec<Expr>> {
    let exprs = match args {
        PredictArgs::All => {
            let column = |name: &&str| Expr::Identifier(Ident::with_quote('"', *name));
            return Ok(features.iter().map(column).collect());
        }
        PredictArgs::List(list) => {
            let by_name = |feature: &&str| {
                list.iter().find_map(|(name, expr)| {
                    let name = name.as_ref()?;
                    name.eq_ignore_ascii_case(feature).then(|| expr.clone())
                })
            };
            let found: Vec<Option<Expr>> = features.iter().map(by_name).collect();
            if found.iter().any(Option::is_some) && list.iter().all(|(name, _)| name.is_some()) {
                let missing = found.iter().position(Option::is_none);
                if let Some(idx) = missing {
                    return Err(auspex_ml::error::Error::MissingColumn {
                        column: features[idx].to_owned(),
                        place: "arguments of PREDICT",
                        role: "feature",
                        nearest: None,
                    }
                    .into());
                }
                return Ok(found.into_iter().flatten().collect());
            }
            list.into_iter().map(|(_, expr)| expr).collect()
        }
        PredictArgs::Positional(exprs) => exprs,
    };
    if exprs.len() != features.len() {
        let message = format!(
            "model \"{model}\" takes {} features, got {} arguments",
            features.len(),
            exprs.len()
        );
        let hint = format!("The features are, in this order: {}.", features.join(", "));
        return Err(Error::invalid("42883", message, Some(&hint)));
    }
    Ok(exprs)
}

/// An argument with its feature's type, where it has none of its own: a parameter or a quoted constant.
fn typed((feature, expr): (&Feature, Expr)) -> Expr {
    let is_untyped = match &expr {
        Expr::Value(value) => matches!(
            value.value,
            Value::Placeholder(_) | Value::SingleQuotedString(_)
        ),
        _ => false,
    };
    let data_type = match feature.sql_type.as_str() {
        "text" => return expr,
        "boolean" => ast::DataType::Boolean,
        "date" => ast::DataType::Date,
        "timestamp without time zone" => {
            ast::DataType::Timestamp(None, ast::TimezoneInfo::WithoutTimeZone)
        }
        "timestamp with time zone" => {
            ast::DataType::Timestamp(None, ast::TimezoneInfo::WithTimeZone)
        }
        // Models take any number for any other: a fraction may stand where training saw none.
        _ if feature.kind != FeatureKind::Categorical => ast::DataType::DoublePrecision,
        _ => return expr,
    };
    if !is_untyped {
        return expr;
    }
    Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

/// The text of a string literal.
pub(crate) fn string_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn replace_argument(factor: &mut TableFactor, idx: usize, expr: Expr) {
    if let Some(arg) = arguments(factor).and_then(|args| args.get_mut(idx)) {
        *arg = FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    }
}

fn push_argument(factor: &mut TableFactor, expr: Expr) {
    if let Some(args) = arguments(factor) {
        args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)));
    }
}

fn arguments(factor: &mut TableFactor) -> Option<&mut Vec<FunctionArg>> {
    match factor {
        TableFactor::Table {
            args: Some(list), ..
        } => Some(&mut list.args),
        TableFactor::Function { args, .. } => Some(args),
        _ => None,
    }
}
