//! The columns of a table whose statement declares none: those that its files have.
//!
//! Listed files flow in, one schema flows out: the union of the columns by name, each of a type that holds the values of
//! all files. What cannot be one column is an error that names the column and two files.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::datasource::file_format::FileFormat;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::catalog::ExternalFormat;
use crate::error::{Error, Result};
use crate::tables::json_lines::first_bad_line;
use crate::tables::listing::{ListedFile, Listing, shown};
use crate::tables::located::{Place, at_line, bad_file, reading};

/// Files whose columns are read at once.
const PARALLEL_FILES: usize = 32;

/// The columns of all files. Errors: `NoColumns`, `MixedColumns`, `MixedTypes`, `BadFile`.
pub(crate) async fn infer(
    listing: &Listing,
    format: &dyn FileFormat,
    session: &dyn Session,
) -> Result<SchemaRef> {
    let place = listing.place();
    let place = &place;
    let schema_of = |file: &ListedFile| {
        let meta = file.meta.clone();
        async move {
            let path = meta.location.clone();
            let name = path.to_string();
            let inferred = async {
                let files = [meta];
                let inferred = format.infer_schema(session, &listing.store, &files);
                reading(place, &name, inferred).await
            };
            match inferred.await {
                Ok(schema) => Ok::<_, Error>((name, schema)),
                Err(error) => {
                    let is_lines = listing.format == ExternalFormat::NdJson
                        && !format.compression_type().is_some_and(|c| c.is_compressed());
                    let line = match is_lines {
                        true => first_bad_line(&listing.store, &path, None).await,
                        false => None,
                    };
                    Err(at_line(line, bad_file(place, &name, error)).into())
                }
            }
        }
    };
    // A file without a byte has no columns to say.
    let files: Vec<_> = listing.files.iter().filter(|f| f.meta.size > 0).collect();
    let schemas: Vec<(String, SchemaRef)> = futures::stream::iter(files.into_iter().map(schema_of))
        .buffered(PARALLEL_FILES)
        .try_collect()
        .await?;
    let schema = match listing.format {
        ExternalFormat::Csv => by_place(place, &schemas)?,
        _ => by_name(place, &schemas)?,
    };
    match schema.fields().is_empty() {
        true => Err(Error::NoColumns {
            location: shown(&listing.base),
        }),
        false => Ok(Arc::new(schema)),
    }
}

/// The columns of CSV files count by their place, so all must have the same.
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
    // The file that each column was first met in.
    let mut origins: Vec<&str> = Vec::new();
    for (file, schema) in schemas {
        for field in schema.fields() {
            let known = fields.iter().position(|known| known.name() == field.name());
            let Some(at) = known else {
                fields.push(field.as_ref().clone().with_nullable(true));
                origins.push(file);
                continue;
            };
            let (first, second) = (fields[at].data_type(), field.data_type());
            let data_type = one_type(first, second).ok_or_else(|| Error::MixedTypes {
                column: field.name().clone(),
                first_file: place.url(origins[at]),
                first_type: first.to_string(),
                second_file: place.url(file),
                second_type: second.to_string(),
            })?;
            fields[at] = fields[at].clone().with_data_type(data_type);
        }
    }
    if let [(_, only)] = schemas {
        return Ok(only.as_ref().clone());
    }
    Ok(Schema::new(fields))
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
