//! What exists: the schemas, relations and models that a session sees, as catalog rows.
//!
//! In: the session's catalog; out: rows of `pg_namespace`, `pg_class`, `pg_attribute` and the tables
//! derived from them, as they are at the moment of the query. Keeps nothing.

use std::sync::{Arc, Weak};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;

use super::PG_CATALOG;
use super::cells::Cell;
use super::oids::{ObjectName, Oids};
use super::server_tables::SUPERUSER_OID;
use crate::protocol::types::{WireColumn, wire_columns};

/// The schema of Auspex's own views.
const ML: &str = "ml";
const INFORMATION_SCHEMA: &str = "information_schema";
/// The foreign server that models are shown on.
const MODEL_SERVER: &str = "models";

/// A look at a session's catalog.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    catalogs: Weak<dyn CatalogProviderList>,
    database: &'static str,
    oids: Arc<Oids>,
}

/// A table, view or model.
struct Relation {
    oid: i32,
    schema: String,
    name: String,
    /// `r`, `v` or `f`, as in `pg_class.relkind`.
    kind: &'static str,
    columns: SchemaRef,
    definition: Option<String>,
    /// What is known of a model: `name=value`.
    options: Vec<String>,
}

impl Objects {
    pub(super) fn new(
        catalogs: Weak<dyn CatalogProviderList>,
        database: &'static str,
        oids: Arc<Oids>,
    ) -> Objects {
        Objects {
            catalogs,
            database,
            oids,
        }
    }

    fn catalog(&self) -> Result<Arc<dyn CatalogProvider>> {
        let catalog = self
            .catalogs
            .upgrade()
            .and_then(|list| list.catalog(self.database));
        catalog.ok_or_else(|| DataFusionError::Internal("the session has ended".to_owned()))
    }

    fn schema(&self, name: &str) -> Result<Option<Arc<dyn SchemaProvider>>> {
        Ok(self.catalog()?.schema(name))
    }

    fn schema_names(&self) -> Result<Vec<String>> {
        let mut names = self.catalog()?.schema_names();
        names.extend([INFORMATION_SCHEMA.to_owned(), PG_CATALOG.to_owned()]);
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The number of the relation that a name means, looked for in `path` if it names no schema.
    pub(super) fn find(
        &self,
        schema: Option<&str>,
        name: &str,
        path: &[&str],
    ) -> Result<Option<i32>> {
        let path = schema.as_ref().map_or(path, std::slice::from_ref);
        for candidate in path {
            let exists = self
                .schema(candidate)?
                .is_some_and(|schema| schema.table_exist(name));
            if exists {
                return Ok(Some(self.oids.object(candidate, name)));
            }
        }
        Ok(None)
    }

    /// The number of a schema, if it exists.
    pub(super) fn find_schema(&self, name: &str) -> Result<Option<i32>> {
        Ok(self
            .schema_names()?
            .iter()
            .any(|schema| schema == name)
            .then(|| self.oids.schema(name)))
    }

    /// The name behind a number.
    pub(super) fn name(&self, oid: i32) -> Option<ObjectName> {
        self.oids.name(oid)
    }

    /// The text of a view.
    pub(super) async fn view_definition(&self, oid: i32) -> Result<Option<String>> {
        let Some((schema, name)) = self.oids.name(oid) else {
            return Ok(None);
        };
        let Some(schema) = self.schema(&schema)? else {
            return Ok(None);
        };
        // A model is no table, and a view whose table is gone cannot be opened: neither has a text.
        let table = schema.table(&name).await.ok().flatten();
        Ok(table.and_then(|table| table.get_table_definition().map(ToOwned::to_owned)))
    }

    /// Every relation. One that cannot be opened, as when its file is gone, is there without columns.
    async fn relations(&self) -> Result<Vec<Relation>> {
        let mut relations = Vec::new();
        for schema_name in self.schema_names()? {
            let Some(schema) = self.schema(&schema_name)? else {
                continue;
            };
            for name in schema.table_names() {
                relations.push(self.relation(&schema_name, &name, schema.as_ref()).await);
            }
        }
        relations.extend(self.models().await?);
        Ok(relations)
    }

    async fn relation(&self, schema: &str, name: &str, tables: &dyn SchemaProvider) -> Relation {
        if schema == PG_CATALOG
            && let Some(columns) = super::schema::known_columns(name)
        {
            // Opening one of our own tables here would ask for all relations again.
            return Relation {
                oid: self.oids.object(schema, name),
                schema: schema.to_owned(),
                name: name.to_owned(),
                kind: "r",
                columns,
                definition: None,
                options: Vec::new(),
            };
        }
        let table = match tables.table(name).await {
            Ok(table) => table,
            Err(error) => {
                tracing::debug!(schema, name, %error, "a relation cannot be opened");
                None
            }
        };
        let table = table.as_ref();
        let is_view = table.is_some_and(|table| table.table_type() == TableType::View);
        Relation {
            oid: self.oids.object(schema, name),
            kind: if is_view || schema == ML { "v" } else { "r" },
            columns: table.map_or_else(no_columns, |table| table.schema()),
            definition: table
                .and_then(|table| table.get_table_definition())
                .map(ToOwned::to_owned),
            schema: schema.to_owned(),
            name: name.to_owned(),
            options: Vec::new(),
        }
    }

    /// The models, from the view that lists them.
    async fn models(&self) -> Result<Vec<Relation>> {
        let Some(ml) = self.schema(ML)? else {
            return Ok(Vec::new());
        };
        let Some(view) = ml.table("models").await? else {
            return Ok(Vec::new());
        };
        let mut models = Vec::new();
        for batch in rows_of(view).await? {
            let text = |column: &str| texts(&batch, column);
            let (schemas, names) = (text("schema"), text("name"));
            let facts = ["model_type", "label", "current_version"];
            let facts = facts.map(|fact| (fact, text(fact)));
            for row in 0..batch.num_rows() {
                let (Some(schema), Some(name)) = (schemas[row].clone(), names[row].clone()) else {
                    continue;
                };
                let option = |(fact, values): &(&str, Vec<Option<String>>)| {
                    let value = values[row].as_ref()?;
                    Some(format!("{}={value}", fact.trim_start_matches("current_")))
                };
                models.push(Relation {
                    oid: self.oids.object(&schema, &name),
                    options: facts.iter().filter_map(option).collect(),
                    kind: "f",
                    columns: no_columns(),
                    definition: None,
                    schema,
                    name,
                });
            }
        }
        Ok(models)
    }

    /// The rows of a table about objects; `None` when it is none of them.
    pub(super) async fn rows(&self, name: &str) -> Result<Option<Vec<Vec<Cell>>>> {
        let rows = match name {
            "pg_namespace" => self.namespaces()?,
            "pg_class" => {
                self.each_relation(|relation| vec![self.class_row(relation)])
                    .await?
            }
            "pg_attribute" => self.each_relation(attribute_rows).await?,
            "pg_tables" => self.each_relation(table_rows).await?,
            "pg_views" => self.each_relation(view_rows).await?,
            "pg_foreign_table" => self.each_relation(|r| self.foreign_rows(r)).await?,
            "pg_foreign_server" => self.foreign_servers().await?,
            "pg_foreign_data_wrapper" => self.wrappers().await?,
            _ => return Ok(None),
        };
        Ok(Some(rows))
    }

    async fn each_relation(
        &self,
        rows: impl Fn(&Relation) -> Vec<Vec<Cell>>,
    ) -> Result<Vec<Vec<Cell>>> {
        Ok(self.relations().await?.iter().flat_map(rows).collect())
    }

    fn namespaces(&self) -> Result<Vec<Vec<Cell>>> {
        let row = |name: &String| {
            vec![
                self.oids.schema(name).into(),
                name.as_str().into(),
                SUPERUSER_OID.into(),
                Cell::Null,
            ]
        };
        Ok(self.schema_names()?.iter().map(row).collect())
    }

    fn class_row(&self, relation: &Relation) -> Vec<Cell> {
        let zero = || Cell::from(0);
        let no = || Cell::from(false);
        vec![
            relation.oid.into(),
            relation.name.as_str().into(),
            self.oids.schema(&relation.schema).into(),
            zero(),
            zero(),
            SUPERUSER_OID.into(),
            zero(),
            relation.oid.into(),
            zero(),
            zero(),
            Cell::Int(-1),
            zero(),
            zero(),
            no(),
            no(),
            "p".into(),
            relation.kind.into(),
            Cell::Int(relation.columns.fields().len() as i64),
            zero(),
            no(),
            no(),
            no(),
            no(),
            no(),
            true.into(),
            "d".into(),
            no(),
            zero(),
            zero(),
            zero(),
            Cell::Null,
            Cell::Null,
            Cell::Null,
        ]
    }

    fn foreign_rows(&self, relation: &Relation) -> Vec<Vec<Cell>> {
        if relation.kind != "f" {
            return Vec::new();
        }
        let server = self.oids.object(MODEL_SERVER, "server");
        vec![vec![
            relation.oid.into(),
            server.into(),
            Cell::Texts(relation.options.clone()),
        ]]
    }

    async fn foreign_servers(&self) -> Result<Vec<Vec<Cell>>> {
        let server = self.oids.object(MODEL_SERVER, "server");
        let wrapper = self.oids.object(MODEL_SERVER, "wrapper");
        let row = vec![
            server.into(),
            MODEL_SERVER.into(),
            SUPERUSER_OID.into(),
            wrapper.into(),
        ];
        Ok(if self.models().await?.is_empty() {
            Vec::new()
        } else {
            vec![row]
        })
    }

    async fn wrappers(&self) -> Result<Vec<Vec<Cell>>> {
        let wrapper = self.oids.object(MODEL_SERVER, "wrapper");
        let row = vec![
            wrapper.into(),
            "auspex".into(),
            SUPERUSER_OID.into(),
            0.into(),
            0.into(),
        ];
        Ok(if self.models().await?.is_empty() {
            Vec::new()
        } else {
            vec![row]
        })
    }
}

fn no_columns() -> SchemaRef {
    Arc::new(Schema::empty())
}

fn attribute_rows(relation: &Relation) -> Vec<Vec<Cell>> {
    let Ok(columns) = wire_columns(&relation.columns) else {
        return Vec::new();
    };
    let fields = relation.columns.fields();
    let row = |(idx, (column, field)): (usize, (WireColumn, &FieldRef))| {
        let no = || Cell::from(false);
        vec![
            relation.oid.into(),
            column.name.clone().into(),
            // Lossless: the type numbers of built-in types are small.
            Cell::Int(i64::from(column.pg_type.oid())),
            Cell::Int(-1),
            Cell::Int(i64::from(column.type_size())),
            Cell::Int(idx as i64 + 1),
            0.into(),
            Cell::Int(-1),
            Cell::Int(i64::from(column.type_modifier())),
            no(),
            "i".into(),
            "p".into(),
            "".into(),
            (!field.is_nullable()).into(),
            no(),
            no(),
            "".into(),
            "".into(),
            no(),
            true.into(),
            0.into(),
            0.into(),
            Cell::Null,
            Cell::Null,
            Cell::Null,
        ]
    };
    columns
        .into_iter()
        .zip(fields)
        .enumerate()
        .map(row)
        .collect()
}

fn table_rows(relation: &Relation) -> Vec<Vec<Cell>> {
    if relation.kind != "r" {
        return Vec::new();
    }
    let no = || Cell::from(false);
    let (schema, name) = (
        relation.schema.as_str().into(),
        relation.name.as_str().into(),
    );
    vec![vec![
        schema,
        name,
        "postgres".into(),
        Cell::Null,
        no(),
        no(),
        no(),
        no(),
    ]]
}

fn view_rows(relation: &Relation) -> Vec<Vec<Cell>> {
    if relation.kind != "v" {
        return Vec::new();
    }
    let (schema, name) = (
        relation.schema.as_str().into(),
        relation.name.as_str().into(),
    );
    let definition = relation.definition.clone().map_or(Cell::Null, Cell::from);
    vec![vec![schema, name, "postgres".into(), definition]]
}

/// All rows of a small table.
async fn rows_of(table: Arc<dyn TableProvider>) -> Result<Vec<RecordBatch>> {
    SessionContext::new().read_table(table)?.collect().await
}

/// A column as texts; NULLs where there is no such column.
fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = batch
        .column_by_name(column)
        .and_then(|array| cast(array, &DataType::Utf8).ok());
    match &column {
        Some(array) => array
            .as_string::<i32>()
            .iter()
            .map(|value| value.map(ToOwned::to_owned))
            .collect(),
        None => vec![None; batch.num_rows()],
    }
}
