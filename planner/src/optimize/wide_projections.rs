//! Keeps what makes much of a row out of the scans.
//!
//! In: a physical plan; out: the same, with a barrier below each projection whose values may be far larger than what they
//! are made of. A scan would compute it of whole batches, and nothing could hand it fewer rows (`physical::ration`). The
//! barriers are taken out with those of views.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::physical::{BarrierExec, rows_at_first};

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules with [`WideProjections`] before all others.
pub(crate) fn with_wide_projections(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.insert(0, Arc::new(WideProjections));
    rules
}

/// See the module.
#[derive(Debug)]
struct WideProjections;

impl PhysicalOptimizerRule for WideProjections {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
                return Ok(Transformed::no(node));
            };
            let input = projection.input();
            if !input.children().is_empty() || !makes_much(projection)? {
                return Ok(Transformed::no(node));
            }
            let barrier = Arc::new(BarrierExec::new(Arc::clone(input)));
            // A projection made anew would have other notes on its columns than the planner gave them.
            let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            let above = Arc::clone(&node).replace_children(vec![barrier], anew)?;
            Ok(Transformed::yes(above))
        })
        .data()
    }

    fn name(&self) -> &str {
        "WideProjections"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn makes_much(projection: &ProjectionExec) -> Result<bool> {
    for column in projection.expr() {
        if rows_at_first(&column.expr)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_expr::PhysicalExpr;
    use datafusion::physical_expr::expressions::{col, lit};
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::projection::ProjectionExpr;

    use super::*;

    #[test]
    fn only_wide_projections_stay_above_scans() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let optimized = |expr: Arc<dyn PhysicalExpr>| {
            let rows = Arc::new(EmptyExec::new(Arc::clone(&schema)));
            let columns = vec![ProjectionExpr::new(expr, "x".to_owned())];
            let plan = Arc::new(ProjectionExec::try_new(columns, rows).unwrap());
            let plan = WideProjections.optimize(plan, &ConfigOptions::default());
            plan.unwrap().children()[0].is::<BarrierExec>()
        };
        assert!(!optimized(col("a", &schema).unwrap()));
        assert!(!optimized(lit("short")));
        assert!(optimized(lit("long".repeat(1000))));
    }

    #[test]
    fn notes_on_columns_stay_as_the_planner_made_them() {
        let noted = HashMap::from([("note".to_owned(), "of the file".to_owned())]);
        let field = Field::new("a", DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field.clone().with_metadata(noted)]));
        let rows = Arc::new(EmptyExec::new(Arc::clone(&schema)));
        let columns = vec![
            ProjectionExpr::new(col("a", &schema).unwrap(), "a".to_owned()),
            ProjectionExpr::new(lit("long".repeat(1000)), "x".to_owned()),
        ];
        let planned = Schema::new(vec![field, Field::new("x", DataType::Utf8, false)]);
        let plan = ProjectionExec::try_new_with_schema_metadata(columns, rows, &planned).unwrap();
        let plan: Arc<dyn ExecutionPlan> = Arc::new(plan);
        let after = WideProjections.optimize(Arc::clone(&plan), &ConfigOptions::default());
        let after = after.unwrap();
        assert!(after.children()[0].is::<BarrierExec>());
        assert_eq!(after.schema(), plan.schema());
    }
}
