//! The rows of one snapshot of an Iceberg table: what a query scans.
//!
//! Filters and columns flow in; a plan flows out that reads most files by DataFusion's own Parquet source. The files that
//! need more than that, because rows in them were deleted or their columns have other names than now, are read by the
//! Iceberg library, whose batches cross the bridge.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat as _;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchemaBuilder;
use datafusion::error::Result as DfResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::union::UnionExec;
use futures::TryStreamExt as _;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::expr::Predicate;
use iceberg::scan::FileScanTask;
use iceberg::spec::{
    DataFileFormat, PartitionField, PrimitiveType, SchemaRef as IcebergSchema, SnapshotRef,
    TableMetadata, Type,
};
use iceberg::table::Table;
use object_store::ObjectMeta;
use url::{Position, Url};

use crate::error::Result;
use crate::locations::Locations;
use crate::tables::iceberg::equality_deletes::EqualityDeletes;
use crate::tables::iceberg::library::{LibraryScan, LibraryTask};
use crate::tables::iceberg::storage::object_of;
use crate::tables::iceberg::{arrow_bridge, failed_at, nested_columns, predicate};
use crate::tables::located::located;
use crate::tables::scans::of_no_files;
use crate::tables::settled_types::settled;
use crate::tables::uuid_columns;

/// The table property with names for columns of files that have no field ids.
const NAME_MAPPING: &str = "schema.name-mapping.default";

/// One snapshot of a table.
pub(super) struct IcebergProvider {
    table: Table,
    snapshot: Option<SnapshotRef>,
    iceberg_schema: IcebergSchema,
    /// The columns as files hold them.
    schema: SchemaRef,
    /// Whether a column of any file is the column of the same name now.
    is_named_as_now: bool,
    compared: predicate::Columns,
    /// The columns that files may hold with other fields within them, by their ids.
    changed: Arc<BTreeSet<i32>>,
    locations: Arc<Locations>,
}

impl fmt::Debug for IcebergProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IcebergProvider({})", self.table.metadata().location())
    }
}

impl IcebergProvider {
    /// A snapshot that a statement names has the columns of its time, though it be the newest; else those of now count.
    pub(super) fn new(
        table: Table,
        snapshot: Option<SnapshotRef>,
        is_named: bool,
        locations: Arc<Locations>,
    ) -> Result<Self> {
        let metadata = table.metadata();
        let location = metadata.location().to_owned();
        let iceberg_schema = match &snapshot {
            Some(snapshot) if is_named => snapshot
                .schema(metadata)
                .map_err(|error| failed_at(&location, error))?,
            _ => Arc::clone(metadata.current_schema()),
        };
        let theirs =
            schema_to_arrow_schema(&iceberg_schema).map_err(|error| failed_at(&location, error))?;
        let schema = with_uuids(&arrow_bridge::schema(&theirs)?, &iceberg_schema);
        let schema = settled(&schema).unwrap_or(schema);
        let is_named_as_now = is_named_alike(metadata, &iceberg_schema);
        let compared = predicate::Columns::of(&iceberg_schema, metadata);
        let changed = Arc::new(nested_columns::changed(metadata, &iceberg_schema));
        Ok(Self {
            table,
            snapshot,
            iceberg_schema,
            schema,
            is_named_as_now,
            compared,
            changed,
            locations,
        })
    }

    /// Whether DataFusion reads the rows of a task as the table's specification says.
    fn is_plain(&self, task: &FileScanTask) -> bool {
        self.is_named_as_now
            && task.deletes.is_empty()
            && task.data_file_format == DataFileFormat::Parquet
    }

    /// Whether a column has maps in it that files may hold otherwise, which DataFusion does not bring up to date.
    fn has_changed_maps(&self, projection: Option<&Vec<usize>>) -> bool {
        let fields = self.iceberg_schema.as_struct().fields().iter().enumerate();
        let mut read = fields.filter(|(at, _)| projection.is_none_or(|all| all.contains(at)));
        read.any(|(_, field)| {
            self.changed.contains(&field.id) && nested_columns::holds_map(&field.field_type)
        })
    }

    /// The files that DataFusion reads itself; all in one store.
    async fn plain_scan(
        &self,
        session: &dyn Session,
        store: &Url,
        files: Vec<PartitionedFile>,
        projection: Option<&Vec<usize>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let options = session.default_table_options().parquet;
        let format = ParquetFormat::default().with_options(options);
        let schema = TableSchemaBuilder::from(&self.schema).build();
        let source = format.file_source(schema);
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let store = ObjectStoreUrl::parse(&store[..Position::BeforePath])?;
        let config = FileScanConfigBuilder::new(store, source)
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .build();
        let plan = format.create_physical_plan(session, config).await?;
        Ok(located(plan, "parquet"))
    }

    /// The files that the library reads, dealt among partitions.
    async fn library_scan(
        &self,
        session: &dyn Session,
        tasks: Vec<FileScanTask>,
        projection: Option<&Vec<usize>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        // Without a column there would be no rows to count.
        let read = match projection.map(Vec::as_slice) {
            None => &all,
            Some([]) => &all[..all.len().min(1)],
            Some(some) => some,
        };
        let schema = Arc::new(self.schema.project(read)?);
        let fields = self.iceberg_schema.as_struct().fields();
        let ids: Vec<i32> = read.iter().map(|at| fields[*at].id).collect();
        let n_partitions = session.config().target_partitions().clamp(1, tasks.len());
        let mut dealt: Vec<Vec<LibraryTask>> = vec![Vec::new(); n_partitions];
        let metadata = self.table.metadata();
        let mut deletes = EqualityDeletes::of(metadata, &self.iceberg_schema, &tasks)?;
        for (i, mut task) in tasks.into_iter().enumerate() {
            // The columns of now, not those of the time when the snapshot was made.
            if task.schema.schema_id() != self.iceberg_schema.schema_id() {
                task.predicate = None;
            }
            task.project_field_ids.clone_from(&ids);
            let (read, deletes) = deletes.take(&mut task)?;
            dealt[i % n_partitions].push(LibraryTask {
                task,
                read,
                deletes,
            });
        }
        let partition = |tasks| -> Arc<dyn PartitionStream> {
            Arc::new(LibraryScan {
                table: self.table.clone(),
                tasks,
                schema: Arc::clone(&schema),
                changed: Arc::clone(&self.changed),
            })
        };
        let partitions = dealt.into_iter().map(partition).collect();
        let table = StreamingTable::try_new(Arc::clone(&schema), partitions)?;
        let none = Vec::new();
        let left = projection.is_some_and(Vec::is_empty).then_some(&none);
        table.scan(session, left, &[], None).await
    }
}

/// The columns with a note of those that are uuids.
fn with_uuids(schema: &SchemaRef, theirs: &IcebergSchema) -> SchemaRef {
    let fields = schema.fields().iter().zip(theirs.as_struct().fields());
    let fields = fields.map(|(field, theirs)| match theirs.field_type.as_ref() {
        Type::Primitive(PrimitiveType::Uuid) => uuid_columns::noted(field),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Whether each column had one name in all schemas that files may have been written with, and no other column had it,
/// and files have it under that name.
fn is_named_alike(metadata: &TableMetadata, current: &IcebergSchema) -> bool {
    if metadata.properties().contains_key(NAME_MAPPING) {
        return false;
    }
    let fields: Vec<(i32, &str)> = current
        .field_id_to_name_map()
        .iter()
        .map(|(id, name)| (*id, name.as_str()))
        .collect();
    let is_kept = |(id, _): &(i32, &str)| {
        let field = current.field_by_id(*id);
        field.is_some_and(|field| nested_columns::is_kept(&field.name))
    };
    if !fields.iter().all(is_kept) {
        return false;
    }
    metadata.schemas_iter().all(|schema| {
        fields.iter().all(|(id, name)| {
            let same_id = schema.name_by_field_id(*id);
            let same_name = schema.field_id_by_name(name);
            // In a schema without the column, its values are NULL for DataFusion too.
            match (same_id, same_name) {
                (None, None) => true,
                (Some(other_name), Some(other_id)) => other_name == *name && other_id == *id,
                _ => false,
            }
        })
    })
}

/// The files of a snapshot that can hold rows.
pub(super) async fn plan(
    table: &Table,
    snapshot: &SnapshotRef,
    filter: Option<Predicate>,
) -> Result<Vec<FileScanTask>> {
    let location = table.metadata().location();
    let mut scan = table
        .scan()
        .snapshot_id(snapshot.snapshot_id())
        .select_all();
    if let Some(filter) = filter {
        scan = scan.with_filter(filter);
    }
    let planned = async { scan.build()?.plan_files().await?.try_collect().await };
    let mut tasks: Vec<FileScanTask> = planned.await.map_err(|error| failed_at(location, error))?;
    // In order, so that a training reads the same rows in the same order each time.
    tasks.sort_by(|a, b| a.data_file_path.cmp(&b.data_file_path));
    Ok(tasks)
}

#[async_trait]
impl TableProvider for IcebergProvider {
    fn schema(&self) -> SchemaRef {
        uuid_columns::shown_columns(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let empty = || of_no_files(&self.schema(), projection);
        let Some(snapshot) = &self.snapshot else {
            return empty();
        };
        // A snapshot is planned with the columns of its time; under other names they would prune the wrong files.
        let mut wanted = match self.is_planned_as_named(snapshot) {
            true => predicate::of_filters(filters, &self.compared),
            false => None,
        };
        if wanted.is_some() && self.has_lost_partitions(snapshot).await? {
            wanted = None;
        }
        let tasks = plan(&self.table, snapshot, wanted).await?;
        let has_changed_maps = self.has_changed_maps(projection);
        let (plain, other): (Vec<_>, Vec<_>) = tasks
            .into_iter()
            .partition(|task| self.is_plain(task) && !has_changed_maps);
        let mut plans = Vec::new();
        let mut stores: Vec<(Url, Vec<PartitionedFile>)> = Vec::new();
        for task in plain {
            let (store, file) = self.file_of(&task)?;
            match stores.iter_mut().find(|(known, _)| *known == store) {
                Some((_, files)) => files.push(file),
                None => stores.push((store, vec![file])),
            }
        }
        for (store, files) in stores {
            plans.push(self.plain_scan(session, &store, files, projection).await?);
        }
        if !other.is_empty() {
            plans.push(self.library_scan(session, other, projection).await?);
        }
        match plans.len() {
            0 => empty(),
            1 => uuid_columns::shown_rows(plans.remove(0), session, filters),
            _ => uuid_columns::shown_rows(UnionExec::try_new(plans)?, session, filters),
        }
    }
}

impl IcebergProvider {
    fn is_planned_as_named(&self, snapshot: &SnapshotRef) -> bool {
        let planned = snapshot.schema(self.table.metadata());
        planned.is_ok_and(|schema| {
            schema.schema_id() == self.iceberg_schema.schema_id()
                || schema.as_struct() == self.iceberg_schema.as_struct()
        })
    }

    /// Whether files of the snapshot lie in partitions by a column that is no more: the library cannot leave any out.
    async fn has_lost_partitions(&self, snapshot: &SnapshotRef) -> Result<bool> {
        let metadata = self.table.metadata();
        let is_lost = |field: &PartitionField| {
            let source = self.iceberg_schema.field_by_id(field.source_id);
            source.is_none()
        };
        let lost: BTreeSet<i32> = metadata
            .partition_specs_iter()
            .filter(|spec| spec.fields().iter().any(is_lost))
            .map(|spec| spec.spec_id())
            .collect();
        if lost.is_empty() {
            return Ok(false);
        }
        let manifests = self.table.manifest_list_reader(snapshot).load().await;
        let manifests = manifests.map_err(|error| failed_at(metadata.location(), error))?;
        let mut specs = manifests.entries().iter().map(|m| m.partition_spec_id);
        Ok(specs.any(|spec| lost.contains(&spec)))
    }

    /// The store and the file of a task, which must lie within the locations.
    fn file_of(&self, task: &FileScanTask) -> Result<(Url, PartitionedFile)> {
        let (root, location) = object_of(&task.data_file_path)?;
        self.locations.check_object(&root, &location)?;
        // A file made from a text would have its name encoded once more.
        let file = PartitionedFile::new_from_meta(ObjectMeta {
            location,
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: task.file_size_in_bytes,
            e_tag: None,
            version: None,
        });
        Ok((root, file))
    }
}
