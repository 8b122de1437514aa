//! Parameters that have the type of what stands beside them, and those that are true or false.
//!
//! In: a plan; out: by name, the types that its expressions tell where no cast, function or comparison does.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, NullEquality, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Case, Distinct, Expr, ExprSchemable as _, Join, LogicalPlan, Operator, Union,
};

use super::{all_marks, parameter, plain, typed_as};

/// Functions whose arguments are of one type.
const OF_ONE_TYPE: [&str; 5] = ["coalesce", "greatest", "least", "nullif", "make_array"];

/// The types of such parameters.
pub(super) fn types(plan: &LogicalPlan) -> Result<BTreeMap<String, FieldRef>> {
    let mut types = BTreeMap::new();
    let mut note = |found: Vec<(String, FieldRef)>| {
        for (name, field) in found {
            types.entry(name).or_insert(field);
        }
    };
    plan.apply_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        match node {
            LogicalPlan::Filter(filter) => note(truths([&filter.predicate])),
            LogicalPlan::Join(join) => {
                note(truths(&join.filter));
                note(of_rows(join));
            }
            _ => {}
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                note(alike(expr, &seen));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// The parameters that are columns of a UNION whose others are marked, as json is: the planner has cast them to the type that
/// Arrow has for it.
pub(super) fn of_union(union: &Union) -> Vec<(String, FieldRef)> {
    let columns = union.inputs.iter().filter_map(|input| match &**input {
        LogicalPlan::Projection(projection) => Some(projection.expr.iter().enumerate()),
        _ => None,
    });
    let typed = columns.flatten().filter_map(|(idx, expr)| {
        let name = column_parameter(expr)?;
        let mut fields = union.inputs.iter().map(|input| input.schema().field(idx));
        let marked = fields.find(|field| !all_marks(field).is_empty())?;
        Some((name, typed_as(marked)))
    });
    typed.collect()
}

/// The parameter that is a column, perhaps in the type of others.
fn column_parameter(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Alias(alias) => column_parameter(&alias.expr),
        Expr::Cast(cast) => parameter(&cast.expr),
        expr => parameter(expr),
    }
}

/// The parameters that are columns of one of the queries of EXCEPT and INTERSECT, which are joins of whole rows.
fn of_rows(join: &Join) -> Vec<(String, FieldRef)> {
    let is_set = join.null_equality == NullEquality::NullEqualsNull
        && matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi);
    if !is_set {
        return Vec::new();
    }
    let pairs = join.on.iter().flat_map(|(left, right)| {
        let (left, right) = ((left, &*join.left), (right, &*join.right));
        [(left, right), (right, left)]
    });
    let typed = pairs.filter_map(|((open, query), (other, beside))| {
        let name = parameter_in(query, open)?;
        let known = known(other, beside.schema())?;
        Some((name, typed_as(&known)))
    });
    typed.collect()
}

/// The parameter that an expression over a query is.
fn parameter_in(query: &LogicalPlan, expr: &Expr) -> Option<String> {
    match expr {
        Expr::Alias(alias) => parameter_in(query, &alias.expr),
        Expr::Column(column) => {
            let idx = query.schema().maybe_index_of_column(column)?;
            parameter_at(query, idx)
        }
        expr => column_parameter(expr),
    }
}

/// The parameter that a column of a query is.
fn parameter_at(query: &LogicalPlan, idx: usize) -> Option<String> {
    match query {
        LogicalPlan::Projection(projection) => {
            parameter_in(&projection.input, projection.expr.get(idx)?)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => parameter_at(input, idx),
        LogicalPlan::SubqueryAlias(alias) => parameter_at(&alias.input, idx),
        // The number of a row among those like it stands behind its columns.
        LogicalPlan::Window(window) => parameter_at(&window.input, idx),
        _ => None,
    }
}

/// The parameters of an expression that have the type of others in it, or are conditions.
fn alike(expr: &Expr, seen: &DFSchema) -> Vec<(String, FieldRef)> {
    match expr {
        Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => {
            of_common_type(&call.args, seen)
        }
        Expr::WindowFunction(call) => shifted(call, seen),
        Expr::Case(case) => of_case(case, seen),
        Expr::Not(value)
        | Expr::IsTrue(value)
        | Expr::IsNotTrue(value)
        | Expr::IsFalse(value)
        | Expr::IsNotFalse(value)
        | Expr::IsUnknown(value)
        | Expr::IsNotUnknown(value) => truths([value.as_ref()]),
        Expr::BinaryExpr(pair) => of_pair(pair, seen),
        Expr::Between(between) => {
            of_one_type([&*between.expr, &*between.low, &*between.high], seen)
        }
        Expr::InList(found) => of_one_type(std::iter::once(&*found.expr).chain(&found.list), seen),
        _ => Vec::new(),
    }
}

/// The parameters among values of one type, which the first other one tells.
fn of_one_type<'a>(
    values: impl IntoIterator<Item = &'a Expr>,
    seen: &DFSchema,
) -> Vec<(String, FieldRef)> {
    let (open, others) = apart(values);
    let known = others.into_iter().find_map(|value| known(value, seen));
    known.map_or_else(Vec::new, |known| named(open, &typed_as(&known)))
}

/// The parameters among values that become of one type, of which numbers and moments have the widest. Texts and fractions that
/// are written out have that of the others.
fn of_common_type<'a>(
    values: impl IntoIterator<Item = &'a Expr>,
    seen: &DFSchema,
) -> Vec<(String, FieldRef)> {
    let (open, others) = apart(values);
    let (loose, others): (Vec<&Expr>, Vec<&Expr>) =
        others.into_iter().partition(|value| is_loose(value));
    let others = others.into_iter().filter_map(|value| known(value, seen));
    let widest = others.reduce(|widest, other| match is_wider(&other, &widest) {
        true => other,
        false => widest,
    });
    let known = widest.or_else(|| loose.into_iter().find_map(|value| known(value, seen)));
    known.map_or_else(Vec::new, |known| named(open, &typed_as(&known)))
}

/// Parameters, and the values beside them.
fn apart<'a>(values: impl IntoIterator<Item = &'a Expr>) -> (Vec<&'a Expr>, Vec<&'a Expr>) {
    let values = values.into_iter();
    values.partition(|value| parameter(value).is_some())
}

/// The type of a value, if it has one.
fn known(value: &Expr, seen: &DFSchema) -> Option<FieldRef> {
    let (_, field) = value.to_field(seen).ok()?;
    (!field.data_type().is_null()).then_some(field)
}

fn is_loose(value: &Expr) -> bool {
    matches!(
        value,
        Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Float64(_), _)
    )
}

/// Whether PostgreSQL makes a value of one type of that of another, and not the other way.
fn is_wider(one: &Field, other: &Field) -> bool {
    let orders = [number_order, moment_order];
    orders
        .iter()
        .any(|order| matches!((order(one), order(other)), (Some(one), Some(other)) if one > other))
}

fn number_order(field: &Field) -> Option<u8> {
    Some(match field.data_type() {
        DataType::Int16 => 0,
        DataType::Int32 => 1,
        DataType::Int64 => 2,
        DataType::Decimal128(..) => 3,
        DataType::Float32 => 4,
        DataType::Float64 => 5,
        _ => return None,
    })
}

fn moment_order(field: &Field) -> Option<u8> {
    Some(match field.data_type() {
        DataType::Date32 => 0,
        DataType::Timestamp(_, None) => 1,
        DataType::Timestamp(_, Some(_)) => 2,
        _ => return None,
    })
}

/// The parameters among conditions.
fn truths<'a>(values: impl IntoIterator<Item = &'a Expr>) -> Vec<(String, FieldRef)> {
    named(values, &plain(DataType::Boolean))
}

/// The names of the values that are parameters, each with its type.
fn named<'a>(
    values: impl IntoIterator<Item = &'a Expr>,
    field: &FieldRef,
) -> Vec<(String, FieldRef)> {
    let names = values.into_iter().filter_map(parameter);
    names.map(|name| (name, FieldRef::clone(field))).collect()
}

/// `CASE x WHEN $1 THEN $2 ELSE y END`, `CASE WHEN $1 THEN …`.
fn of_case(case: &Case, seen: &DFSchema) -> Vec<(String, FieldRef)> {
    let branches = case.when_then_expr.iter();
    let (whens, thens): (Vec<&Expr>, Vec<&Expr>) = branches
        .map(|(when, then)| (when.as_ref(), then.as_ref()))
        .unzip();
    let mut found = match &case.expr {
        Some(base) => of_one_type(std::iter::once(base.as_ref()).chain(whens), seen),
        None => truths(whens),
    };
    let results = thens.into_iter().chain(case.else_expr.as_deref());
    found.extend(of_common_type(results, seen));
    found
}

/// `lag(x, 1, $1)`: what stands for rows that are not there.
fn shifted(call: &WindowFunction, seen: &DFSchema) -> Vec<(String, FieldRef)> {
    match (call.fun.name(), call.params.args.as_slice()) {
        ("lag" | "lead", [value, _, default]) => of_one_type([value, default], seen),
        _ => Vec::new(),
    }
}

/// The operands of an operator: conditions, and rows that are compared field by field.
fn of_pair(pair: &BinaryExpr, seen: &DFSchema) -> Vec<(String, FieldRef)> {
    let BinaryExpr { left, op, right } = pair;
    if matches!(op, Operator::And | Operator::Or) {
        return truths([left.as_ref(), right.as_ref()]);
    }
    match (left.as_ref(), right.as_ref()) {
        (Expr::ScalarFunction(one), Expr::ScalarFunction(other))
            if is_row(one.func.name()) && is_row(other.func.name()) =>
        {
            let fields = one.args.iter().zip(&other.args);
            fields
                .flat_map(|(one, other)| of_one_type([one, other], seen))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a function of this name makes a row.
fn is_row(name: &str) -> bool {
    matches!(name, "row" | "struct")
}
