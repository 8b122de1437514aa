//! Tables whose rows are made each time that they are read, since a statement may be prepared long before it is run, and be
//! run many times.
//!
//! In: what makes the rows; out: a table of them.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// Makes the rows of such a table.
#[async_trait]
pub trait MomentaryRows: Debug + Send + Sync + 'static {
    /// Their columns.
    fn schema(&self) -> SchemaRef;

    /// The rows as they are now.
    async fn rows(&self) -> Result<RecordBatch>;
}

/// The table of such rows.
#[derive(Debug)]
pub struct MomentaryTable<R>(pub R);

#[async_trait]
impl<R: MomentaryRows> TableProvider for MomentaryTable<R> {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.0.rows().await?;
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
        table.scan(state, projection, filters, limit).await
    }
}
