//! Calls of model functions in a parsed tree, taken apart for the planner.
//!
//! In: sqlparser's `TableFactor` and `Function`; out: `MlFunction`, `ScalarPredict`. Never knows which functions exist.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    TableFactor, Value,
};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::span_of;
use crate::model_forms::{PredictHead, located, predict_head};
use crate::reference::parse_model_ref;
use crate::statement::{MlArg, MlFunction, ModelRef};

/// A prediction inside an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalarPredict {
    /// What is asked of the model.
    pub kind: PredictKind,
    /// The model.
    pub model: ModelRef,
    /// `PREDICT_PROBA(m, 'label' USING …)`: the class whose probability is asked for.
    pub label: Option<String>,
    /// The features.
    pub args: PredictArgs,
}

/// What a scalar prediction returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictKind {
    /// `PREDICT`: the label, number, cluster or vector.
    Predict,
    /// `PREDICT_PROBA`: probabilities.
    PredictProba,
}

/// The features given to a scalar prediction.
#[derive(Debug, Clone, PartialEq)]
pub enum PredictArgs {
    /// `USING *`: every column in scope, by name.
    All,
    /// `USING a, b + 1 AS c`: by name, from the alias or the column.
    List(Vec<(Option<String>, Expr)>),
    /// `ml.predict('m', a, b)`: in the order of the model's features.
    Positional(Vec<Expr>),
}

/// Recognises `ML.name(…)` and `AI.name(…)` in FROM; `None` for any other relation.
pub fn ml_function(factor: &TableFactor) -> Option<Result<MlFunction, ParseError>> {
    let (name, args) = match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            ..
        } => (name, &args.args),
        TableFactor::Function { name, args, .. } => (name, args),
        _ => return None,
    };
    let name = ml_name(name)?;
    let args = args
        .iter()
        .map(|arg| ml_arg(arg, &name))
        .collect::<Result<_, _>>();
    Some(args.map(|args| MlFunction { name, args }))
}

/// Recognises `PREDICT(m USING …)`, `PREDICT_PROBA(…)` and `ml.predict('m', …)`; `None` for any other function.
pub fn scalar_predict(function: &Function) -> Option<Result<ScalarPredict, ParseError>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    if let [name] = function.name.0.as_slice() {
        let kind = match name.as_ident()?.value.as_str() {
            "predict" => PredictKind::Predict,
            "predict_proba" => PredictKind::PredictProba,
            _ => return None,
        };
        return marked(kind, &list.args).map(Ok);
    }
    let kind = match ml_name(&function.name)?.as_str() {
        "ml.predict" => PredictKind::Predict,
        "ml.predict_proba" => PredictKind::PredictProba,
        _ => return None,
    };
    Some(positional(kind, function, &list.args))
}

/// `ml.name` or `ai.name` in lower case.
fn ml_name(name: &ObjectName) -> Option<String> {
    let [schema, function] = name.0.as_slice() else {
        return None;
    };
    let schema = schema.as_ident()?.value.to_ascii_lowercase();
    let function = function.as_ident()?.value.to_ascii_lowercase();
    matches!(schema.as_str(), "ml" | "ai").then(|| format!("{schema}.{function}"))
}

fn ml_arg(arg: &FunctionArg, function: &str) -> Result<MlArg, ParseError> {
    let (name, value) = match arg {
        FunctionArg::Unnamed(value) => (None, value),
        FunctionArg::Named { name, arg, .. } => (Some(folded(name)), arg),
        FunctionArg::ExprNamed {
            name: Expr::Identifier(name),
            arg,
            ..
        } => (Some(folded(name)), arg),
        FunctionArg::ExprNamed { name, .. } => {
            let message = format!("\"{name}\" cannot name an argument of function {function}");
            return Err(ParseError::new(ParseErrorKind::Malformed(message), None));
        }
    };
    let FunctionArgExpr::Expr(expr) = value else {
        let message = format!("* cannot be an argument of function {function}");
        return Err(ParseError::new(ParseErrorKind::Malformed(message), None)
            .with_hint("Give the rows as TABLE t or as (SELECT * FROM t)."));
    };
    Ok(match name {
        Some(name) => MlArg::Named(name, expr.clone()),
        None => positional_arg(expr),
    })
}

fn positional_arg(expr: &Expr) -> MlArg {
    match expr {
        Expr::Subquery(query) => MlArg::Query(query.clone()),
        Expr::Prefixed { .. } => match marked_model(expr) {
            Some(model) => MlArg::Model(model),
            None => MlArg::Expr(expr.clone()),
        },
        Expr::Struct { values, fields } => {
            let names = fields
                .iter()
                .map(|field| field.field_name.as_ref().map(folded));
            let names = names.chain(std::iter::repeat(None));
            let items = values.iter().zip(names).map(|(value, name)| match value {
                Expr::Named { expr, name } => (Some(folded_any(name)), expr.as_ref().clone()),
                other => (name.map(|name| name.to_ascii_lowercase()), other.clone()),
            });
            MlArg::Struct(items.collect())
        }
        Expr::Tuple(values) => {
            MlArg::Struct(values.iter().map(|value| (None, value.clone())).collect())
        }
        other => MlArg::Expr(other.clone()),
    }
}

/// `MODEL m` as `model_forms` encodes it.
fn marked_model(expr: &Expr) -> Option<ModelRef> {
    match expr {
        Expr::Prefixed { prefix, value } if prefix.value == "MODEL" => match value.as_ref() {
            Expr::Identifier(ident) => located(&ident.value, ident),
            _ => None,
        },
        _ => None,
    }
}

/// The arguments of a marked call; `None` if it is an ordinary call of a function of that name.
fn marked(kind: PredictKind, args: &[FunctionArg]) -> Option<ScalarPredict> {
    let mut exprs = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    let (head, first) = match exprs.next()?? {
        Expr::Identifier(ident) => (predict_head(ident)?, None),
        Expr::Prefixed { prefix, value } => (predict_head(prefix)?, Some(value.as_ref())),
        _ => return None,
    };
    let PredictHead { model, label, all } = head;
    let args = match first {
        None if all => PredictArgs::All,
        None => return None,
        Some(first) => {
            let rest = exprs.collect::<Option<Vec<_>>>()?;
            PredictArgs::List(std::iter::once(first).chain(rest).map(feature).collect())
        }
    };
    Some(ScalarPredict {
        kind,
        model,
        label,
        args,
    })
}

/// A feature with the name that it goes by.
fn feature(expr: &Expr) -> (Option<String>, Expr) {
    match expr {
        Expr::Named { expr, name } => (Some(folded(name)), expr.as_ref().clone()),
        Expr::Identifier(name) => (Some(folded(name)), expr.clone()),
        Expr::CompoundIdentifier(parts) => (parts.last().map(folded), expr.clone()),
        other => (None, other.clone()),
    }
}

/// `ml.predict('m', a, b)`
fn positional(
    kind: PredictKind,
    function: &Function,
    args: &[FunctionArg],
) -> Result<ScalarPredict, ParseError> {
    let name = function.name.to_string().to_ascii_lowercase();
    let position = function.name.0.first().and_then(|part| part.as_ident());
    let position = position.map(|ident| span_of(ident.span).start);
    let wrong = |message: String| {
        ParseError::new(ParseErrorKind::Malformed(message), position)
            .with_hint(format!("Write {name}('model', feature, …)."))
    };
    let mut args = args.iter();
    let model = match args.next() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => model_argument(expr),
        _ => None,
    };
    let Some(model) = model else {
        return Err(wrong(format!(
            "the first argument of function {name} must name a model"
        )));
    };
    let model = model?;
    let rest = args.collect::<Vec<_>>();
    if let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] = rest.as_slice() {
        return Ok(ScalarPredict {
            kind,
            model,
            label: None,
            args: PredictArgs::All,
        });
    }
    let features = rest.into_iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
        other => Err(wrong(format!(
            "\"{other}\" cannot be an argument of function {name}"
        ))),
    });
    let args = PredictArgs::Positional(features.collect::<Result<_, _>>()?);
    Ok(ScalarPredict {
        kind,
        model,
        label: None,
        args,
    })
}

/// `'m'` or `MODEL m`.
fn model_argument(expr: &Expr) -> Option<Result<ModelRef, ParseError>> {
    match expr {
        Expr::Value(value) => {
            let start = span_of(value.span).start;
            let Value::SingleQuotedString(text) = &value.value else {
                return None;
            };
            // The text starts behind the quote.
            let model = parse_model_ref(text).map(|mut model| {
                model.name.span = span_of(value.span);
                model
            });
            Some(model.map_err(|error| error.shifted(start + 1)))
        }
        other => marked_model(other).map(Ok),
    }
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_ascii_lowercase(),
        Some(_) => ident.value.clone(),
    }
}

/// A setting's name, which no quote makes case-sensitive.
fn folded_any(ident: &Ident) -> String {
    ident.value.to_ascii_lowercase()
}
