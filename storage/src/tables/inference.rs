//! The columns of a table whose statement declares none: those that its files have.
//!
//! Listed files flow in, one schema flows out: the union of the columns by name, each of a type that holds the values of
//! all files. What cannot be one column is an error that names the column and two files.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectMeta, ObjectStoreExt as _};

use crate::catalog::ExternalFormat;
use crate::error::{ColumnFailure, Error, Result};
use crate::tables::arrow_columns;
use crate::tables::arrow_watch::AsStreams;
use crate::tables::avro_uuids;
use crate::tables::blame::{at_line, bad_file, reading};
use crate::tables::csv_quotes::Dialect;
use crate::tables::csv_types::csv_columns;
use crate::tables::csv_watch::{NullTexts, QuoteWatch};
use crate::tables::footers::{footer, marked, named_twice};
use crate::tables::interval_bytes;
use crate::tables::json_types::json_columns;
use crate::tables::listing::{Listing, shown};
use crate::tables::located::Place;
use crate::tables::plain_bytes::{body, plain};
use crate::tables::sample::Sample;
use crate::tables::type_names::type_name;
use crate::tables::uuid_columns;

/// Files whose columns are read at once.
const PARALLEL_FILES: usize = 32;

/// The columns of all files, and whether there may be more in rows that were not looked at.
///
/// Errors: `NoColumns`, `MixedColumns`, `Column`, `BadFile`.
pub(crate) async fn infer(
    listing: &Listing,
    format: &dyn FileFormat,
    null_text: Option<&Arc<str>>,
    session: &dyn Session,
) -> Result<(SchemaRef, bool)> {
    let place = &listing.place();
    // A file without a byte has no columns to say.
    let files = listing.files.iter().map(|file| &file.meta);
    let files: Vec<&ObjectMeta> = files.filter(|meta| meta.size > 0).collect();
    let n_bytes = files.iter().map(|meta| meta.size).sum();
    let sample = Sample::of(listing.format, n_rows_of(format), files.len(), n_bytes);
    let columns = |meta: &ObjectMeta| {
        let looked = Looked {
            listing,
            place,
            format,
            null_text,
            sample,
        };
        looked.columns_of(meta.clone(), session)
    };
    let found: Vec<(String, SchemaRef, bool)> =
        futures::stream::iter(files.into_iter().map(columns))
            .buffered(PARALLEL_FILES)
            .try_collect()
            .await?;
    let is_sampled = found.iter().any(|(_, _, is_sampled)| *is_sampled);
    let found = found.into_iter().map(|(file, schema, _)| (file, schema));
    let schemas: Vec<(String, SchemaRef)> = found.collect();
    let schema = match listing.format {
        ExternalFormat::Arrow | ExternalFormat::Csv => by_place(place, &schemas)?,
        _ => by_name(place, &schemas)?,
    };
    if schema.fields().is_empty() {
        return Err(Error::NoColumns {
            location: shown(&listing.base),
        });
    }
    let schema = match listing.format {
        // Rows that were not looked at may have values, and text holds them all.
        ExternalFormat::Csv | ExternalFormat::NdJson => {
            let fields = schema.fields().iter().map(known);
            Schema::new(fields.collect::<Vec<_>>())
        }
        _ => schema,
    };
    Ok((Arc::new(schema), is_sampled))
}

/// The rows that the statement says are to be looked at.
fn n_rows_of(format: &dyn FileFormat) -> Option<usize> {
    let format: &dyn Any = format;
    match (
        format.downcast_ref::<CsvFormat>(),
        format.downcast_ref::<JsonFormat>(),
    ) {
        (Some(csv), _) => csv.options().schema_infer_max_rec,
        (_, Some(json)) => json.options().schema_infer_max_rec,
        (None, None) => None,
    }
}

/// What looking at a file takes.
#[derive(Clone, Copy)]
struct Looked<'a> {
    listing: &'a Listing,
    place: &'a Place,
    format: &'a dyn FileFormat,
    /// What means NULL in CSV unless it is quoted.
    null_text: Option<&'a Arc<str>>,
    sample: Sample,
}

impl Looked<'_> {
    /// The name and the columns of a file, and whether there may be more in other rows.
    async fn columns_of(
        self,
        file: ObjectMeta,
        session: &dyn Session,
    ) -> Result<(String, SchemaRef, bool)> {
        let name = file.location.to_string();
        let mut line = None;
        let found = async {
            match self.listing.format {
                ExternalFormat::Csv => Ok((self.csv(&file).await?, false)),
                ExternalFormat::NdJson => {
                    let store = &self.listing.store;
                    let whole = body(store.get(&file.location).await?.payload);
                    let found = json_columns(plain(whole, self.compression()), self.sample).await;
                    match found {
                        Ok(found) => Ok((Arc::new(found.schema), found.is_sampled)),
                        Err((at, error)) => {
                            line = at;
                            Err(error)
                        }
                    }
                }
                ExternalFormat::Parquet => Ok((self.parquet(file, session).await?, false)),
                ExternalFormat::Avro => {
                    let store = &self.listing.store;
                    let files = std::slice::from_ref(&file);
                    let schema = self.format.infer_schema(session, store, files).await?;
                    let schema = avro_uuids::of_avro(schema, store.as_ref(), &file).await?;
                    Ok((schema, false))
                }
                _ => {
                    let of_footer = arrow_columns::of_footer(&self.listing.store, &file);
                    if let Some(schema) = of_footer.await? {
                        return Ok((schema, false));
                    }
                    let store = AsStreams::over(&self.listing.store);
                    let schema = self.format.infer_schema(session, &store, &[file]).await?;
                    Ok((schema, false))
                }
            }
        };
        match reading(self.place, &name, found).await {
            Ok((schema, is_sampled)) => Ok((name, schema, is_sampled)),
            Err(error) => Err(at_line(line, bad_file(self.place, &name, error)).into()),
        }
    }

    async fn parquet(
        &self,
        file: ObjectMeta,
        session: &dyn Session,
    ) -> DataFusionResult<SchemaRef> {
        let store = &self.listing.store;
        let file = marked(&file);
        let footer = footer(session, store.as_ref(), &file).await?;
        if let Some(column) = named_twice(&footer) {
            let error = Error::BadFile {
                file: self.place.url(file.location.as_ref()),
                format: self.place.format,
                reason: format!("column name \"{column}\" appears more than once"),
            };
            return Err(error.into());
        }
        let schema = self.format.infer_schema(session, store, &[file]).await?;
        let schema = interval_bytes::of_parquet(schema);
        Ok(uuid_columns::of_parquet(schema, &footer))
    }

    async fn csv(&self, file: &ObjectMeta) -> DataFusionResult<SchemaRef> {
        let format: &dyn Any = self.format;
        let options = format.downcast_ref::<CsvFormat>().map(CsvFormat::options);
        let options = options.cloned().unwrap_or_default();
        let dialect = Dialect {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            comment: options.comment,
        };
        let store = Arc::clone(&self.listing.store);
        let compression = self.compression();
        let nulls = NullTexts {
            text: self.null_text.cloned(),
            by_lines: None,
            blank_lines: None,
        };
        let store = QuoteWatch::over(store, self.place, dialect, compression, nulls);
        let text = body(store.get(&file.location).await?.payload);
        let schema = csv_columns(text, &options, self.sample.n_rows).await?;
        Ok(Arc::new(schema))
    }

    fn compression(&self) -> FileCompressionType {
        let compression = self.format.compression_type();
        compression.unwrap_or(FileCompressionType::UNCOMPRESSED)
    }
}

/// The column as text, where all values that were seen are NULL.
fn known(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Null => DataType::Utf8,
        DataType::List(element) => DataType::List(known(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(known).collect()),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The columns of such files count by their place, so all must have the same.
fn by_place(place: &Place, schemas: &[(String, SchemaRef)]) -> Result<Schema> {
    let Some((first_file, first)) = schemas.first() else {
        return Ok(Schema::empty());
    };
    let names = |schema: &Schema| -> Vec<String> {
        schema.fields().iter().map(|f| f.name().clone()).collect()
    };
    let expected = names(first);
    for (file, schema) in schemas {
        let found = names(schema);
        if found != expected {
            return Err(Error::MixedColumns {
                first_file: place.url(first_file),
                first: expected,
                second_file: place.url(file),
                second: found,
            });
        }
    }
    by_name(place, schemas)
}

fn by_name(place: &Place, schemas: &[(String, SchemaRef)]) -> Result<Schema> {
    let mut fields: Vec<Field> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    // The file that each column was first met in.
    let mut origins: Vec<&str> = Vec::new();
    for (file, schema) in schemas {
        for field in schema.fields() {
            let Some(at) = places.get(field.name().as_str()).copied() else {
                places.insert(field.name(), fields.len());
                fields.push(field.as_ref().clone().with_nullable(true));
                origins.push(file);
                continue;
            };
            let (first, second) = (fields[at].data_type(), field.data_type());
            let both = match place.format {
                "ndjson" | "parquet" => one_nested_type(first, second),
                // A moment without a zone is another one in each session.
                "csv" if is_zoned(first) != is_zoned(second) => (first.is_null()
                    || second.is_null())
                .then(|| one_type(first, second))
                .flatten(),
                // What these are read as is what they are.
                "arrow" => (first == second).then(|| first.clone()),
                _ => one_type(first, second),
            };
            let data_type = both.ok_or_else(|| ColumnFailure::Mixed {
                column: field.name().clone(),
                first_file: place.url(origins[at]),
                first_type: type_name(first),
                second_file: place.url(file),
                second_type: type_name(second),
            })?;
            fields[at] = fields[at].clone().with_data_type(data_type);
        }
    }
    if let [(_, only)] = schemas {
        return Ok(only.as_ref().clone());
    }
    Ok(Schema::new(fields))
}

fn is_zoned(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

/// A type that holds the values of both.
fn one_type(a: &DataType, b: &DataType) -> Option<DataType> {
    let is_text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..) | DataType::Date32);
    if a == b || b.is_null() {
        return Some(a.clone());
    }
    if a.is_null() {
        return Some(b.clone());
    }
    let alike = (a.is_numeric() && b.is_numeric())
        || (is_text(a) && is_text(b))
        || (is_time(a) && is_time(b));
    alike.then(|| comparison_coercion(a, b)).flatten()
}

/// The same where lists and objects may have elements and keys that others lack.
fn one_nested_type(a: &DataType, b: &DataType) -> Option<DataType> {
    let both = |a: &Field, b: &Field| -> Option<Field> {
        let data_type = one_nested_type(a.data_type(), b.data_type())?;
        let is_nullable = a.is_nullable() || b.is_nullable();
        let both = a.clone().with_data_type(data_type);
        Some(both.with_nullable(is_nullable))
    };
    match (a, b) {
        (DataType::List(first), DataType::List(second)) => {
            Some(DataType::List(Arc::new(both(first, second)?)))
        }
        (DataType::Struct(first), DataType::Struct(second)) => {
            let is_lacked = |name: &str| second.find(name).is_none();
            let known = |field: &FieldRef| -> Field {
                let is_nullable = field.is_nullable() || is_lacked(field.name());
                field.as_ref().clone().with_nullable(is_nullable)
            };
            let mut fields: Vec<Field> = first.iter().map(known).collect();
            for field in second {
                match fields.iter().position(|known| known.name() == field.name()) {
                    Some(at) => fields[at] = both(&fields[at], field)?,
                    None => fields.push(field.as_ref().clone().with_nullable(true)),
                }
            }
            Some(DataType::Struct(Fields::from(fields)))
        }
        _ => one_type(a, b),
    }
}
