//! Aggregates that differ in a cast alone: `sum(n), sum(n::bigint)`, to which the planner gives one name.
//!
//! In: a statement and the error that planning it met; out: the statement with a call around the casts that aggregates take,
//! which changes no value and tells one type from another.

use std::ops::ControlFlow;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Value,
    VisitMut, VisitorMut,
};

use super::column_rules::parse_expr;

/// Tells casts apart, if `error` says that a name appears twice; false if nothing was changed.
pub(super) fn adopt(
    statement: &mut Statement,
    error: &DataFusionError,
    state: &SessionState,
) -> bool {
    let DataFusionError::SchemaError(cause, _) = error.find_root() else {
        return false;
    };
    let (SchemaError::DuplicateUnqualifiedField { name }
    | SchemaError::DuplicateQualifiedField { name, .. }) = cause.as_ref()
    else {
        return false;
    };
    if !name.contains('(') {
        return false;
    }
    let mut telling = Telling {
        state,
        types: Vec::new(),
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut telling);
    telling.is_changed
}

struct Telling<'a> {
    state: &'a SessionState,
    /// The types of the casts that were met.
    types: Vec<DataType>,
    is_changed: bool,
}

impl Telling<'_> {
    fn is_aggregate(&self, function: &Function) -> bool {
        let name = function.name.to_string().to_lowercase();
        self.state.aggregate_functions().contains_key(&name)
    }

    /// The cast with as many NULLs behind it as there are types before its own.
    fn told(&mut self, cast: &Expr, data_type: &DataType) -> Option<Expr> {
        let known = self.types.iter().position(|known| known == data_type);
        let place = known.unwrap_or_else(|| {
            self.types.push(data_type.clone());
            self.types.len() - 1
        });
        let mut told = parse_expr("coalesce(NULL)").ok()?;
        if let Expr::Function(function) = &mut told
            && let FunctionArguments::List(list) = &mut function.args
        {
            let null = Expr::Value(Value::Null.with_empty_span());
            let args = std::iter::once(cast.clone()).chain(vec![null; place]);
            let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
            list.args = args.collect();
        }
        Some(told)
    }
}

impl VisitorMut for Telling<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        if !self.is_aggregate(function) {
            return ControlFlow::Continue(());
        }
        let FunctionArguments::List(list) = &mut function.args else {
            return ControlFlow::Continue(());
        };
        for arg in &mut list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg
                && let Expr::Cast { data_type, .. } = &*arg
                && let Some(told) = self.told(arg, data_type)
            {
                *arg = told;
                self.is_changed = true;
            }
        }
        ControlFlow::Continue(())
    }
}
