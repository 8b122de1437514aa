//! No two rows of a table share the values of a key.
//!
//! A version and the actions of a commit that would follow it flow in; nothing or the first violation flows out. The
//! rows that the commit adds are compared with each other, and joined with those that stay. What was found holds for
//! this version alone: the commit must follow it at once, or the look is repeated.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::{Column, JoinType, NullEquality, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_plan::execute_stream;
use deltalake::kernel::{Action, Add};
use deltalake::protocol::DeltaOperation;
use futures::StreamExt as _;

use crate::error::{Error, Result};
use crate::quoted_names::quoted_name;
use crate::tables::delta_commit::discard;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, Rebase};
use crate::tables::delta_scan::{DeltaScan, FILE_COLUMN, ROW_COLUMN};
use crate::tables::delta_write::{append_operation, in_order};
use crate::tables::key_form::KeyForm;
use crate::tables::keys::Key;
use crate::tables::row_checks::{RowChecks, shown_value};

/// How often a commit is tried on a table that others change.
pub(crate) const MAX_ROUNDS: usize = 100;
/// The log may cut longer texts.
const WHOLE_TEXT_BYTES: usize = 16;
const NEW: &str = "new_rows";
const KEPT: &str = "kept_rows";

/// Commits added rows of a table with keys. Their files go again if they may not stay.
///
/// Errors: `KeyViolation`; `Conflict` if the table's definition is another one than that of `version`.
pub(crate) async fn append_unique(
    log: &Arc<DeltaLog>,
    version: &DeltaVersion,
    adds: Vec<Add>,
    operation: DeltaOperation,
    checks: &Arc<RowChecks>,
) -> Result<()> {
    let written: Vec<String> = adds.iter().map(|add| add.path.clone()).collect();
    if let Some(staging) = log.staging() {
        staging.look_with(checks);
    }
    let committed = try_to_append(log, (version, None), adds, operation, checks).await;
    if let Err(error) = &committed
        && error.is_settled()
    {
        discard(version.table.object_store().as_ref(), &written).await;
    }
    committed
}

/// Commits the files that a transaction block has added to a table with keys, whose rows it has compared with each other
/// and with those of `base`. Rows that others have added meanwhile are looked at now.
///
/// Errors: as `append_unique`; the files stay.
pub(crate) async fn append_of_block(
    log: &Arc<DeltaLog>,
    base: &DeltaVersion,
    actions: Vec<Action>,
    operation: DeltaOperation,
    checks: &RowChecks,
) -> Result<()> {
    let add = |action| match action {
        Action::Add(add) => Some(add),
        _ => None,
    };
    let adds = actions.into_iter().filter_map(add).collect();
    try_to_append(log, (base, Some(base.number())), adds, operation, checks).await
}

/// `compared`: the version with whose rows the new ones were compared already.
async fn try_to_append(
    log: &Arc<DeltaLog>,
    (version, compared): (&DeltaVersion, Option<u64>),
    adds: Vec<Add>,
    operation: DeltaOperation,
    checks: &RowChecks,
) -> Result<()> {
    let shape = version.shape()?;
    let conflict = || Error::Conflict {
        object: "a table".into(),
    };
    // One after the other, so that statements of one server do not send each other to look again.
    let _turn = log.turn().await;
    for _ in 0..MAX_ROUNDS {
        let newest = log.newest().await?;
        if newest.shape()? != shape {
            return Err(conflict());
        }
        let adds = in_order(adds.clone(), &newest);
        let actions: Vec<Action> = adds.into_iter().map(Action::Add).collect();
        let keys = shape.keys();
        if compared != Some(newest.number()) {
            Box::pin(check(&newest, &actions, &keys, checks, checks.session()?)).await?;
        }
        let committed = log.commit(&newest, actions, operation.clone(), Rebase::NewKeys);
        match committed.await {
            Err(Error::Conflict { .. }) => {}
            done => return done.map(|_| ()),
        }
    }
    Err(conflict())
}

/// Fails if a table with the keys would have two rows of the same key after a commit that follows `version`, which has
/// none. Errors: `KeyViolation`, `NotPlainTable`, those of reading.
pub(crate) async fn check(
    version: &DeltaVersion,
    actions: &[Action],
    keys: &[Key],
    place: &RowChecks,
    session: &dyn Session,
) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let trial = DeltaLog::staged(version.clone())?;
    let operation = append_operation();
    // The version as the trial has it: what is committed behind it stays in memory.
    let base = trial.newest().await?;
    let committed = trial.commit(&base, actions.to_vec(), operation, Rebase::Nothing);
    committed.await?;
    let after = trial.newest().await?.scan()?.ok_or(Error::NotPlainTable)?;
    let before = version.scan()?.ok_or(Error::NotPlainTable)?;
    let known: BTreeSet<&str> = (0..before.n_files())
        .map(|file| before.name(file))
        .collect();
    let (kept, new): (Vec<usize>, Vec<usize>) =
        (0..after.n_files()).partition(|file| known.contains(after.name(*file)));
    if new.is_empty() {
        return Ok(());
    }
    for key in keys {
        let key = (key, place.form(key)?);
        let within = after.clone().of_files(new.clone());
        let mut found = duplicate(&within, key, session).await?;
        if found.is_none() && !kept.is_empty() {
            found = met(&after, (&new, &kept), key, session).await?;
        }
        if let Some(values) = found {
            return Err(Error::KeyViolation {
                schema: place.schema.clone(),
                relation: place.relation.clone(),
                constraint: key.0.name.clone(),
                key: values,
            });
        }
    }
    Ok(())
}

/// A key that two rows of a scan share, as messages show it.
pub(crate) async fn duplicate(
    scan: &DeltaScan,
    (key, form): (&Key, Option<&KeyForm>),
    session: &dyn Session,
) -> Result<Option<String>> {
    if scan.n_rows_at_most().is_some_and(|n_rows| n_rows < 2) {
        return Ok(None);
    }
    let n_rows = "__auspex_rows";
    let plan = rows(scan, NEW, (key, form), vec![])?
        .aggregate(columns(NEW, key), vec![count(lit(1_i64)).alias(n_rows)])?
        .filter(Expr::Column(Column::from_name(n_rows)).gt(lit(1_i64)))?
        .project(columns(NEW, key))?
        .limit(0, Some(1))?
        .build()?;
    first(&plan, key, session).await
}

/// A key that a new row shares with one that stays.
async fn met(
    scan: &DeltaScan,
    (new, kept): (&[usize], &[usize]),
    (key, form): (&Key, Option<&KeyForm>),
    session: &dyn Session,
) -> Result<Option<String>> {
    let bounds = bounds(scan, new, key);
    let kept = scan.clone().of_files(kept.to_vec());
    let kept = rows(&kept, KEPT, (key, form), bounds)?.build()?;
    let new = rows(
        &scan.clone().of_files(new.to_vec()),
        NEW,
        (key, form),
        vec![],
    )?;
    let plan = joined(new, (kept, JoinType::LeftSemi), key, (NEW, KEPT))?
        .limit(0, Some(1))?
        .build()?;
    first(&plan, key, session).await
}

/// A join of rows of the same key, which both sides have under the names of its columns.
pub(crate) fn joined(
    left: LogicalPlanBuilder,
    (right, join_type): (LogicalPlan, JoinType),
    key: &Key,
    (left_name, right_name): (&str, &str),
) -> Result<LogicalPlanBuilder> {
    let names = |relation: &str| -> Vec<Column> {
        let names = key.columns.iter();
        names
            .map(|name| Column::new(Some(relation), name))
            .collect()
    };
    let nulls = match key.nulls_are_equal {
        true => NullEquality::NullEqualsNull,
        false => NullEquality::NullEqualsNothing,
    };
    let keys = (names(left_name), names(right_name));
    Ok(left.join_detailed(right, join_type, keys, None, nulls)?)
}

fn columns(relation: &str, key: &Key) -> Vec<Expr> {
    let names = key.columns.iter();
    names
        .map(|name| Expr::Column(Column::new(Some(relation), name)))
        .collect()
}

/// The columns of a key, of the rows that have all of them and count; behind them the addresses, where the scan has them.
pub(crate) fn rows(
    scan: &DeltaScan,
    relation: &str,
    (key, form): (&Key, Option<&KeyForm>),
    mut conditions: Vec<Expr>,
) -> Result<LogicalPlanBuilder> {
    let source = provider_as_source(Arc::new(scan.clone()));
    let mut columns = columns(relation, key);
    if let Some(form) = form {
        let condition = form.condition.iter();
        conditions.extend(condition.map(|condition| condition.planned.clone()));
        for ((place, column), element) in columns.iter_mut().enumerate().zip(&form.elements) {
            if key.is_expression(place) {
                *column = element.planned.clone();
            }
        }
    }
    if !key.nulls_are_equal {
        conditions.extend(columns.iter().map(|column| column.clone().is_not_null()));
    }
    for (place, column) in columns.iter_mut().enumerate() {
        if key.is_expression(place) {
            let name = key.columns[place].as_str();
            *column = std::mem::take(column).alias_qualified(Some(relation), name);
        }
    }
    if scan.has_addresses() {
        let address = |name: &str| Expr::Column(Column::new(Some(relation), name));
        columns.extend([FILE_COLUMN, ROW_COLUMN].map(address));
    }
    let mut plan = LogicalPlanBuilder::scan(relation, source, None)?;
    if let Some(condition) = conjunction(conditions) {
        plan = plan.filter(condition)?;
    }
    Ok(plan.project(columns)?)
}

/// Between which values the new rows lie, where the log tells: files of other values are not read.
fn bounds(scan: &DeltaScan, new: &[usize], key: &Key) -> Vec<Expr> {
    let mut conditions = Vec::new();
    if key.nulls_are_equal {
        // NULL is between no values.
        return conditions;
    }
    for name in key.plain_columns() {
        let Some((min, max)) = scan.bounds(new, name) else {
            continue;
        };
        if is_exact(&min) && is_exact(&max) {
            let column = Expr::Column(Column::new(Some(KEPT), name));
            conditions.push(column.clone().gt_eq(lit(min)));
            conditions.push(column.lt_eq(lit(max)));
        }
    }
    conditions
}

/// Whether the log has values of a type as they are.
fn is_exact(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Utf8(Some(text)) => text.len() <= WHOLE_TEXT_BYTES,
        value => {
            let data_type = value.data_type();
            !value.is_null() && (data_type.is_integer() || data_type == DataType::Date32)
        }
    }
}

/// The first row of a plan, as messages show a key: `(a, b)=(1, x)`.
async fn first(plan: &LogicalPlan, key: &Key, session: &dyn Session) -> Result<Option<String>> {
    let plan = session.create_physical_plan(plan).await?;
    let mut batches = execute_stream(plan, session.task_ctx())?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            return Ok(Some(shown(key, &batch)));
        }
    }
    Ok(None)
}

pub(crate) fn shown(key: &Key, rows: &RecordBatch) -> String {
    let values = rows.columns().iter().map(|column| shown_value(column, 0));
    let values: Vec<String> = values.collect();
    let columns = key.columns.iter().enumerate();
    let columns = columns.map(|(place, column)| match key.is_expression(place) {
        true => column.clone(),
        false => quoted_name(column),
    });
    let columns: Vec<String> = columns.collect();
    format!("({})=({})", columns.join(", "), values.join(", "))
}
