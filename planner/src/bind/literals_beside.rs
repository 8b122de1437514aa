//! Literals beside values whose type decides how they are read, where no operator reads them: `doc IN ('{"a":1}', '[]')`,
//! `coalesce(id, '…')`, `CASE WHEN … THEN doc ELSE '{}' END`, `at BETWEEN '…' AND '9999-12-31'`, `price IN ('0.051')`.
//!
//! In and out: a plan, or an expression. To Arrow json is text, so that a literal would be compared, or given, as it is written;
//! a literal beside a moment would make nanoseconds of both, in which there is no year 9999; beside a numeric it would lose the
//! digits that the column's values do not have, and beside most kinds of bytes it would be the bytes of its own letters. A fraction
//! that is written out without quotes is a double to the planner, and means a decimal number beside numerics.

use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _, LogicalPlan, Operator};

use crate::functions::{
    check_text, exact_fraction, forget_digits, is_bytes, is_fraction, noted_day, read_beside,
    type_beside,
};

/// Functions whose arguments are of one type.
const OF_ONE_TYPE: [&str; 6] = [
    "array_concat",
    "coalesce",
    "greatest",
    "least",
    "nullif",
    "nvl",
];

/// The function that makes an array, which reads texts among its items itself, but no fractions.
const ARRAY: &str = "make_array";

/// Functions of windows whose third argument is a value beside those of the first.
const SHIFTS: [&str; 2] = ["lag", "lead"];

/// Reads such literals.
pub(super) fn read(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !asks(&plan)? {
        return Ok(plan);
    }
    let read = plan.transform_up_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        // Columns keep their names, by which operators above know them.
        let names = NamePreserver::new(&node);
        let is_sort = matches!(node, LogicalPlan::Sort(_));
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let read = in_expr(expr, &seen)?;
            Ok(read.update_data(|expr| match is_sort {
                true => expr,
                false => name.restore(expr),
            }))
        })?;
        // What is read may be NULL to the planner, also in the operators above.
        Ok(Transformed::yes(node.data.recompute_schema()?))
    })?;
    Ok(read.data)
}

/// Reads those in an expression.
fn in_expr(expr: Expr, seen: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|mut expr| {
        let mut is_changed = false;
        for values in groups_of(&mut expr) {
            is_changed |= read_in(values, seen)?;
        }
        Ok(Transformed::new_transformed(expr, is_changed))
    })
}

/// Whether a plan has literals beside such values.
fn asks(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            if expr.exists(|expr| Ok(stands_beside(expr)))? {
                let seen = merge_schema(&node.inputs());
                found |= expr.exists(|expr| Ok(stands_beside(expr) && has_typed(expr, &seen)))?;
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// Whether a literal in an expression stands beside a value of a type as which literals are read.
fn has_typed(expr: &Expr, seen: &DFSchema) -> bool {
    let mut expr = expr.clone();
    let is_typed = |value: &Expr| {
        let field = value.to_field(seen);
        field.is_ok_and(|(_, field)| !marks_of(&field).is_empty() || is_read(field.data_type()))
    };
    groups_of(&mut expr).into_iter().any(|mut values| {
        let mut literals = values.iter().filter(|value| is_literal(value));
        let is_beside = literals.next().is_some() && values.iter().any(|value| is_typed(value));
        is_beside || values.iter_mut().any(|value| forget_digits(value))
    })
}

fn stands_beside(expr: &Expr) -> bool {
    match expr {
        Expr::InList(list) => is_literal(&list.expr) || list.list.iter().any(is_literal),
        Expr::Between(between) => {
            let values = [&between.expr, &between.low, &between.high];
            values.into_iter().any(|value| is_literal(value))
        }
        Expr::BinaryExpr(binary) => {
            is_distinction(binary.op) && (is_literal(&binary.left) || is_literal(&binary.right))
        }
        Expr::Case(case) => {
            let mut branches = case.when_then_expr.iter();
            let is_one = |when: &Expr, then: &Expr| {
                is_literal(then) || (case.expr.is_some() && is_literal(when))
            };
            branches.any(|(when, then)| is_one(when, then))
                || case.expr.as_deref().is_some_and(is_literal)
                || case.else_expr.as_deref().is_some_and(is_literal)
        }
        Expr::ScalarFunction(call) => match call.func.name() {
            ARRAY => call.args.iter().any(is_fraction) && !call.args.iter().any(is_text),
            name => OF_ONE_TYPE.contains(&name) && call.args.iter().any(is_literal),
        },
        Expr::WindowFunction(call) => match call.params.args.as_slice() {
            [_, _, default] => SHIFTS.contains(&call.fun.name()) && is_literal(default),
            _ => false,
        },
        _ => false,
    }
}

/// The values in an expression, those of one type together.
fn groups_of(expr: &mut Expr) -> Vec<Vec<&mut Expr>> {
    match expr {
        Expr::InList(list) => {
            let first = std::iter::once(list.expr.as_mut());
            vec![first.chain(&mut list.list).collect()]
        }
        Expr::Between(between) => vec![vec![
            between.expr.as_mut(),
            between.low.as_mut(),
            between.high.as_mut(),
        ]],
        Expr::BinaryExpr(binary) if is_distinction(binary.op) => {
            vec![vec![binary.left.as_mut(), binary.right.as_mut()]]
        }
        Expr::Case(case) => {
            let has_operand = case.expr.is_some();
            let mut compared: Vec<&mut Expr> = case.expr.as_deref_mut().into_iter().collect();
            let mut given: Vec<&mut Expr> = Vec::new();
            for (when, then) in &mut case.when_then_expr {
                // Without an operand it is a condition.
                if has_operand {
                    compared.push(when.as_mut());
                }
                given.push(then.as_mut());
            }
            given.extend(case.else_expr.as_deref_mut());
            vec![compared, given]
        }
        Expr::ScalarFunction(call)
            if OF_ONE_TYPE.contains(&call.func.name())
                || call.func.name() == ARRAY && !call.args.iter().any(is_text) =>
        {
            vec![call.args.iter_mut().collect()]
        }
        Expr::WindowFunction(call) if SHIFTS.contains(&call.fun.name()) => {
            match call.params.args.as_mut_slice() {
                [value, _, default] => vec![vec![value, default]],
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

fn is_distinction(op: Operator) -> bool {
    matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
}

/// Whether literals beside values of a type are read here.
fn is_read(data_type: &DataType) -> bool {
    let is_ours = matches!(
        data_type,
        DataType::Timestamp(..)
            | DataType::Decimal128(..)
            | DataType::Boolean
            | DataType::Interval(_)
            | DataType::List(_)
    );
    is_ours || is_bytes(data_type)
}

/// A literal as a value beside others. Error: it is the text of none, also where it would never be computed.
fn typed(field: &Field, literal: &Expr) -> Result<Option<Expr>> {
    let known = field.data_type();
    if is_fraction(literal) {
        let is_exact = matches!(known, DataType::Decimal128(..));
        return Ok(is_exact.then(|| exact_fraction(literal)).flatten());
    }
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = literal else {
        return Ok(None);
    };
    if !is_read(known) {
        return Ok(None);
    }
    let wanted = type_beside(text, known);
    // What a moment is depends on the session.
    if !matches!(wanted, DataType::Timestamp(..)) {
        check_text(text, &wanted)?;
    }
    let read = Cast::new(Box::new(literal.clone()), wanted);
    Ok(Some(Expr::Cast(noted_day(read))))
}

/// Whether an expression is written out, and others tell its type.
fn is_literal(expr: &Expr) -> bool {
    is_text(expr) || is_fraction(expr)
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), None))
}

/// Reads the literals among values as the others are; whether there are such.
fn read_in(values: Vec<&mut Expr>, seen: &DFSchema) -> Result<bool> {
    let (literals, others): (Vec<_>, Vec<_>) =
        values.into_iter().partition(|value| is_literal(value));
    if literals.is_empty() {
        return Ok(false);
    }
    let mut is_changed = false;
    let fields = others.iter().filter_map(|other| other.to_field(seen).ok());
    let fields: Vec<FieldRef> = fields.map(|(_, field)| field).collect();
    for literal in literals {
        for field in &fields {
            let marked = match is_text(literal) {
                true => read_beside(field, literal),
                false => None,
            };
            let read = match marked {
                Some(read) => Some(read),
                None => typed(field, literal)?,
            };
            if let Some(read) = read {
                *literal = read;
                is_changed = true;
                break;
            }
        }
        is_changed |= forget_digits(literal);
    }
    Ok(is_changed)
}
