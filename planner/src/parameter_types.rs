//! Types of parameters that the planner leaves open: those of casts, and of functions that take one type in a place.
//!
//! In: a plan with parameters; out: types by name (`$1`). Where the client declared a type, that one is a cast already.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_storage::{is_uuid, uuid_marks};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};

use crate::functions::READ_UUID;

/// The types that the expressions of a plan give its parameters.
pub(crate) fn known_parameters(plan: &LogicalPlan) -> Result<BTreeMap<String, DataType>> {
    let mut types = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Cast(cast) => {
                        if let Some(name) = parameter(&cast.expr) {
                            types.insert(name, cast.field.data_type().clone());
                        }
                    }
                    Expr::ScalarFunction(call) => {
                        for (idx, arg) in call.args.iter().enumerate() {
                            if let Some(name) = parameter(arg)
                                && let Some(data_type) = argument_type(call, idx, &seen)
                            {
                                types.entry(name).or_insert(data_type);
                            }
                        }
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// The fields of the parameters that are uuids, or arrays of them, by their places; to Arrow they are texts.
pub(crate) fn uuid_parameters(plan: &LogicalPlan) -> Result<BTreeMap<usize, FieldRef>> {
    let place = |name: &str| {
        let number: usize = name.strip_prefix('$')?.parse().ok()?;
        number.checked_sub(1)
    };
    let mut found = BTreeMap::new();
    let inferred: BTreeMap<_, _> = plan.get_parameter_fields()?.into_iter().collect();
    for (name, field) in inferred {
        if let (Some(place), Some(field)) = (place(&name), field.filter(|field| is_uuid(field))) {
            found.insert(place, field);
        }
    }
    plan.apply_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && let Some((name, field)) = uuid_argument(call, &seen)
                    && let Some(place) = place(&name)
                {
                    found.entry(place).or_insert(field);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The parameter of `$1::uuid`, or of `id = ANY ($1)`, and what it is.
fn uuid_argument(call: &ScalarFunction, seen: &DFSchema) -> Option<(String, FieldRef)> {
    let id = |name: &str| Field::new(name, DataType::Utf8, true).with_metadata(uuid_marks());
    match (call.func.name(), call.args.as_slice()) {
        (READ_UUID, [value]) => Some((parameter(value)?, Arc::new(id("value")))),
        ("array_has", [array, value]) => {
            let (_, field) = value.to_field(seen).ok()?;
            let list = DataType::List(Arc::new(id(Field::LIST_FIELD_DEFAULT_NAME)));
            is_uuid(&field).then_some(())?;
            Some((parameter(array)?, Arc::new(Field::new("value", list, true))))
        }
        _ => None,
    }
}

/// The name of a parameter without a type.
fn parameter(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Placeholder(placeholder) if placeholder.field.is_none() => {
            Some(placeholder.id.clone())
        }
        _ => None,
    }
}

/// What a function takes in one place; `None`: whatever it is given.
fn argument_type(call: &ScalarFunction, idx: usize, seen: &DFSchema) -> Option<DataType> {
    let type_of = |idx: usize| {
        let found = call.args.get(idx)?.get_type(seen).ok()?;
        (!found.is_null()).then_some(found)
    };
    Some(match (call.func.name(), idx) {
        // `x = ANY ($1)`, `$1 = ANY (x)`
        ("array_has", 0) => DataType::List(Field::new_list_field(type_of(1)?, true).into()),
        ("array_has", 1) => match type_of(0)? {
            DataType::List(item) => item.data_type().clone(),
            _ => return None,
        },
        ("in_array", 0) => match type_of(1)? {
            DataType::List(item) => item.data_type().clone(),
            _ => return None,
        },
        ("array_element", 1)
        | ("left" | "right" | "repeat" | "lpad" | "rpad" | "chr", 1)
        | ("substr", 1 | 2)
        | ("split_part", 2)
        | ("generate_series", _) => DataType::Int64,
        ("round" | "trunc", 1) => DataType::Int32,
        ("round" | "trunc", 0) if call.args.len() == 2 => DataType::Decimal128(38, 10),
        ("make_date", _) => DataType::Int32,
        (READ_UUID, _) => DataType::Utf8,
        _ => return None,
    })
}
