//! Delta tables that only the format's own library can read: with deletion vectors, mapped columns, or files elsewhere.
//!
//! The library's provider flows in; the same flows out, with each file that it would read checked before it is opened.
//! A log may name files anywhere, and the library opens them by the session's own stores, which know no locations.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::datasource::TableType;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use deltalake::kernel::{DeletionVectorDescriptor, EagerSnapshot, StorageType};
use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::stores::shown;

/// The length of the name of a deletion vector's file, behind which its folder stands.
const VECTOR_NAME_CHARS: usize = 20;

/// Where the files of a table may lie.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    /// In this folder.
    Folder(Url),
    /// Wherever SQL may read.
    Locations(Arc<Locations>),
}

impl Reach {
    /// Errors: `LocationRefused`, `LocationReserved`.
    fn check(&self, root: &Url, object: &Path) -> Result<()> {
        match self {
            Self::Locations(locations) => locations.check_object(root, object),
            Self::Folder(folder) => {
                let below = Path::from_url_path(folder.path());
                let is_same_store =
                    folder.scheme() == root.scheme() && folder.authority() == root.authority();
                match below.is_ok_and(|below| object.prefix_matches(&below)) && is_same_store {
                    true => Ok(()),
                    false => Err(Error::LocationRefused {
                        location: format!("{}{object}", shown(root)),
                    }),
                }
            }
        }
    }
}

/// A table that the library reads.
#[derive(Debug)]
pub(crate) struct LibraryScan {
    inner: Arc<dyn TableProvider>,
    reach: Reach,
}

impl LibraryScan {
    /// `inner` reads the table of a snapshot in the folder `url`. Errors: `LocationRefused`, `LocationReserved`.
    pub(crate) fn new(
        inner: Arc<dyn TableProvider>,
        snapshot: &EagerSnapshot,
        url: &Url,
        reach: Reach,
    ) -> Result<Self> {
        for view in snapshot.log_data().iter() {
            if let Some(vector) = view.deletion_vector_descriptor()
                && let Some(named) = vector_url(&vector, url)?
            {
                check_url(&named, &reach)?;
            }
        }
        Ok(Self { inner, reach })
    }

    fn check(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
        let scan = plan.downcast_ref::<DataSourceExec>();
        let config = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        if let Some(config) = config {
            let root: &Url = config.object_store_url.as_ref();
            for file in config.file_groups.iter().flat_map(FileGroup::iter) {
                self.reach.check(root, &file.object_meta.location)?;
            }
        }
        plan.children()
            .into_iter()
            .try_for_each(|child| self.check(child))
    }
}

fn check_url(url: &Url, reach: &Reach) -> Result<()> {
    let mut root = url.clone();
    root.set_path("/");
    root.set_query(None);
    root.set_fragment(None);
    let object = Path::from_url_path(url.path()).map_err(|_| Error::LocationRefused {
        location: shown(url),
    })?;
    reach.check(&root, &object)
}

/// The folder of a deletion vector's file, or the file; `None`: it stands in the log itself.
fn vector_url(vector: &DeletionVectorDescriptor, table: &Url) -> Result<Option<Url>> {
    let text = vector.path_or_inline_dv.as_str();
    let named = match vector.storage_type {
        StorageType::Inline => return Ok(None),
        StorageType::AbsolutePath => Url::parse(text),
        StorageType::UuidRelativePath => {
            let end = text.len().saturating_sub(VECTOR_NAME_CHARS);
            let folder = text.get(..end).unwrap_or(text);
            // The file's own name has no part that leads elsewhere.
            match folder {
                "" => table.join("vector"),
                folder => table.join(&format!("{folder}/vector")),
            }
        }
    };
    named.map(Some).map_err(|_| Error::InvalidLocation {
        location: text.into(),
    })
}

#[async_trait]
impl TableProvider for LibraryScan {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let plan = self.inner.scan(session, projection, filters, limit).await?;
        self.check(&plan)?;
        Ok(plan)
    }
}
