//! Literals beside values of json, uuid and moments where no operator reads them: `doc IN ('{"a":1}', '[]')`,
//! `coalesce(id, '…')`, `CASE WHEN … THEN doc ELSE '{}' END`, `at BETWEEN '…' AND '9999-12-31'`.
//!
//! In and out: a plan. To Arrow json is text, so that a literal would be compared, or given, as it is written, and a literal
//! beside a moment would make nanoseconds of both, in which there is no year 9999.

use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _, LogicalPlan, Operator};

use crate::functions::read_beside;

/// Functions whose arguments are of one type.
const OF_ONE_TYPE: [&str; 5] = ["array_concat", "coalesce", "greatest", "least", "nullif"];

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
            let read = expr.transform_up(|mut expr| {
                let is_changed = read_in(values_of(&mut expr), &seen);
                Ok(Transformed::new_transformed(expr, is_changed))
            });
            Ok(read?.update_data(|expr| match is_sort {
                true => expr,
                false => name.restore(expr),
            }))
        })?;
        // What is read may be NULL to the planner, also in the operators above.
        Ok(Transformed::yes(node.data.recompute_schema()?))
    })?;
    Ok(read.data)
}

/// Whether a plan has literals beside such values.
fn asks(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            if expr.exists(|expr| Ok(stands_beside(expr)))? {
                let seen = merge_schema(&node.inputs());
                found |= expr.exists(|expr| Ok(stands_beside(expr) && has_marked(expr, &seen)))?;
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// Whether one of the values of one type in an expression is of json, uuid or a moment.
fn has_marked(expr: &Expr, seen: &DFSchema) -> bool {
    let mut expr = expr.clone();
    values_of(&mut expr).into_iter().any(|value| {
        let field = value.to_field(seen);
        field.is_ok_and(|(_, field)| !marks_of(&field).is_empty() || is_moment(&field))
    })
}

fn stands_beside(expr: &Expr) -> bool {
    match expr {
        Expr::InList(list) => list.list.iter().any(is_literal),
        Expr::Between(between) => is_literal(&between.low) || is_literal(&between.high),
        Expr::BinaryExpr(binary) => {
            is_distinction(binary.op) && (is_literal(&binary.left) || is_literal(&binary.right))
        }
        Expr::Case(case) => {
            let mut thens = case.when_then_expr.iter().map(|(_, then)| then);
            thens.any(|then| is_literal(then)) || case.else_expr.as_deref().is_some_and(is_literal)
        }
        Expr::ScalarFunction(call) => {
            OF_ONE_TYPE.contains(&call.func.name()) && call.args.iter().any(is_literal)
        }
        _ => false,
    }
}

/// The values of one type in an expression.
fn values_of(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::InList(list) => {
            let first = std::iter::once(list.expr.as_mut());
            first.chain(&mut list.list).collect()
        }
        Expr::Between(between) => vec![
            between.expr.as_mut(),
            between.low.as_mut(),
            between.high.as_mut(),
        ],
        Expr::BinaryExpr(binary) if is_distinction(binary.op) => {
            vec![binary.left.as_mut(), binary.right.as_mut()]
        }
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter_mut().map(|(_, then)| then);
            thens
                .chain(&mut case.else_expr)
                .map(|value| value.as_mut())
                .collect()
        }
        Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => {
            call.args.iter_mut().collect()
        }
        _ => Vec::new(),
    }
}

fn is_distinction(op: Operator) -> bool {
    matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
}

fn is_moment(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Timestamp(..))
}

fn moment(field: &Field, text: &Expr) -> Option<Expr> {
    let read = || Cast::new(Box::new(text.clone()), field.data_type().clone());
    is_moment(field).then(|| Expr::Cast(read()))
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), None))
}

/// Reads the literals among values as the others are; whether there are such.
fn read_in(values: Vec<&mut Expr>, seen: &DFSchema) -> bool {
    let (literals, others): (Vec<_>, Vec<_>) =
        values.into_iter().partition(|value| is_literal(value));
    if literals.is_empty() {
        return false;
    }
    let mut is_changed = false;
    let fields = others.iter().filter_map(|other| other.to_field(seen).ok());
    let fields: Vec<_> = fields.map(|(_, field)| field).collect();
    for literal in literals {
        let read =
            |field: &FieldRef| read_beside(field, literal).or_else(|| moment(field, literal));
        let read = fields.iter().find_map(read);
        if let Some(read) = read {
            *literal = read;
            is_changed = true;
        }
    }
    is_changed
}
