//! `CREATE EXTERNAL TABLE`: a name for files that others write.
//!
//! In: a syntax tree; out: one catalog entry, once the files are there and have the columns. No file is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, ColumnDefinition, Definition, ExternalFormat, ExternalTableDefinition,
    columns_of, marks_of,
};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::parser::{CreateExternalTable, Statement as SqlStatement};
use datafusion::sql::sqlparser::ast::{self, ColumnOption};

use super::name_parts;
use super::table_shape::text_limit;
use super::tables::{declared_schema, put, replaced, skips_existing};
use crate::access::FileUse;
use crate::error::{Error, Result};
use crate::functions::type_of;
use crate::session::Session;
use crate::statement_run::StatementControl;
use crate::temporary::SCHEMA as TEMPORARY;

/// `CREATE EXTERNAL TABLE`.
pub(super) async fn create_external(
    session: &Arc<Session>,
    create: &CreateExternalTable,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    const TAG: &str = "CREATE EXTERNAL TABLE";
    let (owner_schema, name) = place(session, create)?;
    if skips_existing(session, &owner_schema, &name, create.if_not_exists, control)? {
        return Ok(TAG.to_owned());
    }
    session.access().check_schema(&owner_schema, "CREATE")?;
    let replaced = replaced(session, &owner_schema, &name, create.or_replace)?;
    refuse(create)?;
    let format = format_of(&create.file_type)?;
    let engine = &session.engine;
    let mut urls = Vec::new();
    for location in &create.locations {
        urls.push(session.file_url(location, FileUse::Read)?.to_string());
    }
    let Some((first, further)) = urls.split_first() else {
        let hint = "Write LOCATION 'folder', 'file' or 'pattern'.";
        return Err(Error::invalid(
            "42601",
            "an external table needs a LOCATION",
            Some(hint),
        ));
    };
    let declared = match create.columns.is_empty() {
        true => None,
        false => Some(external_columns(session, create).await?),
    };
    if let Some(declared) = &declared
        && format == ExternalFormat::Csv
    {
        refuse_nested(declared)?;
    }
    let mut schema: Option<Vec<ColumnDefinition>> = declared.as_deref().map(columns_of);
    // Texts are read as what the statement says; the logs of the other formats say themselves what theirs are.
    let has_log = matches!(format, ExternalFormat::Delta | ExternalFormat::Iceberg);
    if let (Some(columns), Some(declared)) = (&mut schema, &declared)
        && !has_log
    {
        mark_texts(columns, declared, create, format)?;
    }
    let definition = ExternalTableDefinition {
        location: first.clone(),
        further_locations: further.to_vec(),
        format,
        options: options_of(create),
        schema,
        partition_columns: create.table_partition_cols.clone(),
    };
    let state = session.state(None);
    let found = engine.tables.external_provider(&definition, &state).await?;
    if let Some(declared) = &declared
        && has_log
    {
        check_declared(declared, &found.schema(), &name)?;
    }
    let entry = CatalogEntry::new(&owner_schema, &name, Definition::ExternalTable(definition));
    let role = session.identity().current();
    engine
        .catalog
        .commit(text, |state| Ok(put(&replaced, role.own(state, &entry)?)))
        .await?;
    Ok(TAG.to_owned())
}

/// The schema and the name of a table to be, which is never a temporary one.
fn place(session: &Session, create: &CreateExternalTable) -> Result<(String, String)> {
    let place = session.new_relation_parts(&name_parts(&create.name), false)?;
    match place.0 == TEMPORARY {
        true => Err(Error::unsupported("a temporary external table")),
        false => Ok(place),
    }
}

/// The options with names in lower case, without DataFusion's prefix.
fn options_of(create: &CreateExternalTable) -> BTreeMap<String, String> {
    let option = |(name, value): &(String, ast::Value)| {
        let text = match value {
            ast::Value::SingleQuotedString(text) | ast::Value::EscapedStringLiteral(text) => {
                text.clone()
            }
            other => other.to_string(),
        };
        let name = name.to_lowercase();
        (name.trim_start_matches("format.").to_owned(), text)
    };
    create.options.iter().map(option).collect()
}

async fn external_columns(
    session: &Arc<Session>,
    create: &CreateExternalTable,
) -> Result<SchemaRef> {
    let parsed = auspex_sql::parse_own("CREATE TABLE declared (c INT)")?;
    let Some(auspex_sql::Statement::Sql(statement)) =
        parsed.into_iter().next().map(|parsed| parsed.statement)
    else {
        return Err(Error::unsupported("these columns of an external table"));
    };
    match *statement {
        SqlStatement::Statement(statement) => match *statement {
            ast::Statement::CreateTable(mut table) => {
                table.columns.clone_from(&create.columns);
                declared_schema(session, &table).await
            }
            _ => Err(Error::unsupported("these columns of an external table")),
        },
        _ => Err(Error::unsupported("these columns of an external table")),
    }
}

fn format_of(stored_as: &str) -> Result<ExternalFormat> {
    Ok(match stored_as.to_uppercase().as_str() {
        "PARQUET" => ExternalFormat::Parquet,
        "CSV" => ExternalFormat::Csv,
        "NDJSON" | "JSON" => ExternalFormat::NdJson,
        "ARROW" => ExternalFormat::Arrow,
        "AVRO" => ExternalFormat::Avro,
        "DELTA" => ExternalFormat::Delta,
        "ICEBERG" => ExternalFormat::Iceberg,
        other => return Err(Error::unsupported(format!("STORED AS {other}"))),
    })
}

/// What nothing would keep of files that others write.
fn refuse(create: &CreateExternalTable) -> Result<()> {
    let options = create.columns.iter().flat_map(|column| &column.options);
    let kind = options.into_iter().find_map(|option| match option.option {
        ColumnOption::Null | ColumnOption::NotNull | ColumnOption::Comment(_) => None,
        ColumnOption::Default(_) => Some("a default"),
        ColumnOption::Generated { .. } | ColumnOption::Identity(_) => Some("a generated column"),
        _ => Some("a constraint"),
    });
    match kind.or((!create.constraints.is_empty()).then_some("a constraint")) {
        None => Ok(()),
        Some(kind) => Err(Error::Unsupported {
            what: format!("{kind} of an external table"),
            hint: Some(
                "Their rows are what their files hold; a table made with CREATE TABLE has defaults \
                 and constraints."
                    .to_owned(),
            ),
        }),
    }
}

/// Notes of the columns of texts which of them are uuids or json, and in files of texts how long they may be: files that hold
/// columns by type are left out by the bounds of texts, which such a check would cost.
fn mark_texts(
    columns: &mut [ColumnDefinition],
    declared: &Schema,
    create: &CreateExternalTable,
    format: ExternalFormat,
) -> Result<()> {
    let has_limits = matches!(format, ExternalFormat::Csv | ExternalFormat::NdJson);
    let written = declared.fields().iter().zip(&create.columns);
    for (column, (field, written)) in columns.iter_mut().zip(written) {
        let limit = text_limit(&written.data_type)?;
        let limit = limit.filter(|limit| has_limits && limit.length.is_some());
        let marks = match limit {
            Some(limit) => limit.marks(),
            None if field.data_type().is_string() => marks_of(field),
            None => continue,
        };
        column.marks = marks.into_iter().collect();
    }
    Ok(())
}

/// Fields of CSV files are texts of one value.
fn refuse_nested(declared: &Schema) -> Result<()> {
    let mut columns = declared.fields().iter();
    match columns.find(|column| column.data_type().is_nested()) {
        None => Ok(()),
        Some(column) => Err(Error::Unsupported {
            what: format!(
                "column \"{}\" of type {} in CSV files",
                column.name(),
                type_of(column)
            ),
            hint: Some("Declare it as text or json.".to_owned()),
        }),
    }
}

/// Fails if the columns that a statement declares are not those that a table's own metadata tells.
fn check_declared(declared: &Schema, found: &Schema, relation: &str) -> Result<()> {
    let hint = "The table itself says what its columns are: leave them out.";
    for column in declared.fields() {
        let name = column.name();
        let Ok(held) = found.field_with_name(name) else {
            let message = format!("column \"{name}\" of relation \"{relation}\" does not exist");
            return Err(Error::invalid("42703", message, Some(hint)));
        };
        let (wanted, held) = (type_of(column), type_of(held));
        if wanted != held {
            let message =
                format!("column \"{name}\" is of type {held} but declared as of type {wanted}");
            return Err(Error::invalid("42804", message, Some(hint)));
        }
    }
    let is_left_out = |name: &str| declared.field_with_name(name).is_err();
    let mut names = found.fields().iter().map(|column| column.name());
    match names.find(|name| is_left_out(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("column \"{name}\" of the table is not declared");
            Err(Error::invalid("42P16", message, Some(hint)))
        }
    }
}
