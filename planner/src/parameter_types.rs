//! Types of parameters that the planner leaves open: those of casts, of functions that take one type in a place, and of
//! values that stand beside others.
//!
//! In: a plan with parameters; out: types by name (`$1`). Where the client declared a type, that one is a cast already.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use auspex_storage::{EnumType, JsonKind, is_uuid, marks_of, uuid_marks};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};

use crate::first_uses::{Order, Uses, first_uses};
use crate::functions::{ENUM_POSITION, READ_ENUM, READ_UUID, TYPE_KEY};

/// The types of a plan's parameters; `None` where nothing tells one.
pub(crate) fn inferred_parameters(plan: &LogicalPlan) -> Result<HashMap<String, Option<DataType>>> {
    let names = plan.get_parameter_names()?.into_iter();
    let mut inferred: HashMap<String, Option<DataType>> = names.map(|name| (name, None)).collect();
    let told = first_uses(&[plan], Order::OfQueries)?.into_iter();
    inferred.extend(told.map(|(name, uses)| (name, Some(uses.field.data_type().clone()))));
    inferred.extend(
        known_parameters(plan)?
            .into_iter()
            .map(|(name, known)| (name, Some(known))),
    );
    for (name, data_type) in types_beside(plan)? {
        inferred.entry(name).or_default().get_or_insert(data_type);
    }
    Ok(inferred)
}

/// The types that the expressions of a plan give its parameters.
fn known_parameters(plan: &LogicalPlan) -> Result<BTreeMap<String, DataType>> {
    let mut types = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Cast(cast) => {
                        if let Some(name) = parameter(&cast.expr) {
                            let data_type = cast.field.data_type();
                            let is_finer = types
                                .get(&name)
                                .is_some_and(|known| has_more_decimals(known, data_type));
                            if !is_finer {
                                types.insert(name, data_type.clone());
                            }
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

/// Whether numerics of a type have more digits behind the point than those of another: one cast is never to round another's.
fn has_more_decimals(one: &DataType, other: &DataType) -> bool {
    match (one, other) {
        (DataType::Decimal128(_, one), DataType::Decimal128(_, other)) => one > other,
        _ => false,
    }
}

/// The types of parameters that stand beside other values, where nothing else tells one.
fn types_beside(plan: &LogicalPlan) -> Result<BTreeMap<String, DataType>> {
    let mut types = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                for (names, data_type) in alike(expr, &seen) {
                    // A numeric has as many digits as it is given.
                    let data_type = match data_type {
                        DataType::Decimal128(..) => DataType::Decimal128(38, 10),
                        known => known,
                    };
                    for name in names {
                        types.entry(name).or_insert_with(|| data_type.clone());
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// Parameters that have the type of what stands beside them, as in `coalesce($1, x)` and `CASE x WHEN $1 THEN …`; those
/// of conditions are true or false.
fn alike(expr: &Expr, seen: &DFSchema) -> Vec<(Vec<String>, DataType)> {
    /// Functions whose arguments are of one type.
    const OF_ONE_TYPE: [&str; 5] = ["coalesce", "greatest", "least", "nullif", "make_array"];
    let of_one_type = |values: &[&Expr]| {
        let names: Vec<String> = values.iter().filter_map(|value| parameter(value)).collect();
        let mut known = values.iter().filter(|value| parameter(value).is_none());
        let known = known.find_map(|value| {
            let data_type = value.get_type(seen).ok()?;
            (!data_type.is_null()).then_some(data_type)
        });
        known.map(|known| (names, known))
    };
    let truths = |values: &[&Expr]| {
        let names = values.iter().filter_map(|value| parameter(value)).collect();
        Some((names, DataType::Boolean))
    };
    let found = match expr {
        Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => {
            vec![of_one_type(&call.args.iter().collect::<Vec<_>>())]
        }
        Expr::Case(case) => {
            let branches = case.when_then_expr.iter();
            let (whens, thens): (Vec<&Expr>, Vec<&Expr>) = branches
                .map(|(when, then)| (when.as_ref(), then.as_ref()))
                .unzip();
            let results: Vec<&Expr> = thens.into_iter().chain(case.else_expr.as_deref()).collect();
            let conditions = match &case.expr {
                Some(base) => {
                    let compared = std::iter::once(base.as_ref()).chain(whens);
                    of_one_type(&compared.collect::<Vec<_>>())
                }
                None => truths(&whens),
            };
            vec![conditions, of_one_type(&results)]
        }
        Expr::Not(value) => vec![truths(&[value.as_ref()])],
        Expr::Between(between) => {
            let values = [&*between.expr, &*between.low, &*between.high];
            vec![of_one_type(&values)]
        }
        Expr::InList(found) => {
            let values = std::iter::once(&*found.expr).chain(&found.list);
            vec![of_one_type(&values.collect::<Vec<_>>())]
        }
        _ => vec![],
    };
    found.into_iter().flatten().collect()
}

/// The fields of the parameters that are uuids, json or labels of enums, or arrays of them, by their places; to Arrow they are texts.
pub(crate) fn marked_parameters(plan: &LogicalPlan) -> Result<BTreeMap<usize, FieldRef>> {
    let place = |name: &str| {
        let number: usize = name.strip_prefix('$')?.parse().ok()?;
        number.checked_sub(1)
    };
    let mut found = BTreeMap::new();
    for (name, Uses { field, .. }) in first_uses(&[plan], Order::OfQueries)? {
        let is_marked = !marks_of(&field).is_empty() || is_oid(&field);
        if let Some(place) = place(&name).filter(|_| is_marked) {
            found.insert(place, field);
        }
    }
    plan.apply_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && let Some((name, field)) = marked_argument(call, &seen)
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

/// Whether a column of the catalogs holds numbers of objects, which drivers send as such; to Arrow they are plain numbers.
fn is_oid(field: &Field) -> bool {
    let name = field.metadata().get(TYPE_KEY);
    name.is_some_and(|name| name == "oid") && field.data_type().is_integer()
}

/// The parameter of `$1::uuid`, `$1::jsonb` and `$1::mood`, of `m < $1`, `doc @> $1`, or of `id = ANY ($1)`, and what it is.
fn marked_argument(call: &ScalarFunction, seen: &DFSchema) -> Option<(String, FieldRef)> {
    let id = || marked_text().with_metadata(uuid_marks());
    let json = |kind: JsonKind| marked_text().with_metadata(kind.marks());
    match (call.func.name(), call.args.as_slice()) {
        (READ_UUID, [value]) => Some((parameter(value)?, Arc::new(id()))),
        ("json_in", [value]) => Some((parameter(value)?, Arc::new(json(JsonKind::Json)))),
        ("jsonb_in" | "jsonb_key", [value]) => {
            Some((parameter(value)?, Arc::new(json(JsonKind::Jsonb))))
        }
        ("json_contains" | "json_merged", [left, right]) => {
            let name = parameter(left).or_else(|| parameter(right))?;
            Some((name, Arc::new(json(JsonKind::Jsonb))))
        }
        ("jsonb_set" | "jsonb_set_lax", [_, _, value, ..]) => {
            Some((parameter(value)?, Arc::new(json(JsonKind::Jsonb))))
        }
        (READ_ENUM | ENUM_POSITION, [value, Expr::Literal(ScalarValue::Utf8(Some(told)), _)]) => {
            let known = EnumType::of_text(told)?;
            let field = marked_text().with_metadata(known.marks());
            // `$1::mood[]` is read from an array of texts.
            let (value, field) = match value {
                Expr::Cast(cast) if cast.field.data_type().is_nested() => (
                    cast.expr.as_ref(),
                    field.with_data_type(cast.field.data_type().clone()),
                ),
                value => (value, field),
            };
            Some((parameter(value)?, Arc::new(field)))
        }
        ("array_has", [array, value]) => {
            let (_, field) = value.to_field(seen).ok()?;
            let list = DataType::new_list(DataType::Utf8, true);
            let is_own = is_uuid(&field) || EnumType::of(&field).is_some();
            is_own.then_some(())?;
            let field = marked_text().with_metadata(marks_of(&field));
            Some((parameter(array)?, Arc::new(field.with_data_type(list))))
        }
        _ => None,
    }
}

fn marked_text() -> Field {
    Field::new("value", DataType::Utf8, true)
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

/// Whether a function of this name takes the key of an advisory lock: one number, or two half as wide.
fn is_advisory(name: &str) -> bool {
    name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_")
}

/// What a function takes in one place; `None`: whatever it is given.
fn argument_type(call: &ScalarFunction, idx: usize, seen: &DFSchema) -> Option<DataType> {
    let type_of = |idx: usize| {
        let found = call.args.get(idx)?.get_type(seen).ok()?;
        (!found.is_null()).then_some(found)
    };
    let element_of = |idx: usize| match type_of(idx)? {
        DataType::List(item) => Some(item.data_type().clone()),
        _ => None,
    };
    let n_args = call.args.len();
    Some(match (call.func.name(), idx) {
        // `x = ANY ($1)`, `$1 = ANY (x)`
        ("array_has", 0) => DataType::List(Field::new_list_field(type_of(1)?, true).into()),
        ("array_has" | "array_append" | "array_position" | "array_remove_all", 1)
        | ("array_replace_all", 1 | 2) => element_of(0)?,
        ("in_array", 0) => element_of(1)?,
        ("array_prepend", 0) => element_of(1)?,
        ("array_element", 1)
        | ("left" | "right" | "repeat" | "lpad" | "rpad" | "chr", 1)
        | ("substr", 1 | 2)
        | ("split_part", 2)
        | ("generate_series" | "gcd" | "lcm", _) => DataType::Int64,
        ("date_trunc", 1) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ("round" | "googlesql.round" | "trunc", 1) => DataType::Int32,
        ("round" | "googlesql.round" | "trunc", 0) if n_args == 2 => DataType::Decimal128(38, 10),
        ("googlesql.round", 0) => DataType::Float64,
        ("make_date", _) | ("width_bucket", 3) => DataType::Int32,
        ("width_bucket", _) | ("pg_sleep", 0) => DataType::Float64,
        ("to_timestamp", 0) if n_args == 1 => DataType::Float64,
        ("pg_cancel_backend" | "pg_terminate_backend", 0) => DataType::Int32,
        ("pg_terminate_backend" | "setval", 1) => DataType::Int64,
        ("set_config" | "setval", 2) => DataType::Boolean,
        ("encode", 0) => DataType::Binary,
        ("json_path" | "json_path_text" | "json_without_path", 1)
        | ("jsonb_set" | "jsonb_set_lax", 1)
        | ("json_has_any" | "json_has_all", 1) => DataType::new_list(DataType::Utf8, true),
        (name, _) if is_advisory(name) && n_args == 1 => DataType::Int64,
        (name, _) if is_advisory(name) => DataType::Int32,
        (READ_UUID | "jsonb_key", _) | (READ_ENUM | ENUM_POSITION, 0) => DataType::Utf8,
        _ => return None,
    })
}
