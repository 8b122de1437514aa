//! `VALUES` of functions that wait, as `nextval`, and of queries: they are evaluated above the rows, since `VALUES` itself
//! is computed while it is planned.
//!
//! In: a plan; out: the same rows. A column of one expression in all rows is projected over the others, so that the rows
//! keep their order; other rows become queries of their own.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::{
    EmptyRelation, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, Union, Values, lit,
};

/// Takes functions that wait and queries out of all `VALUES` of a plan.
pub(super) fn lifted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let lifted = plan.transform_up(|plan| match plan {
        LogicalPlan::Values(values) if values.values.iter().flatten().any(waits) => {
            Ok(Transformed::yes(above(values)?))
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    Ok(lifted.data)
}

fn waits(expr: &Expr) -> bool {
    let is_waiting = |expr: &Expr| {
        Ok(match expr {
            Expr::ScalarFunction(call) => call.func.as_async().is_some(),
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => true,
            _ => false,
        })
    };
    expr.exists(is_waiting).unwrap_or(false)
}

fn above(values: Values) -> Result<LogicalPlan> {
    let names: Vec<String> = values
        .schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let column = |idx: usize| values.values.iter().map(move |row| &row[idx]);
    let is_lifted: Vec<bool> = (0..names.len()).map(|idx| column(idx).any(waits)).collect();
    let is_same = |idx: usize| column(idx).all(|expr| *expr == values.values[0][idx]);
    match (0..names.len()).all(|idx| !is_lifted[idx] || is_same(idx)) {
        true => projected(&values, &names, &is_lifted),
        false => row_by_row(values, &names),
    }
}

/// The lifted columns over `VALUES` of the others.
fn projected(values: &Values, names: &[String], is_lifted: &[bool]) -> Result<LogicalPlan> {
    let below = values.values.iter().map(|row| {
        let exprs = row.iter().zip(is_lifted);
        let exprs = exprs.map(|(expr, is_lifted)| match is_lifted {
            // Holds the place; nothing reads it.
            true => lit(true),
            false => expr.clone(),
        });
        exprs.collect::<Vec<Expr>>()
    });
    let rows: Vec<Vec<Expr>> = below.collect();
    let fields = values.schema.fields().iter().zip(is_lifted);
    let fields = fields.map(|(field, is_lifted)| match is_lifted {
        true => Arc::new(Field::new(field.name(), DataType::Boolean, true)),
        false => Arc::clone(field),
    });
    let below = LogicalPlan::Values(Values {
        schema: Arc::new(DFSchema::from_unqualified_fields(
            fields.collect(),
            HashMap::new(),
        )?),
        values: rows,
    });
    let mut exprs = Vec::with_capacity(names.len());
    for (idx, name) in names.iter().enumerate() {
        exprs.push(match is_lifted[idx] {
            true => {
                let (expr, none) = (values.values[0][idx].clone(), DFSchema::empty());
                let data_type = values.schema.field(idx).data_type();
                expr.cast_to(data_type, &none)?.alias(name)
            }
            false => Expr::Column(below.schema().qualified_field(idx).into()).alias(name),
        });
    }
    LogicalPlanBuilder::from(below).project(exprs)?.build()
}

/// Each row as a query, all of which are joined together.
fn row_by_row(values: Values, names: &[String]) -> Result<LogicalPlan> {
    let schema = Arc::clone(&values.schema);
    let row = |row: Vec<Expr>| {
        let one = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: true,
            schema: Arc::new(DFSchema::empty()),
        });
        let named = row.into_iter().zip(names);
        let named = named.zip(schema.fields()).map(|((expr, name), field)| {
            let expr = expr.cast_to(field.data_type(), &DFSchema::empty())?;
            Ok(expr.alias(name))
        });
        let named = named.collect::<Result<Vec<Expr>>>()?;
        LogicalPlanBuilder::from(one).project(named)?.build()
    };
    let rows = values.values.into_iter().map(row);
    let inputs = rows.map(|row| row.map(Arc::new)).collect::<Result<_>>()?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}
