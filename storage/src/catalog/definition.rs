//! What the catalog holds: entries and their definitions, as they stand in the log.
//!
//! Plain data with a stable JSON form. An unknown field is an error on reading, so that an older server never drops
//! what a newer one wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::catalog::roles::{Grants, RoleDefinition};
use crate::catalog::sequence::SequenceDefinition;
use crate::error::{Error, Result};

/// One named object: a schema, a table, a view, a type, a model, a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// The identity, which a rename keeps; the object's files lie under it.
    pub id: String,
    /// The number that PostgreSQL's catalogs show; 0 until the catalog assigns one.
    pub oid: u32,
    /// The schema's name; empty for a schema.
    pub schema: String,
    /// The name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// When it was created, in milliseconds since 1970; 0 until the catalog assigns it.
    pub created_at_ms: i64,
    /// The text of COMMENT ON.
    pub comment: Option<String>,
    /// Those of COMMENT ON COLUMN, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub column_comments: BTreeMap<String, String>,
    /// The columns of a view in their order, as they were when one of them got a comment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commented_columns: Vec<String>,
    /// Those of COMMENT ON CONSTRAINT, by constraint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub constraint_comments: BTreeMap<String, String>,
    /// Who may do what with it; of the objects about files of others, the definition says so.
    #[serde(default, skip_serializing_if = "Grants::is_empty")]
    pub grants: Grants,
    /// What it is.
    pub definition: Definition,
}

impl CatalogEntry {
    /// A new object with a fresh id, owned by `postgres`; the catalog assigns its oid and time.
    pub fn new(schema: impl Into<String>, name: impl Into<String>, definition: Definition) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            oid: 0,
            schema: schema.into(),
            name: name.into(),
            owner: "postgres".into(),
            created_at_ms: 0,
            comment: None,
            column_comments: BTreeMap::new(),
            commented_columns: Vec::new(),
            constraint_comments: BTreeMap::new(),
            grants: Grants::new(),
            definition,
        }
    }

    /// A new schema.
    pub fn new_schema(name: impl Into<String>) -> Self {
        Self::new("", name, Definition::Schema)
    }

    /// What it is, as messages say it.
    pub fn kind(&self) -> ObjectKind {
        self.definition.kind()
    }

    /// The privileges that were granted on it, wherever they are kept.
    pub fn granted(&self) -> &Grants {
        match &self.definition {
            Definition::Credential(credential) => &credential.grants,
            Definition::Location(location) => &location.grants,
            Definition::Catalog(catalog) => &catalog.grants,
            _ => &self.grants,
        }
    }

    /// The same, to change them.
    pub fn granted_mut(&mut self) -> &mut Grants {
        match &mut self.definition {
            Definition::Credential(credential) => &mut credential.grants,
            Definition::Location(location) => &mut location.grants,
            Definition::Catalog(catalog) => &mut catalog.grants,
            _ => &mut self.grants,
        }
    }
}

/// The kind of an object, shown as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A schema.
    Schema,
    /// A managed table.
    Table,
    /// Files in place.
    ExternalTable,
    /// A stored query.
    View,
    /// A stored query with its rows.
    MaterializedView,
    /// Numbers, one after the other.
    Sequence,
    /// A type whose values are labels.
    Enum,
    /// A type whose values are those of another that keep to rules.
    Domain,
    /// A model.
    Model,
    /// Secrets of a store.
    Credential,
    /// A URL that SQL may name.
    Location,
    /// Tables that another catalog names.
    Catalog,
    /// Somebody who connects, or a group of such.
    Role,
    /// The one database.
    Database,
}

impl ObjectKind {
    /// Whether objects of the kind lie in no schema.
    pub fn is_global(self) -> bool {
        matches!(
            self,
            Self::Credential | Self::Location | Self::Catalog | Self::Role | Self::Database
        )
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schema => "schema",
            Self::Table => "table",
            Self::ExternalTable => "external table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Sequence => "sequence",
            Self::Enum | Self::Domain => "type",
            Self::Model => "model",
            Self::Credential => "credential",
            Self::Location => "external location",
            Self::Catalog => "catalog",
            Self::Role => "role",
            Self::Database => "database",
        })
    }
}

/// The one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseDefinition {
    /// Settings that all sessions start with, below those of their roles.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// What an entry defines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "entries are few and held behind Arc; a box would burden every match"
)]
pub enum Definition {
    /// A schema: its name is all.
    Schema,
    /// A managed table; its rows lie in `tables/<id>/`.
    Table(TableDefinition),
    /// Files in place.
    ExternalTable(ExternalTableDefinition),
    /// A stored query.
    View(ViewDefinition),
    /// Numbers, one after the other; what was claimed of them lies in `tables/<id>/`.
    Sequence(SequenceDefinition),
    /// A type whose values are labels.
    Enum(EnumDefinition),
    /// A type whose values are those of another that keep to rules.
    Domain(DomainDefinition),
    /// A model; its versions lie in `models/<id>/`.
    Model(ModelDefinition),
    /// Secrets of a store.
    Credential(CredentialDefinition),
    /// A URL that SQL may name.
    Location(LocationDefinition),
    /// Tables that another catalog names.
    Catalog(ExternalCatalogDefinition),
    /// Somebody who connects, or a group of such.
    Role(RoleDefinition),
    /// The one database; it has an entry once something of it was changed.
    Database(DatabaseDefinition),
}

impl Definition {
    /// The kind of the object.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Schema => ObjectKind::Schema,
            Self::Table(table) if table.materialized.is_some() => ObjectKind::MaterializedView,
            Self::Table(_) => ObjectKind::Table,
            Self::ExternalTable(_) => ObjectKind::ExternalTable,
            Self::View(_) => ObjectKind::View,
            Self::Sequence(_) => ObjectKind::Sequence,
            Self::Enum(_) => ObjectKind::Enum,
            Self::Domain(_) => ObjectKind::Domain,
            Self::Model(_) => ObjectKind::Model,
            Self::Credential(_) => ObjectKind::Credential,
            Self::Location(_) => ObjectKind::Location,
            Self::Catalog(_) => ObjectKind::Catalog,
            Self::Role(_) => ObjectKind::Role,
            Self::Database(_) => ObjectKind::Database,
        }
    }

    /// The query of a materialized view.
    pub fn materialized(&self) -> Option<&MaterializedQuery> {
        match self {
            Self::Table(table) => table.materialized.as_ref(),
            _ => None,
        }
    }

    /// The query of a view of either kind.
    pub fn stored_query(&self) -> Option<&ViewDefinition> {
        match self {
            Self::View(view) => Some(view),
            other => other.materialized().map(|materialized| &materialized.query),
        }
    }
}

/// A managed table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDefinition {
    /// The columns as they were created; the table's own log says what they are now.
    pub columns: Vec<ColumnDefinition>,
    /// Its references to keys of tables, so that these tables know of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<TableReference>,
    /// The query whose rows it holds, if it is a materialized view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub materialized: Option<MaterializedQuery>,
}

/// The query of a materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaterializedQuery {
    /// The query.
    pub query: ViewDefinition,
    /// Whether its rows were ever written and not taken away since.
    pub is_populated: bool,
}

/// A reference to a key of a table; the table's own log says the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableReference {
    /// The constraint's name.
    pub name: String,
    /// The id of the other table.
    pub table: String,
    /// The name of the other table's key.
    pub key: String,
}

/// One column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnDefinition {
    /// The name.
    pub name: String,
    /// The Arrow type in its text form, as `Int64` or `Timestamp(µs)`.
    pub data_type: String,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// What tells of texts that they are uuids, json or labels, or how long they may be.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, String>,
}

/// The columns of a schema in their stored form.
pub fn columns_of(schema: &Schema) -> Vec<ColumnDefinition> {
    let column = |field: &Arc<Field>| ColumnDefinition {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
        nullable: field.is_nullable(),
        marks: BTreeMap::new(),
    };
    schema.fields().iter().map(column).collect()
}

/// The schema of stored columns. Errors: `UnsupportedType` for a type text that this version does not know.
pub fn schema_of(columns: &[ColumnDefinition]) -> Result<SchemaRef> {
    let field = |column: &ColumnDefinition| {
        let data_type =
            DataType::from_str(&column.data_type).map_err(|_| Error::UnsupportedType {
                column: column.name.clone(),
                data_type: column.data_type.clone(),
            })?;
        let marks = column.marks.clone().into_iter().collect();
        Ok(Field::new(&column.name, data_type, column.nullable).with_metadata(marks))
    };
    let fields = columns.iter().map(field).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// Files in place that a table reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalTableDefinition {
    /// The URL that `Locations::resolve` gave; that of a folder ends in a slash. It may be a pattern.
    pub location: String,
    /// Further places whose files belong to the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_locations: Vec<String>,
    /// The format of its files.
    pub format: ExternalFormat,
    /// The format's options, with lower-case names.
    pub options: BTreeMap<String, String>,
    /// All columns, those of the partitions included; `None`: read from the files at each use.
    pub schema: Option<Vec<ColumnDefinition>>,
    /// Columns that the names of folders hold (`year=2026/`); empty: those found in the folder.
    pub partition_columns: Vec<String>,
}

/// The format of external files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternalFormat {
    /// Apache Parquet.
    Parquet,
    /// Text with delimiters.
    Csv,
    /// JSON objects, one a line, or one array of them.
    #[serde(rename = "ndjson")]
    NdJson,
    /// Apache Arrow's file format, version 2 or streamed.
    Arrow,
    /// Apache Avro object containers.
    Avro,
    /// Delta Lake tables.
    Delta,
    /// Apache Iceberg tables.
    Iceberg,
}

/// A stored query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewDefinition {
    /// The query's text.
    pub text: String,
    /// Names given to its columns; empty: their own.
    pub columns: Vec<String>,
    /// The dialect of the text.
    pub dialect: String,
    /// The schema of names without one in the text, as its creator's `search_path` had it; entries of old have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_schema: Option<String>,
    /// The schemas in which names without one were looked for when it was made; entries of old have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search_path: Vec<String>,
    /// What its names meant when it was made, so that a rename leaves it what it was; entries of old have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ViewObject>,
    /// Whether conditions of queries are kept from the rows that it leaves out (`WITH (security_barrier)`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub security_barrier: bool,
    /// Whether rows that are written through it must be rows of it (`WITH CHECK OPTION`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_option: Option<CheckOption>,
}

/// Whose conditions rows must fulfil that are written through a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOption {
    /// The view's own, and those of views below it that say so themselves.
    Local,
    /// The view's own and those of all views below it.
    Cascaded,
}

/// An object that a view's text names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewObject {
    /// The schema that it was found in.
    pub schema: String,
    /// The name that the text has.
    pub name: String,
    /// The object's identity.
    pub id: String,
}

impl ViewDefinition {
    /// The schema of names without one in the text of a view in this schema: of an entry of old, the view's own.
    pub fn schema_of_names<'a>(&'a self, own: &'a str) -> &'a str {
        self.default_schema.as_deref().unwrap_or(own)
    }

    /// The schemas in which names without one are looked for, in order.
    pub fn schemas_of_names(&self, own: &str) -> Vec<String> {
        match self.search_path.is_empty() {
            true => vec![self.schema_of_names(own).to_owned()],
            false => self.search_path.clone(),
        }
    }
}

/// A type whose values are labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnumDefinition {
    /// The labels in their order.
    pub labels: Vec<String>,
    /// The number that PostgreSQL's catalogs show for arrays of it; 0 until the catalog assigns one.
    pub array_oid: u32,
}

/// A type whose values are those of another that keep to rules. All texts are SQL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainDefinition {
    /// The type that its values have.
    pub base: String,
    /// A column of that type.
    pub column: ColumnDefinition,
    /// The identity of the domain that it is made of, whose type these are, and whose rules hold beside its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// Whether no value is NULL.
    pub not_null: bool,
    /// What columns of it hold that are given no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The conditions of a `VALUE` by their names.
    #[serde(default)]
    pub checks: BTreeMap<String, String>,
    /// The number that PostgreSQL's catalogs show for arrays of it; 0 until the catalog assigns one.
    pub array_oid: u32,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDefinition {
    /// The text of the statement that created it.
    pub statement: String,
    /// The training query, absent for an imported model.
    pub query: Option<String>,
    /// The canonical name of the estimator.
    pub model_type: String,
    /// The label columns.
    pub labels: Vec<String>,
    /// The options given.
    pub options: serde_json::Value,
    /// The dialect of the texts.
    pub dialect: String,
    /// The version that its name means; 0: none yet.
    pub current_version: u64,
    /// Further names of versions.
    pub aliases: BTreeMap<String, u64>,
    /// Versions that were dropped, whose numbers stay used.
    pub dropped_versions: Vec<u64>,
    /// Room for what the planner keeps beside it.
    pub extra: serde_json::Value,
}

/// Secrets of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialDefinition {
    /// The kind of store: `s3`, `azure` or `gcs`.
    pub store: String,
    /// The URL below which it counts; `None`: for all stores of the kind.
    pub scope: Option<String>,
    /// What is no secret.
    pub options: BTreeMap<String, String>,
    /// The secrets, sealed with the server's key.
    pub sealed: String,
    /// Who may use it.
    #[serde(default)]
    pub grants: Grants,
}

/// A URL that SQL may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationDefinition {
    /// The URL of the folder.
    pub url: String,
    /// The name of the credential that counts there, whatever the credential's own scope.
    pub credential: Option<String>,
    /// Who may read and write it.
    #[serde(default)]
    pub grants: Grants,
}

/// Tables that another catalog names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalCatalogDefinition {
    /// The kind of catalog: `rest` or `sql`.
    pub catalog: String,
    /// What is no secret.
    pub options: BTreeMap<String, String>,
    /// The secrets, sealed with the server's key; empty if there are none.
    pub sealed: String,
    /// Who may use it.
    #[serde(default)]
    pub grants: Grants,
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{IntervalUnit, TimeUnit};

    use super::*;

    #[test]
    fn column_types_survive_their_text() {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let types = [
            DataType::Boolean,
            DataType::Int64,
            DataType::UInt8,
            DataType::Float32,
            DataType::Utf8,
            DataType::Utf8View,
            DataType::Binary,
            DataType::Date32,
            DataType::Decimal128(12, 2),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8)),
            DataType::List(item),
            DataType::Struct(vec![Field::new("a b", DataType::Int32, false)].into()),
        ];
        let fields: Vec<Field> = types
            .into_iter()
            .enumerate()
            .map(|(i, data_type)| Field::new(format!("c{i}"), data_type, i % 2 == 0))
            .collect();
        let schema = Schema::new(fields);
        assert_eq!(*schema_of(&columns_of(&schema)).unwrap(), schema);
    }

    #[test]
    fn an_unknown_type_names_its_column() {
        let column = ColumnDefinition {
            name: "x".into(),
            data_type: "Tensor".into(),
            nullable: true,
            marks: BTreeMap::new(),
        };
        let error = schema_of(&[column]).unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
        assert!(error.to_string().contains("\"x\"") && error.to_string().contains("Tensor"));
    }
}
