//! Types of parameters that the planner leaves open: those of casts, of functions that take one type in a place, and of
//! values that stand beside others.
//!
//! In: a plan with parameters; out: types by name (`$1`). Where the client declared a type, that one is a cast already.
//! `taken_types` is the table of what functions take, `beside` has the values that are of one type.

mod beside;
mod taken_types;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use crate::first_uses::{Order, first_uses};
use crate::functions::TYPE_KEY;
use crate::point_plan::place;

/// The types of a plan's parameters; `None` where nothing tells one.
pub(crate) fn inferred_parameters(plan: &LogicalPlan) -> Result<HashMap<String, Option<DataType>>> {
    let names = plan.get_parameter_names()?.into_iter();
    let mut inferred: HashMap<String, Option<DataType>> = names.map(|name| (name, None)).collect();
    let told = told(plan)?.into_iter();
    inferred.extend(told.map(|(name, field)| (name, Some(field.data_type().clone()))));
    Ok(inferred)
}

/// The fields of the parameters that are uuids, json or labels of enums, or arrays of them, or values of the catalogs, by
/// their places; to Arrow they are texts and plain numbers.
pub(crate) fn marked_parameters(plan: &LogicalPlan) -> Result<BTreeMap<usize, FieldRef>> {
    let is_marked = |field: &Field| !marks_of(field).is_empty() || catalog_type(field).is_some();
    let told = told(plan)?.into_iter();
    let marked = told.filter(|(_, field)| is_marked(field));
    Ok(marked
        .filter_map(|(name, field)| Some((place(&name)?, field)))
        .collect())
}

/// The type that a plan tells of a parameter, with what marks it.
pub(crate) fn type_told(plan: &LogicalPlan, name: &str) -> Result<Option<FieldRef>> {
    let field = told(plan)?.remove(name);
    Ok(field.map(|field| {
        let value = Field::new("value", field.data_type().clone(), true);
        Arc::new(value.with_metadata(all_marks(&field)))
    }))
}

/// The types that a plan tells, with what marks them: first those of casts and functions, then those of what is compared.
fn told(plan: &LogicalPlan) -> Result<BTreeMap<String, FieldRef>> {
    let mut told = known_parameters(plan)?;
    for (name, uses) in first_uses(&[plan], Order::OfQueries)? {
        match told.entry(name) {
            Entry::Vacant(open) => {
                open.insert(uses.field);
            }
            Entry::Occupied(mut known) => {
                let is_alike = known.get().data_type() == uses.field.data_type();
                if is_alike && all_marks(known.get()).is_empty() {
                    known.insert(uses.field);
                }
            }
        }
    }
    for (name, field) in beside::types(plan)? {
        told.entry(name).or_insert(field);
    }
    Ok(told)
}

/// The types that the casts and the functions of a plan give its parameters.
fn known_parameters(plan: &LogicalPlan) -> Result<BTreeMap<String, FieldRef>> {
    let mut types: BTreeMap<String, FieldRef> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        if let LogicalPlan::Union(union) = node {
            // Before the casts of its inputs, which lack the marks.
            for (name, field) in beside::of_union(union) {
                types.entry(name).or_insert(field);
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Cast(cast) => {
                        if let Some(name) = parameter(&cast.expr)
                            && !types
                                .get(&name)
                                .is_some_and(|known| stays(known, &cast.field))
                        {
                            types.insert(name, Arc::clone(&cast.field));
                        }
                    }
                    expr => {
                        for (name, field) in operands(expr, &seen) {
                            types.entry(name).or_insert(field);
                        }
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// The parameters among the operands of a function, or of an operator that takes a type of its own.
fn operands(expr: &Expr, seen: &DFSchema) -> Vec<(String, FieldRef)> {
    match expr {
        Expr::ScalarFunction(call) => taken_types::taken(call, seen),
        Expr::AggregateFunction(call) => {
            taken_types::taken_by(call.func.name(), &call.params.args, seen)
        }
        Expr::WindowFunction(call) => {
            taken_types::taken_by(call.fun.name(), &call.params.args, seen)
        }
        Expr::BinaryExpr(pair) => by_how_much(pair).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// By how many places a bigint is shifted, which is an integer.
fn by_how_much(pair: &BinaryExpr) -> Option<(String, FieldRef)> {
    let is_shift = matches!(
        pair.op,
        Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight
    );
    let Expr::Placeholder(places) = pair.right.as_ref() else {
        return None;
    };
    // The planner has given it the type of what is shifted.
    let field = places.field.as_ref();
    let is_wide = field.is_some_and(|field| *field.data_type() == DataType::Int64);
    (is_shift && is_wide).then(|| (places.id.clone(), plain(DataType::Int32)))
}

/// Whether a parameter keeps the type that is known of it beside a later cast: with what marks it, and with more digits behind
/// the point, since one cast is never to round another's.
fn stays(known: &Field, cast: &Field) -> bool {
    match (known.data_type(), cast.data_type()) {
        (DataType::Decimal128(_, one), DataType::Decimal128(_, other)) => one > other,
        (one, other) => one == other && !marks_of(known).is_empty(),
    }
}

/// The name of a parameter without a type; beside another such, the planner gives it that of NULL.
fn parameter(expr: &Expr) -> Option<String> {
    let Expr::Placeholder(placeholder) = expr else {
        return None;
    };
    let field = placeholder.field.as_ref();
    let is_open = field.is_none_or(|field| field.data_type().is_null());
    is_open.then(|| placeholder.id.clone())
}

/// A parameter of a type that nothing marks.
fn plain(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("value", data_type, true))
}

/// A parameter of the type of a value, with what marks it. A numeric has as many digits as it is given.
fn typed_as(value: &Field) -> FieldRef {
    let data_type = match value.data_type() {
        DataType::Decimal128(..) => DataType::Decimal128(38, 10),
        known => known.clone(),
    };
    Arc::new(Field::new("value", data_type, true).with_metadata(all_marks(value)))
}

/// What marks a value as one of a type that Arrow lacks, or of the catalogs.
fn all_marks(value: &Field) -> HashMap<String, String> {
    let mut marks = marks_of(value);
    marks.extend(catalog_type(value).map(|name| (TYPE_KEY.to_owned(), name.to_owned())));
    marks
}

/// The type of the catalogs that a column of them has and that drivers send as such; to Arrow it is a plain number or a text.
fn catalog_type(field: &Field) -> Option<&'static str> {
    let name = field.metadata().get(TYPE_KEY)?.as_str();
    let data_type = field.data_type();
    Some(match name {
        "oid" if data_type.is_integer() => "oid",
        "name" if data_type.is_string() => "name",
        "char" if data_type.is_string() => "char",
        "_oid" if data_type.is_list() => "_oid",
        "_name" if data_type.is_list() => "_name",
        "_char" if data_type.is_list() => "_char",
        _ => return None,
    })
}
