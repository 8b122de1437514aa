//! A subquery computed for each row of a domain.
//!
//! In: a plan that reads outer columns; out: a plan with the keys of the domain beside the same columns, whose rows are those
//! that the plan has for each row of the domain. Each operator takes the keys along: groups and windows have them among their
//! keys, a LIMIT counts the rows of each, an aggregate without groups has a row for each.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::common::{Column, JoinType, NullEquality, ScalarValue};
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprFunctionExt as _, FetchType, Filter, GroupingSet,
    Join, JoinConstraint, Limit, LogicalPlan, Operator, Projection, SkipType, Sort, SortExpr,
    SubqueryAlias, Union, Unnest, Values, Window, binary_expr, cast, lit, when,
};

use super::domain::{Domain, unknown};
use super::{outer_columns, plain, project, same_keys};
use crate::functions::with_mark;

/// Whether a row of the domain without rows of the query has one of its aggregates over none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    Kept,
    /// It may be missing: its values are NULL, as those of a join that finds no row.
    Dropped,
}

/// The numbers of rows, from 1, that a LIMIT lets through.
struct Bounds {
    /// They are larger than this.
    behind: Option<Expr>,
    /// And not larger than this.
    last: Option<Expr>,
}

impl Bounds {
    fn of_numbers(skip: usize, fetch: Option<usize>) -> Bounds {
        Bounds {
            behind: (skip > 0).then(|| lit(skip as u64)),
            last: fetch.map(|fetch| lit(skip.saturating_add(fetch) as u64)),
        }
    }

    /// Of numbers that are written out, or come as parameters; NULL is no limit.
    fn of(node: &Limit) -> Result<Bounds> {
        if let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (node.get_skip_type()?, node.get_fetch_type()?)
        {
            return Ok(Bounds::of_numbers(skip, fetch));
        }
        let number = |expr: &Expr, missing: i64| {
            let number = cast(expr.clone(), DataType::Int64);
            coalesce(vec![number, lit(missing)])
        };
        let behind = node.skip.as_ref().map(|skip| number(skip, 0));
        let fetch = node.fetch.as_ref().map(|fetch| number(fetch, MOST_ROWS));
        let last = fetch.map(|fetch| match &behind {
            Some(behind) => binary_expr(behind.clone(), Operator::Plus, fetch),
            None => fetch,
        });
        Ok(Bounds { behind, last })
    }
}

/// More rows than there are anywhere, with room for those that are skipped.
const MOST_ROWS: i64 = i64::MAX / 2;

impl Domain<'_> {
    /// The plan for each row of the domain.
    pub(super) fn pushed(&self, plan: &LogicalPlan, empty: Empty) -> Result<LogicalPlan> {
        if !self.is_used_by(plan) {
            return self.beside(plan);
        }
        match plan {
            LogicalPlan::Projection(node) => self.projected(node, empty),
            LogicalPlan::Filter(node) => {
                let input = self.pushed(&node.input, Empty::Kept)?;
                let predicate = self.replaced(node.predicate.clone())?;
                Filter::try_new(predicate, Arc::new(input)).map(LogicalPlan::Filter)
            }
            LogicalPlan::Subquery(node) => self.pushed(&node.subquery, empty),
            LogicalPlan::SubqueryAlias(node) => self.renamed(node, empty),
            LogicalPlan::Sort(node) => match node.fetch {
                Some(fetch) => {
                    let bounds = Bounds::of_numbers(0, Some(fetch));
                    self.first_of(&node.expr, &node.input, bounds, None)
                }
                None => Ok(LogicalPlan::Sort(Sort {
                    expr: self.sort_keys(&node.expr)?,
                    input: Arc::new(self.pushed(&node.input, Empty::Kept)?),
                    fetch: None,
                })),
            },
            LogicalPlan::Limit(node) => self.limited(node),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let input = self.pushed(input, Empty::Kept)?;
                Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(input))))
            }
            LogicalPlan::Distinct(Distinct::On(node)) => self.distinct_on(node),
            LogicalPlan::Aggregate(node) => self.aggregated(node, empty),
            LogicalPlan::Window(node) => self.windowed(node),
            LogicalPlan::Union(node) => self.united(node),
            LogicalPlan::Values(node) => self.listed(node),
            LogicalPlan::Unnest(node) => {
                let input = Arc::new(self.pushed(&node.input, Empty::Kept)?);
                let columns = node.exec_columns.clone();
                Unnest::try_new(input, columns, node.options.clone()).map(LogicalPlan::Unnest)
            }
            LogicalPlan::Join(node) => self.met(node),
            LogicalPlan::RecursiveQuery(node) => self.recursive(node),
            LogicalPlan::TableScan(scan) => match self.gone_on(scan) {
                Some(rows) => rows,
                None => Err(unknown("operator")),
            },
            _ => Err(unknown("operator")),
        }
    }

    fn is_used_by(&self, plan: &LogicalPlan) -> bool {
        let used = outer_columns(plan);
        used.iter().any(|column| self.outer.contains(column)) || self.goes_on(plan)
    }

    fn key_exprs(&self) -> impl Iterator<Item = Expr> {
        plain(self.keys.iter().cloned())
    }

    /// The rows of a plan that uses nothing of the domain beside each row of it.
    fn beside(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        if let LogicalPlan::EmptyRelation(empty) = plan
            && empty.produce_one_row
        {
            return Ok(self.plan.clone());
        }
        let (left, right) = (Arc::new(self.plan.clone()), Arc::new(plan.clone()));
        join(left, right, JoinType::Inner, (Vec::new(), None), false)
    }

    /// An expression that reads the keys instead of the outer columns.
    fn replaced(&self, expr: Expr) -> Result<Expr> {
        let replaced = expr.transform(|expr| {
            let Expr::OuterReferenceColumn(_, column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            let place = self.outer.iter().position(|outer| outer == column);
            Ok(match place.and_then(|place| self.keys.get(place)) {
                Some(key) => Transformed::yes(Expr::Column(key.clone())),
                None => Transformed::no(expr),
            })
        });
        replaced.data()
    }

    /// The same of several expressions, which keep their names.
    fn renamed_exprs(&self, exprs: &[Expr]) -> Result<Vec<Expr>> {
        let names = NamePreserver::new_for_projection();
        let replaced = exprs.iter().map(|expr| {
            let name = names.save(expr);
            Ok(name.restore(self.replaced(expr.clone())?))
        });
        replaced.collect()
    }

    pub(super) fn with_keys(&self, exprs: Vec<Expr>) -> Vec<Expr> {
        self.key_exprs().chain(exprs).collect()
    }

    fn sort_keys(&self, keys: &[SortExpr]) -> Result<Vec<SortExpr>> {
        let keys = keys.iter();
        let keys = keys.map(|key| Ok(key.with_expr(self.replaced(key.expr.clone())?)));
        keys.collect()
    }

    fn projected(&self, node: &Projection, empty: Empty) -> Result<LogicalPlan> {
        let is_column = |expr: &Expr| match expr {
            Expr::Alias(alias) => matches!(alias.expr.as_ref(), Expr::Column(_)),
            expr => matches!(expr, Expr::Column(_)),
        };
        let empty = match node.expr.iter().all(is_column) {
            true => empty,
            false => Empty::Kept,
        };
        let input = self.pushed(&node.input, empty)?;
        project(input, self.with_keys(self.renamed_exprs(&node.expr)?))
    }

    fn renamed(&self, node: &SubqueryAlias, empty: Empty) -> Result<LogicalPlan> {
        let input = self.pushed(&node.input, empty)?;
        let columns = node.input.schema().columns();
        let columns = plain(columns).zip(node.schema.columns());
        let columns =
            columns.map(|(expr, column)| expr.alias_qualified(column.relation, column.name));
        project(input, self.with_keys(columns.collect()))
    }

    fn limited(&self, node: &Limit) -> Result<LogicalPlan> {
        let bounds = Bounds::of(node)?;
        match node.input.as_ref() {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                self.first_of(&sort.expr, &sort.input, bounds, None)
            }
            LogicalPlan::Projection(above) => match above.input.as_ref() {
                // What is sorted by is not selected.
                LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                    self.first_of(&sort.expr, &sort.input, bounds, Some(above))
                }
                _ => self.first_of(&[], &node.input, bounds, None),
            },
            _ => self.first_of(&[], &node.input, bounds, None),
        }
    }

    /// The rows of each row of the domain whose numbers are within bounds.
    fn first_of(
        &self,
        order: &[SortExpr],
        input: &LogicalPlan,
        bounds: Bounds,
        above: Option<&Projection>,
    ) -> Result<LogicalPlan> {
        let rows = self.pushed(input, Empty::Kept)?;
        let place = self.numbers.column("place");
        let number = row_number().partition_by(self.key_exprs().collect());
        let number = match order {
            [] => number,
            order => number.order_by(self.sort_keys(order)?),
        };
        let number = number.build()?.alias(place.name.clone());
        let rows = Window::try_new(vec![number], Arc::new(rows))?;
        let place = || Expr::Column(place.clone());
        let last = bounds.last.map(|last| place().lt_eq(last));
        let behind = bounds.behind.map(|behind| place().gt(behind));
        let bounds = behind.into_iter().chain(last).reduce(Expr::and);
        let rows = Arc::new(LogicalPlan::Window(rows));
        let rows = Filter::try_new(bounds.unwrap_or_else(|| lit(true)), rows)?;
        let columns = match above {
            Some(above) => self.renamed_exprs(&above.expr)?,
            None => plain(input.schema().columns()).collect(),
        };
        project(LogicalPlan::Filter(rows), self.with_keys(columns))
    }

    fn distinct_on(&self, node: &DistinctOn) -> Result<LogicalPlan> {
        let input = Arc::new(self.pushed(&node.input, Empty::Kept)?);
        let select = self.with_keys(self.renamed_exprs(&node.select_expr)?);
        // A key may be an outer column, and then is one of ours already.
        let mut on: Vec<Expr> = Vec::with_capacity(node.on_expr.len());
        let own = node.on_expr.iter().cloned().map(|expr| self.replaced(expr));
        for key in self.key_exprs().map(Ok).chain(own) {
            let key = key?;
            if !on.contains(&key) {
                on.push(key);
            }
        }
        let order = node.sort_expr.as_ref();
        let order = order.map(|order| self.key_order(order));
        let distinct = DistinctOn::try_new(on, select, order.transpose()?, input)?;
        Ok(LogicalPlan::Distinct(Distinct::On(distinct)))
    }

    /// An order in which the keys come first, each expression once.
    fn key_order(&self, order: &[SortExpr]) -> Result<Vec<SortExpr>> {
        let keys = self.key_exprs().map(|key| key.sort(true, false));
        let mut sorts: Vec<SortExpr> = Vec::with_capacity(order.len());
        for sort in keys.chain(self.sort_keys(order)?) {
            if sorts.iter().all(|known| known.expr != sort.expr) {
                sorts.push(sort);
            }
        }
        Ok(sorts)
    }

    fn aggregated(&self, node: &Aggregate, empty: Empty) -> Result<LogicalPlan> {
        let input = Arc::new(self.pushed(&node.input, Empty::Kept)?);
        let groups = match node.group_expr.as_slice() {
            // What is in a set is a column of the input.
            [Expr::GroupingSet(_)] => node.group_expr.clone(),
            groups => self.renamed_exprs(groups)?,
        };
        let values = self.renamed_exprs(&node.aggr_expr)?;
        let rows = Aggregate::try_new(input, self.with_keys(groups), values)?;
        let rows = LogicalPlan::Aggregate(rows);
        let n_totals = n_totals(&node.group_expr);
        if n_totals == 0 {
            return Ok(rows);
        }
        let n_keys = node.schema.fields().len() - node.aggr_expr.len();
        let fields = node.schema.fields().iter().skip(n_keys);
        let values = node.aggr_expr.iter().zip(fields);
        let values = values.map(|(value, field)| value_of_none(value, field.data_type()));
        let values: Vec<ScalarValue> = values.collect::<Result<_>>()?;
        let may_miss = empty == Empty::Dropped && node.group_expr.is_empty();
        if may_miss && values.iter().all(ScalarValue::is_null) {
            return Ok(rows);
        }
        let nulls = std::iter::repeat_n(ScalarValue::Null, n_keys);
        let columns = node.schema.columns().into_iter();
        let given = columns.zip(nulls.chain(values));
        // Which set a row is of is asked within the aggregate alone.
        let given = given.filter(|(column, _)| column.name != Aggregate::INTERNAL_GROUPING_ID);
        let (columns, values): (Vec<Column>, Vec<ScalarValue>) = given.unzip();
        self.with_empty(rows, &columns, values, n_totals)
    }

    /// Aggregates of all rows of the domain: of each without rows there are `n_totals`, whose columns are `values`.
    fn with_empty(
        &self,
        rows: LogicalPlan,
        columns: &[Column],
        values: Vec<ScalarValue>,
        n_totals: usize,
    ) -> Result<LogicalPlan> {
        let found = self.numbers.column("found");
        let (rows, keys) = self.under_other_names(rows, columns, Some(&found))?;
        let on = same_keys(&self.plan, &self.keys, &keys)?;
        let (left, right) = (Arc::new(self.plan.clone()), Arc::new(rows));
        let joined = join(left, right, JoinType::Left, (on, None), false)?;
        let exprs = columns.iter().zip(values).map(|(column, value)| {
            let given = Expr::Column(column.clone());
            if value.is_null() {
                return Ok(given);
            }
            let is_missing = Expr::Column(found.clone()).is_null();
            let value = match when(is_missing, Expr::Literal(value, None)).otherwise(given)? {
                Expr::Case(case) => with_mark(case, joined.schema()),
                value => value,
            };
            Ok(value.alias_qualified(column.relation.clone(), column.name.clone()))
        });
        let exprs = self.with_keys(exprs.collect::<Result<Vec<Expr>>>()?);
        let once = project(joined.clone(), exprs.clone())?;
        if n_totals == 1 {
            return Ok(once);
        }
        let is_missing = Expr::Column(found).is_null();
        let missing = LogicalPlan::Filter(Filter::try_new(is_missing, Arc::new(joined))?);
        let missing = Arc::new(project(missing, exprs)?);
        let again = std::iter::repeat_n(missing, n_totals - 1);
        let parts = std::iter::once(Arc::new(once)).chain(again).collect();
        self.union(parts, columns)
    }

    /// Rows whose keys have new names, so that they meet those of the domain in a join; `found` is true.
    fn under_other_names(
        &self,
        rows: LogicalPlan,
        columns: &[Column],
        found: Option<&Column>,
    ) -> Result<(LogicalPlan, Vec<Column>)> {
        let keys = self.keys.iter().map(|_| self.numbers.column("outer"));
        let keys: Vec<Column> = keys.collect();
        let renamed = self.key_exprs().zip(&keys);
        let renamed = renamed.map(|(expr, key)| expr.alias(key.name.clone()));
        let found = found.map(|found| lit(true).alias(found.name.clone()));
        let exprs = renamed.chain(plain(columns.iter().cloned())).chain(found);
        let rows = project(rows, exprs.collect())?;
        Ok((rows, keys))
    }

    fn windowed(&self, node: &Window) -> Result<LogicalPlan> {
        let input = Arc::new(self.pushed(&node.input, Empty::Kept)?);
        let names = NamePreserver::new_for_projection();
        let exprs = node.window_expr.iter().map(|expr| {
            let name = names.save(expr);
            let replaced = self.replaced(expr.clone())?;
            let divided = replaced.transform(|expr| match expr {
                Expr::WindowFunction(mut window) => {
                    window.params.partition_by.extend(self.key_exprs());
                    Ok(Transformed::yes(Expr::WindowFunction(window)))
                }
                expr => Ok(Transformed::no(expr)),
            });
            Ok(name.restore(divided.data()?))
        });
        let exprs = exprs.collect::<Result<Vec<Expr>>>()?;
        Window::try_new(exprs, input).map(LogicalPlan::Window)
    }

    fn united(&self, node: &Union) -> Result<LogicalPlan> {
        let parts = node.inputs.iter().map(|input| {
            let rows = self.pushed(input, Empty::Kept)?;
            let columns = plain(input.schema().columns());
            project(rows, self.with_keys(columns.collect())).map(Arc::new)
        });
        self.union(parts.collect::<Result<_>>()?, &node.schema.columns())
    }

    /// Each row of VALUES is a query of its own.
    fn listed(&self, node: &Values) -> Result<LogicalPlan> {
        let columns = node.schema.columns();
        let parts = node.values.iter().map(|row| {
            let row = row.iter().zip(&columns).map(|(expr, column)| {
                let value = self.replaced(expr.clone())?;
                Ok(value.alias_qualified(column.relation.clone(), column.name.clone()))
            });
            let row = row.collect::<Result<Vec<Expr>>>()?;
            project(self.plan.clone(), self.with_keys(row)).map(Arc::new)
        });
        self.union(parts.collect::<Result<_>>()?, &columns)
    }

    /// The rows of all parts, under the names of `columns`.
    fn union(&self, mut parts: Vec<Arc<LogicalPlan>>, columns: &[Column]) -> Result<LogicalPlan> {
        let rows = match parts.len() {
            1 => Arc::unwrap_or_clone(parts.remove(0)),
            _ => LogicalPlan::Union(Union::try_new_with_loose_types(parts)?),
        };
        let given = rows.schema().columns().into_iter().skip(self.keys.len());
        let named = plain(given).zip(columns).map(|(expr, column)| {
            expr.alias_qualified(column.relation.clone(), column.name.clone())
        });
        let named = named.collect();
        project(rows, self.with_keys(named))
    }

    fn met(&self, node: &Join) -> Result<LogicalPlan> {
        let (left, right) = (self.is_used_by(&node.left), self.is_used_by(&node.right));
        let (left, right) = match node.join_type {
            JoinType::Inner => (left || !right, right),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => (true, right),
            JoinType::Right => (left, true),
            _ => return Err(unknown("join")),
        };
        if node.null_aware {
            return Err(unknown("join"));
        }
        let of_side = |input: &Arc<LogicalPlan>, is_pushed: bool| match is_pushed {
            true => self.pushed(input, Empty::Kept),
            false => Ok(input.as_ref().clone()),
        };
        let (mut first, mut second) = (of_side(&node.left, left)?, of_side(&node.right, right)?);
        let filter = node.filter.clone().map(|filter| self.replaced(filter));
        let filter = filter.transpose()?;
        let pairs = node.on.iter().cloned();
        let pairs = pairs.map(|(left, right)| Ok((self.replaced(left)?, self.replaced(right)?)));
        let pairs: Vec<(Expr, Expr)> = pairs.collect::<Result<_>>()?;
        let nulls_match = node.null_equality == NullEquality::NullEqualsNull;
        if !(left && right) {
            let (first, second) = (Arc::new(first), Arc::new(second));
            return join(first, second, node.join_type, (pairs, filter), nulls_match);
        }
        let keys = match node.join_type {
            JoinType::Right => {
                let columns = node.left.schema().columns();
                let (rows, keys) = self.under_other_names(first, &columns, None)?;
                first = rows;
                same_keys(&first, &keys, &self.keys)?
            }
            _ => {
                let columns = node.right.schema().columns();
                let (rows, keys) = self.under_other_names(second, &columns, None)?;
                second = rows;
                same_keys(&first, &self.keys, &keys)?
            }
        };
        let pairs = pairs.into_iter().map(|(left, right)| match nulls_match {
            true => binary_expr(left, Operator::IsNotDistinctFrom, right),
            false => left.eq(right),
        });
        let filter = pairs.chain(filter).reduce(Expr::and);
        let (first, second) = (Arc::new(first), Arc::new(second));
        let joined = join(first, second, node.join_type, (keys, filter), false)?;
        let columns = plain(node.schema.columns()).collect();
        project(joined, self.with_keys(columns))
    }
}

/// How many rows there are of all rows together, which are there without any.
fn n_totals(groups: &[Expr]) -> usize {
    match groups {
        [] => 1,
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => {
            sets.iter().filter(|set| set.is_empty()).count()
        }
        [Expr::GroupingSet(GroupingSet::Rollup(_) | GroupingSet::Cube(_))] => 1,
        _ => 0,
    }
}

/// What an aggregate gives of no rows.
fn value_of_none(aggregate: &Expr, data_type: &DataType) -> Result<ScalarValue> {
    match aggregate.clone().unalias() {
        // No key is one of the total.
        Expr::AggregateFunction(call) if call.func.name() == "grouping" => {
            let n_keys = u32::try_from(call.params.args.len()).ok();
            let bits = n_keys.and_then(|n_keys| 1_i64.checked_shl(n_keys));
            ScalarValue::Int64(bits.map(|bits| bits - 1)).cast_to(data_type)
        }
        Expr::AggregateFunction(call) => call.func.default_value(data_type),
        _ => Err(unknown("aggregate")),
    }
}

fn join(
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
    join_type: JoinType,
    (on, filter): (Vec<(Expr, Expr)>, Option<Expr>),
    nulls_match: bool,
) -> Result<LogicalPlan> {
    let null_equality = match nulls_match {
        true => NullEquality::NullEqualsNull,
        false => NullEquality::NullEqualsNothing,
    };
    let constraint = JoinConstraint::On;
    let join = Join::try_new(
        left,
        right,
        on,
        filter,
        join_type,
        constraint,
        null_equality,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}
