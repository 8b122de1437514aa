//! What keeps the physical optimizer from moving conditions, computations and sorts below a barrier.
//!
//! In: the rows of a view, those of an operator whose columns share names, or those that a limit lets through; out: the same. It
//! stands in plans only while they are optimized: [`Guards`] and [`Fenced`] take it out, so that it need not be sent to other
//! machines.
//!
//! [`Guards`]: crate::optimize::physical_rules
//! [`Fenced`]: crate::optimize::physical_rules

use std::collections::HashSet;
use std::fmt::Formatter;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, FilterDescription, FilterPushdownPhase,
};
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};

/// The physical twin of [`BarrierNode`](crate::logical::BarrierNode).
#[derive(Debug)]
pub(crate) struct BarrierExec {
    input: Arc<dyn ExecutionPlan>,
    kept_above: KeptAbove,
}

/// What does not pass.
#[derive(Debug, Clone)]
enum KeptAbove {
    Conditions,
    /// Those on columns that share these names.
    ConditionsOn(HashSet<String>),
    ConditionsAndSorts,
    /// Those, of rows whose order is asked for.
    ConditionsAsking(LexOrdering),
}

impl BarrierExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>) -> BarrierExec {
        BarrierExec {
            input,
            kept_above: KeptAbove::Conditions,
        }
    }

    /// A barrier for conditions on columns of these names alone.
    pub(crate) fn of_names(input: Arc<dyn ExecutionPlan>, shared: HashSet<String>) -> BarrierExec {
        BarrierExec {
            input,
            kept_above: KeptAbove::ConditionsOn(shared),
        }
    }

    /// A barrier for sorts as well.
    pub(crate) fn of_sorts(input: Arc<dyn ExecutionPlan>) -> BarrierExec {
        BarrierExec {
            input,
            kept_above: KeptAbove::ConditionsAndSorts,
        }
    }

    /// A barrier that asks for the order of its rows, for the sake of operators above that do not.
    pub(crate) fn of_order(input: Arc<dyn ExecutionPlan>, order: LexOrdering) -> BarrierExec {
        BarrierExec {
            input,
            kept_above: KeptAbove::ConditionsAsking(order),
        }
    }

    /// Whether it stands in the plan while one rule runs, not from the start.
    pub(crate) fn is_of_one_rule(&self) -> bool {
        !matches!(self.kept_above, KeptAbove::Conditions)
    }

    /// What stands below it.
    pub(crate) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("BarrierExec")
    }
}

// By default no condition and no projection passes an operator.
impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &str {
        "BarrierExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// Its properties say how the rows come all the same: what asks for an order that they have finds it.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![!matches!(self.kept_above, KeptAbove::ConditionsAndSorts)]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![match &self.kept_above {
            KeptAbove::ConditionsAsking(order) => Some(OrderingRequirements::from(order.clone())),
            _ => None,
        }]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children
            .pop()
            .ok_or_else(|| DataFusionError::Internal("BarrierExec has one input".to_owned()))?;
        let kept_above = self.kept_above.clone();
        Ok(Arc::new(BarrierExec { input, kept_above }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, anew)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let input = inputs.first().cloned();
        Ok(input.unwrap_or_else(|| Arc::new(Statistics::new_unknown(&self.schema()))))
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let KeptAbove::ConditionsOn(shared) = &self.kept_above else {
            return Ok(FilterDescription::all_unsupported(
                &parent_filters,
                &self.children(),
            ));
        };
        let schema = self.schema();
        let named = schema.fields().iter().enumerate();
        let sure = named.filter(|(_, field)| !shared.contains(field.name()));
        let sure = sure.map(|(at, _)| at).collect();
        Ok(FilterDescription::new().with_child(
            ChildFilterDescription::from_child_with_allowed_indices(
                &parent_filters,
                sure,
                &self.input,
            )?,
        ))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
