//! Expressions compare the keys of values that Arrow compares otherwise than PostgreSQL (`functions/order_keys.rs`).
//!
//! In: BETWEEN, IN, CASE, ANY, `nullif`, `greatest` and `least` over values as they are, windows and aggregates that order by
//! them, and functions of enums; out: the same over keys, and labels. What IN, CASE and `nullif` compare otherwise than `=` does is
//! compared by it.

use datafusion::arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Between, Case, InList, ScalarFunction, Sort};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable as _, lit};

use super::distinct_keys;
use super::value_order::by_key;
use crate::functions::{
    Key, enum_call, enum_of, extreme_by_key, is_enum_call, key_of, keys_of, label_of, remarked,
};

/// The functions whose result is one of their arguments, by their order.
const OF_ORDER: [&str; 2] = ["greatest", "least"];
/// The functions that look a value up in an array, with the places of the array and of the value among their arguments.
const LOOK_UPS: [(&str, usize, usize); 2] = [("in_array", 1, 0), ("array_has", 0, 1)];
/// What `x < ANY (array)` is compared with.
const OF_ARRAY: [&str; 2] = ["array_min", "array_max"];

/// The aggregates whose result is the same in whatever order their rows come.
const OF_ANY_ORDER: [&str; 27] = [
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "max",
    "median",
    "min",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Whether an expression is of a form that compares values, or is a label.
pub(super) fn compares(expr: &Expr) -> bool {
    match expr {
        Expr::Between(_) | Expr::InList(_) | Expr::WindowFunction(_) => true,
        Expr::Case(case) => case.expr.is_some(),
        Expr::BinaryExpr(binary) => is_of_array(&binary.left) || is_of_array(&binary.right),
        Expr::AggregateFunction(function) => {
            !function.params.order_by.is_empty() || distinct_keys::gathers(function)
        }
        Expr::ScalarFunction(call) => {
            let name = call.func.name();
            is_enum_call(expr)
                || OF_ORDER.contains(&name)
                || name == "nullif"
                || LOOK_UPS.iter().any(|(known, ..)| *known == name)
        }
        _ => false,
    }
}

/// The expression over keys.
pub(super) fn settled(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Between(between) => {
            let values = [&*between.expr, &*between.low, &*between.high];
            let keys = keys_of(&values, Key::of_order, schema)?;
            match keys.map(|(_, keys)| <[Expr; 3]>::try_from(keys)) {
                Some(Ok([value, low, high])) => Transformed::yes(Expr::Between(Between::new(
                    Box::new(value),
                    between.negated,
                    Box::new(low),
                    Box::new(high),
                ))),
                _ => Transformed::no(Expr::Between(between)),
            }
        }
        Expr::InList(list) => in_list(list, schema)?.transform_data(|expr| {
            Ok(match expr {
                Expr::InList(list) => compared_apart(list, schema),
                other => Transformed::no(other),
            })
        })?,
        Expr::Case(case) => of_case(case, schema)?,
        Expr::BinaryExpr(binary) => with_array(binary, schema),
        Expr::WindowFunction(mut window) => {
            let is_changed = by_key(&mut window.params.order_by, Key::of_window, schema);
            Transformed::new_transformed(Expr::WindowFunction(window), is_changed)
        }
        Expr::AggregateFunction(function) if distinct_keys::gathers(&function) => {
            distinct_keys::by_keys(function, schema)?
        }
        Expr::AggregateFunction(mut function) => {
            let params = &mut function.params;
            let is_by_labels = |item: &Sort| has_labels(&item.expr, schema);
            // The planner gives what such an aggregate is ordered by to some of them as further arguments.
            let is_free = OF_ANY_ORDER.contains(&function.func.name());
            if params
                .order_by
                .iter()
                .any(|item| is_free || params.distinct && is_by_labels(item))
            {
                if params.distinct {
                    distinct_keys::check(&params.order_by, &params.args)?;
                }
                params.order_by.clear();
                return Ok(Transformed::yes(Expr::AggregateFunction(function)));
            }
            // With DISTINCT, the planner takes no other order than that of the argument itself.
            let is_changed =
                !params.distinct && by_key(&mut params.order_by, Key::of_order, schema);
            Transformed::new_transformed(Expr::AggregateFunction(function), is_changed)
        }
        Expr::ScalarFunction(call) => of_call(call, schema)?,
        other => Transformed::no(other),
    })
}

/// Whether a value is of an enum, or a row with one.
fn has_labels(value: &Expr, schema: &DFSchema) -> bool {
    let is_in_row = |call: &ScalarFunction| {
        let mut args = call.args.iter();
        matches!(call.func.name(), "row" | "struct") && args.any(|arg| has_labels(arg, schema))
    };
    enum_of(value, schema).is_some()
        || matches!(value, Expr::ScalarFunction(call) if is_in_row(call))
}

fn in_list(list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let others = list
        .list
        .iter()
        .filter(|value| !matches!(value, Expr::Literal(..)));
    let mut told = std::iter::once(list.expr.as_ref()).chain(others);
    if !told.any(|value| key_of(value, Key::of_equality, schema).is_some()) {
        return Ok(Transformed::no(Expr::InList(list)));
    }
    let values = std::iter::once(list.expr.as_ref()).chain(&list.list);
    let values: Vec<&Expr> = values.collect();
    let keys = keys_of(&values, Key::of_equality, schema)?;
    let mut keys = keys.into_iter().flat_map(|(_, keys)| keys);
    Ok(match keys.next() {
        Some(value) => {
            let among = InList::new(Box::new(value), keys.collect(), list.negated);
            Transformed::yes(Expr::InList(among))
        }
        None => Transformed::no(Expr::InList(list)),
    })
}

/// IN of doubles, whose zeros and values that may be one are compared by `=`: the planner's own tells -0 from 0.
fn compared_apart(list: InList, schema: &DFSchema) -> Transformed<Expr> {
    let first = std::iter::once(list.expr.as_ref());
    let values: Vec<&Expr> = first.chain(&list.list).collect();
    let may_be_zero = |value: &Expr| match value {
        Expr::Literal(value, _) => is_zero(value),
        _ => true,
    };
    let is_ours = has_doubles(&values, schema) && list.list.iter().any(may_be_zero);
    if !is_ours || list.expr.is_volatile() {
        return Transformed::no(Expr::InList(list));
    }
    let (apart, kept): (Vec<Expr>, Vec<Expr>) = list.list.into_iter().partition(may_be_zero);
    let mut found: Vec<Expr> = Vec::with_capacity(apart.len() + 1);
    if !kept.is_empty() {
        let among = InList::new(list.expr.clone(), kept, false);
        found.push(Expr::InList(among));
    }
    found.extend(
        apart
            .into_iter()
            .map(|value| (*list.expr).clone().eq(value)),
    );
    Transformed::yes(match list.negated {
        true => Expr::Not(Box::new(any_of(found))),
        false => any_of(found),
    })
}

/// Conditions of which one holds, as a tree that is no deeper than it must be.
fn any_of(mut conditions: Vec<Expr>) -> Expr {
    match conditions.len() {
        0 => lit(false),
        1 => conditions.remove(0),
        n_conditions => {
            let others = conditions.split_off(n_conditions / 2);
            any_of(conditions).or(any_of(others))
        }
    }
}

/// Whether a value is a double, other than one that is written out.
fn has_doubles(values: &[&Expr], schema: &DFSchema) -> bool {
    let is_double = |value: &&Expr| {
        let is_written = matches!(value, Expr::Literal(..));
        !is_written
            && value
                .get_type(schema)
                .is_ok_and(|found| found.is_floating())
    };
    values.iter().any(is_double)
}

/// Whether a literal is 0 or -0.
fn is_zero(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float32(Some(value)) => *value == 0.0,
        ScalarValue::Float64(Some(value)) => *value == 0.0,
        ScalarValue::Int32(value) => *value == Some(0),
        ScalarValue::Int64(value) => *value == Some(0),
        ScalarValue::Decimal128(value, ..) => *value == Some(0),
        _ => false,
    }
}

/// `CASE x WHEN y THEN …`.
fn of_case(mut case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(base) = &case.expr else {
        return Ok(Transformed::no(Expr::Case(case)));
    };
    let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
    let values: Vec<&Expr> = std::iter::once(base.as_ref()).chain(whens).collect();
    let Some((_, keys)) = keys_of(&values, Key::of_equality, schema)? else {
        let is_searched = has_doubles(&values, schema) && !base.is_volatile();
        return Ok(match is_searched {
            true => Transformed::yes(searched(case)),
            false => Transformed::no(Expr::Case(case)),
        });
    };
    let mut keys = keys.into_iter().map(Box::new);
    case.expr = keys.next();
    for ((when, _), key) in case.when_then_expr.iter_mut().zip(keys) {
        *when = key;
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

/// `CASE WHEN x = y THEN …`: the planner's own with an operand tells -0 from 0.
fn searched(mut case: Case) -> Expr {
    if let Some(base) = case.expr.take() {
        for (when, _) in &mut case.when_then_expr {
            let value = std::mem::take(when.as_mut());
            **when = (*base).clone().eq(value);
        }
    }
    Expr::Case(case)
}

fn is_of_array(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if OF_ARRAY.contains(&call.func.name()))
}

/// `x < array_max(array)`: the greatest by key of the elements is the greatest, too.
fn with_array(binary: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
    let key = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) if is_of_array(expr) => {
            key_of(call.args.first()?, Key::of_elements, schema)
        }
        _ => None,
    };
    let Some(key) = key(&binary.left).or_else(|| key(&binary.right)) else {
        return Transformed::no(Expr::BinaryExpr(binary));
    };
    let keyed = |expr: Expr| match expr {
        Expr::ScalarFunction(call) if OF_ARRAY.contains(&call.func.name()) => {
            let args = call.args.into_iter().map(|array| key.of(array));
            call.func.call(args.collect())
        }
        value => key.of(value),
    };
    let (left, right) = (keyed(*binary.left), keyed(*binary.right));
    let compared = BinaryExpr::new(Box::new(left), binary.op, Box::new(right));
    Transformed::yes(Expr::BinaryExpr(compared))
}

fn of_call(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Some(meant) = enum_call(&call, schema) {
        return Ok(Transformed::yes(meant));
    }
    let name = call.func.name();
    let found = if OF_ORDER.contains(&name) {
        extreme(&call, schema)?
    } else if name == "nullif" {
        unless_same(&call, schema)?
    } else {
        looked_up(&call, schema)
    };
    Ok(match found {
        Some(found) => Transformed::yes(found),
        None => Transformed::no(Expr::ScalarFunction(call)),
    })
}

fn extreme(call: &ScalarFunction, schema: &DFSchema) -> Result<Option<Expr>> {
    let name = call.func.name();
    let values: Vec<&Expr> = call.args.iter().collect();
    let keys = keys_of(&values, Key::of_order, schema)?;
    Ok(keys.map(|(key, keys)| match key {
        Key::Place(known) => label_of(call.func.call(keys), &known),
        Key::Length => {
            let spans: Vec<Expr> = call.args.iter().cloned().map(span).collect();
            let keys = spans.iter().map(|span| key.of(span.clone())).collect();
            extreme_by_key(name, spans, keys)
        }
        _ => extreme_by_key(name, call.args.clone(), keys),
    }))
}

/// A parameter without a type beside intervals is one, since the first value tells the type of the result.
fn span(value: Expr) -> Expr {
    match &value {
        Expr::Placeholder(parameter) if parameter.field.is_none() => {
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            Expr::Cast(Cast::new(Box::new(value), interval))
        }
        _ => value,
    }
}

/// `nullif(x, y)`.
fn unless_same(call: &ScalarFunction, schema: &DFSchema) -> Result<Option<Expr>> {
    let [value, other] = call.args.as_slice() else {
        return Ok(None);
    };
    let keys = keys_of(&[value, other], Key::of_equality, schema)?;
    let (left, right) = match keys.map(|(_, keys)| <[Expr; 2]>::try_from(keys)) {
        Some(Ok([left, right])) => (left, right),
        // The planner's own tells -0 from 0.
        _ if has_doubles(&[value, other], schema) && !value.is_volatile() => {
            return unless_equal(call, value, other, schema).map(Some);
        }
        _ => return Ok(None),
    };
    let null = lit(ScalarValue::try_new_null(&value.get_type(schema)?)?);
    let same = vec![(Box::new(left.eq(right)), Box::new(null))];
    let other = Some(Box::new(value.clone()));
    let (_, field) = value.to_field(schema)?;
    let unless = Expr::Case(Case::new(None, same, other));
    Ok(Some(remarked(&field, unless)))
}

/// The same of numbers, in the type that the planner's has.
fn unless_equal(
    call: &ScalarFunction,
    value: &Expr,
    other: &Expr,
    schema: &DFSchema,
) -> Result<Expr> {
    let data_type = Expr::ScalarFunction(call.clone()).get_type(schema)?;
    let value = value.clone().cast_to(&data_type, schema)?;
    let null = lit(ScalarValue::try_new_null(&data_type)?);
    // A parameter takes its type here: once the values are known, the columns that it stands beside are out of sight.
    let (equal, _) = value
        .clone()
        .eq(other.clone())
        .infer_placeholder_types(schema)?;
    let same = vec![(Box::new(equal), Box::new(null))];
    Ok(Expr::Case(Case::new(None, same, Some(Box::new(value)))))
}

/// `x = ANY (array)` and `x IN (query)`, where the query's rows are an array.
fn looked_up(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let name = call.func.name();
    let (_, array, value) = LOOK_UPS.iter().find(|(known, ..)| *known == name)?;
    let (array, value) = (call.args.get(*array)?, call.args.get(*value)?);
    let found = [array, value].map(|arg| key_of(arg, Key::of_elements, schema));
    let key = found
        .into_iter()
        .flatten()
        .find(|key| !matches!(key, Key::Place(_) | Key::Address))?;
    let args = call.args.iter().cloned().map(|arg| key.of(arg));
    Some(call.func.call(args.collect()))
}
