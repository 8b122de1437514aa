//! `COPY t FROM 'file'` and `COPY t | (query) TO 'file'`: rows between tables and files of the server.
//!
//! In: a syntax tree; out: a command tag with the number of rows. Files are confined to the allowed locations. Copying
//! with the client is done in `copy_client`.

mod columns;
mod header;
mod target;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, ColumnDefinition, Definition, ExternalFormat, ExternalTableDefinition, TableShape,
};
use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, UInt64Type};
use datafusion::datasource::file_format::format_as_file_type;
use datafusion::datasource::file_format::parquet::ParquetFormatFactory;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::sql::parser::{CopyToSource, CopyToStatement};
use datafusion::sql::sqlparser::ast::{
    self, CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, Ident,
};
use futures::StreamExt as _;

use self::columns::{check_types, found_columns};
use self::header::check_header;
use self::target::Target;
use super::{csv_file, dml, folded, json_file, name_parts, text_file};
use crate::access::{FileUse, TableUse};
use crate::bind::{GivenTables, bind_insert_with, bind_query, column_place, sql_type};
use crate::catalog::named_columns;
use crate::copy_options::{
    copy_condition, header_match_in_copy_to, is_header_match, written_legacy_option, written_option,
};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::settings::{SERVER_ENCODING, copied_encoding};
use crate::statement_run::StatementControl;
use crate::streams::stream;

/// Rows of a JSON file whose keys are compared with the columns of a table.
const KEY_ROWS: usize = 1000;

/// A COPY of a file of the server.
#[derive(Debug, Clone)]
struct Copy {
    path: String,
    format: Option<ExternalFormat>,
    /// Options as external tables have them.
    options: BTreeMap<String, String>,
    /// Which rows go into the table, if not all.
    condition: Option<String>,
    /// Whether the first line must name the columns.
    matches_header: bool,
}

/// `COPY … FROM | TO 'file'`.
pub(super) async fn copy(
    session: &Arc<Session>,
    statement: &ast::Statement,
    control: &StatementControl,
) -> Result<String> {
    let ast::Statement::Copy {
        source,
        to,
        target,
        options,
        legacy_options,
        ..
    } = statement
    else {
        return Err(Error::unsupported("this statement"));
    };
    let path = match target {
        CopyTarget::File { filename } => filename.clone(),
        // Those with the client are run by `copy_client`.
        CopyTarget::Stdin | CopyTarget::Stdout | CopyTarget::Program { .. } => {
            return Err(Error::unsupported("COPY ... PROGRAM"));
        }
    };
    let mut copy = Copy {
        path,
        format: None,
        options: BTreeMap::new(),
        condition: None,
        matches_header: false,
    };
    for option in options {
        copy.read(option)?;
    }
    for option in legacy_options {
        copy.read_legacy(option)?;
    }
    let n_rows = match (to, source) {
        (true, _) if copy.matches_header => return Err(header_match_in_copy_to()),
        (true, source) => Box::pin(copy.write(session, query_of(source)?, control)).await?,
        (
            false,
            CopySource::Table {
                table_name,
                columns,
            },
        ) => {
            let table = name_parts(table_name);
            Box::pin(copy.load(session, &table, columns, control)).await?
        }
        (false, CopySource::Query(_)) => {
            return Err(Error::invalid(
                "42601",
                "COPY of a query can only go TO a file",
                None,
            ));
        }
    };
    Ok(format!("COPY {n_rows}"))
}

/// DataFusion's form: `COPY … TO 'file' STORED AS … OPTIONS (…)`.
pub(super) async fn copy_stored(
    session: &Arc<Session>,
    statement: &CopyToStatement,
    control: &StatementControl,
) -> Result<String> {
    if !statement.partitioned_by.is_empty() {
        return Err(Error::unsupported("COPY ... PARTITIONED BY"));
    }
    let mut copy = Copy {
        path: statement.target.clone(),
        format: None,
        options: BTreeMap::new(),
        condition: None,
        matches_header: false,
    };
    if let Some(format) = &statement.stored_as {
        copy.format = Some(format_named(format)?);
    }
    for (name, value) in &statement.options {
        let value = match value {
            ast::Value::SingleQuotedString(text) | ast::Value::EscapedStringLiteral(text) => {
                text.clone()
            }
            other => other.to_string(),
        };
        copy.options.insert(name.to_lowercase(), value);
    }
    let query = match &statement.source {
        CopyToSource::Query(query) => query.as_ref().clone(),
        CopyToSource::Relation(name) => query_text(&format!("SELECT * FROM {name}"))?,
    };
    let n_rows = Box::pin(copy.write(session, query, control)).await?;
    Ok(format!("COPY {n_rows}"))
}

pub(super) fn query_of(source: &CopySource) -> Result<ast::Query> {
    match source {
        CopySource::Query(query) => Ok(query.as_ref().clone()),
        CopySource::Table {
            table_name,
            columns,
        } => {
            let names: Vec<String> = columns.iter().map(ToString::to_string).collect();
            let columns = match names.is_empty() {
                true => "*".to_owned(),
                false => names.join(", "),
            };
            query_text(&format!("SELECT {columns} FROM {table_name}"))
        }
    }
}

fn query_text(text: &str) -> Result<ast::Query> {
    Ok(*auspex_sql::parse_query(
        text,
        auspex_sql::Dialect::Postgres,
    )?)
}

fn format_named(name: &str) -> Result<ExternalFormat> {
    match name.to_lowercase().as_str() {
        "csv" => Ok(ExternalFormat::Csv),
        "parquet" => Ok(ExternalFormat::Parquet),
        "json" | "ndjson" => Ok(ExternalFormat::NdJson),
        other => Err(Error::Unsupported {
            what: format!("COPY format \"{other}\""),
            hint: Some("The formats are csv, parquet and json.".to_owned()),
        }),
    }
}

impl Copy {
    fn read(&mut self, option: &CopyOption) -> Result<()> {
        if let Some(condition) = copy_condition(option) {
            self.condition = Some(condition.to_owned());
            return Ok(());
        }
        if is_header_match(option) {
            self.matches_header = true;
            return Ok(());
        }
        let (name, value) = match option {
            CopyOption::Format(name) => {
                self.format = Some(format_named(&name.value)?);
                return Ok(());
            }
            CopyOption::Freeze(_) => return Ok(()),
            CopyOption::Header(header) => ("header", header.to_string()),
            CopyOption::Delimiter(delimiter) => ("delimiter", delimiter.to_string()),
            CopyOption::Null(text) => ("null", text.clone()),
            CopyOption::Quote(quote) => ("quote", quote.to_string()),
            CopyOption::Escape(escape) => ("escape", escape.to_string()),
            CopyOption::Encoding(encoding) if copied_encoding(encoding)? == SERVER_ENCODING => {
                return Ok(());
            }
            other => {
                let what = format!("COPY ... ({}) with a file", written_option(other));
                return Err(Error::unsupported(what));
            }
        };
        self.options.insert(name.to_owned(), value);
        Ok(())
    }

    fn read_legacy(&mut self, option: &CopyLegacyOption) -> Result<()> {
        match option {
            CopyLegacyOption::Csv(options) => {
                self.format = Some(ExternalFormat::Csv);
                for option in options {
                    let (name, value) = match option {
                        CopyLegacyCsvOption::Header => ("header", "true".to_owned()),
                        CopyLegacyCsvOption::Quote(quote) => ("quote", quote.to_string()),
                        CopyLegacyCsvOption::Escape(escape) => ("escape", escape.to_string()),
                        other => {
                            let other = written_legacy_option(other);
                            let what = format!("COPY ... {other} with a file");
                            return Err(Error::unsupported(what));
                        }
                    };
                    self.options.insert(name.to_owned(), value);
                }
            }
            CopyLegacyOption::Delimiter(delimiter) => {
                self.options
                    .insert("delimiter".to_owned(), delimiter.to_string());
            }
            CopyLegacyOption::Null(text) => {
                self.options.insert("null".to_owned(), text.clone());
            }
            other => return Err(Error::unsupported(format!("COPY ... {other}"))),
        }
        Ok(())
    }

    /// The format that was written, or the one that the file's name means.
    fn format(&self) -> Result<ExternalFormat> {
        let by_name = || auspex_storage::format_by_name(&self.path);
        self.format.or_else(by_name).ok_or_else(|| {
            let message = format!("the format of file \"{}\" is not known", self.path);
            Error::invalid(
                "22023",
                message,
                Some("Write (FORMAT csv), (FORMAT parquet) or (FORMAT json)."),
            )
        })
    }

    /// Appends the rows of the file to a table.
    async fn load(
        &self,
        session: &Arc<Session>,
        table: &[String],
        columns: &[Ident],
        control: &StatementControl,
    ) -> Result<u64> {
        let engine = &session.engine;
        let (schema, relation) = session.changed_parts(table)?;
        let entry = session.managed_table(&schema, &relation, TableUse::Insert)?;
        let shape = session.tables().shape(&entry.id).await?;
        let places: Vec<usize> = match columns.is_empty() {
            true => (0..shape.columns().len())
                .filter(|idx| shape.generated_of(&shape.columns()[*idx]).is_none())
                .collect(),
            false => columns
                .iter()
                .map(|column| column_place(&shape, &folded(column), &relation))
                .collect::<Result<_>>()?,
        };
        let file = self.file(session, &shape, &places).await?;
        if self.matches_header && self.format()? == ExternalFormat::Csv {
            let name = |idx: &usize| shape.columns()[*idx].name().clone();
            let names: Vec<String> = places.iter().map(name).collect();
            Box::pin(check_header(session, &file, &names)).await?;
        }
        let state = session.state(None);
        let rows = engine.tables.provider(&file, &state).await?;
        let wanted = places.iter().map(|idx| &shape.columns()[*idx]);
        let wanted: Vec<&FieldRef> = wanted.collect();
        let found = found_columns(&self.path, &rows.schema(), &wanted)?;
        check_types(&self.path, &found, &wanted)?;
        Box::pin(self.check_keys(session, &file, &wanted)).await?;
        let mut given = GivenTables::default();
        let private = given.give("copy", rows);
        let format = self.format()?;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (field, found) in wanted.iter().zip(&found) {
            let [name, found] = [field.name(), found.name()]
                .map(|name| Ident::with_quote('"', name.as_str()).to_string());
            let read = sql_type(field.data_type());
            let read = read.filter(|_| is_text_in(format, field.data_type()));
            values.push(match read {
                Some(data_type) => format!("CAST({found} AS {data_type}) AS {name}"),
                None => format!("{found} AS {name}"),
            });
            names.push(name);
        }
        let (names, values) = (names.join(", "), values.join(", "));
        let target = [schema, relation].map(|name| Ident::with_quote('"', name).to_string());
        let rows = format!("SELECT {values} FROM {private}");
        let rows = match &self.condition {
            Some(condition) => {
                format!("SELECT {names} FROM ({rows}) AS copied WHERE ({condition})")
            }
            None => rows,
        };
        let target = target.join(".");
        let text = format!("INSERT INTO {target} ({names}) OVERRIDING SYSTEM VALUE {rows}");
        // A place in this text is none in the statement's.
        let unplaced = |error: Error| error.inside(&text, "");
        let insert = parsed_insert(&text).map_err(unplaced)?;
        let bound = Box::pin(bind_insert_with(session, &insert, given)).await;
        let bound = bound.map_err(unplaced)?;
        match dml::insert(session, &bound, Vec::new(), None, control).await? {
            Some(n_rows) => Ok(n_rows),
            None => {
                let object = format!("table \"{}\"", entry.name);
                Err(auspex_storage::Error::Conflict { object }.into())
            }
        }
    }

    /// Fails if the rows of a JSON file have not one key that is a column: each would be one of NULLs.
    async fn check_keys(
        &self,
        session: &Arc<Session>,
        file: &CatalogEntry,
        wanted: &[&FieldRef],
    ) -> Result<()> {
        let Definition::ExternalTable(definition) = &file.definition else {
            return Ok(());
        };
        if definition.format != ExternalFormat::NdJson {
            return Ok(());
        }
        let mut definition = definition.clone();
        definition.schema = None;
        let n_rows = KEY_ROWS.to_string();
        definition.options.insert("infer_rows".to_owned(), n_rows);
        let state = session.state(None);
        // Whoever reads the rows tells of what cannot be read; without rows there are no keys.
        let tables = &session.engine.tables;
        let Ok(found) = tables.external_provider(&definition, &state).await else {
            return Ok(());
        };
        let found = found.schema();
        let keys = found.fields().iter().map(|key| key.name().to_lowercase());
        let keys: Vec<String> = keys.collect();
        let is_key = |column: &&FieldRef| keys.contains(&column.name().to_lowercase());
        match wanted.iter().any(is_key) {
            true => Ok(()),
            false => found_columns(&self.path, &found, wanted).map(|_| ()),
        }
    }

    /// The file as an external table without a name; text files have the columns that are filled, in their order.
    async fn file(
        &self,
        session: &Arc<Session>,
        shape: &TableShape,
        places: &[usize],
    ) -> Result<CatalogEntry> {
        let engine = &session.engine;
        let format = self.format()?;
        let url = session.file_url(&self.path, FileUse::Read)?;
        let mut options = self.options.clone();
        let column = |idx: &usize| {
            let field = &shape.columns()[*idx];
            let data_type = match is_text_in(format, field.data_type()) {
                true => &DataType::Utf8,
                false => field.data_type(),
            };
            ColumnDefinition {
                name: field.name().clone(),
                data_type: data_type.to_string(),
                nullable: true,
                marks: BTreeMap::new(),
            }
        };
        let columns: Vec<ColumnDefinition> = places.iter().map(column).collect();
        // An empty field in quotes is a text, but in files of one column NULL is written so, too.
        let is_text = |idx: &usize| {
            let data_type = shape.columns()[*idx].data_type();
            data_type.is_string() || is_text_in(format, data_type)
        };
        let has_texts = places.len() > 1 && places.iter().any(is_text);
        let schema = match format {
            ExternalFormat::Parquet => None,
            _ => Some(columns),
        };
        if format == ExternalFormat::Csv {
            options
                .entry("header".to_owned())
                .or_insert_with(|| "false".to_owned());
            let breaks = engine.tables.has_quoted_breaks(&url, &options).await?;
            options.insert("newlines_in_values".to_owned(), breaks.to_string());
            if has_texts {
                options.entry("null".to_owned()).or_default();
            }
        }
        Ok(CatalogEntry::new(
            "",
            "copy",
            Definition::ExternalTable(ExternalTableDefinition {
                location: url.to_string(),
                further_locations: vec![],
                format,
                options,
                schema,
                partition_columns: vec![],
            }),
        ))
    }

    /// Writes the rows of a query into the file.
    async fn write(
        &self,
        session: &Arc<Session>,
        query: ast::Query,
        control: &StatementControl,
    ) -> Result<u64> {
        let format = self.format()?;
        let mark = |name: &str, usual: char| {
            let given = self.options.get(name).cloned();
            given.unwrap_or_else(|| usual.to_string())
        };
        let delimiter = mark("delimiter", auspex_storage::delimiter_by_name(&self.path));
        if format == ExternalFormat::Csv && delimiter == mark("quote", '"') {
            let message = "COPY delimiter and quote must be different";
            return Err(Error::invalid("22023", message, None));
        }
        refuse_web_server(&self.path)?;
        let url = session.file_url(&self.path, FileUse::Write)?;
        let mut bound = bind_query(session, query.clone(), session.state(None)).await?;
        bound.plan = named_columns(bound.plan, &bound.names, &[])?;
        if let Some(query) = with_texts(&query, bound.plan.schema().inner(), format)? {
            bound = bind_query(session, query, session.state(None)).await?;
        }
        bound.names.clear();
        let mut options: HashMap<String, String> = HashMap::new();
        for (name, value) in &self.options {
            let name = match name.as_str() {
                "header" => "format.has_header",
                "delimiter" => "format.delimiter",
                "null" => "format.null_value",
                "quote" => "format.quote",
                "escape" => "format.escape",
                other => other,
            };
            options.insert(name.to_owned(), value.clone());
        }
        if format == ExternalFormat::Csv {
            options
                .entry("format.has_header".to_owned())
                .or_insert_with(|| "false".to_owned());
            options.insert("format.delimiter".to_owned(), delimiter);
        }
        if format != ExternalFormat::Parquet
            && let Some(compression) = auspex_storage::compression_by_name(&self.path)
        {
            options.insert("format.compression".to_owned(), compression.to_owned());
        }
        let defaults = || bound.state.default_table_options();
        let form = match format {
            ExternalFormat::Csv => Some(csv_file::form(defaults(), &options)?),
            ExternalFormat::NdJson => Some(json_file::form(defaults(), &options)?),
            ExternalFormat::Parquet => None,
            _ => return Err(Error::unsupported("COPY TO a file of this format")),
        };
        if let Some(form) = form {
            let target = Target::new(session, &url)?;
            let place = target.place(&url);
            let writing = text_file::write(session, &bound, (&place, form), control);
            return target.finish(Box::pin(writing)).await;
        }
        options.insert("single_file_output".to_owned(), "true".to_owned());
        let file_type = format_as_file_type(Arc::new(ParquetFormatFactory::new()));
        let target = Target::new(session, &url)?;
        let place = target.place(&url);
        bound.plan =
            LogicalPlanBuilder::copy_to(bound.plan, place, file_type, options, vec![])?.build()?;
        let written = count_rows(stream(session, &bound, Vec::new(), control).await?);
        target.finish(written).await
    }
}

fn refuse_web_server(path: &str) -> Result<()> {
    if !(path.starts_with("http://") || path.starts_with("https://")) {
        return Ok(());
    }
    let hint = "Web servers are read only: write to a file or an object store.";
    Err(Error::Unsupported {
        what: format!("COPY TO \"{path}\""),
        hint: Some(hint.to_owned()),
    })
}

/// The number of rows that the operator at the end of a plan has written.
async fn count_rows(mut counts: SendableRecordBatchStream) -> Result<u64> {
    let mut n_rows = 0;
    while let Some(batch) = counts.next().await {
        let batch = batch?;
        let column = batch.column(0).as_primitive_opt::<UInt64Type>();
        n_rows += column.map_or(0, |column| column.values().iter().sum());
    }
    Ok(n_rows)
}

/// Whether a file can hold the values of a type only as PostgreSQL's texts of them.
fn is_text_in(format: ExternalFormat, data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) => format != ExternalFormat::Arrow,
        data_type => {
            format == ExternalFormat::Csv && (data_type.is_nested() || data_type.is_binary())
        }
    }
}

/// A query of the same rows in which some columns of `schema` are texts; `None` if there are no such columns.
fn with_texts(
    query: &ast::Query,
    schema: &Schema,
    format: ExternalFormat,
) -> Result<Option<ast::Query>> {
    let fields = schema.fields();
    if !fields
        .iter()
        .any(|field| is_text_in(format, field.data_type()))
    {
        return Ok(None);
    }
    let item = |(idx, field): (usize, &FieldRef)| {
        let name = Ident::with_quote('"', field.name().replace('"', "\"\""));
        match is_text_in(format, field.data_type()) {
            true => format!("c{idx}::text AS {name}"),
            false => format!("c{idx} AS {name}"),
        }
    };
    let items: Vec<String> = fields.iter().enumerate().map(item).collect();
    let names: Vec<String> = (0..fields.len()).map(|idx| format!("c{idx}")).collect();
    let (items, names) = (items.join(", "), names.join(", "));
    query_text(&format!(
        "SELECT {items} FROM ({query}) AS copied ({names})"
    ))
    .map(Some)
}

pub(super) fn parsed_insert(text: &str) -> Result<ast::Insert> {
    let parsed = auspex_sql::parse_own(text)?;
    match parsed.into_iter().next().map(|parsed| parsed.statement) {
        Some(auspex_sql::Statement::Sql(statement)) => match *statement {
            datafusion::sql::parser::Statement::Statement(statement) => match *statement {
                ast::Statement::Insert(insert) => Ok(insert),
                _ => Err(Error::unsupported("this COPY")),
            },
            _ => Err(Error::unsupported("this COPY")),
        },
        _ => Err(Error::unsupported("this COPY")),
    }
}
