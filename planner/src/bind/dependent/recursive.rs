//! A recursive query computed for each row of a domain.
//!
//! In: such a query; out: one whose rows have the keys of the domain beside their columns. Those of its first term are the
//! domain's; the recursive term has them from the rows that it goes on from.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode as _;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, RecursiveQuery, TableScan};

use super::domain::Domain;
use super::pushed::Empty;
use super::{plain, project};

/// The rows that a recursive term goes on from.
pub(super) struct WorkTable {
    /// The name that they have in the query.
    name: String,
    /// The same with the keys in front of them.
    rows: LogicalPlan,
}

impl WorkTable {
    fn is_read_by(&self, scan: &TableScan) -> bool {
        scan.table_name.table() == self.name && scan.source.table_type() == TableType::Temporary
    }
}

impl Domain<'_> {
    /// Whether a plan goes on from the rows of a recursive query.
    pub(super) fn goes_on(&self, plan: &LogicalPlan) -> bool {
        let Some(work) = &self.work else {
            return false;
        };
        let is_read = |node: &LogicalPlan| matches!(node, LogicalPlan::TableScan(scan) if work.is_read_by(scan));
        plan.exists(|node| Ok(is_read(node))).unwrap_or(false)
    }

    /// The rows that a recursive term goes on from, which have their keys.
    pub(super) fn gone_on(&self, scan: &TableScan) -> Option<Result<LogicalPlan>> {
        let work = self.work.as_ref().filter(|work| work.is_read_by(scan))?;
        let columns = plain(work.rows.schema().columns());
        let keys = self.keys.iter().map(|key| (None, key.name.clone()));
        let own = scan.projected_schema.columns().into_iter();
        let names = keys.chain(own.map(|column| (column.relation, column.name)));
        let named = columns.zip(names);
        let named = named.map(|(expr, (relation, name))| expr.alias_qualified(relation, name));
        Some(project(work.rows.clone(), named.collect()))
    }

    /// A recursive query of each row of the domain.
    pub(super) fn recursive(&self, node: &RecursiveQuery) -> Result<LogicalPlan> {
        let first = self.with_own(&node.static_term)?;
        let name = self.numbers.name("recursion");
        let table = CteWorkTable::new(&name, nullable(first.schema().inner()));
        let table = provider_as_source(Arc::new(table));
        let within = Domain {
            plan: self.plan.clone(),
            outer: self.outer.clone(),
            keys: self.keys.clone(),
            numbers: self.numbers,
            work: Some(WorkTable {
                name: node.name.clone(),
                rows: LogicalPlanBuilder::scan(name.as_str(), table, None)?.build()?,
            }),
        };
        let next = Arc::new(within.with_own(&node.recursive_term)?);
        RecursiveQuery::try_new(name, Arc::new(first), next, node.is_distinct)
            .map(LogicalPlan::RecursiveQuery)
    }

    /// The keys and the columns of a term, in this order.
    fn with_own(&self, term: &LogicalPlan) -> Result<LogicalPlan> {
        let columns: Vec<Expr> = plain(term.schema().columns()).collect();
        project(self.pushed(term, Empty::Kept)?, self.with_keys(columns))
    }
}

/// Columns of which no term says that they are never NULL.
fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new_with_metadata(
        fields.collect::<Vec<_>>(),
        schema.metadata().clone(),
    ))
}
