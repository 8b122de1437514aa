//! What GoogleSQL means otherwise than PostgreSQL by the same text, spelt so that there is one meaning.
//!
//! In: the tree of a statement that is read as GoogleSQL; out: the same with qualified names where PostgreSQL means
//! something else (`a / b` is `googlesql.divide(a, b)`, `LOG(x, 2)` is `googlesql.log(x, 2)`), with the place of NULLs
//! in each order, and with BigQuery's names of columns that have none (`f0_`). So a tree that is printed and read
//! again, as views and training queries are, keeps its meaning under any dialect. What the functions compute is the
//! planner's.

use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement as SqlStatement};
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, NamedWindowExpr,
    ObjectName, OrderByExpr, OrderByKind, Query, Select, SelectItem, StructField, Value,
    ValueWithSpan, VisitMut, VisitorMut, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::Span;

/// Functions of which PostgreSQL has one of the same name with another meaning.
const OTHERWISE: [&str; 9] = [
    "concat",
    "format",
    "ln",
    "log",
    "log10",
    "regexp_replace",
    "round",
    "sqrt",
    "to_hex",
];

/// Spells a tree anew.
pub(crate) fn settle<T: VisitMut>(tree: &mut T) {
    // The visitor never breaks off.
    let _ = tree.visit(&mut Meaning);
}

/// The same for a statement, DataFusion's own ones included.
pub(crate) fn settle_statement(statement: &mut SqlStatement) {
    match statement {
        SqlStatement::Statement(statement) => settle(statement.as_mut()),
        SqlStatement::Explain(explain) => settle_statement(&mut explain.statement),
        SqlStatement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                settle(query.as_mut());
            }
        }
        SqlStatement::CreateExternalTable(_) | SqlStatement::Reset(_) => {}
    }
}

struct Meaning;

impl VisitorMut for Meaning {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(order) = &mut query.order_by
            && let OrderByKind::Expressions(exprs) = &mut order.kind
        {
            nulls_are_least(exprs);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                nulls_are_least(&mut spec.order_by);
            }
        }
        name_columns(&mut select.projection);
        ControlFlow::Continue(())
    }

    /// Numbers without a place in the text keep GoogleSQL's type, INT64; the planner gives others PostgreSQL's.
    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if matches!(value.value, Value::Number(..)) {
            value.span = Span::empty();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            order_within(function);
        }
        if let Some(replacement) = replacement(expr) {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }
}

/// NULL is less than any value: first in ascending order, last in descending.
fn nulls_are_least(order: &mut [OrderByExpr]) {
    for expr in order {
        let is_ascending = expr.options.asc.unwrap_or(true);
        expr.options.nulls_first.get_or_insert(is_ascending);
    }
}

fn order_within(function: &mut Function) {
    if let Some(WindowType::WindowSpec(spec)) = &mut function.over {
        nulls_are_least(&mut spec.order_by);
    }
    if let FunctionArguments::List(list) = &mut function.args {
        for clause in &mut list.clauses {
            if let FunctionArgumentClause::OrderBy(order) = clause {
                nulls_are_least(order);
            }
        }
    }
}

/// Columns without a name are `f0_`, `f1_` and so on.
fn name_columns(items: &mut [SelectItem]) {
    let mut n_nameless = 0;
    for item in items {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        let is_path = matches!(
            expr,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. }
        );
        // A marked form names its own columns.
        if is_path || is_marked(expr) {
            continue;
        }
        let expr = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
        let alias = Ident::new(format!("f{n_nameless}_"));
        *item = SelectItem::ExprWithAlias { expr, alias };
        n_nameless += 1;
    }
}

fn is_marked(expr: &Expr) -> bool {
    match expr {
        Expr::Prefixed { .. } => true,
        Expr::Function(function) => crate::scalar_predict(function).is_some(),
        _ => false,
    }
}

fn replacement(expr: &mut Expr) -> Option<Expr> {
    Some(match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Divide,
            right,
        } => own("divide", vec![take(left), take(right)]),
        Expr::Substring {
            expr,
            substring_from: Some(from),
            substring_for,
            ..
        } => {
            let length = substring_for.as_mut().map(|length| take(length));
            let args = [take(expr), take(from)].into_iter().chain(length);
            own("characters", args.collect())
        }
        Expr::Extract { field, expr, .. } => extracted(&field.to_string(), take(expr)),
        Expr::Cast {
            kind,
            expr,
            data_type,
            format: None,
            ..
        } if !matches!(expr.as_ref(), Expr::Value(value) if matches!(value.value, Value::Placeholder(_))) =>
        {
            let is_safe = matches!(kind, CastKind::SafeCast | CastKind::TryCast);
            match data_type {
                DataType::String(_) => own("string", vec![take(expr)]),
                DataType::Int64 if is_safe => call(&["safe", "int64"], vec![take(expr)]),
                DataType::Int64 => own("int64", vec![take(expr)]),
                _ => return None,
            }
        }
        Expr::Struct { values, fields } => {
            name_fields(values, std::mem::take(fields));
            return None;
        }
        Expr::Function(function) => return called(function),
        _ => return None,
    })
}

/// `STRUCT<a INT64>(1)` is cast and named; a column in `STRUCT(a)` names its field.
fn name_fields(values: &mut [Expr], fields: Vec<StructField>) {
    let mut fields = fields.into_iter();
    for value in values {
        let (name, data_type) = match fields.next() {
            Some(field) => (field.field_name, Some(field.field_type)),
            None => (path_end(value), None),
        };
        let mut typed = take(value);
        if let Some(data_type) = data_type {
            typed = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(typed),
                data_type,
                array: false,
                format: None,
            };
            if let Some(own) = replacement(&mut typed) {
                typed = own;
            }
        }
        *value = match name {
            Some(name) => Expr::Named {
                expr: Box::new(typed),
                name,
            },
            None => typed,
        };
    }
}

fn path_end(expr: &Expr) -> Option<Ident> {
    match expr {
        Expr::Identifier(name) => Some(name.clone()),
        Expr::CompoundIdentifier(path) => path.last().cloned(),
        _ => None,
    }
}

/// Calls of functions by names that PostgreSQL gives another meaning.
fn called(function: &mut Function) -> Option<Expr> {
    let [part] = function.name.0.as_slice() else {
        return None;
    };
    let name = part.as_ident()?.value.to_ascii_lowercase();
    if OTHERWISE.contains(&name.as_str()) {
        function.name = qualified(&["googlesql", &name]);
        return None;
    }
    match name.as_str() {
        "regexp_substr" => {
            function.name = qualified(&["regexp_extract"]);
            None
        }
        "md5" => {
            let digest = Expr::Function(function.clone());
            Some(call(&["decode"], vec![digest, text("hex")]))
        }
        "greatest" | "least" => null_if_any_is(function),
        _ => None,
    }
}

/// `GREATEST(a, b)` is NULL if one of its arguments is.
fn null_if_any_is(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let is_null = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
            Some(Expr::IsNull(Box::new(Expr::Nested(Box::new(expr.clone())))))
        }
        _ => None,
    };
    let conditions: Option<Vec<Expr>> = list.args.iter().map(is_null).collect();
    let any = conditions?
        .into_iter()
        .reduce(|left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::Or,
            right: Box::new(right),
        })?;
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: any,
            result: Expr::Value(Value::Null.with_empty_span()),
        }],
        else_result: Some(Box::new(Expr::Function(function.clone()))),
    })
}

/// `EXTRACT(part FROM x)`, where `x AT TIME ZONE z` is the clock of a zone.
fn extracted(part: &str, from: Expr) -> Expr {
    let from = match from {
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => call(&["datetime"], vec![*timestamp, *time_zone]),
        other => other,
    };
    match part.to_ascii_uppercase().as_str() {
        "DATE" => call(&["date"], vec![from]),
        "DATETIME" => call(&["datetime"], vec![from]),
        "TIME" => call(&["time"], vec![from]),
        part => own("extract", vec![text(&part.to_ascii_lowercase()), from]),
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Identifier(Ident::new("")))
}

fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

fn qualified(name: &[&str]) -> ObjectName {
    ObjectName::from(
        name.iter()
            .map(|part| Ident::new(*part))
            .collect::<Vec<_>>(),
    )
}

/// `googlesql.name(args)`.
fn own(name: &str, args: Vec<Expr>) -> Expr {
    call(&["googlesql", name], args)
}

fn call(name: &[&str], args: Vec<Expr>) -> Expr {
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: qualified(name),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
