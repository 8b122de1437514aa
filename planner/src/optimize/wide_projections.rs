//! Keeps what makes much of a row out of the scans.
//!
//! In: a physical plan; out: the same, with a barrier below each projection whose values may be far larger than what they
//! are made of. A scan would compute it of whole batches, and nothing could hand it fewer rows (`physical::ration`). The
//! barriers are taken out with those of views.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::PhysicalRule;
use super::node_rule::{NodeRule, with_input};
use crate::physical::{BarrierExec, rows_at_first};

type Plan = Arc<dyn ExecutionPlan>;

/// The rule, which runs before all others.
const WIDE_PROJECTIONS: NodeRule = NodeRule {
    name: "WideProjections",
    rewrite: above_barrier,
};

/// The rules with this one.
pub(super) fn with_wide_projections(mut rules: Vec<PhysicalRule>) -> Vec<PhysicalRule> {
    rules.insert(0, Arc::new(WIDE_PROJECTIONS));
    rules
}

fn above_barrier(node: &Plan) -> Result<Option<Plan>> {
    let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
        return Ok(None);
    };
    let input = projection.input();
    if !input.children().is_empty() || !makes_much(projection)? {
        return Ok(None);
    }
    let barrier = Arc::new(BarrierExec::new(Arc::clone(input)));
    // A projection made anew would have other notes on its columns than the planner gave them.
    with_input(node, barrier).map(Some)
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
    use datafusion::common::config::ConfigOptions;
    use datafusion::physical_expr::PhysicalExpr;
    use datafusion::physical_expr::expressions::{col, lit};
    use datafusion::physical_optimizer::PhysicalOptimizerRule as _;
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
            let plan = WIDE_PROJECTIONS.optimize(plan, &ConfigOptions::default());
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
        let after = WIDE_PROJECTIONS.optimize(Arc::clone(&plan), &ConfigOptions::default());
        let after = after.unwrap();
        assert!(after.children()[0].is::<BarrierExec>());
        assert_eq!(after.schema(), plan.schema());
    }
}
