//! The times that a statement sees: `now()` is the start of its transaction, `statement_timestamp()` its own.
//!
//! In: the start of each statement of a session; out: these times, the same wherever the statement asks for them.
//! `clock_timestamp()` reads the clock itself.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility, lit};

/// The function whose value is the start of the statement.
const STATEMENT_TIMESTAMP: &str = "statement_timestamp";

/// When the statement began that a session runs.
#[derive(Debug)]
pub(crate) struct StatementClock(AtomicI64);

impl Default for StatementClock {
    fn default() -> Self {
        Self(AtomicI64::new(Utc::now().timestamp_micros()))
    }
}

impl StatementClock {
    /// A statement begins.
    pub(crate) fn start(&self) {
        self.0
            .store(Utc::now().timestamp_micros(), Ordering::Relaxed);
    }

    pub(crate) fn started(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::Relaxed)).unwrap_or_default()
    }
}

/// An expression in which the start of the statement is a value.
pub(crate) fn with_statement_time(expr: Expr, at: DateTime<Utc>) -> Result<Transformed<Expr>> {
    expr.transform(|expr| match &expr {
        Expr::ScalarFunction(call) if call.func.name() == STATEMENT_TIMESTAMP => {
            let at = Some(at.timestamp_micros());
            let value = ScalarValue::TimestampMicrosecond(at, Some("UTC".into()));
            Ok(Transformed::yes(lit(value)))
        }
        _ => Ok(Transformed::no(expr)),
    })
}

/// Whether an expression asks for something that may differ from statement to statement, as the time.
pub(crate) fn asks_for_time(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| {
        Ok(
            matches!(expr, Expr::ScalarFunction(call) if call.args.is_empty()
            && call.func.signature().volatility == Volatility::Stable),
        )
    })
}

/// A plan in which the start of the statement is a value.
pub(crate) fn timed(plan: LogicalPlan, at: DateTime<Utc>) -> Result<LogicalPlan> {
    let timed = plan.transform_down_with_subqueries(|node| {
        let preserver = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let timed = with_statement_time(expr, at)?;
            Ok(timed.update_data(|expr| name.restore(expr)))
        })
    });
    timed.map(|timed| timed.data)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, TimeUnit};
    use datafusion::logical_expr::{ColumnarValue, LogicalPlanBuilder, ScalarUDF, create_udf};

    use super::*;

    fn function(name: &str) -> ScalarUDF {
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let none = ScalarValue::try_from(&data_type).unwrap();
        let body = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(none.clone()));
        create_udf(name, vec![], data_type, Volatility::Stable, Arc::new(body))
    }

    #[test]
    fn the_start_of_the_statement_is_a_value_under_the_same_name() {
        let columns = [STATEMENT_TIMESTAMP, "other"].map(|name| function(name).call(vec![]));
        let plan = LogicalPlanBuilder::empty(true).project(columns).unwrap();
        let plan = plan.build().unwrap();
        let at = DateTime::from_timestamp_micros(5).unwrap();
        let timed = timed(plan.clone(), at).unwrap();
        assert_eq!(timed.schema(), plan.schema());
        let shown = timed.display_indent().to_string();
        assert!(shown.contains("TimestampMicrosecond(5"), "{shown}");
        assert!(shown.contains("other()"), "{shown}");
        let clock = StatementClock::default();
        clock.start();
        assert!(clock.started() > at);
    }
}
