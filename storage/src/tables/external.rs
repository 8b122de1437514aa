//! External tables: files that others write, read in place.
//!
//! A definition or a location flows in; a provider over the files that are there now flows out. Every file is checked
//! against the allowed locations before it is read, also those that a link in a folder leads to. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::provider_as_source;
use datafusion::execution::cache::TableScopedPath;
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::{LogicalPlanBuilder, UNNAMED_TABLE, cast, ident, lit};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use url::Url;

use crate::catalog::{ExternalFormat, ExternalTableDefinition, schema_of};
use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::tables::format::{FileHints, format_of, is_compressed, null_text, reader};
use crate::tables::quoted_breaks::has_quoted_breaks;
use crate::tables::snapshot::{SnapshotFile, TableSnapshot};
use crate::warehouse::Warehouse;

/// Enough of a JSON file to see its first character beyond white space.
const JSON_HEAD_BYTES: u64 = 1024;

/// Reads files in place.
#[derive(Debug)]
pub(crate) struct External {
    warehouse: Arc<Warehouse>,
    locations: Arc<Locations>,
}

/// The files of one location.
#[derive(Debug)]
struct Listing {
    url: Url,
    store: Arc<dyn ObjectStore>,
    /// The path of the folder, or of the one file.
    root: Path,
    is_folder: bool,
    format: ExternalFormat,
    /// What the names of all files end in; empty for a single file.
    ending: String,
    /// By path; at least one.
    files: Vec<ObjectMeta>,
    /// Whether the folder has files with that ending that are not data, as `_metadata.parquet`.
    has_hidden: bool,
}

impl External {
    pub(crate) fn new(warehouse: Arc<Warehouse>, locations: Arc<Locations>) -> Self {
        Self {
            warehouse,
            locations,
        }
    }

    /// The definition of an unnamed table over a file or folder, whose names say the format.
    pub(crate) async fn define(&self, path: &str) -> Result<ExternalTableDefinition> {
        let url = self.locations.resolve(path)?;
        let listing = self.list(&url, None).await?;
        Ok(ExternalTableDefinition {
            location: url.into(),
            format: listing.format,
            options: BTreeMap::new(),
            schema: None,
            partition_columns: vec![],
        })
    }

    /// The table over the files that are there now.
    pub(crate) async fn open(
        &self,
        definition: &ExternalTableDefinition,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        let listing = self.list_of(definition).await?;
        listing.table(definition, session).await
    }

    /// The files that are there now.
    pub(crate) async fn snapshot(
        &self,
        definition: &ExternalTableDefinition,
    ) -> Result<TableSnapshot> {
        Ok(self.list_of(definition).await?.describe())
    }

    /// Whether a line break of one of the files at a location stands inside quotes, or may, in a compressed file.
    pub(crate) async fn has_quoted_breaks(&self, url: &Url, quote: u8) -> Result<bool> {
        let listing = self.list(url, Some(ExternalFormat::Csv)).await?;
        for file in &listing.files {
            let name = file.location.filename().unwrap_or_default();
            if is_compressed(ExternalFormat::Csv, &BTreeMap::new(), name)?
                || has_quoted_breaks(&listing.store, file, quote).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn list_of(&self, definition: &ExternalTableDefinition) -> Result<Listing> {
        // What was allowed when the table was created need not be allowed now.
        let url = self.locations.resolve(&definition.location)?;
        self.list(&url, Some(definition.format)).await
    }

    /// Finds the files of a location; `None`: of whatever one format is there.
    async fn list(&self, url: &Url, format: Option<ExternalFormat>) -> Result<Listing> {
        let store = Arc::clone(self.warehouse.root_store_of(url)?);
        let root = Path::from_url_path(url.path()).map_err(|_| Error::InvalidLocation {
            location: shown(url),
        })?;
        let listing = match url.path().ends_with('/') {
            true => list_folder(url, store, root, format).await?,
            false => list_file(url, store, root, format).await?,
        };
        for file in &listing.files {
            self.locations.check_object(&file.location)?;
        }
        Ok(listing)
    }
}

async fn list_file(
    url: &Url,
    store: Arc<dyn ObjectStore>,
    root: Path,
    format: Option<ExternalFormat>,
) -> Result<Listing> {
    let file = match store.head(&root).await {
        Ok(file) => file,
        Err(object_store::Error::NotFound { .. }) => {
            return Err(Error::LocationNotFound {
                location: shown(url),
            });
        }
        Err(error) => return Err(error.into()),
    };
    let by_name = root
        .filename()
        .and_then(format_of)
        .map(|(format, _)| format);
    let format = format.or(by_name).ok_or_else(|| Error::UnknownFormat {
        location: shown(url),
    })?;
    Ok(Listing {
        url: url.clone(),
        store,
        root,
        is_folder: false,
        format,
        ending: String::new(),
        files: vec![file],
        has_hidden: false,
    })
}

async fn list_folder(
    url: &Url,
    store: Arc<dyn ObjectStore>,
    root: Path,
    wanted: Option<ExternalFormat>,
) -> Result<Listing> {
    let mut all: Vec<ObjectMeta> = store.list(Some(&root)).try_collect().await?;
    all.sort_by(|a, b| a.location.cmp(&b.location));
    let mut found: Option<(ExternalFormat, String)> = None;
    let mut files = Vec::new();
    let mut hidden = BTreeSet::new();
    for file in all {
        let names = below(&root, &file.location);
        if names.first().is_some_and(|name| name == "_delta_log") {
            return Err(Error::UnsupportedFormat {
                location: shown(url),
                format: "Delta",
            });
        }
        let Some((format, ending)) = names.last().and_then(|name| format_of(name)) else {
            continue;
        };
        if wanted.is_some_and(|wanted| wanted != format) {
            continue;
        }
        // Writers keep their notes in files and folders with such names.
        if names.iter().any(|name| name.starts_with(['_', '.'])) {
            hidden.insert(ending.to_owned());
            continue;
        }
        match &found {
            None => found = Some((format, ending.into())),
            Some((_, first)) if first == ending => {}
            Some((_, first)) => {
                let (first, second) = (first.clone(), ending.into());
                return Err(Error::MixedFiles {
                    location: shown(url),
                    first,
                    second,
                });
            }
        }
        files.push(file);
    }
    let Some((format, ending)) = found else {
        let format = wanted
            .map_or("parquet, csv or ndjson", ExternalFormat::name)
            .into();
        return Err(Error::EmptyFolder {
            location: shown(url),
            format,
        });
    };
    let has_hidden = hidden.contains(&ending);
    let url = url.clone();
    Ok(Listing {
        url,
        store,
        root,
        is_folder: true,
        format,
        ending,
        files,
        has_hidden,
    })
}

impl Listing {
    async fn table(
        &self,
        definition: &ExternalTableDefinition,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        let name = self
            .files
            .first()
            .and_then(|file| file.location.filename())
            .unwrap_or_default();
        let json_array = self.is_json_array(&definition.options, name).await?;
        let hints = FileHints { name, json_array };
        let format = reader(self.format, &definition.options, hints, session)?;
        let options = ListingOptions::new(format).with_file_extension(self.ending.as_str());
        let declared = definition.schema.as_deref().map(schema_of).transpose()?;
        let partitions = self.partitions(definition, declared.as_deref())?;
        let schema = match declared {
            Some(schema) => schema,
            None => self.infer(&options, session).await?,
        };
        let schema = self.without(&schema, &partitions)?;
        let null_text = null_text(self.format, &definition.options)?;
        self.forget_listing(session);
        let config = ListingTableConfig::new_with_multi_paths(self.paths(&partitions)?)
            .with_listing_options(options.with_table_partition_cols(partitions))
            .with_schema(match null_text {
                Some(_) => all_text(&schema),
                None => Arc::clone(&schema),
            });
        let statistics = session
            .runtime_env()
            .cache_manager
            .get_file_statistic_cache();
        let table = Arc::new(ListingTable::try_new(config)?.with_cache(statistics));
        match null_text {
            Some(null_text) => with_nulls(table, &schema, null_text),
            None => Ok(table),
        }
    }

    /// The columns of the files.
    async fn infer(&self, options: &ListingOptions, session: &dyn Session) -> Result<SchemaRef> {
        let files: Vec<ObjectMeta> = self
            .files
            .iter()
            .filter(|file| file.size > 0)
            .cloned()
            .collect();
        let schema = options
            .format
            .infer_schema(session, &self.store, &files)
            .await?;
        match schema.fields().is_empty() {
            true => Err(Error::NoColumns {
                location: shown(&self.url),
            }),
            false => Ok(schema),
        }
    }

    /// The columns that the folders' names hold, with their types.
    fn partitions(
        &self,
        definition: &ExternalTableDefinition,
        declared: Option<&Schema>,
    ) -> Result<Vec<(String, DataType)>> {
        let mut columns: Vec<String> = definition.partition_columns.clone();
        // For each column, whether all its values are whole numbers.
        let mut are_numbers: Vec<bool> = Vec::new();
        for (i, file) in self.files.iter().enumerate() {
            let names = below(&self.root, &file.location);
            let folders = &names[..names.len().saturating_sub(1)];
            let pairs: Vec<(&str, &str)> = folders
                .iter()
                .map_while(|folder| folder.split_once('='))
                .collect();
            if i == 0 && columns.is_empty() {
                columns = pairs
                    .iter()
                    .map(|(column, _)| (*column).to_owned())
                    .collect();
            }
            are_numbers.resize(columns.len(), true);
            // Below a partition, every folder must name one.
            let same = pairs.len() == columns.len()
                && (columns.is_empty() || folders.len() == pairs.len())
                && pairs
                    .iter()
                    .zip(&columns)
                    .all(|((found, _), column)| found == column);
            if !same {
                return Err(Error::MixedPartitions {
                    location: shown(&self.url),
                    file: names.join("/"),
                    expected: columns,
                });
            }
            for (is_number, (_, value)) in are_numbers.iter_mut().zip(pairs) {
                *is_number &= value.parse::<i64>().is_ok();
            }
        }
        let typed = columns
            .into_iter()
            .zip(are_numbers)
            .map(|(column, is_number)| {
                let declared = declared.and_then(|schema| schema.field_with_name(&column).ok());
                let data_type = match declared {
                    Some(field) => field.data_type().clone(),
                    None if is_number => DataType::Int64,
                    None => DataType::Utf8,
                };
                (column, data_type)
            });
        Ok(typed.collect())
    }

    /// The columns that come from within the files. The names of folders win over a copy within them.
    fn without(&self, schema: &Schema, partitions: &[(String, DataType)]) -> Result<SchemaRef> {
        let is_partition = |name: &String| partitions.iter().any(|(column, _)| column == name);
        let kept: Vec<usize> = (0..schema.fields().len())
            .filter(|i| !is_partition(schema.field(*i).name()))
            .collect();
        let last_kept = kept.last().map_or(0, |last| last + 1);
        // The columns of CSV files count by their place, so only the last ones can be left out.
        if self.format == ExternalFormat::Csv && last_kept != kept.len() {
            let twice = schema
                .fields()
                .iter()
                .find(|field| is_partition(field.name()));
            let column = twice.map(|field| field.name().clone()).unwrap_or_default();
            return Err(Error::DuplicateColumn { column });
        }
        Ok(Arc::new(schema.project(&kept)?))
    }

    /// The folder; or each file, where reading the folder would find other files than those listed: DataFusion takes
    /// hidden files for data, and looks into no folder that is not a partition.
    fn paths(&self, partitions: &[(String, DataType)]) -> Result<Vec<ListingTableUrl>> {
        let is_flat = |file: &ObjectMeta| below(&self.root, &file.location).len() <= 1;
        let is_plain = !self.has_hidden && self.files.iter().all(is_flat);
        if is_plain || !partitions.is_empty() {
            return Ok(vec![ListingTableUrl::try_new(self.url.clone(), None)?]);
        }
        let file_url = |file: &ObjectMeta| {
            let mut url = self.url.clone();
            url.set_path(&format!("/{}", file.location.as_ref().replace('%', "%25")));
            Ok(ListingTableUrl::try_new(url, None)?)
        };
        self.files.iter().map(file_url).collect()
    }

    /// DataFusion keeps the listing of a folder for good; each statement shall see the files of its own time.
    fn forget_listing(&self, session: &dyn Session) {
        if let Some(cache) = session.runtime_env().cache_manager.get_list_files_cache() {
            cache.remove(&TableScopedPath {
                table: None,
                path: self.root.clone(),
            });
        }
    }

    /// Whether the first file holds one array instead of an object a line.
    async fn is_json_array(&self, options: &BTreeMap<String, String>, name: &str) -> Result<bool> {
        let Some(file) = self.files.iter().find(|file| file.size > 0) else {
            return Ok(false);
        };
        if self.format != ExternalFormat::NdJson || is_compressed(self.format, options, name)? {
            return Ok(false);
        }
        let head = 0..file.size.min(JSON_HEAD_BYTES);
        let head = self.store.get_range(&file.location, head).await?;
        Ok(head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'['))
    }

    fn describe(&self) -> TableSnapshot {
        let file = |file: &ObjectMeta| SnapshotFile {
            path: match self.is_folder {
                true => below(&self.root, &file.location).join("/"),
                false => file.location.filename().unwrap_or_default().into(),
            },
            bytes: file.size,
            modified_ms: file.last_modified.timestamp_millis(),
            e_tag: file.e_tag.clone(),
        };
        TableSnapshot {
            format: self.format.name().into(),
            location: self.url.to_string(),
            version: None,
            files: self.files.iter().map(file).collect(),
        }
    }
}

/// The columns of a file as the text that they are written in.
fn all_text(schema: &Schema) -> SchemaRef {
    let text = |field: &Arc<Field>| field.as_ref().clone().with_data_type(DataType::Utf8);
    Arc::new(Schema::new(
        schema.fields().iter().map(text).collect::<Vec<_>>(),
    ))
}

/// A view over a table of texts: the null text becomes NULL, all else the type of the column in `schema`.
fn with_nulls(
    table: Arc<ListingTable>,
    schema: &Schema,
    null_text: &str,
) -> Result<Arc<dyn TableProvider>> {
    let columns = table.schema();
    let columns = columns.fields().iter().map(|field| {
        let column = ident(field.name());
        match schema.field_with_name(field.name()) {
            Ok(field) => {
                cast(nullif(column, lit(null_text)), field.data_type().clone()).alias(field.name())
            }
            // The columns of partitions come from the names of folders.
            Err(_) => column,
        }
    });
    let plan = LogicalPlanBuilder::scan(UNNAMED_TABLE, provider_as_source(table), None)?
        .project(columns.collect::<Vec<_>>())?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The names of the folders and the file below a folder.
fn below(root: &Path, file: &Path) -> Vec<String> {
    let parts = file.prefix_match(root).into_iter().flatten();
    parts.map(|part| part.as_ref().to_owned()).collect()
}

/// A location as users write it.
fn shown(url: &Url) -> String {
    match url.to_file_path() {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(()) => url.to_string(),
    }
}
