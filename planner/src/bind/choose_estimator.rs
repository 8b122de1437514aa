//! Which estimator learns a model, and what makes its training rows surprising.
//!
//! In: the definition and the bound training query; out: an estimator, by name or by the label's type
//! (SQL.md §1 rule 12), and warnings that are known before any row is read.

use std::sync::Arc;

use auspex_ml::estimator::{Estimator, Task};
use auspex_ml::registry;
use auspex_ml::run::Warning;
use auspex_storage::ModelDefinition;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::col;
use futures::TryStreamExt;

use super::BoundQuery;
use crate::error::Result;
use crate::physical;
use crate::statement_run::Notice;

/// What is chosen where no type is named.
const DEFAULT_FAMILY: &str = "boosted_tree";

/// The estimator that is named, or that of its family which fits the label (SQL.md §1 rule 12).
pub(super) async fn estimator(
    definition: &ModelDefinition,
    rows: &BoundQuery,
    notices: &mut Vec<Notice>,
    warnings: &mut Vec<Warning>,
) -> Result<&'static dyn Estimator> {
    let named = definition.model_type.as_str();
    let family = if named.is_empty() {
        DEFAULT_FAMILY
    } else {
        named
    };
    let of_task = |task| {
        let suffix = match task {
            Task::Classification => "classifier",
            _ => "regressor",
        };
        registry::find(&format!("{family}_{suffix}"))
    };
    if !named.is_empty() && of_task(Task::Regression).is_err() {
        return Ok(registry::find(named)?);
    }
    let label = definition.labels.first().map_or("label", String::as_str);
    let task = task_of_label(label, rows, warnings).await?;
    let chosen = of_task(task)?;
    if named.is_empty() {
        notices.push(Notice {
            hint: Some("Choose another with USING type.".to_owned()),
            ..Notice::plain(format!(
                "model type {} was chosen for label \"{label}\"",
                chosen.spec().name
            ))
        });
    }
    Ok(chosen)
}

/// Classes for text, booleans and integers of two values; numbers otherwise.
async fn task_of_label(
    label: &str,
    rows: &BoundQuery,
    warnings: &mut Vec<Warning>,
) -> Result<Task> {
    let schema = rows.plan.schema();
    let find = |(_, field): &(_, &Arc<datafusion::arrow::datatypes::Field>)| {
        field.name().eq_ignore_ascii_case(label)
    };
    let Some((qualifier, field)) = schema.iter().find(find) else {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        return Err(auspex_ml::error::Error::MissingColumn {
            column: label.to_owned(),
            place: "training query",
            role: "label",
            nearest: crate::error::nearest(label, names),
        }
        .into());
    };
    let data_type = field.data_type();
    let is_text = matches!(
        data_type,
        DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    if is_text {
        return Ok(Task::Classification);
    }
    if !data_type.is_integer() {
        return Ok(Task::Regression);
    }
    let column = datafusion::common::Column::from((qualifier, field));
    Ok(match distinct_values(rows, column).await? {
        ..=2 => Task::Classification,
        n @ 3..=20 => {
            let hint = "If they are classes, name a classifier with USING.";
            warnings.push(Warning {
                code: "few_distinct_labels".to_owned(),
                message: format!(
                    "label \"{label}\" has only {n} distinct values and is predicted as a number"
                ),
                hint: Some(hint.to_owned()),
            });
            Task::Regression
        }
        _ => Task::Regression,
    })
}

async fn distinct_values(rows: &BoundQuery, column: datafusion::common::Column) -> Result<u64> {
    use datafusion::functions_aggregate::expr_fn::count;
    let expr = datafusion::logical_expr::Expr::Column(column);
    // Beyond 21 the number does not matter.
    let distinct = LogicalPlanBuilder::from(rows.plan.clone())
        .project(vec![expr.alias("label")])?
        .distinct()?
        .limit(0, Some(22))?
        .aggregate(
            Vec::<datafusion::logical_expr::Expr>::new(),
            vec![count(col("label"))],
        )?
        .build()?;
    let batches: Vec<RecordBatch> = physical::open(&rows.state, &distinct)
        .await?
        .try_collect()
        .await?;
    let value = batches.first().and_then(|batch| {
        use datafusion::arrow::array::AsArray;
        let array = batch
            .column(0)
            .as_primitive_opt::<datafusion::arrow::datatypes::Int64Type>()?;
        array.values().first().copied()
    });
    Ok(value.unwrap_or(0).unsigned_abs())
}

/// What makes the training rows differ from run to run.
pub(super) fn determinism_warnings(plan: &LogicalPlan) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut has_sort = false;
    let mut has_limit = false;
    let mut has_volatile = false;
    let walk = plan.apply_with_subqueries(|node| {
        has_sort |= matches!(node, LogicalPlan::Sort(_));
        has_limit |= matches!(node, LogicalPlan::Limit(_));
        has_volatile |= node.expressions().iter().any(|expr| expr.is_volatile());
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    });
    if walk.is_err() {
        return warnings;
    }
    let advise = |code: &str, message: &str, hint: &str| Warning {
        code: code.to_owned(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    };
    if has_limit && !has_sort {
        warnings.push(advise(
            "limit_without_order",
            "the training query has LIMIT without ORDER BY, so its rows may differ between runs",
            "Add ORDER BY over a unique column.",
        ));
    }
    if has_volatile {
        warnings.push(advise(
            "volatile_function",
            "the training query calls a volatile function, so its rows may differ between runs",
            "Store the rows in a table first, or use a hash of a column.",
        ));
    }
    warnings
}
