//! Which object a name means: the schemas of `search_path` in order, temporary tables before them.
//!
//! In: the parts of a name; out: a schema and a name, or the entry itself. A view's names mean what they meant when it
//! was made (`name_scope`). What is to be made goes into the first schema, what is used is looked for in all.

use std::sync::Arc;

use async_trait::async_trait;
use auspex_sql::Name;
use auspex_storage::{CatalogEntry, CatalogState, Definition, ObjectKind};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;

use crate::error::{Error, Result, nearest};
use crate::name_scope;
use crate::named::Named;
use crate::session::{DATABASE, PUBLIC, Session};
use crate::temporary::{SCHEMA as TEMPORARY, is_temporary_schema};

/// The schema of names without one, for the planner: all schemas that are searched. No client's text can name
/// it.
pub(crate) const SEARCHED: &str = "\u{1e}searched";

/// Whether an object is a type.
pub(crate) fn is_type(entry: &CatalogEntry) -> bool {
    matches!(
        entry.definition,
        Definition::Enum(_) | Definition::Domain(_)
    )
}

/// Whether an object is a table or a view, or has rows like one.
pub(crate) fn is_relation(entry: &CatalogEntry) -> bool {
    !matches!(entry.definition, Definition::Model(_)) && !is_type(entry)
}

/// The name of a relation that was probably meant, among those of a schema.
pub(crate) fn nearest_relation(catalog: &CatalogState, schema: &str, name: &str) -> Option<String> {
    let relations = catalog.entries(schema).filter(|entry| is_relation(entry));
    nearest(name, relations.map(|entry| entry.name.as_str()))
}

impl Session {
    /// The schemas of names without one: those of `search_path` that exist, or those of the view being bound. Where none
    /// exists, the first by its name, in which nothing is found.
    pub(crate) fn search_path(&self) -> Vec<String> {
        if let Some(schemas) = name_scope::view_schemas() {
            return schemas;
        }
        let catalog = self.seen_catalog();
        let mut written = self.settings().search_path();
        written.retain(|name| !is_temporary_schema(name));
        let exists = |name: &&String| catalog.schema_exists(name);
        let path: Vec<String> = written.iter().filter(exists).cloned().collect();
        match path.is_empty() {
            true => vec![written.into_iter().next().unwrap_or_default()],
            false => path,
        }
    }

    /// The same with the schema of temporary relations, which comes first unless the path names it elsewhere.
    pub(crate) fn relation_path(&self) -> Vec<String> {
        let mut path = self.search_path();
        let place = self.temporary_place().unwrap_or(0);
        path.insert(place.min(path.len()), TEMPORARY.to_owned());
        path
    }

    /// How many schemas `search_path` has before that of temporary relations; `None`: it does not name it.
    pub(crate) fn temporary_place(&self) -> Option<usize> {
        if name_scope::view_schemas().is_some() {
            return None;
        }
        let written = self.settings().search_path();
        let is_temporary = |name: &String| self.known_schema(name) == TEMPORARY;
        let before = written.split(is_temporary).next()?;
        let catalog = self.seen_catalog();
        let exists = |name: &&String| catalog.schema_exists(name);
        (before.len() < written.len()).then(|| before.iter().filter(exists).count())
    }

    /// Whether a schema before that of temporary relations has a relation of a name.
    fn is_found_before(&self, name: &str) -> bool {
        let Some(place) = self.temporary_place().filter(|place| *place > 0) else {
            return false;
        };
        let path = self.search_path();
        let mut before = path.iter().take(place);
        before.any(|schema| {
            let entry = self.entry(schema, name);
            entry.is_some_and(|entry| is_relation(&entry))
        })
    }

    /// The schema in which names without one are made: the first of the path.
    pub(crate) fn default_schema(&self) -> String {
        let mut path = self.search_path();
        path.truncate(1);
        path.pop().unwrap_or_else(|| PUBLIC.to_owned())
    }

    /// Schema and name of an object that is to be made; a leading database or project goes.
    pub(crate) fn object_parts(&self, parts: &[String]) -> Result<(String, String)> {
        Ok(match parts {
            [name] => (self.default_schema(), name.clone()),
            [.., schema, name] => (self.known_schema(schema).to_owned(), name.clone()),
            [] => (PUBLIC.to_owned(), String::new()),
        })
    }

    /// Schema and name of a relation that is to be made, which its schema makes temporary as well as the word does.
    /// Errors: a temporary one in another schema (42P16).
    pub(crate) fn new_relation_parts(
        &self,
        parts: &[String],
        is_temporary: bool,
    ) -> Result<(String, String)> {
        let (schema, name) = self.object_parts(parts)?;
        let is_written = parts.len() > 1;
        if schema == TEMPORARY || !is_written && (is_temporary || self.makes_temporary()) {
            return Ok((TEMPORARY.to_owned(), name));
        }
        if is_temporary && self.seen_catalog().schema_exists(&schema) {
            let message = "cannot create temporary relation in non-temporary schema";
            let hint = format!("Leave \"{schema}\" away: temporary relations lie in pg_temp.");
            return Err(Error::invalid("42P16", message, Some(&hint)));
        }
        Ok((schema, name))
    }

    /// Schema and name of a type that is to be made. Errors: a temporary one, or no schema but that of these in the path
    /// (0A000).
    pub(crate) fn new_type_parts(&self, parts: &[String]) -> Result<(String, String)> {
        let (schema, name) = self.object_parts(parts)?;
        let is_of_path = schema.is_empty() && self.makes_temporary();
        match is_of_path || schema == TEMPORARY {
            true => Err(Error::Unsupported {
                what: "a temporary type".to_owned(),
                hint: Some("Name a schema that lasts before the type's name.".to_owned()),
            }),
            false => Ok((schema, name)),
        }
    }

    /// Whether the path begins with the schema of temporary relations, so that new ones without a schema are temporary.
    fn makes_temporary(&self) -> bool {
        self.temporary_place() == Some(0)
    }

    /// Schema and name of an object that a statement makes.
    pub(crate) fn object_name(&self, name: &Name) -> Result<(String, String)> {
        self.object_parts(&name.parts)
    }

    /// Schema and name of an object that is there: of a name without a schema the first in the path of the kind that
    /// is wanted, else the first of any kind, else none in the first schema.
    fn found_parts(
        &self,
        parts: &[String],
        is_wanted: fn(&CatalogEntry) -> bool,
    ) -> Result<(String, String)> {
        let [name] = parts else {
            return self.object_parts(parts);
        };
        let path = self.search_path();
        let found: Vec<_> = path.iter().map(|schema| self.entry(schema, name)).collect();
        let place = |is_it: &dyn Fn(&CatalogEntry) -> bool| {
            found
                .iter()
                .position(|entry| entry.as_deref().is_some_and(is_it))
        };
        let place = place(&is_wanted).or_else(|| place(&|_| true)).unwrap_or(0);
        match path.into_iter().nth(place) {
            Some(schema) => Ok((schema, name.clone())),
            None => self.object_parts(parts),
        }
    }

    /// Schema and name of a table or view that a statement means: a temporary one before others, if no schema is written.
    pub(crate) fn relation_parts(&self, parts: &[String]) -> Result<(String, String)> {
        match parts {
            [name] if self.means_temporary(name) => Ok((TEMPORARY.to_owned(), name.clone())),
            parts => self.lasting_parts(parts),
        }
    }

    /// Whether a name without a schema is that of a temporary relation.
    fn means_temporary(&self, name: &str) -> bool {
        let is_known = self.temporary.get(name).is_some();
        is_known && !self.is_found_before(name) && self.temporary_entry(name).is_some()
    }

    /// Schema and name of a relation that a statement changes. Error: it is one of another catalog.
    pub(crate) fn changed_parts(&self, parts: &[String]) -> Result<(String, String)> {
        self.refuse_foreign(parts)?;
        self.relation_parts(parts)
    }

    /// Fails for the name of a table of another catalog, which is read and never written.
    pub(crate) fn refuse_foreign(&self, parts: &[String]) -> Result<()> {
        let [catalog, _, _, ..] = parts else {
            return Ok(());
        };
        let state = self.seen_catalog();
        if catalog == DATABASE || state.global(ObjectKind::Catalog, catalog).is_none() {
            return Ok(());
        }
        let name = parts.join(".");
        let message = format!("cannot write to table \"{name}\" of catalog \"{catalog}\"");
        let hint = "Tables of Iceberg catalogs are only read; CREATE TABLE ... AS copies one.";
        Err(Error::invalid("0A000", message, Some(hint)))
    }

    /// The same where temporary tables do not count.
    pub(crate) fn lasting_parts(&self, parts: &[String]) -> Result<(String, String)> {
        self.found_parts(parts, is_relation)
    }

    /// Schema and name of a model that a statement means.
    pub(crate) fn model_parts(&self, parts: &[String]) -> Result<(String, String)> {
        let is_model = |entry: &CatalogEntry| matches!(entry.definition, Definition::Model(_));
        self.found_parts(parts, is_model)
    }

    /// The type that a name means; `None`: it means none.
    pub(crate) fn type_entry(&self, parts: &[String]) -> Option<Arc<CatalogEntry>> {
        let (schema, name) = self.found_parts(parts, is_type).ok()?;
        let entry = self.entry(&schema, &name)?;
        is_type(&entry).then(|| {
            name_scope::note_object(&entry);
            entry
        })
    }

    /// The enum that a name means.
    pub(crate) fn enum_entry(&self, parts: &[String]) -> Option<Arc<CatalogEntry>> {
        let entry = self.type_entry(parts);
        entry.filter(|entry| matches!(entry.definition, Definition::Enum(_)))
    }

    /// The domain that a name means.
    pub(crate) fn domain_entry(&self, parts: &[String]) -> Option<Arc<CatalogEntry>> {
        let entry = self.type_entry(parts);
        entry.filter(|entry| matches!(entry.definition, Definition::Domain(_)))
    }

    /// The object of a schema's name; in a view that which had the name when the view was made, whatever its name now.
    pub(crate) fn entry(&self, schema: &str, name: &str) -> Option<Arc<CatalogEntry>> {
        let schema = self.known_schema(schema);
        if schema == TEMPORARY {
            return self.temporary_entry(name);
        }
        let catalog = self.seen_catalog();
        let id = name_scope::object_of_view(schema, name);
        if let Some(entry) = id.and_then(|id| catalog.by_id(&id)) {
            Named::note(&entry.schema, &entry.name, Some(entry));
            return Some(Arc::clone(entry));
        }
        if name_scope::is_hidden_from_view(schema, name) {
            return None;
        }
        let known = catalog.get(schema, name);
        Named::note(schema, name, known);
        known.cloned()
    }

    /// That a name means nothing, with what it probably should.
    pub(crate) fn undefined_relation(&self, schema: &str, name: &str) -> Error {
        let catalog = self.seen_catalog();
        Error::Undefined {
            kind: "relation",
            nearest: nearest_relation(&catalog, schema, name),
            name: name.to_owned(),
            position: None,
        }
    }

    /// The same of a name without a schema.
    pub(crate) fn undefined_in_path(&self, name: &str) -> Error {
        let catalog = self.seen_catalog();
        let path = self.search_path();
        let nearest = |schema: &String| nearest_relation(&catalog, schema, name);
        Error::Undefined {
            kind: "relation",
            nearest: path.iter().find_map(nearest),
            name: name.to_owned(),
            position: None,
        }
    }

    /// A state in which names without a schema are looked for in all schemas of the path and among temporary tables, to
    /// plan a statement with; `None` where the default schema alone does.
    pub(crate) fn searching(&self, state: &SessionState) -> Option<SessionState> {
        let knows_temporary = !self.temporary.is_empty() && !name_scope::is_in_view();
        if self.search_path() == [PUBLIC] && !knows_temporary {
            return None;
        }
        let mut config = state.config().clone();
        SEARCHED.clone_into(&mut config.options_mut().catalog.default_schema);
        let mut state = state.clone();
        *state.config_mut() = config;
        Some(state)
    }
}

/// Schemas that are searched in their order.
#[derive(Debug)]
pub(crate) struct SearchedSchemas(pub(crate) Vec<Arc<dyn SchemaProvider>>);

#[async_trait]
impl SchemaProvider for SearchedSchemas {
    fn table_names(&self) -> Vec<String> {
        self.0
            .iter()
            .flat_map(|schema| schema.table_names())
            .collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if let Some(schema) = self.0.iter().find(|schema| schema.table_exist(name)) {
            return schema.table(name).await;
        }
        // A model of this name, or a file.
        for schema in &self.0 {
            if let Some(table) = schema.table(name).await? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.iter().any(|schema| schema.table_exist(name))
    }
}
