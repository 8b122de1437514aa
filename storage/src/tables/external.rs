//! External tables: files that others write, read in place.
//!
//! A definition or a location flows in; a provider over the files that are there now flows out. Nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::ObjectStoreExt as _;
use url::{Position, Url};

use crate::catalog::{
    CatalogEntry, ExternalCatalogDefinition, ExternalFormat, ExternalTableDefinition, schema_of,
};
use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::tables::csv_values::CsvTexts;
use crate::tables::csv_watch::{has_quoted_breaks, has_quoted_nulls};
use crate::tables::declared_table::DeclaredTable;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, VersionSpec};
use crate::tables::external_delta::ExternalLogs;
use crate::tables::file_table::{Columns, FileTable};
use crate::tables::format::{
    FileHints, csv_dialect, is_compressed, may_be_divided, null_text, reader,
};
use crate::tables::history::{self, TableCommit, TableDetail};
use crate::tables::iceberg::{IcebergCatalogs, IcebergTable};
use crate::tables::inference::infer;
use crate::tables::json_source::JsonForm;
use crate::tables::listing::{Found, ListedFile, Listing, TableFolder, find, is_http, shown};
use crate::tables::located::Place;
use crate::tables::plain_bytes::{body, first_of, without_mark};
use crate::tables::snapshot::TableSnapshot;
use crate::warehouse::Warehouse;

/// Enough of a JSON file to see its first character beyond white space.
const JSON_HEAD_BYTES: u64 = 1024;
/// The folder that Hive writes for a NULL.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// The rows of a table, and what a model pins of it.
pub(crate) type Pinned = (Arc<dyn TableProvider>, TableSnapshot);

/// Reads files in place.
#[derive(Debug)]
pub(crate) struct External {
    warehouse: Arc<Warehouse>,
    locations: Arc<Locations>,
    catalogs: IcebergCatalogs,
    logs: ExternalLogs,
}

/// A table of a table format is one folder.
fn one_location(definition: &ExternalTableDefinition) -> Result<()> {
    match definition.further_locations.first() {
        None => Ok(()),
        Some(second) => Err(Error::DistantLocations {
            first: definition.location.clone(),
            second: second.clone(),
        }),
    }
}

impl External {
    pub(crate) fn new(warehouse: Arc<Warehouse>, locations: Arc<Locations>) -> Self {
        let stores = Arc::clone(warehouse.stores());
        Self {
            logs: ExternalLogs::new(Arc::clone(&locations), stores),
            warehouse,
            locations,
            catalogs: IcebergCatalogs::default(),
        }
    }

    /// The definition of an unnamed table over files or a folder, whose names say the format.
    pub(crate) async fn define(&self, path: &str) -> Result<ExternalTableDefinition> {
        let url = self.locations.resolve(path)?;
        let stores = self.warehouse.stores();
        let found = find(stores, &self.locations, std::slice::from_ref(&url), None).await?;
        let format = match found {
            Found::Files(listing) => listing.format,
            Found::Table(TableFolder::Delta) => ExternalFormat::Delta,
            Found::Table(TableFolder::Iceberg) => ExternalFormat::Iceberg,
        };
        Ok(ExternalTableDefinition {
            location: url.into(),
            further_locations: vec![],
            format,
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
        match definition.format {
            ExternalFormat::Iceberg => self.iceberg(definition).await?.provider(),
            ExternalFormat::Delta => self.delta(definition).await?.provider().await,
            _ => {
                let listing = self.list(definition).await?;
                listing.table(definition, session).await
            }
        }
    }

    /// The same together with what a model pins of it.
    pub(crate) async fn open_pinned(
        &self,
        definition: &ExternalTableDefinition,
        session: &dyn Session,
    ) -> Result<Pinned> {
        match definition.format {
            ExternalFormat::Iceberg => {
                let table = self.iceberg(definition).await?;
                let snapshot = table.describe().await?;
                Ok((table.provider()?, snapshot))
            }
            ExternalFormat::Delta => {
                let table = self.delta(definition).await?;
                Ok((table.provider().await?, table.pinned()))
            }
            _ => {
                let listing = self.list(definition).await?;
                let table = listing.table(definition, session).await?;
                Ok((table, listing.describe()))
            }
        }
    }

    /// The table as it was at a snapshot. Errors: `SnapshotLost`.
    pub(crate) async fn open_at(
        &self,
        definition: &ExternalTableDefinition,
        snapshot: &TableSnapshot,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        let mut definition = definition.clone();
        let version = snapshot.version.map(|version| version.to_string());
        match (definition.format, version) {
            (ExternalFormat::Iceberg, Some(version)) => {
                definition.options.remove("timestamp");
                definition.options.insert("snapshot_id".into(), version);
            }
            (ExternalFormat::Delta, Some(version)) => {
                definition.options.remove("timestamp");
                definition.options.insert("version".into(), version);
            }
            (ExternalFormat::Iceberg | ExternalFormat::Delta, None) => {}
            _ => {
                let mut listing = self.list(&definition).await?;
                listing.keep(snapshot)?;
                return listing.table(&definition, session).await;
            }
        }
        self.open(&definition, session).await
    }

    /// The files that are there now.
    pub(crate) async fn snapshot(
        &self,
        definition: &ExternalTableDefinition,
    ) -> Result<TableSnapshot> {
        match definition.format {
            ExternalFormat::Iceberg => self.iceberg(definition).await?.describe().await,
            ExternalFormat::Delta => Ok(self.delta(definition).await?.pinned()),
            _ => Ok(self.list(definition).await?.describe()),
        }
    }

    /// A table that another catalog names, by its namespace and its name there.
    pub(crate) async fn foreign_table(
        &self,
        entry: &CatalogEntry,
        catalog: &ExternalCatalogDefinition,
        named: (&str, &str),
    ) -> Result<Option<IcebergTable>> {
        let stores = self.warehouse.stores();
        let found = self
            .catalogs
            .table(entry, catalog, named, &self.locations, stores);
        found.await
    }

    /// A version of such a table.
    pub(crate) async fn foreign(
        &self,
        entry: &CatalogEntry,
        catalog: &ExternalCatalogDefinition,
        named: (&str, &str),
        version: VersionSpec,
    ) -> Result<Option<Pinned>> {
        let Some(table) = self.foreign_table(entry, catalog, named).await? else {
            return Ok(None);
        };
        let table = table.at_version(version)?;
        let snapshot = table.describe().await?;
        Ok(Some((table.provider()?, snapshot)))
    }

    /// Whether a line break of one of the files at a location stands inside quotes, or may, in a compressed file.
    pub(crate) async fn has_quoted_breaks(
        &self,
        url: &Url,
        options: &BTreeMap<String, String>,
    ) -> Result<bool> {
        let (stores, locations) = (self.warehouse.stores(), &self.locations);
        let wanted = Some(ExternalFormat::Csv);
        let found = find(stores, locations, std::slice::from_ref(url), wanted).await?;
        let Found::Files(listing) = found else {
            return Ok(false);
        };
        for file in &listing.files {
            let name = file.meta.location.filename().unwrap_or_default();
            let dialect = csv_dialect(options, name)?;
            if is_compressed(ExternalFormat::Csv, options, name)?
                || has_quoted_breaks(&listing.store, &file.meta, &listing.place(), dialect).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn iceberg(&self, definition: &ExternalTableDefinition) -> Result<IcebergTable> {
        let url = self.table_folder(definition)?;
        IcebergTable::open(&url, &definition.options, &self.locations).await
    }

    async fn delta(&self, definition: &ExternalTableDefinition) -> Result<DeltaVersion> {
        let url = self.table_folder(definition)?;
        self.logs.open(&url, &definition.options).await
    }

    /// A version of a table that keeps its versions; `None` for another format.
    pub(crate) async fn version(
        &self,
        definition: &ExternalTableDefinition,
        version: VersionSpec,
    ) -> Result<Option<Pinned>> {
        match definition.format {
            ExternalFormat::Delta => {
                let url = self.table_folder(definition)?;
                let found = self.logs.open_at(&url, version).await?;
                Ok(Some((found.provider().await?, found.pinned())))
            }
            ExternalFormat::Iceberg => {
                let table = self.iceberg(definition).await?.at_version(version)?;
                let snapshot = table.describe().await?;
                Ok(Some((table.provider()?, snapshot)))
            }
            _ => Ok(None),
        }
    }

    /// The log of a Delta table; `None` for another format.
    pub(crate) async fn log(
        &self,
        definition: &ExternalTableDefinition,
    ) -> Result<Option<Arc<DeltaLog>>> {
        if definition.format != ExternalFormat::Delta {
            return Ok(None);
        }
        let url = self.table_folder(definition)?;
        self.logs.log_of(&url).await.map(Some)
    }

    /// The commits of a table that keeps its versions, the newest first; `None` for another format.
    pub(crate) async fn history(
        &self,
        definition: &ExternalTableDefinition,
    ) -> Result<Option<Vec<TableCommit>>> {
        if definition.format == ExternalFormat::Iceberg {
            return Ok(Some(self.iceberg(definition).await?.history()));
        }
        match self.log(definition).await? {
            Some(log) => history::history(&log).await.map(Some),
            None => Ok(None),
        }
    }

    /// The state in numbers of a table that keeps its versions; `None` for another format.
    pub(crate) async fn detail(
        &self,
        definition: &ExternalTableDefinition,
    ) -> Result<Option<TableDetail>> {
        match definition.format {
            ExternalFormat::Iceberg => {
                let table = self.iceberg(definition).await?;
                table.detail().await.map(Some)
            }
            ExternalFormat::Delta => history::detail(&self.delta(definition).await?).map(Some),
            _ => Ok(None),
        }
    }

    fn table_folder(&self, definition: &ExternalTableDefinition) -> Result<Url> {
        one_location(definition)?;
        self.locations.resolve(&definition.location)
    }

    async fn list(&self, definition: &ExternalTableDefinition) -> Result<Listing> {
        // What was allowed when the table was created need not be allowed now.
        let all = std::iter::once(&definition.location).chain(&definition.further_locations);
        let urls: Vec<Url> = all
            .map(|location| self.locations.resolve(location))
            .collect::<Result<_>>()?;
        let stores = self.warehouse.stores();
        match find(stores, &self.locations, &urls, Some(definition.format)).await? {
            Found::Files(listing) => Ok(listing),
            Found::Table(table) => Err(Error::UnsupportedFormat {
                location: shown(&urls[0]),
                format: match table {
                    TableFolder::Delta => "Delta",
                    TableFolder::Iceberg => "Iceberg",
                },
            }),
        }
    }
}

impl Listing {
    /// What the errors of these files name.
    pub(crate) fn place(&self) -> Place {
        let mut root = self.base.clone();
        root.set_path("/");
        Place {
            root,
            format: self.format.name(),
            is_ours: false,
            _lease: None,
        }
    }

    async fn table(
        &self,
        definition: &ExternalTableDefinition,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        let name = self
            .files
            .first()
            .and_then(|file| file.meta.location.filename())
            .unwrap_or_default();
        let json_array = self.is_json_array(&definition.options, name).await?;
        let null_text: Option<Arc<str>> =
            null_text(self.format, &definition.options)?.map(Arc::from);
        // Empty fields are told apart on their way, also in pieces of a file.
        let longer = null_text.as_ref().filter(|text| !text.is_empty());
        let is_whole = self.has_quoted_nulls(definition, longer).await?;
        let hints = FileHints {
            name,
            json_array,
            is_whole,
        };
        let format = reader(self.format, &definition.options, hints, session)?;
        let declared = definition.schema.as_deref().map(schema_of).transpose()?;
        let partitions = self.partitions(definition, declared.as_deref())?;
        // Their readers give columns by place, or of other types without a word.
        let has_own = matches!(self.format, ExternalFormat::Arrow | ExternalFormat::Avro)
            && self.files.iter().any(|file| file.meta.size > 0);
        let (found, is_sampled) = match &declared {
            Some(schema) if !has_own => (Arc::clone(schema), false),
            _ => infer(self, format.as_ref(), null_text.as_ref(), session).await?,
        };
        let format = match found.fields().len() {
            // Blank lines of CSV are rows then, which a part of a file cannot tell.
            1 => {
                let is_whole = true;
                let hints = FileHints { is_whole, ..hints };
                reader(self.format, &definition.options, hints, session)?
            }
            _ => format,
        };
        let schema = self.without(&found, &partitions.columns)?;
        let json = (self.format == ExternalFormat::NdJson).then(|| JsonForm {
            is_array: json_array,
            is_declared: definition.schema.is_some(),
            // A copy of a partition's column is a key without a column of its own.
            is_sampled: is_sampled && schema.fields().len() == found.fields().len(),
        });
        let texts = CsvTexts {
            null_text,
            batch_size: None,
        };
        let store_url = ObjectStoreUrl::parse(&self.base[..Position::BeforePath])?;
        let table: Arc<dyn TableProvider> = Arc::new(FileTable {
            store_url,
            store: Arc::clone(&self.store),
            format,
            format_name: self.format.name(),
            files: partitions.files,
            columns: Columns::new(schema, &partitions.columns),
            json,
            texts,
        });
        let Some(declared) = declared.filter(|_| has_own) else {
            return Ok(table);
        };
        let declared = self.without(&declared, &partitions.columns)?;
        let first = self.files.first().map(|file| &file.meta.location);
        let first = first.map_or_else(String::new, |file| self.place().url(file.as_ref()));
        let n_partitions = partitions.columns.len();
        let table = DeclaredTable::new(table, &declared, n_partitions, first);
        Ok(Arc::new(table))
    }

    /// Whether files that may be read in pieces cannot, since texts for NULL stand in quotes in one of them.
    async fn has_quoted_nulls(
        &self,
        definition: &ExternalTableDefinition,
        null_text: Option<&Arc<str>>,
    ) -> Result<bool> {
        let Some(null_text) = null_text.filter(|_| self.format == ExternalFormat::Csv) else {
            return Ok(false);
        };
        if !may_be_divided(&definition.options)? {
            return Ok(false);
        }
        for file in &self.files {
            let name = file.meta.location.filename().unwrap_or_default();
            let dialect = csv_dialect(&definition.options, name)?;
            if has_quoted_nulls(&self.store, &file.meta, dialect, null_text).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The columns that the folders' names hold, with their types, and the files with their values.
    fn partitions(
        &self,
        definition: &ExternalTableDefinition,
        declared: Option<&Schema>,
    ) -> Result<Partitions> {
        let mut columns: Vec<String> = definition.partition_columns.clone();
        // For each column, whether all its values are whole numbers.
        let mut are_numbers: Vec<bool> = Vec::new();
        let mut rows: Vec<Vec<Option<String>>> = Vec::new();
        if columns.is_empty() {
            let mut all = self.files.iter().map(folder_pairs);
            let first = all.find(|pairs| !pairs.is_empty());
            columns.extend(first.into_iter().flatten().map(|(column, _)| column));
        }
        for file in &self.files {
            let pairs = folder_pairs(file);
            are_numbers.resize(columns.len(), true);
            // Below a partition, every folder must name one.
            let n_folders = file.names.len().saturating_sub(1);
            let same = pairs.len() == columns.len()
                && (columns.is_empty() || n_folders == pairs.len())
                && pairs
                    .iter()
                    .zip(&columns)
                    .all(|((found, _), column)| found == column);
            if !same {
                return Err(Error::MixedPartitions {
                    location: shown(&self.base),
                    file: file.names.join("/"),
                    expected: columns,
                });
            }
            let values: Vec<Option<String>> = pairs.into_iter().map(|(_, value)| value).collect();
            for (is_number, value) in are_numbers.iter_mut().zip(&values) {
                *is_number &= value.as_ref().is_none_or(|v| v.parse::<i64>().is_ok());
            }
            rows.push(values);
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
        Partitions::new(typed.collect(), &self.files, rows)
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

    /// Whether the first file holds one array instead of an object a line.
    async fn is_json_array(&self, options: &BTreeMap<String, String>, name: &str) -> Result<bool> {
        let Some(file) = self.files.iter().find(|file| file.meta.size > 0) else {
            return Ok(false);
        };
        if self.format != ExternalFormat::NdJson || is_compressed(self.format, options, name)? {
            return Ok(false);
        }
        if is_http(&self.base) {
            // Not every web server gives a part of a file.
            let whole = self.store.get(&file.meta.location).await?.payload;
            let (first, _) = first_of(body(whole)).await?;
            return Ok(first == Some(b'['));
        }
        let head = 0..file.meta.size.min(JSON_HEAD_BYTES);
        let head = self.store.get_range(&file.meta.location, head).await?;
        let text = without_mark(&head).trim_ascii_start();
        Ok(text.first() == Some(&b'['))
    }
}

/// The columns that folders name, and the files with their values in them.
struct Partitions {
    columns: Vec<(String, DataType)>,
    files: Vec<PartitionedFile>,
}

impl Partitions {
    fn new(
        columns: Vec<(String, DataType)>,
        files: &[ListedFile],
        rows: Vec<Vec<Option<String>>>,
    ) -> Result<Self> {
        let mut partitioned = Vec::with_capacity(files.len());
        for (file, values) in files.iter().zip(rows) {
            // A file without a byte has no rows, whatever its format.
            if file.meta.size == 0 {
                continue;
            }
            let mut with_values: PartitionedFile = file.meta.clone().into();
            for (value, (column, data_type)) in values.into_iter().zip(&columns) {
                let value =
                    match value {
                        None => ScalarValue::try_from(data_type)?,
                        Some(text) => ScalarValue::try_from_string(text.clone(), data_type)
                            .map_err(|_| Error::PartitionValue {
                                column: column.clone(),
                                value: text,
                                data_type: data_type.to_string(),
                                file: file.names.join("/"),
                            })?,
                    };
                with_values.partition_values.push(value);
            }
            partitioned.push(with_values);
        }
        Ok(Self {
            columns,
            files: partitioned,
        })
    }
}

/// The columns and values that the folders of a file name, up to the first folder that names none.
fn folder_pairs(file: &ListedFile) -> Vec<(String, Option<String>)> {
    let folders = &file.names[..file.names.len().saturating_sub(1)];
    folders
        .iter()
        .map_while(|folder| folder.split_once('='))
        .map(|(column, value)| {
            let value = (value != NULL_PARTITION).then(|| percent_decoded(value));
            (column.to_owned(), value)
        })
        .collect()
}

/// Writers encode what a folder's name cannot hold.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let code = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
