//! `x IN (query)` compares the keys of values that Arrow compares otherwise than PostgreSQL.
//!
//! In: a plan with such values on both sides; out: one with their keys (`functions/order_keys.rs`) there, before the query is
//! joined. Rows that are of no relation (`SELECT DISTINCT s AS k`, UNION, VALUES) become those of one: the planner's join, where
//! IN is not a condition of its own, would not know which side their column is of.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Subquery, SubqueryAlias};

use crate::functions::{Key, key_of};

/// The plan with keys on both sides of IN of a subquery.
pub(super) fn keyed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let keyed = plan.transform_up_with_subqueries(|node| {
        let mut asks = false;
        node.apply_expressions(|expr| {
            asks |= expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        if !asks {
            return Ok(Transformed::no(node));
        }
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let is_sort = matches!(node, LogicalPlan::Sort(_));
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let keyed = expr.transform_up(|expr| among(expr, &schema))?;
            Ok(keyed.update_data(|expr| match is_sort {
                true => expr,
                false => name.restore(expr),
            }))
        })
    })?;
    Ok(keyed.data)
}

fn among(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(query) = expr else {
        return Ok(Transformed::no(expr));
    };
    let rows = Arc::clone(&query.subquery.subquery);
    let found = Expr::Column(Column::from(rows.schema().qualified_field(0)));
    let key = key_of(&query.expr, Key::of_equality, schema);
    let same = key_of(&found, Key::of_equality, rows.schema());
    let Some(key) = key.filter(|key| same.as_ref() == Some(key)) else {
        return of_relation(query, rows);
    };
    let keys = vec![key.of(found).alias("__auspex_key")];
    let keys = LogicalPlan::Projection(Projection::try_new(keys, rows)?);
    let subquery = Subquery {
        subquery: Arc::new(keys),
        ..query.subquery
    };
    let sought = Box::new(key.of(*query.expr));
    let query = InSubquery::new(sought, subquery, query.negated);
    Ok(Transformed::yes(Expr::InSubquery(query)))
}

/// The same look-up among rows of a relation.
fn of_relation(query: InSubquery, rows: Arc<LogicalPlan>) -> Result<Transformed<Expr>> {
    let is_of_one = match rows.head_output_expr()? {
        Some(Expr::Column(column)) => column.relation.is_some(),
        // Of rows that are more than computed (DISTINCT), the planner takes the name for a column.
        Some(Expr::Alias(_)) => matches!(rows.as_ref(), LogicalPlan::Projection(_)),
        found => found.is_some(),
    };
    if is_of_one {
        return Ok(Transformed::no(Expr::InSubquery(query)));
    }
    let rows = SubqueryAlias::try_new(rows, "__auspex_rows")?;
    let column = Expr::Column(Column::from(rows.schema.qualified_field(0)));
    let rows = Arc::new(LogicalPlan::SubqueryAlias(rows));
    let subquery = Subquery {
        subquery: Arc::new(LogicalPlan::Projection(Projection::try_new(
            vec![column],
            rows,
        )?)),
        ..query.subquery
    };
    let query = InSubquery::new(query.expr, subquery, query.negated);
    Ok(Transformed::yes(Expr::InSubquery(query)))
}
