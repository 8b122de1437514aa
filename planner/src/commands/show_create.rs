//! `SHOW CREATE TABLE`, `VIEW` and `MATERIALIZED VIEW`: a statement that makes the object again.
//!
//! In: a name; out: one row with one text. Reads no row of a table; privileges have statements of
//! their own.

use std::sync::Arc;

use auspex_storage::{
    AddressKind, CatalogEntry, CheckOption, Deferral, Definition, EnumType, ExternalFormat,
    ExternalTableDefinition, JsonKind, Key, ObjectKind, ReferenceAction, TableDefinition,
    TableShape, ViewDefinition, clock_digits, is_uuid, marked_element, marks_of,
    quoted_name as quoted, schema_of, with_clock_digits,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::sql::sqlparser::ast::{ObjectName, ShowCreateObject};

use super::table_properties::set_property;
use super::{kind_name, name_parts};
use crate::catalog::reference_facts::{ReferenceFacts, references};
use crate::catalog::rows::{ColumnType, batch_of};
use crate::error::{Error, Result};
use crate::functions::type_name;
use crate::session::Session;
use crate::temporary::SCHEMA as TEMPORARY;

/// A property that every table is given.
const USUAL_INTERVAL: (&str, &str) = ("delta.checkpointInterval", "20");

/// The row of `SHOW CREATE`.
pub(crate) async fn show_create(
    session: &Arc<Session>,
    wanted: ShowCreateObject,
    name: &ObjectName,
) -> Result<RecordBatch> {
    if !matches!(wanted, ShowCreateObject::Table | ShowCreateObject::View) {
        return Err(Error::unsupported(format!("SHOW CREATE {wanted}")));
    }
    let parts = name_parts(name);
    let (schema, short) = session.relation_parts(&parts)?;
    let Some(entry) = session.entry(&schema, &short) else {
        return Err(session.undefined_relation(&schema, &parts.join(".")));
    };
    let privilege = match entry.definition {
        Definition::Model(_) => "EXECUTE",
        _ => "SELECT",
    };
    session.access().check(&entry, privilege)?;
    let text = match &entry.definition {
        Definition::View(view) => of_view(&entry, view),
        Definition::Table(TableDefinition {
            materialized: Some(materialized),
            ..
        }) => of_materialized(&entry, &materialized.query),
        other if wanted == ShowCreateObject::View => {
            return Err(Error::WrongKind {
                name: short,
                expected: "view",
                found: kind_name(other),
            });
        }
        Definition::Table(_) => {
            let shape = session.tables().shape(&entry.id).await?;
            let references = references(session, &entry, &shape).await;
            of_table(&entry, &shape, &references)
        }
        Definition::ExternalTable(external) => of_files(&entry, external)?,
        Definition::Model(model) => model.statement.clone(),
        other => {
            return Err(Error::unsupported(format!(
                "SHOW CREATE of a {}",
                kind_name(other)
            )));
        }
    };
    let text = with_comments(&entry, text);
    Ok(batch_of(
        &[("create_statement", ColumnType::Text)],
        &[vec![text.into()]],
    )?)
}

/// A statement, and those that make the comments on what it makes.
fn with_comments(entry: &CatalogEntry, mut text: String) -> String {
    let name = name_of(entry);
    let kind = match entry.kind() {
        ObjectKind::ExternalTable => "TABLE".to_owned(),
        kind => kind.to_string().to_uppercase(),
    };
    let own = entry.comment.iter();
    let own = own.map(|comment| (format!("{kind} {name}"), comment));
    let columns = entry.column_comments.iter();
    let columns = columns.map(|(column, text)| (format!("COLUMN {name}.{}", quoted(column)), text));
    let constraints = entry.constraint_comments.iter();
    let constraints = constraints
        .map(|(constraint, text)| (format!("CONSTRAINT {} ON {name}", quoted(constraint)), text));
    for (of, comment) in own.chain(columns).chain(constraints) {
        text.push_str(&format!(";\nCOMMENT ON {of} IS {}", literal(comment)));
    }
    text
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn name_of(entry: &CatalogEntry) -> String {
    match entry.schema == TEMPORARY {
        true => quoted(&entry.name),
        false => format!("{}.{}", quoted(&entry.schema), quoted(&entry.name)),
    }
}

/// The names that a view gives its columns.
fn column_names(view: &ViewDefinition) -> String {
    match view.columns.is_empty() {
        true => String::new(),
        false => format!(" ({})", listed(&view.columns)),
    }
}

fn of_materialized(entry: &CatalogEntry, view: &ViewDefinition) -> String {
    let (name, columns) = (name_of(entry), column_names(view));
    format!("CREATE MATERIALIZED VIEW {name}{columns} AS {}", view.text)
}

fn of_view(entry: &CatalogEntry, view: &ViewDefinition) -> String {
    let columns = column_names(view);
    let options = match view.security_barrier {
        true => " WITH (security_barrier)",
        false => "",
    };
    let checks = match view.check_option {
        Some(CheckOption::Local) => " WITH LOCAL CHECK OPTION",
        Some(CheckOption::Cascaded) => " WITH CASCADED CHECK OPTION",
        None => "",
    };
    format!(
        "CREATE VIEW {}{columns}{options} AS {}{checks}",
        name_of(entry),
        view.text
    )
}

fn of_table(entry: &CatalogEntry, shape: &TableShape, references: &[ReferenceFacts]) -> String {
    let columns = shape.columns().iter().map(|field| column(shape, field));
    let keys = shape.keys();
    let constraints = keys.iter().filter(|key| key.index.is_none());
    let checks = shape.checks();
    // That of an identity comes with it.
    let is_of_identity = |name: &str, text: &str| {
        let columns = shape.columns().iter();
        let mut columns = columns.filter(|field| shape.identity_of(field).is_some());
        columns.any(|field| {
            name.ends_with("_not_null") && text == format!("\"{}\" IS NOT NULL", field.name())
        })
    };
    let checks = checks
        .iter()
        .filter(|(name, text)| !is_of_identity(name, text))
        .map(|(name, text)| format!("CONSTRAINT {} CHECK ({text})", quoted(name)));
    let parts: Vec<String> = columns
        .chain(constraints.map(key))
        .chain(checks)
        .chain(references.iter().map(reference))
        .collect();
    let temporary = match entry.schema == TEMPORARY {
        true => "TEMPORARY ",
        false => "",
    };
    let mut text = format!(
        "CREATE {temporary}TABLE {} (\n  {}\n)",
        name_of(entry),
        parts.join(",\n  ")
    );
    if !shape.partition_columns.is_empty() {
        text.push_str(&format!(
            "\nPARTITIONED BY ({})",
            listed(&shape.partition_columns)
        ));
    }
    // Some describe what the log has, and are not for statements to set.
    let mut trial = TableShape::new(&Schema::empty());
    let properties = shape.properties();
    let properties: Vec<String> = properties
        .iter()
        .filter(|(name, value)| (name.as_str(), value.as_str()) != USUAL_INTERVAL)
        .filter(|(name, value)| set_property(&mut trial, name, value).is_ok())
        .map(|(name, value)| format!("{} = {}", literal(name), literal(value)))
        .collect();
    if !properties.is_empty() {
        text.push_str(&format!("\nTBLPROPERTIES ({})", properties.join(", ")));
    }
    for key in &keys {
        text.extend(index(&name_of(entry), key));
    }
    text
}

/// The statement that makes an index, behind that of its table; `None`: the key is a constraint.
fn index(table: &str, key: &Key) -> Option<String> {
    key.index.as_ref()?;
    let columns = key.columns.iter().enumerate();
    let columns = columns.map(|(place, column)| match key.is_expression(place) {
        true => column.clone(),
        false => quoted(column),
    });
    let columns: Vec<String> = columns.collect();
    let condition = key.condition().map(|text| format!(" WHERE {text}"));
    Some(format!(
        ";\nCREATE UNIQUE INDEX {} ON {table} ({}){}{}",
        quoted(&key.name),
        columns.join(", "),
        nulls(key),
        condition.unwrap_or_default()
    ))
}

/// What a key says of NULL behind its columns.
fn nulls(key: &Key) -> &'static str {
    match key.nulls_are_equal {
        true => " NULLS NOT DISTINCT",
        false => "",
    }
}

/// A column as `CREATE TABLE` declares it.
fn column(shape: &TableShape, field: &FieldRef) -> String {
    let limit = shape.text_limit_of(field).map(|limit| limit.to_string());
    let identity = shape.identity_of(field);
    let is_serial = identity.as_ref().is_some_and(|found| found.is_serial());
    let data_type = match (is_serial, shape.domain_of(field)) {
        (true, _) => serial_type(field).to_owned(),
        (false, Some(domain)) => quoted(&domain.schema) + "." + &quoted(&domain.name),
        (false, None) => match (limit, clock_digits(field)) {
            (Some(limit), _) => limit,
            (None, Some(digits)) => with_clock_digits(&declared_type(field), digits),
            (None, None) => declared_type(field),
        },
    };
    let mut text = format!("{} {data_type}", quoted(field.name()));
    if let Some(identity) = identity.filter(|_| !is_serial) {
        let kind = match identity.is_always() {
            true => "ALWAYS",
            false => "BY DEFAULT",
        };
        text.push_str(&format!(" GENERATED {kind} AS IDENTITY"));
        let steps = (identity.start, identity.increment);
        if steps != (1, 1) {
            text.push_str(&format!(
                " (START WITH {} INCREMENT BY {})",
                steps.0, steps.1
            ));
        }
    }
    if let Some(expression) = shape.generated_of(field) {
        text.push_str(&format!(" GENERATED ALWAYS AS ({expression}) STORED"));
    }
    if let Some(default) = shape.default_of(field) {
        text.push_str(&format!(" DEFAULT {default}"));
    }
    if !field.is_nullable() {
        text.push_str(" NOT NULL");
    }
    text
}

/// What declares a whole number with a sequence of its own.
fn serial_type(field: &Field) -> &'static str {
    match field.data_type() {
        DataType::Int16 => "smallserial",
        DataType::Int32 => "serial",
        _ => "bigserial",
    }
}

/// The type that gives a column its own again.
pub(crate) fn declared_type(field: &Field) -> String {
    if let Some(element) = marked_element(field).filter(|element| !marks_of(element).is_empty()) {
        let brackets = "[]".repeat(type_name(field.data_type()).matches("[]").count());
        return declared_type(&element) + &brackets;
    }
    if is_uuid(field) {
        return "uuid".to_owned();
    }
    if let Some(kind) = AddressKind::of(field) {
        return kind.name().to_owned();
    }
    if let Some(known) = EnumType::of(field) {
        return quoted(&known.schema) + "." + &quoted(&known.name);
    }
    match (JsonKind::of(field), field.data_type()) {
        (Some(JsonKind::Json), _) => "json".to_owned(),
        (Some(JsonKind::Jsonb), _) => "jsonb".to_owned(),
        (None, DataType::Int8) => "tinyint".to_owned(),
        // What a numeric without precision and scale is stored as.
        (None, DataType::Decimal128(38, 10)) => "numeric".to_owned(),
        (None, DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) => {
            format!("numeric({precision},{scale})")
        }
        (None, DataType::List(element)) => format!("{}[]", declared_type(element)),
        (None, DataType::Struct(fields)) => {
            let field = |field: &Arc<Field>| quoted(field.name()) + " " + &declared_type(field);
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        (None, DataType::Map(entries, _)) => match entries.data_type() {
            DataType::Struct(pair) => {
                let types: Vec<String> = pair.iter().map(|field| declared_type(field)).collect();
                format!("MAP<{}>", types.join(", "))
            }
            other => type_name(other),
        },
        (None, other) => type_name(other),
    }
}

fn key(key: &Key) -> String {
    let kind = match key.is_primary {
        true => "PRIMARY KEY",
        false => "UNIQUE",
    };
    let columns = listed(&key.columns);
    let (name, nulls) = (quoted(&key.name), nulls(key));
    format!("CONSTRAINT {name} {kind}{nulls} ({columns})")
}

fn reference(facts: &ReferenceFacts) -> String {
    let reference = &facts.reference;
    let mut text = format!(
        "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {}.{} ({})",
        quoted(&reference.name),
        listed(&reference.columns),
        quoted(&facts.schema),
        quoted(&facts.table),
        listed(&facts.columns)
    );
    if reference.is_full {
        text.push_str(" MATCH FULL");
    }
    for (on, action) in [
        (" ON UPDATE ", reference.on_update),
        (" ON DELETE ", reference.on_delete),
    ] {
        if action != ReferenceAction::NoAction {
            text.push_str(on);
            text.push_str(action.words());
        }
    }
    text.push_str(match reference.deferral {
        Deferral::Never => "",
        Deferral::Possible => " DEFERRABLE",
        Deferral::Initially => " DEFERRABLE INITIALLY DEFERRED",
    });
    if reference.is_declared_so {
        text.push_str(" NOT ENFORCED");
    }
    text
}

fn of_files(entry: &CatalogEntry, external: &ExternalTableDefinition) -> Result<String> {
    let columns = match &external.schema {
        None => String::new(),
        Some(columns) => {
            let schema = schema_of(columns)?;
            let column = |field: &FieldRef| {
                let rule = if field.is_nullable() { "" } else { " NOT NULL" };
                format!("{} {}{rule}", quoted(field.name()), declared_type(field))
            };
            let columns: Vec<String> = schema.fields().iter().map(column).collect();
            format!(" (\n  {}\n)", columns.join(",\n  "))
        }
    };
    let format = match external.format {
        ExternalFormat::Parquet => "PARQUET",
        ExternalFormat::Csv => "CSV",
        ExternalFormat::NdJson => "JSON",
        ExternalFormat::Arrow => "ARROW",
        ExternalFormat::Avro => "AVRO",
        ExternalFormat::Delta => "DELTA",
        ExternalFormat::Iceberg => "ICEBERG",
    };
    let mut text = format!(
        "CREATE EXTERNAL TABLE {}{columns}\nSTORED AS {format}",
        name_of(entry)
    );
    if !external.partition_columns.is_empty() {
        let names = listed(&external.partition_columns);
        text.push_str(&format!("\nPARTITIONED BY ({names})"));
    }
    let locations = std::iter::once(&external.location).chain(&external.further_locations);
    let locations: Vec<String> = locations.map(|location| literal(location)).collect();
    text.push_str(&match locations.as_slice() {
        [location] => format!("\nLOCATION {location}"),
        several => format!("\nLOCATION ({})", several.join(", ")),
    });
    if !external.options.is_empty() {
        let option =
            |(name, value): (&String, &String)| format!("{} {}", literal(name), literal(value));
        let options: Vec<String> = external.options.iter().map(option).collect();
        text.push_str(&format!("\nOPTIONS ({})", options.join(", ")));
    }
    Ok(text)
}
