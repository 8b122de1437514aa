//! Delta tables that only the format's own library can read: with deletion vectors, mapped columns, or files elsewhere.
//!
//! The library's provider flows in; the same flows out, with each file that it would read checked before it is opened.
//! A log may name files anywhere, and the library opens them by the session's own stores, which know no locations.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, DFSchema, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use deltalake::kernel::{DeletionVectorDescriptor, EagerSnapshot, StorageType};
use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::stores::shown;
use crate::tables::delta_files::COLUMN_MAPPING;
use crate::tables::footers::footer;
use crate::tables::located::{located, typed};
use crate::tables::log_bounds;
use crate::tables::nan_bounds::may_prune;

/// The length of the name of a deletion vector's file, behind which its folder stands.
const VECTOR_NAME_CHARS: usize = 20;

/// Where a column keeps its id and its name in files.
const COLUMN_ID: &str = "delta.columnMapping.id";
const COLUMN_NAME: &str = "delta.columnMapping.physicalName";

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
    /// Where columns are known by their ids: the name that the library looks for in files.
    names: BTreeMap<i32, String>,
    /// Whether rows of files are deleted by vectors.
    has_vectors: bool,
}

impl LibraryScan {
    /// `inner` reads the table of a snapshot in the folder `url`. Errors: `LocationRefused`, `LocationReserved`.
    pub(crate) fn new(
        inner: Arc<dyn TableProvider>,
        snapshot: &EagerSnapshot,
        url: &Url,
        reach: Reach,
    ) -> Result<Self> {
        let mut has_vectors = false;
        for view in snapshot.log_data().iter() {
            let Some(vector) = view.deletion_vector_descriptor() else {
                continue;
            };
            has_vectors = true;
            if let Some(named) = vector_url(&vector, url)? {
                check_url(&named, &reach)?;
            }
        }
        let names = names_by_id(snapshot);
        Ok(Self {
            inner,
            reach,
            names,
            has_vectors,
        })
    }

    /// The scan of files as statements read them.
    fn read(&self, scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        match self.has_vectors {
            // With vectors the library takes back no source but its own, and no filter.
            true => typed(scan),
            false => located(scan, "parquet"),
        }
    }

    /// Whether the library may leave out files and rows by a column: it does so by the log's bounds, and by those of
    /// files without regard to NaN.
    fn is_sure(&self, column: &Column) -> bool {
        let schema = self.inner.schema();
        let field = schema.field_with_name(column.name());
        field.is_ok_and(|field| log_bounds::hold(field.data_type()))
    }

    /// The column that costs least to read.
    fn narrowest(&self) -> usize {
        let schema = self.inner.schema();
        let fields = schema.fields().iter().enumerate();
        let width = |field: &Field| field.data_type().primitive_width().unwrap_or(usize::MAX);
        let narrowest = fields.min_by_key(|(_, field)| width(field));
        narrowest.map_or(0, |(at, _)| at)
    }

    /// The filters that the library may use.
    fn usable(&self, session: &dyn Session, filters: &[Expr]) -> DfResult<Vec<Expr>> {
        let schema = self.inner.schema();
        let named = DFSchema::try_from(Arc::clone(&schema))?;
        let physical = |filter: &Expr| session.create_physical_expr(filter.clone(), &named);
        let physical: Vec<_> = filters.iter().map(physical).collect::<DfResult<_>>()?;
        let usable = filters.iter().zip(may_prune(&physical, &schema));
        let usable = usable.filter(|(filter, may_prune)| {
            *may_prune && filter.column_refs().into_iter().all(|c| self.is_sure(c))
        });
        Ok(usable.map(|(filter, _)| filter.clone()).collect())
    }

    /// Whether files have the columns that are known by ids under other names, where the library would find none.
    async fn check_names(
        &self,
        session: &dyn Session,
        plan: &Arc<dyn ExecutionPlan>,
    ) -> DfResult<()> {
        if self.names.is_empty() {
            return Ok(());
        }
        let mut plans = vec![Arc::clone(plan)];
        while let Some(plan) = plans.pop() {
            plans.extend(plan.children().into_iter().cloned());
            let scan = plan.downcast_ref::<DataSourceExec>();
            let config = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
            let Some(config) = config else {
                continue;
            };
            let store = session
                .runtime_env()
                .object_store(&config.object_store_url)?;
            for file in config.file_groups.iter().flat_map(FileGroup::iter) {
                let footer = footer(session, store.as_ref(), &file.object_meta).await?;
                let columns = footer.file_metadata().schema_descr().root_schema();
                let is_other = columns.get_fields().iter().any(|column| {
                    let info = column.get_basic_info();
                    let known = info.has_id().then(|| self.names.get(&info.id())).flatten();
                    known.is_some_and(|name| name != column.name())
                });
                if is_other {
                    let name = &file.object_meta.location;
                    return Err(DataFusionError::NotImplemented(format!(
                        "reading Delta columns by their ids is not supported; file \"{name}\" has them under other names"
                    )));
                }
            }
        }
        Ok(())
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

/// The error of a file of deletion vectors that is gone, which the library tells in words alone.
fn of_vector(error: DataFusionError) -> DataFusionError {
    let text = error.to_string();
    match text.split_once("File not found: ") {
        Some((_, path)) => Error::ObjectMissing {
            url: path.lines().next().unwrap_or_default().to_owned(),
        }
        .into(),
        None => error,
    }
}

/// The names of columns in files by their ids; empty: names say which column is meant.
fn names_by_id(snapshot: &EagerSnapshot) -> BTreeMap<i32, String> {
    let mode = snapshot.metadata().configuration().get(COLUMN_MAPPING);
    if mode.is_none_or(|mode| mode != "id") {
        return BTreeMap::new();
    }
    let schema = snapshot.arrow_schema();
    let noted = schema.fields().iter().filter_map(|field| {
        let id = field.metadata().get(COLUMN_ID)?.parse().ok()?;
        Some((id, field.metadata().get(COLUMN_NAME)?.clone()))
    });
    noted.collect()
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
        let schema = self.inner.schema();
        let is_handed_down = |column: &Column| {
            let field = schema.field_with_name(column.name());
            self.is_sure(column) && field.is_ok_and(|field| !field.data_type().is_floating())
        };
        let mut answers = self.inner.supports_filters_pushdown(filters)?;
        for (answer, filter) in answers.iter_mut().zip(filters) {
            let mut columns = filter.column_refs().into_iter();
            if *answer == TableProviderFilterPushDown::Exact && !columns.all(is_handed_down) {
                *answer = TableProviderFilterPushDown::Inexact;
            }
        }
        Ok(answers)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let usable = self.usable(session, filters)?;
        // The library counts no rows of no columns.
        let counted = vec![self.narrowest()];
        let reads_none = projection.is_some_and(Vec::is_empty);
        let read = match reads_none {
            true => Some(&counted),
            false => projection,
        };
        let plan = self.inner.scan(session, read, &usable, limit);
        // Rows that bounds miss are not left out by those of files either.
        let located = plan.await.map_err(of_vector)?.transform_up(|plan| {
            Ok(match plan.is::<DataSourceExec>() {
                true => Transformed::yes(self.read(plan)),
                false => Transformed::no(plan),
            })
        });
        let plan = located?.data;
        self.check(&plan)?;
        self.check_names(session, &plan).await?;
        Ok(match reads_none {
            true => Arc::new(ProjectionExec::try_new(Vec::<ProjectionExpr>::new(), plan)?),
            false => plan,
        })
    }
}
