//! Only literals and parameters without a type are read as values of the type beside them: `ARRAY[day, name]`,
//! `greatest(day, name)` and `nullif(day, name)` of a date and a text fail, as in PostgreSQL.
//!
//! In: a plan in which literals are read; out: nothing, or the error. The functions know types alone, of which a literal has that
//! of a text (`functions/json/kept.rs`).

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};

use crate::error::Error;
use crate::functions::{no_operator, reads_texts, type_of};

/// The functions, and what messages call them.
const CHECKED: [(&str, &str); 4] = [
    ("make_array", "ARRAY"),
    ("greatest", "GREATEST"),
    ("least", "LEAST"),
    NULLIF,
];

/// The one that compares two values, of which messages tell the operator.
const NULLIF: (&str, &str) = ("nullif", "NULLIF");

/// Fails where a function would read texts that have a type.
pub(super) fn refuse(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let mut seen = None;
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && let Some((_, shown)) =
                        CHECKED.iter().find(|(name, _)| *name == call.func.name())
                {
                    let seen = seen.get_or_insert_with(|| merge_schema(&node.inputs()));
                    check(call, shown, seen)?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn check(call: &ScalarFunction, shown: &str, seen: &DFSchema) -> Result<()> {
    let fields = call
        .args
        .iter()
        .map(|arg| arg.to_field(seen).map(|(_, field)| field));
    // What has no type yet is a parameter.
    let Ok(fields) = fields.collect::<Result<Vec<FieldRef>>>() else {
        return Ok(());
    };
    let types: Vec<DataType> = fields.iter().map(|f| f.data_type().clone()).collect();
    let is_typed_text =
        |(arg, field): (&Expr, &FieldRef)| field.data_type().is_string() && !is_without_type(arg);
    let mut args = call.args.iter().zip(&fields);
    if !args.any(is_typed_text) || !reads_texts(call.func.name(), &types) {
        return Ok(());
    }
    let typed = call.args.iter().zip(&fields);
    let typed = typed.filter(|(arg, field)| !is_without_type(arg) && !field.data_type().is_null());
    let mut names: Vec<String> = typed.map(|(_, field)| type_of(field)).collect();
    if shown == NULLIF.1
        && let [left, right] = names.as_slice()
    {
        return Err(no_operator(left, "=", right));
    }
    names.dedup();
    names.truncate(2);
    let message = format!("{shown} types {} cannot be matched", names.join(" and "));
    Err(Error::invalid("42804", message, None).into())
}

/// Whether a text is a literal or a parameter, which the values beside it tell the type of.
fn is_without_type(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) | Expr::Placeholder(_) => true,
        Expr::Alias(alias) => is_without_type(&alias.expr),
        // The planner gives a parameter its type so.
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Placeholder(_)),
        _ => false,
    }
}
