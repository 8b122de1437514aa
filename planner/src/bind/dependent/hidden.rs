//! LATERAL relations that use columns of those before them in subqueries of their own alone:
//! `FROM o, LATERAL (SELECT … FROM t WHERE t.at = (SELECT max(u.at) FROM u WHERE u.k = o.k))`. The planner takes such a
//! relation for one that stands by itself.
//!
//! In: a bound plan; out: the plan in which it is lateral like any other. One whose column may be that of another relation
//! of the name, within it or around the join, stays as it is.

use std::sync::Arc;

use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::common::{DFSchemaRef, JoinType, Spans};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Subquery, SubqueryAlias};

use super::has;
use super::lateral::lateral_query;

/// Rewrites a plan.
pub(super) fn told(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = Found::default();
    found.in_query(&plan, &[])?;
    if found.0.is_empty() {
        return Ok(plan);
    }
    let told = plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => Ok(match found.columns(&join) {
            Some(columns) => Transformed::yes(lateral(join, columns.to_vec())?),
            None => Transformed::no(LogicalPlan::Join(join)),
        }),
        node => Ok(Transformed::no(node)),
    });
    told.data()
}

/// A relation, by its place in memory, and the columns before it that its subqueries use.
struct Hidden {
    relation: *const LogicalPlan,
    columns: Vec<Expr>,
}

#[derive(Default)]
struct Found(Vec<Hidden>);

impl Found {
    fn columns(&self, join: &Join) -> Option<&[Expr]> {
        let relation = Arc::as_ptr(&join.right);
        let mut found = self.0.iter();
        let found = found.find(|hidden| std::ptr::eq(hidden.relation, relation));
        found.map(|hidden| hidden.columns.as_slice())
    }

    /// Looks for such relations in a query; what it may use has the schemas `around`.
    fn in_query(&mut self, query: &LogicalPlan, around: &[DFSchemaRef]) -> Result<()> {
        let mut open = vec![query];
        while let Some(node) = open.pop() {
            self.in_subqueries(node, around)?;
            let LogicalPlan::Join(join) = node else {
                open.extend(node.inputs());
                continue;
            };
            open.push(&join.left);
            let columns = columns_before(join, around)?;
            if columns.is_empty() && lateral_query(&join.right).is_none() {
                open.push(&join.right);
                continue;
            }
            self.in_query(&join.right, &with(around, [&*join.left]))?;
            if !columns.is_empty() {
                let relation = Arc::as_ptr(&join.right);
                self.0.push(Hidden { relation, columns });
            }
        }
        Ok(())
    }

    fn in_subqueries(&mut self, node: &LogicalPlan, around: &[DFSchemaRef]) -> Result<()> {
        let mut queries = Vec::new();
        node.apply_subqueries(|query| {
            if let LogicalPlan::Subquery(query) = query {
                queries.push(Arc::clone(&query.subquery));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        for query in &queries {
            self.in_query(query, &with(around, node.inputs()))?;
        }
        Ok(())
    }
}

fn with<'a>(
    around: &[DFSchemaRef],
    plans: impl IntoIterator<Item = &'a LogicalPlan>,
) -> Vec<DFSchemaRef> {
    let schemas = plans.into_iter().map(|plan| Arc::clone(plan.schema()));
    around.iter().cloned().chain(schemas).collect()
}

/// The columns of a join's first relation that its second one uses without being known as lateral.
fn columns_before(join: &Join, around: &[DFSchemaRef]) -> Result<Vec<Expr>> {
    let mut columns: Vec<Expr> = Vec::new();
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left)
        || lateral_query(&join.right).is_some()
    {
        return Ok(columns);
    }
    let before = join.left.schema();
    join.right.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(_, column) = expr
                    && has(before, column)
                    && !columns.contains(expr)
                {
                    columns.push(expr.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if columns.is_empty() {
        return Ok(columns);
    }
    columns.retain(|column| !around.iter().any(|schema| is_of(schema, column)));
    join.right.apply_with_subqueries(|node| {
        columns.retain(|column| !is_of(node.schema(), column));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}

/// Whether an outer column is one of a schema.
fn is_of(schema: &DFSchemaRef, expr: &Expr) -> bool {
    matches!(expr, Expr::OuterReferenceColumn(_, column) if has(schema, column))
}

/// The join with a lateral relation.
fn lateral(join: Join, outer_ref_columns: Vec<Expr>) -> Result<LogicalPlan> {
    let query = |plan: &Arc<LogicalPlan>| {
        LogicalPlan::Subquery(Subquery {
            subquery: Arc::clone(plan),
            outer_ref_columns,
            spans: Spans::new(),
        })
    };
    let right = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
            let query = Arc::new(query(input));
            LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(query, alias.clone())?)
        }
        _ => query(&join.right),
    };
    Ok(LogicalPlan::Join(Join {
        right: Arc::new(right),
        ..join
    }))
}
