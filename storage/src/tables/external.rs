//! External tables: files that others write, read in place.
//!
//! A definition or a location flows in; a provider over the files that are there now flows out. Nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
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
use crate::tables::declared_texts::Source;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, VersionSpec};
use crate::tables::external_delta::ExternalLogs;
use crate::tables::file_table::{Columns, FileTable};
use crate::tables::format::{
    FileHints, csv_dialect, is_compressed, may_be_divided, null_text, reader,
};
use crate::tables::history::{self, TableCommit, TableDetail};
use crate::tables::iceberg::{IcebergCatalogs, IcebergTable};
use crate::tables::inference::infer;
use crate::tables::json_keys::other_keys;
use crate::tables::json_source::JsonForm;
use crate::tables::listing::{Found, Listing, TableFolder, find, is_http, shown};
use crate::tables::located::Place;
use crate::tables::plain_bytes::{body, first_of, plain, without_mark};
use crate::tables::settled_types::settled;
use crate::tables::snapshot::TableSnapshot;
use crate::warehouse::Warehouse;

/// Enough of a JSON file to see its first character beyond white space.
const JSON_HEAD_BYTES: u64 = 1024;

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
            lease: None,
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
        let is_settled = declared.is_some() || has_own;
        let settled = (!is_settled).then(|| settled(&found)).flatten();
        let found = settled.unwrap_or(found);
        let schema = self.without(&found, &partitions.columns)?;
        let format = match schema.fields().len() {
            // Blank lines of CSV are rows then, which a part of a file cannot tell.
            1 => {
                let is_whole = true;
                let hints = FileHints { is_whole, ..hints };
                reader(self.format, &definition.options, hints, session)?
            }
            _ => format,
        };
        let keys = match definition.schema.is_some() {
            true => self.other_keys(&schema, format.as_ref()).await?,
            false => BTreeMap::new(),
        };
        let json = (self.format == ExternalFormat::NdJson).then(|| JsonForm {
            is_array: json_array,
            keys,
            is_declared: definition.schema.is_some(),
            // A copy of a partition's column is a key without a column of its own.
            is_sampled: is_sampled && schema.fields().len() == found.fields().len(),
        });
        let texts = CsvTexts {
            null_text,
            batch_size: None,
            is_declared: definition.schema.is_some(),
            input: None,
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
        match has_own {
            true => self.converted(table, declared.as_deref(), &partitions.columns),
            false => Ok(table),
        }
    }

    /// A table whose reader gives what files hold, with the columns that are declared, or that tables have for theirs.
    fn converted(
        &self,
        table: Arc<dyn TableProvider>,
        declared: Option<&Schema>,
        partitions: &[(String, DataType)],
    ) -> Result<Arc<dyn TableProvider>> {
        let is_declared = declared.is_some();
        let wanted = match declared {
            Some(declared) => Some(self.without(declared, partitions)?),
            None => {
                let held = table.schema();
                let own: Vec<usize> = (0..held.fields().len() - partitions.len()).collect();
                settled(&held.project(&own)?)
            }
        };
        let Some(wanted) = wanted else {
            return Ok(table);
        };
        let first = self.files.first().map(|file| &file.meta.location);
        let files = Source {
            file: first.map_or_else(String::new, |file| self.place().url(file.as_ref())),
            format: self.format.name(),
        };
        let table = DeclaredTable::new(table, &wanted, partitions.len(), files, is_declared);
        Ok(Arc::new(table))
    }

    /// The keys of JSON files that are read for columns of other names.
    async fn other_keys(
        &self,
        columns: &Schema,
        format: &dyn FileFormat,
    ) -> Result<BTreeMap<String, String>> {
        let first = self.files.iter().find(|file| file.meta.size > 0);
        let Some(first) = first.filter(|_| self.format == ExternalFormat::NdJson) else {
            return Ok(BTreeMap::new());
        };
        let whole = body(self.store.get(&first.meta.location).await?.payload);
        let compression = format.compression_type();
        let compression = compression.unwrap_or(FileCompressionType::UNCOMPRESSED);
        let keys = other_keys(columns, plain(whole, compression)).await;
        let file = || self.place().url(first.meta.location.as_ref());
        Ok(keys.map_err(|failure| failure.in_file(file()))?)
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
            // What is compressed is read as a whole anyway.
            if is_compressed(self.format, &definition.options, name)? {
                continue;
            }
            let dialect = csv_dialect(&definition.options, name)?;
            if has_quoted_nulls(&self.store, &file.meta, dialect, null_text).await? {
                return Ok(true);
            }
        }
        Ok(false)
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
