//! Halves are rounded as PostgreSQL rounds them: of doubles to even, of numerics away from zero.
//!
//! A fraction that is written out is a numeric to PostgreSQL and a double to the planner, so that no type tells which is
//! meant: what numbers are made of is followed through the whole plan (`number_kinds`). In: a plan before its types are settled;
//! out: the same in which `round(x)` of a double is another function, and numerics become whole numbers with halves away
//! from zero. GoogleSQL's `ROUND` is a function of its own.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{
    Transformed, TreeNode as _, TreeNodeRecursion, TreeNodeRewriter,
};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable as _, Join, LogicalPlan, Subquery, TableScan, Values,
};

use super::number_kinds::{Kind, kind_of};
use crate::functions::{AS_WHOLE, half_away, half_away_each, half_to_even, is_round};

/// Rewrites a plan.
pub(super) fn settled(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !rounds(&plan)? {
        return Ok(plan);
    }
    let mut tracing = Tracing::default();
    let (rounded, _) = tracing.plan(plan.clone())?;
    Ok(match tracing.is_changed {
        true => rounded,
        false => plan,
    })
}

/// Whether values of a type are binary fractions, or arrays of them.
pub(super) fn has_doubles(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => has_doubles(item.data_type()),
        number => number.is_floating(),
    }
}

/// Which columns of a plan are numerics, or arrays of them, that the planner has as doubles.
pub(super) fn numerics(plan: &LogicalPlan) -> Result<Vec<bool>> {
    let (_, kinds) = Tracing::default().plan(plan.clone())?;
    let columns = plan.schema().fields().iter().zip(kinds);
    let is_numeric =
        |field: &Field, kind: Kind| kind == Kind::Numeric && has_doubles(field.data_type());
    Ok(columns
        .map(|(field, kind)| is_numeric(field, kind))
        .collect())
}

/// Whether a plan rounds anything.
fn rounds(plan: &LogicalPlan) -> Result<bool> {
    let is_rounding = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => is_round(call) || call.func.name() == AS_WHOLE,
        _ => false,
    };
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(is_rounding(expr)))?;
            Ok(match found {
                true => TreeNodeRecursion::Stop,
                false => TreeNodeRecursion::Continue,
            })
        })
    })?;
    Ok(found)
}

/// The columns of a plan.
struct Rows {
    schema: DFSchemaRef,
    kinds: Vec<Kind>,
}

impl Rows {
    fn of(&self, column: &Column) -> Option<Kind> {
        let idx = self.schema.maybe_index_of_column(column)?;
        self.kinds.get(idx).copied()
    }
}

/// Follows the kinds of columns from the relations upward.
#[derive(Default)]
struct Tracing {
    /// Of the plans that were looked at below nodes that were not yet: the inputs of the node at hand are the last ones. Those
    /// before them are what a subquery or LATERAL may use columns of.
    seen: Vec<Rows>,
    /// The recursive queries around: the name, and where the rows of the first term are among these.
    recursive: Vec<(String, usize)>,
    is_changed: bool,
}

impl Tracing {
    /// The plan with what it rounds, and the kinds of its columns.
    fn plan(&mut self, plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Kind>)> {
        let plan = plan.rewrite(self)?.data;
        let kinds = self.seen.pop().map(|rows| rows.kinds);
        Ok((plan, kinds.unwrap_or_default()))
    }

    /// The column of an input of the node at hand, whose inputs begin at `first`.
    fn own(&self, column: &Column, first: usize) -> Kind {
        let mut inputs = self.seen.iter().skip(first);
        let kind = inputs.find_map(|rows| rows.of(column));
        kind.unwrap_or(Kind::Other)
    }

    /// The column of a query around.
    fn outer(&self, column: &Column) -> Kind {
        let mut around = self.seen.iter().rev();
        let kind = around.find_map(|rows| rows.of(column));
        kind.unwrap_or(Kind::Other)
    }

    /// The kinds of a node's columns. `exprs` are those of its expressions, in their order.
    fn kinds(&self, node: &LogicalPlan, first: usize, exprs: Vec<Kind>) -> Vec<Kind> {
        let inputs = self.seen.get(first..).unwrap_or_default();
        let input = || inputs.first().map(|rows| rows.kinds.clone());
        let fields = node.schema().fields();
        let kinds = match node {
            LogicalPlan::Projection(_) => exprs,
            LogicalPlan::Values(_) => by_place(exprs.chunks(fields.len().max(1)), fields.len()),
            LogicalPlan::Aggregate(aggregate) => self.of_groups(aggregate, first, exprs),
            LogicalPlan::Window(_) => input().into_iter().flatten().chain(exprs).collect(),
            LogicalPlan::Distinct(Distinct::On(on)) => {
                let selected = exprs.into_iter().skip(on.on_expr.len());
                selected.take(on.select_expr.len()).collect()
            }
            LogicalPlan::Join(join) => of_join(join, inputs),
            LogicalPlan::Union(_) | LogicalPlan::RecursiveQuery(_) => {
                let kinds = inputs.iter().map(|rows| rows.kinds.as_slice());
                by_place(kinds, fields.len())
            }
            LogicalPlan::Unnest(unnest) => {
                let kinds = input().unwrap_or_default();
                let from = unnest.dependency_indices.iter();
                from.filter_map(|idx| kinds.get(*idx).copied()).collect()
            }
            LogicalPlan::TableScan(scan) => self.scanned(scan).unwrap_or_default(),
            _ => input().unwrap_or_default(),
        };
        match kinds.len() == fields.len() {
            true => kinds,
            false => fields
                .iter()
                .map(|field| Kind::of_type(field.data_type()))
                .collect(),
        }
    }

    fn of_groups(&self, aggregate: &Aggregate, first: usize, exprs: Vec<Kind>) -> Vec<Kind> {
        let [Expr::GroupingSet(set)] = aggregate.group_expr.as_slice() else {
            return exprs;
        };
        // Keys of sets are columns here (`grouping_keys`); the number of the set stands behind them.
        let keys = set.distinct_expr().into_iter().map(|key| match key {
            Expr::Column(column) => self.own(column, first),
            _ => Kind::Other,
        });
        let values = exprs.into_iter().skip(1);
        keys.chain([Kind::Other]).chain(values).collect()
    }

    /// The rows that a recursive term goes on from; `None`: it is another relation.
    fn scanned(&self, scan: &TableScan) -> Option<Vec<Kind>> {
        let table = source_as_provider(&scan.source).ok()?;
        let table = table.downcast_ref::<CteWorkTable>()?;
        let mut around = self.recursive.iter().rev();
        let (_, first_term) = around.find(|(name, _)| name == table.name())?;
        Some(self.seen.get(*first_term)?.kinds.clone())
    }
}

impl TreeNodeRewriter for Tracing {
    type Node = LogicalPlan;

    fn f_down(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::RecursiveQuery(query) = &node {
            self.recursive.push((query.name.clone(), self.seen.len()));
        }
        Ok(Transformed::no(node))
    }

    fn f_up(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if matches!(node, LogicalPlan::RecursiveQuery(_)) {
            self.recursive.pop();
        }
        let inputs = node.inputs();
        let first = self.seen.len().saturating_sub(inputs.len());
        let schema = merge_schema(&inputs);
        // Columns keep their names, by which operators above know them.
        let names = NamePreserver::new(&node);
        let is_sort = matches!(node, LogicalPlan::Sort(_));
        let mut kinds = Vec::new();
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let mut within = Within {
                tracing: self,
                first,
                schema: &schema,
                kinds: Vec::new(),
            };
            let rounded = expr.rewrite(&mut within)?;
            kinds.push(within.kinds.pop().unwrap_or(Kind::Other));
            Ok(rounded.update_data(|expr| match is_sort {
                true => expr,
                false => name.restore(expr),
            }))
        })?;
        let node = match node.data {
            LogicalPlan::Values(values) if self.is_changed => of_their_types(values)?,
            node if self.is_changed => node.recompute_schema()?,
            node => node,
        };
        let kinds = self.kinds(&node, first, kinds);
        self.seen.truncate(first);
        let schema = Arc::clone(node.schema());
        self.seen.push(Rows { schema, kinds });
        Ok(Transformed::yes(node))
    }
}

/// Rounds within one expression of a node.
struct Within<'a> {
    tracing: &'a mut Tracing,
    /// Where the node's inputs begin.
    first: usize,
    schema: &'a DFSchema,
    /// Of the parts that were looked at within expressions that were not yet.
    kinds: Vec<Kind>,
}

impl Within<'_> {
    fn kind(&mut self, expr: &mut Expr, parts: &[Kind]) -> Result<Kind> {
        if let Some(subquery) = subquery_of(expr) {
            let plan = subquery.subquery.as_ref().clone();
            let (plan, kinds) = self.tracing.plan(plan)?;
            subquery.subquery = Arc::new(plan);
            let value = kinds.first().copied();
            let is_value = matches!(expr, Expr::ScalarSubquery(_));
            return Ok(value.filter(|_| is_value).unwrap_or(Kind::Other));
        }
        Ok(match expr {
            Expr::Column(column) => self.tracing.own(column, self.first),
            Expr::OuterReferenceColumn(_, column) => self.tracing.outer(column),
            expr => kind_of(expr, parts, self.schema),
        })
    }

    /// Another expression in the place of one that rounds; `None`: it does so rightly, or is another.
    fn rounded(&self, expr: &Expr, parts: &[Kind]) -> Option<Expr> {
        let Expr::ScalarFunction(call) = expr else {
            return None;
        };
        let (number, kind) = (call.args.first()?, parts.first()?);
        if is_round(call) && kind.is_double() {
            return Some(half_to_even(number.clone()));
        }
        let is_done = matches!(number, Expr::ScalarFunction(call) if is_round(call));
        if call.func.name() == AS_WHOLE && *kind == Kind::Numeric && !is_done {
            // Decimals are rounded so already.
            let found = number.get_type(self.schema).ok()?;
            if matches!(found, DataType::List(_)) {
                return has_doubles(&found).then(|| half_away_each(number.clone()));
            }
            let whole = || call.func.call(vec![half_away(number.clone())]);
            return (!found.is_decimal()).then(whole);
        }
        None
    }
}

impl TreeNodeRewriter for Within<'_> {
    type Node = Expr;

    fn f_up(&mut self, mut expr: Expr) -> Result<Transformed<Expr>> {
        let mut n_parts = 0;
        expr.apply_children(|_| {
            n_parts += 1;
            Ok(TreeNodeRecursion::Continue)
        })?;
        let from = self.kinds.len().saturating_sub(n_parts);
        let parts = self.kinds.split_off(from);
        let kind = self.kind(&mut expr, &parts)?;
        self.kinds.push(kind);
        let rounded = self.rounded(&expr, &parts);
        self.tracing.is_changed |= rounded.is_some();
        Ok(Transformed::yes(rounded.unwrap_or(expr)))
    }
}

fn subquery_of(expr: &mut Expr) -> Option<&mut Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&mut exists.subquery),
        Expr::InSubquery(sought) => Some(&mut sought.subquery),
        Expr::SetComparison(compared) => Some(&mut compared.subquery),
        _ => None,
    }
}

/// The kinds of columns of which each of several rows has one value.
fn by_place<'a>(rows: impl Iterator<Item = &'a [Kind]> + Clone, n_columns: usize) -> Vec<Kind> {
    let column = |idx: usize| Kind::among(rows.clone().filter_map(|row| row.get(idx).copied()));
    (0..n_columns).map(column).collect()
}

fn of_join(join: &Join, inputs: &[Rows]) -> Vec<Kind> {
    let mut sides = inputs.iter().map(|rows| rows.kinds.clone());
    let (left, right) = (sides.next(), sides.next());
    let sides = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => [left, None],
        JoinType::RightSemi | JoinType::RightAnti => [right, None],
        _ => [left, right],
    };
    sides.into_iter().flatten().flatten().collect()
}

/// Rows that are written out, whose columns keep their types: `round` of a real is a double.
fn of_their_types(mut values: Values) -> Result<LogicalPlan> {
    let none = DFSchema::empty();
    let types = values.schema.fields().iter();
    let types: Vec<DataType> = types.map(|field| field.data_type().clone()).collect();
    for row in &mut values.values {
        for (cell, wanted) in row.iter_mut().zip(&types) {
            let found = cell.get_type(&none);
            if found.is_ok_and(|found| found.is_floating() && found != *wanted) {
                *cell = std::mem::take(cell).cast_to(wanted, &none)?;
            }
        }
    }
    Ok(LogicalPlan::Values(values))
}
