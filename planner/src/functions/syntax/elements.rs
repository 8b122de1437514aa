//! Subqueries over the elements of an array of the same row: `(SELECT MAX(p.prob) FROM UNNEST(probs) AS p)`.
//!
//! In: a subquery whose FROM is one `UNNEST` of columns; out: functions of the array, which need no join. A bare name
//! means a field of the element where it has such a field, which the planner of operators is told ([`FIELD`]), and a column
//! of the outer query else.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, Ident, LambdaFunction, LambdaFunctionParameter, LambdaSyntax, LimitClause,
    OneOrManyWithParens, Query, Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut,
};

use super::own_expressions::each_own;
use super::unnest::{Elements, names_columns};
use super::{call, function_name, number, plain_arguments, text};
use crate::functions::{aggregates, googlesql};

/// The beginning of the operator between an element and a bare name, which no client's text can write: the name follows.
pub(in crate::functions) const FIELD: &str = "\u{1e}field ";

/// The names of aggregates.
static AGGREGATES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let planners = all_default_aggregate_functions();
    let planners = planners.iter().map(|function| function.as_ref().clone());
    let ours = aggregates::functions().into_iter();
    let ours = ours.chain(googlesql::aggregates());
    let mut names = BTreeSet::new();
    for function in planners.chain(ours) {
        names.insert(function.name().to_owned());
        names.extend(function.aliases().iter().cloned());
    }
    names
});

/// What an element is called that has no name.
const NAMELESS: &str = "unnested element";

/// The value of a subquery; `None` if it is of another form.
pub(super) fn value(query: &Query) -> Option<Expr> {
    let (select, elements) = over_elements(query)?;
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    let each = Each::of(&elements);
    let kept = each.kept(select, &elements);
    match expr {
        Expr::Function(function) => {
            let name = function_name(function)?;
            if name == "count" && counts_all(&function.args) {
                return Some(length(kept));
            }
            let is_plain = function.over.is_none() && function.filter.is_none();
            match (name.as_str(), plain_arguments(function)?.as_slice()) {
                _ if !is_plain || has_clauses(&function.args) => None,
                ("sum", [of]) => Some(call("array_sum", vec![each.mapped(kept, of)])),
                ("avg", [of]) => Some(call("array_avg", vec![each.mapped(kept, of)])),
                ("max", [of]) => Some(call("array_max", vec![each.mapped(kept, of)])),
                ("min", [of]) => Some(call("array_min", vec![each.mapped(kept, of)])),
                ("array_agg", [of]) => Some(each.mapped(kept, of)),
                ("string_agg", [of, delimiter]) => {
                    let texts = each.mapped(kept, of);
                    let known = call("array_without_nulls", vec![texts.clone()]);
                    let joined = call("array_to_string", vec![texts, delimiter.clone()]);
                    Some(where_any(known, joined))
                }
                ("json_agg_of" | "jsonb_agg_of", [Expr::Function(gathered)])
                    if function_name(gathered)? == "array_agg"
                        && gathered.filter.is_none()
                        && !has_clauses(&gathered.args) =>
                {
                    let values = plain_arguments(gathered)?;
                    let [of] = values.as_slice() else {
                        return None;
                    };
                    let json = call(&name, vec![each.mapped(kept.clone(), of)]);
                    Some(where_any(kept, json))
                }
                _ if has_aggregate(expr) => None,
                _ => Some(first(each.mapped(kept, expr))),
            }
        }
        _ if has_aggregate(expr) => None,
        _ => Some(first(each.mapped(kept, expr))),
    }
}

/// Whether an expression has an aggregate in it, or a window: those of other forms are of all elements together.
pub fn has_aggregate(expr: &Expr) -> bool {
    let mut found = false;
    each_own(expr, |expr| {
        found |= matches!(expr, Expr::Function(function) if is_aggregate(function));
    });
    found
}

fn is_aggregate(function: &Function) -> bool {
    let is_one = |name: String| AGGREGATES.contains(&name);
    function.over.is_some()
        || function.filter.is_some()
        || !function.within_group.is_empty()
        || has_clauses(&function.args)
        || function_name(function).is_some_and(is_one)
}

/// `EXISTS (SELECT … FROM UNNEST(array) WHERE …)`.
pub(super) fn exists(query: &Query, negated: bool) -> Option<Expr> {
    let (select, elements) = over_elements(query)?;
    let kept = Each::of(&elements).kept(select, &elements);
    let op = match negated {
        true => BinaryOperator::Eq,
        false => BinaryOperator::Gt,
    };
    Some(Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(length(kept)),
        op,
        right: Box::new(number("0")),
    })))
}

/// A query whose rows are the elements of an array of the outer row.
fn over_elements(query: &Query) -> Option<(&Select, Elements)> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let [table] = select.from.as_slice() else {
        return None;
    };
    let elements = Elements::of(&table.relation)?;
    let is_plain = query.with.is_none()
        && query.order_by.is_none()
        && is_first(query)
        && select.distinct.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.group_by == GroupByExpr::Expressions(vec![], vec![])
        && table.joins.is_empty()
        && elements.offset.is_none();
    (is_plain && names_columns(&elements.array)).then_some((select, elements))
}

/// Whether a query gives all its rows, or the first alone, which is the value of a subquery.
fn is_first(query: &Query) -> bool {
    let is_one = |limit: &Expr| {
        matches!(limit, Expr::Value(value)
            if matches!(&value.value, Value::Number(digits, _) if digits == "1"))
    };
    let is_limited = match &query.limit_clause {
        None => true,
        Some(LimitClause::LimitOffset {
            limit,
            offset: None,
            limit_by,
        }) => limit.as_ref().is_some_and(is_one) && limit_by.is_empty(),
        Some(_) => false,
    };
    is_limited && query.fetch.is_none()
}

fn counts_all(args: &FunctionArguments) -> bool {
    matches!(args, FunctionArguments::List(list)
        if matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]))
}

fn has_clauses(args: &FunctionArguments) -> bool {
    matches!(args, FunctionArguments::List(list)
        if !list.clauses.is_empty() || list.duplicate_treatment.is_some())
}

fn length(array: Expr) -> Expr {
    let length = call("googlesql.array_length", vec![array]);
    call("coalesce", vec![length, number("0")])
}

/// A value, or NULL where an array has no elements.
fn where_any(array: Expr, value: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: Expr::BinaryOp {
                left: Box::new(length(array)),
                op: BinaryOperator::Gt,
                right: Box::new(number("0")),
            },
            result: value,
        }],
        else_result: None,
    }
}

fn first(array: Expr) -> Expr {
    call("array_element", vec![array, number("1")])
}

/// What is computed of each element.
struct Each {
    element: Ident,
    is_named: bool,
}

impl Each {
    fn of(elements: &Elements) -> Each {
        let nameless = || Ident::with_quote('"', NAMELESS);
        Each {
            element: elements.element.clone().unwrap_or_else(nameless),
            is_named: elements.element.is_some(),
        }
    }

    /// The elements that meet the condition of a query.
    fn kept(&self, select: &Select, elements: &Elements) -> Expr {
        let array = elements.array.clone();
        match &select.selection {
            Some(condition) => call("array_filter", vec![array, self.lambda(condition)]),
            None => array,
        }
    }

    fn mapped(&self, array: Expr, of: &Expr) -> Expr {
        call("array_transform", vec![array, self.lambda(of)])
    }

    fn lambda(&self, body: &Expr) -> Expr {
        let mut body = body.clone();
        // The visitor never breaks off.
        let _ = VisitMut::visit(&mut body, &mut Fields(self));
        lambda(self.element.clone(), body)
    }

    /// The field of a bare name, or the column.
    fn field_or_column(&self, name: &Ident) -> Expr {
        let either = Expr::BinaryOp {
            left: Box::new(Expr::Identifier(self.element.clone())),
            op: BinaryOperator::Custom(format!("{FIELD}{}", name.value)),
            right: Box::new(Expr::Identifier(name.clone())),
        };
        Expr::Nested(Box::new(either))
    }

    fn field(&self, path: &[Ident]) -> Expr {
        let element = Expr::Identifier(self.element.clone());
        path.iter().fold(element, |of, name| {
            call("get_field", vec![of, text(name.value.as_str())])
        })
    }
}

/// `element -> body`.
pub(super) fn lambda(element: Ident, body: Expr) -> Expr {
    Expr::Lambda(LambdaFunction {
        params: OneOrManyWithParens::One(LambdaFunctionParameter {
            name: element,
            data_type: None,
        }),
        body: Box::new(body),
        syntax: LambdaSyntax::Arrow,
    })
}

/// Names become fields of the element.
struct Fields<'a>(&'a Each);

impl VisitorMut for Fields<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let each = self.0;
        let is_element = |name: &Ident| name.value.eq_ignore_ascii_case(&each.element.value);
        let replacement = match &*expr {
            Expr::Identifier(name) if is_element(name) => None,
            Expr::Identifier(name) => Some(each.field_or_column(name)),
            Expr::CompoundIdentifier(path) if path.first().is_some_and(is_element) => {
                Some(each.field(&path[1..]))
            }
            Expr::CompoundIdentifier(path) if !each.is_named => Some(each.field(path)),
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }
}
