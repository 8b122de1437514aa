//! A table whose columns a statement declares, over files whose readers give those that the files have.
//!
//! The table of the files flows in; a table of the declared columns flows out: columns are found by their names, read as
//! `read_types` says, and NULL where the files have none of the name, in any case.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::project_schema;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::PhysicalExprAdapterFactory as _;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use crate::error::Error;
use crate::tables::declared_texts::Source;
use crate::tables::other_case::name_in_file;
use crate::tables::read_types::ReadTypes;
use crate::tables::text_input::TextInput;

/// Declared columns of files.
#[derive(Debug)]
pub(crate) struct DeclaredTable {
    inner: Arc<dyn TableProvider>,
    schema: SchemaRef,
    /// What errors name.
    files: Source,
    /// Whether a statement declares them, so that texts are what it says.
    is_declared: bool,
}

impl DeclaredTable {
    /// The columns of `declared`, and behind them those of `inner` that the names of folders hold.
    pub(crate) fn new(
        inner: Arc<dyn TableProvider>,
        declared: &Schema,
        n_partitions: usize,
        files: Source,
        is_declared: bool,
    ) -> Self {
        let held = inner.schema();
        let n_columns = held.fields().len();
        let partitions = held.fields().iter().skip(n_columns - n_partitions);
        let fields = declared.fields().iter().chain(partitions).cloned();
        Self {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            inner,
            files,
            is_declared,
        }
    }
}

#[async_trait]
impl TableProvider for DeclaredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = project_schema(&self.schema, projection)?;
        let held = self.inner.schema();
        let mut places = Vec::with_capacity(wanted.fields().len());
        for column in wanted.fields() {
            let name = name_in_file(column.name(), self.schema.fields(), held.fields());
            let name =
                name.map_err(|failure| Error::from(failure.in_file(self.files.file.clone())))?;
            places.extend(name.and_then(|name| held.index_of(name).ok()));
        }
        let found = Arc::new(held.project(&places)?);
        let input = self.is_declared.then(|| TextInput::of(session)).flatten();
        let types = ReadTypes::of_file(self.files.clone(), input);
        let adapter = types.create(Arc::clone(&self.schema), found)?;
        let plan = self.inner.scan(session, Some(&places), filters, limit);
        let plan = plan.await?;
        let columns = wanted.fields().iter().enumerate().map(|(idx, field)| {
            Ok(ProjectionExpr {
                expr: adapter.rewrite(Arc::new(Column::new(field.name(), idx)))?,
                alias: field.name().clone(),
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
    }
}
