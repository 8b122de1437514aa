//! Subqueries that use columns of the query around them in ways that the planner's own rules do not know: comparisons
//! other than `=`, `ORDER BY … LIMIT` for each outer row, and subqueries in sorts, aggregates, windows and conditions of joins.
//! On a cluster those there that use no outer columns are among them.
//!
//! In: a bound plan; out: the same rows without these subqueries. The distinct values of the outer columns that a subquery
//! uses are its *domain*; the subquery is computed once for each of them (`pushed`), and what it gives is joined to the
//! outer rows. `lateral` does the same for relations, `hidden` finds those that are lateral by their subqueries alone,
//! `chosen` has those of DISTINCT ON below it,
//! `unknown_in` tells where NULLs make IN unknown. What the planner's rules join is left as it is, and so is
//! what cannot be computed twice, unless these rules would join it with rows of other outer rows: that is refused.

mod chosen;
mod domain;
mod hidden;
mod lateral;
mod pulled;
mod pushed;
mod recursive;
mod unknown_in;

use std::cell::Cell;
use std::sync::Arc;

use auspex_storage::AddressKind;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::common::{Column, DFSchema, ExprSchema as _, JoinType, NullEquality, ScalarValue};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::{array_agg, bool_or};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::check_subquery_expr;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable as _, Filter, Join, JoinConstraint, LogicalPlan,
    Projection, Sort, Subquery, lit, not,
};

use domain::{Domain, refused};
use pulled::{Asked, keeps_rows, pulls_up};
use pushed::Empty;

/// Rewrites a plan.
pub(super) fn joined(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let plan = hidden::told(plan)?;
    let numbers = Numbers::default();
    let done = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => {
            let join = lateral::unbound(join)?;
            let lateral = lateral::joined(&join, &numbers)?;
            Ok(match lateral {
                Some(plan) => Transformed::yes(plan),
                None => condition(join, &numbers, state)?,
            })
        }
        LogicalPlan::Sort(sort) => sorted(sort, &numbers, state),
        LogicalPlan::Distinct(Distinct::On(on)) => chosen::over_columns(on, &numbers, state),
        node => valued(node, &numbers, state),
    })?;
    Ok(done.data)
}

/// Numbers the columns that are added, so that no two have one name.
#[derive(Default)]
struct Numbers(Cell<usize>);

impl Numbers {
    fn name(&self, what: &str) -> String {
        let number = self.0.get();
        self.0.set(number + 1);
        format!("__auspex_{what}_{number}")
    }

    fn column(&self, what: &str) -> Column {
        Column::from_name(self.name(what))
    }
}

/// Whether a column holds what a subquery is given of an outer row.
pub(super) fn is_outer(column: &Column) -> bool {
    column.name.starts_with("__auspex_outer_")
}

/// The outer columns that a plan uses.
fn outer_columns(plan: &LogicalPlan) -> Vec<Column> {
    let columns = plan.all_out_ref_exprs().into_iter();
    let columns = columns.filter_map(|expr| match expr {
        Expr::OuterReferenceColumn(_, column) => Some(column),
        _ => None,
    });
    columns.collect()
}

/// Whether a schema has exactly this column.
fn has(schema: &DFSchema, column: &Column) -> bool {
    schema.iter().any(|(relation, field)| {
        relation == column.relation.as_ref() && *field.name() == column.name
    })
}

fn has_all(schema: &DFSchema, columns: &[Column]) -> bool {
    columns.iter().all(|column| has(schema, column))
}

/// Pairs of keys that are equal where the columns are, or both NULL. The join itself does not take NULLs for equal: it would
/// do so with conditions of the query, too, that the optimizer moves into it.
fn same_keys(rows: &LogicalPlan, columns: &[Column], keys: &[Column]) -> Result<Vec<(Expr, Expr)>> {
    let mut pairs = Vec::with_capacity(2 * keys.len());
    for (column, key) in columns.iter().zip(keys) {
        let field = rows.schema().field_from_column(column)?;
        let [column, key] = [column, key].map(|column| Expr::Column(column.clone()));
        if !field.is_nullable() {
            pairs.push((column, key));
            continue;
        }
        // Lists are one type only if their elements are called the same.
        let data_type = column.get_type(rows.schema())?;
        let default = ScalarValue::new_default(&data_type)?;
        // The text beside an address is none that is to be read.
        let is_address = AddressKind::of_elements(field).is_some();
        let marks = is_address.then(|| FieldMetadata::from(field.as_ref()));
        let default = Expr::Literal(default.cast_to(&data_type)?, marks);
        let filled = |expr: &Expr| coalesce(vec![expr.clone(), default.clone()]);
        pairs.push((filled(&column), filled(&key)));
        pairs.push((column.is_null(), key.is_null()));
    }
    Ok(pairs)
}

fn plain(columns: impl IntoIterator<Item = Column>) -> impl Iterator<Item = Expr> {
    columns.into_iter().map(Expr::Column)
}

fn project(plan: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    Projection::try_new(exprs, Arc::new(plan)).map(LogicalPlan::Projection)
}

/// The query of an expression, if it is one of those that are computed here.
fn query_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(query)
        | Expr::Exists(Exists {
            subquery: query, ..
        })
        | Expr::InSubquery(InSubquery {
            subquery: query, ..
        }) => Some(query),
        _ => None,
    }
}

/// Whether an expression of a node is a subquery that the planner's rules leave. One for a value that reads no outer columns
/// is asked apart from the rows, but on a cluster: there they join it as any other. One whose LATERAL was joined here still
/// counts as one with outer columns to the planner.
fn is_left(node: &LogicalPlan, expr: &Expr, state: &SessionState) -> bool {
    let Some(query) = query_of(expr) else {
        return false;
    };
    let outer = outer_columns(&query.subquery);
    let is_value = matches!(expr, Expr::ScalarSubquery(_));
    let is_joined = match node {
        LogicalPlan::Filter(_) => true,
        LogicalPlan::Projection(_) => is_value,
        _ => false,
    };
    if outer.is_empty() {
        let options = &state.config().options().optimizer;
        let is_apart = is_value
            && query.outer_ref_columns.is_empty()
            && options.enable_physical_uncorrelated_scalar_subquery;
        return !is_apart && !is_joined;
    }
    let [input] = node.inputs()[..] else {
        return true;
    };
    // Columns of the outer query that a subquery of this one used are not among those that the planner knows of.
    !is_joined
        || query.outer_ref_columns.is_empty()
        || !has_all(input.schema(), &outer)
        || check_subquery_expr(node, &query.subquery, expr).is_err()
        || !pulls_up(&query.subquery, Asked::by(expr))
}

/// Whether some expression of a node has a subquery that the planner's rules leave.
fn has_left(node: &LogicalPlan, state: &SessionState) -> bool {
    let mut found = false;
    for expr in node.expressions() {
        let exists = expr.exists(|expr| Ok(is_left(node, expr, state)));
        found |= exists.unwrap_or(false);
    }
    found
}

/// A node whose expressions read the values of subqueries as columns.
fn valued(
    node: LogicalPlan,
    numbers: &Numbers,
    state: &SessionState,
) -> Result<Transformed<LogicalPlan>> {
    let keeps_columns = match node {
        LogicalPlan::Filter(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => false,
        _ => return Ok(Transformed::no(node)),
    };
    let told = unknown_in::told(node)?;
    if !has_left(&told.data, state) {
        return Ok(told);
    }
    let (node, is_told) = (told.data, told.transformed);
    let [input] = node.inputs()[..] else {
        return Ok(Transformed::new_transformed(node, is_told));
    };
    let mut outer = Outer::new(input.clone(), numbers, state);
    let is_sort = matches!(node, LogicalPlan::Sort(_));
    let names = NamePreserver::new(&node);
    let mut exprs = Vec::new();
    for expr in node.expressions() {
        let name = names.save(&expr);
        let expr = outer.replaced(expr, |expr| is_left(&node, expr, state))?;
        exprs.push(match is_sort {
            true => expr,
            false => name.restore(expr),
        });
    }
    if !outer.is_changed {
        return Ok(Transformed::new_transformed(node, is_told));
    }
    let columns = node.schema().columns();
    let changed = node.with_new_exprs(exprs, vec![outer.plan])?;
    Ok(Transformed::yes(match keeps_columns {
        true => project(changed, plain(columns).collect())?,
        false => changed,
    }))
}

/// A sort by what subqueries give. These may use columns that are not selected, so that their values come from below the
/// projection.
fn sorted(sort: Sort, numbers: &Numbers, state: &SessionState) -> Result<Transformed<LogicalPlan>> {
    let node = LogicalPlan::Sort(sort.clone());
    let LogicalPlan::Projection(selected) = sort.input.as_ref() else {
        return valued(node, numbers, state);
    };
    if !has_left(&node, state) {
        return Ok(Transformed::no(node));
    }
    let below = selected.input.schema();
    let is_below = |expr: &Expr| {
        let query = query_of(expr).filter(|_| is_left(&node, expr, state));
        query.is_some_and(|query| has_all(below, &outer_columns(&query.subquery)))
    };
    let mut outer = Outer::new(selected.input.as_ref().clone(), numbers, state);
    let mut keys = Vec::with_capacity(sort.expr.len());
    for key in &sort.expr {
        let expr = outer.replaced(key.expr.clone(), is_below)?;
        keys.push(key.with_expr(expr));
    }
    if !outer.is_changed {
        return valued(node, numbers, state);
    }
    let columns = sort.input.schema().columns();
    let exprs = selected.expr.iter().cloned();
    let exprs = exprs.chain(plain(outer.added)).collect();
    let sorted = LogicalPlan::Sort(Sort {
        expr: keys,
        input: Arc::new(project(outer.plan, exprs)?),
        fetch: sort.fetch,
    });
    let sorted = valued(sorted, numbers, state)?.data;
    Ok(Transformed::yes(project(sorted, plain(columns).collect())?))
}

/// A join whose condition asks subqueries. Those of an inner join stand in a filter behind it, but for one value that is the
/// same for all rows; the others are computed of the side whose columns they use.
fn condition(
    mut join: Join,
    numbers: &Numbers,
    state: &SessionState,
) -> Result<Transformed<LogicalPlan>> {
    let node = LogicalPlan::Join(join.clone());
    if join.filter.is_none() || !has_left(&node, state) {
        return Ok(Transformed::no(node));
    }
    let conditions = join.filter.take().map(split_conjunction_owned);
    let mut conditions = conditions.unwrap_or_default();
    if join.join_type == JoinType::Inner {
        let asks = |expr: &Expr| {
            expr.exists(|expr| Ok(is_left(&node, expr, state) && !is_one_value(expr)))
        };
        let (behind, within): (Vec<Expr>, Vec<Expr>) = conditions
            .into_iter()
            .partition(|expr| asks(expr).unwrap_or(false));
        if let Some(behind) = conjunction(behind) {
            join.filter = conjunction(within);
            let joined = condition(join, numbers, state)?.data;
            let filter = LogicalPlan::Filter(Filter::try_new(behind, Arc::new(joined))?);
            return Ok(Transformed::yes(valued(filter, numbers, state)?.data));
        }
        conditions = within;
    }
    let mut sides =
        [&join.left, &join.right].map(|side| Outer::new(side.as_ref().clone(), numbers, state));
    let mut replaced = Vec::with_capacity(conditions.len());
    for mut expr in conditions {
        for (side, schema) in sides
            .iter_mut()
            .zip([join.left.schema(), join.right.schema()])
        {
            expr = side.replaced(expr, |expr| {
                let query = query_of(expr).filter(|_| is_left(&node, expr, state));
                query.is_some_and(|query| has_all(schema, &outer_columns(&query.subquery)))
            })?;
        }
        replaced.push(expr);
    }
    let columns = join.schema.columns();
    let [left, right] = sides.map(|side| Arc::new(side.plan));
    let joined = Join::try_new(
        left,
        right,
        join.on,
        conjunction(replaced),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let joined = project(LogicalPlan::Join(joined), plain(columns).collect())?;
    Ok(Transformed::yes(joined))
}

/// Whether an expression is a subquery that gives all rows one value.
fn is_one_value(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(query) if outer_columns(&query.subquery).is_empty())
}

/// Rows to which values of subqueries are joined.
struct Outer<'a> {
    /// The rows alone.
    rows: LogicalPlan,
    plan: LogicalPlan,
    numbers: &'a Numbers,
    state: &'a SessionState,
    /// The columns of the values.
    added: Vec<Column>,
    is_changed: bool,
}

impl<'a> Outer<'a> {
    fn new(plan: LogicalPlan, numbers: &'a Numbers, state: &'a SessionState) -> Outer<'a> {
        Outer {
            rows: plan.clone(),
            plan,
            numbers,
            state,
            added: Vec::new(),
            is_changed: false,
        }
    }

    /// An expression in which columns stand for the chosen subqueries; those that cannot be joined stay.
    fn replaced(&mut self, expr: Expr, is_chosen: impl Fn(&Expr) -> bool) -> Result<Expr> {
        let replaced = expr.transform_up(|expr| {
            if !is_chosen(&expr) {
                return Ok(Transformed::no(expr));
            }
            match self.value_of(&expr) {
                Some(value) => Ok(Transformed::yes(value)),
                None if self.would_differ(&expr) => Err(refused()),
                None => Ok(Transformed::no(expr)),
            }
        });
        replaced.data()
    }

    /// Whether the planner, were an expression left to it, would join its subquery as one with other rows.
    fn would_differ(&self, expr: &Expr) -> bool {
        query_of(expr).is_some_and(|query| {
            let outer = outer_columns(&query.subquery);
            !outer.is_empty()
                && has_all(self.rows.schema(), &outer)
                && !keeps_rows(&query.subquery, Asked::by(expr))
        })
    }

    /// What an expression that is a subquery gives.
    fn value_of(&mut self, expr: &Expr) -> Option<Expr> {
        match expr {
            Expr::ScalarSubquery(query) => self.value(&query.subquery).ok(),
            Expr::Exists(exists) => {
                let found = gathered(&exists.subquery.subquery, |_| bool_or(lit(true))).ok()?;
                let found = self.value(&found).ok()?;
                Some(match exists.negated {
                    true => found.is_null(),
                    false => found.is_not_null(),
                })
            }
            Expr::InSubquery(query) => {
                let looked_up = self.state.scalar_functions().get("in_array")?;
                let looked_up = Arc::clone(looked_up);
                let rows = gathered(&query.subquery.subquery, array_agg).ok()?;
                let rows = self.value(&rows).ok()?;
                let found = looked_up.call(vec![query.expr.as_ref().clone(), rows]);
                Some(match query.negated {
                    true => not(found),
                    false => found,
                })
            }
            _ => None,
        }
    }

    /// The one value that a query gives for each row.
    fn value(&mut self, query: &LogicalPlan) -> Result<Expr> {
        let schema = self.rows.schema();
        let outer = outer_columns(query).into_iter();
        let outer: Vec<Column> = outer.filter(|column| has(schema, column)).collect();
        let (rows, keys) = match outer.is_empty() {
            true => (query.clone(), Vec::new()),
            false => {
                let domain = Domain::of(&self.rows, outer.clone(), self.numbers)?;
                (domain.pushed(query, Empty::Dropped)?, domain.keys)
            }
        };
        let value = self.numbers.column("value");
        let given = plain(query.schema().columns()).map(|expr| expr.alias(value.name.clone()));
        let rows = project(rows, plain(keys.clone()).chain(given.take(1)).collect())?;
        let filter = keys.is_empty().then(|| lit(true));
        let on = same_keys(&self.plan, &outer, &keys)?;
        let joined = Join::try_new(
            Arc::new(self.plan.clone()),
            Arc::new(rows),
            on,
            filter,
            JoinType::Left,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        self.plan = LogicalPlan::Join(joined);
        self.added.push(value.clone());
        self.is_changed = true;
        Ok(Expr::Column(value))
    }
}

/// All rows of a query as one value.
fn gathered(query: &LogicalPlan, of: impl Fn(Expr) -> Expr) -> Result<LogicalPlan> {
    let first = query.schema().columns().into_iter().next();
    let first = first.map_or(Expr::Literal(ScalarValue::Null, None), Expr::Column);
    let value = of(first).alias("__auspex_rows");
    Aggregate::try_new(Arc::new(query.clone()), Vec::new(), vec![value]).map(LogicalPlan::Aggregate)
}
