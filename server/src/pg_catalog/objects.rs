//! What exists: the schemas, relations and models that a session sees, with their numbers and rules.
//!
//! In: the session's catalog and the facts of its warehouse; out: relations as they are at the moment of the
//! query, and names for numbers. Keeps nothing but the numbers of what has no entry of its own.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use auspex_planner::{
    CatalogFacts, DeclaredType, FactsKind, ObjectFacts, TableRules, declared_columns_of_view,
    is_temporary_schema,
};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use futures::{StreamExt as _, TryStreamExt as _};

use super::cells::schema_of;
use super::columns::{self, SystemRelation};
use super::oids::{ObjectName, SessionOids};
use super::relation::Relation;
use super::roles;

/// Relations that are opened at a time: of tables in an object store, each is a few answers of it.
const RELATIONS_IN_FLIGHT: usize = 32;

/// A look at a session's catalog.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    catalogs: Weak<dyn CatalogProviderList>,
    database: &'static str,
    oids: SessionOids,
    facts: CatalogFacts,
}

/// Where a relation is that is about to be opened.
struct Place {
    namespace: String,
    name: String,
    schema: Arc<dyn SchemaProvider>,
    object: Option<ObjectFacts>,
}

/// A relation whose rows have a type, by name and number.
pub(super) struct RowPlace {
    pub(super) oid: i32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) owner: String,
}

impl RowPlace {
    /// That of an object; `None`: there is no type of its rows.
    fn of(objects: &Objects, object: &ObjectFacts) -> Option<RowPlace> {
        let has_type = !matches!(object.kind, FactsKind::Schema | FactsKind::Sequence);
        has_type.then(|| RowPlace {
            oid: objects.number_of(object),
            schema: object.schema.clone(),
            name: object.name.clone(),
            owner: object.owner.clone(),
        })
    }
}

/// A schema.
pub(super) struct Namespace {
    pub(super) oid: i32,
    pub(super) name: String,
    pub(super) owner: String,
}

impl Objects {
    pub(super) fn new(
        catalogs: Weak<dyn CatalogProviderList>,
        database: &'static str,
        oids: SessionOids,
        facts: CatalogFacts,
    ) -> Objects {
        Objects {
            catalogs,
            database,
            oids,
            facts,
        }
    }

    /// The facts of the warehouse.
    pub(super) fn facts(&self) -> &CatalogFacts {
        &self.facts
    }

    /// The database's name.
    pub(super) fn database(&self) -> &'static str {
        self.database
    }

    /// The number of something that has no entry of its own: a role, a default, a check.
    pub(super) fn number(&self, kind: &str, name: &str) -> i32 {
        self.oids.object(kind, name)
    }

    /// The kind and the name of what [`Self::number`] numbered so.
    pub(super) fn numbered(&self, oid: i32) -> Option<ObjectName> {
        self.oids.name(oid)
    }

    /// The number of an object, also of a temporary one, which the catalog does not number.
    pub(super) fn number_of(&self, object: &ObjectFacts) -> i32 {
        match number(object) {
            0 => self.oids.object(&object.schema, &object.name),
            number => number,
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

    /// The schemas by name.
    pub(super) fn namespaces(&self) -> Result<Vec<Namespace>> {
        let mut names = self.catalog()?.schema_names();
        names.sort();
        names.dedup();
        let known = self.facts.schemas()?;
        let namespace = |name: String| match known.iter().find(|schema| schema.name == name) {
            Some(schema) => Namespace {
                oid: number(schema),
                owner: schema.owner.clone(),
                name,
            },
            None => Namespace {
                oid: self.oids.schema(&name),
                owner: roles::SUPERUSER.to_owned(),
                name,
            },
        };
        Ok(names.into_iter().map(namespace).collect())
    }

    /// The number of a schema, if it exists.
    pub(super) fn find_schema(&self, name: &str) -> Result<Option<i32>> {
        let namespaces = self.namespaces()?;
        let found = namespaces.iter().find(|namespace| namespace.name == name);
        Ok(found.map(|namespace| namespace.oid))
    }

    /// The number of the relation that a name means, looked for in all schemas of the path if it names none.
    pub(super) fn find(&self, schema: Option<&str>, name: &str) -> Result<Option<i32>> {
        let path = match schema {
            Some(schema) => vec![schema.to_owned()],
            None => self.facts.relation_path()?,
        };
        for candidate in &path {
            if let Some(object) = self.facts.object(candidate, name)? {
                return Ok(Some(self.number_of(&object)));
            }
            let exists = self
                .schema(candidate)?
                .is_some_and(|schema| schema.table_exist(name));
            // That of a key's index or of a column's sequence follows from its name.
            if exists || self.facts.is_of_table(candidate, name)? {
                return Ok(Some(self.oids.object(candidate, name)));
            }
        }
        Ok(None)
    }

    /// The schema and name behind a relation's number; a schema has an empty name.
    pub(super) fn name(&self, oid: i32) -> Option<ObjectName> {
        match self.object(oid).ok()? {
            Some(object) if matches!(object.kind, FactsKind::Schema) => {
                Some((object.name, String::new()))
            }
            Some(object) => Some((object.schema, object.name)),
            None => match self.oids.name(oid)? {
                (schema, name) if is_temporary_schema(&schema) => {
                    Some((self.facts.temporary_schema().ok()?, name))
                }
                named => Some(named),
            },
        }
    }

    /// Whether a relation is found without naming its schema; `None`: there is no such relation.
    pub(super) fn is_visible(&self, oid: i32) -> Result<Option<bool>> {
        match self.name(oid) {
            Some((schema, name)) => Ok(Some(match self.find(None, &name)? {
                Some(found) => found == oid,
                // Those of keys are no relations that queries find.
                None => self.facts.relation_path()?.contains(&schema),
            })),
            None => Ok(None),
        }
    }

    /// The comment on a relation, schema or type.
    pub(super) fn comment(&self, oid: i32) -> Result<Option<String>> {
        if let Some(object) = self.object(oid)? {
            return Ok(object.comment);
        }
        let mut enums = self.facts.enums()?.into_iter();
        let found = enums.find(|found| found.known.oid as i32 == oid);
        if let Some(found) = found {
            return Ok(found.comment);
        }
        let mut domains = self.facts.domains()?.into_iter();
        let found = domains.find(|found| found.known.oid as i32 == oid);
        Ok(found.and_then(|found| found.comment))
    }

    /// The comment on a column, by its number from 1.
    pub(super) fn column_comment(&self, oid: i32, column: i64) -> Result<Option<String>> {
        let column = usize::try_from(column).unwrap_or(0);
        let object = self.object(oid)?;
        Ok(object.and_then(|mut object| object.column_comments.remove(&column)))
    }

    fn object(&self, oid: i32) -> Result<Option<ObjectFacts>> {
        let known = match u32::try_from(oid) {
            Ok(oid) => self.facts.by_oid(oid)?,
            Err(_) => None,
        };
        if known.is_some() {
            return Ok(known);
        }
        // A temporary one has the number of its name.
        match self.oids.name(oid) {
            Some((schema, name)) if is_temporary_schema(&schema) => {
                Ok(self.facts.object(&schema, &name)?)
            }
            _ => Ok(None),
        }
    }

    /// The relation of a number.
    pub(super) async fn by_oid(&self, oid: i32) -> Result<Option<Relation>> {
        let Some((schema_name, name)) = self.name(oid).filter(|(_, name)| !name.is_empty()) else {
            return Ok(None);
        };
        if let Some(relation) = columns::find(&schema_name, &name) {
            return Ok(Some(self.system_relation(relation)));
        }
        let object = self.facts.object(&schema_name, &name)?;
        if let Some(object) = &object
            && is_model(object)
        {
            return Ok(Some(model(object)));
        }
        match self.schema(&schema_name)? {
            Some(schema) => {
                let relation = self.opened(&schema_name, &name, schema.as_ref(), object);
                Ok(Some(relation.await?))
            }
            None => Ok(None),
        }
    }

    /// The query of a view as the session would write it.
    pub(super) fn view_text(&self, relation: &Relation) -> Result<Option<String>> {
        let fields = relation.columns.fields().iter();
        let columns: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        let text = self
            .facts
            .view_text(&relation.schema, &relation.name, &columns);
        Ok(text?)
    }

    /// The relations of the system schemas.
    pub(super) fn system_relations(&self) -> impl Iterator<Item = Relation> {
        columns::all().map(|relation| self.system_relation(relation))
    }

    /// Where the relations of all other schemas are, without models.
    fn places(&self, objects: &[ObjectFacts]) -> Result<Vec<Place>> {
        // Backwards, so that of two of one name the first one stays.
        let named = objects.iter().rev();
        let named = named.map(|object| ((object.schema.as_str(), object.name.as_str()), object));
        let named: HashMap<(&str, &str), &ObjectFacts> = named.collect();
        let mut places = Vec::new();
        for namespace in self.namespaces()? {
            let Some(schema) = self.schema(&namespace.name)? else {
                continue;
            };
            for name in schema.table_names() {
                if columns::find(&namespace.name, &name).is_some() {
                    continue;
                }
                let object = match named.get(&(namespace.name.as_str(), name.as_str())) {
                    Some(object) => Some((*object).clone()),
                    None => self.facts.object(&namespace.name, &name)?,
                };
                places.push(Place {
                    namespace: namespace.name.clone(),
                    name,
                    schema: Arc::clone(&schema),
                    object,
                });
            }
        }
        Ok(places)
    }

    /// The relations whose rows have a type, none of which is opened.
    pub(super) fn row_places(&self) -> Result<Vec<RowPlace>> {
        let objects = self.facts.objects()?;
        let places = self.places(&objects)?.into_iter();
        let of_place = |place: Place| match &place.object {
            Some(object) => RowPlace::of(self, object),
            None => Some(RowPlace {
                oid: self.oids.object(&place.namespace, &place.name),
                schema: place.namespace,
                name: place.name,
                owner: roles::SUPERUSER.to_owned(),
            }),
        };
        let mut found: Vec<RowPlace> = places.filter_map(of_place).collect();
        let models = objects.iter().filter(|object| is_model(object));
        found.extend(models.filter_map(|model| RowPlace::of(self, model)));
        Ok(found)
    }

    /// The relation of a name whose rows have a type.
    pub(super) fn row_place(&self, schema: &str, name: &str) -> Result<Option<RowPlace>> {
        if let Some(object) = self.facts.object(schema, name)? {
            return Ok(RowPlace::of(self, &object));
        }
        let known = self.schema(schema)?;
        let exists = known.is_some_and(|known| known.table_exist(name));
        Ok(exists.then(|| RowPlace {
            oid: self.oids.object(schema, name),
            schema: schema.to_owned(),
            name: name.to_owned(),
            owner: roles::SUPERUSER.to_owned(),
        }))
    }

    /// The relations of all other schemas, and what we add to those. One that cannot be opened, as when its file
    /// is gone, is there without columns.
    pub(super) async fn own_relations(&self) -> Result<Vec<Relation>> {
        let objects = self.facts.objects()?;
        let places = self.places(&objects)?;
        let reads = places.into_iter().map(|place| async move {
            let Place {
                namespace,
                name,
                schema,
                object,
            } = place;
            let relation = self.opened(&namespace, &name, schema.as_ref(), object);
            Box::pin(relation).await
        });
        let reads = futures::stream::iter(reads).buffered(RELATIONS_IN_FLIGHT);
        let mut relations: Vec<Relation> = reads.try_collect().await?;
        let models = objects.iter().filter(|object| is_model(object));
        relations.extend(models.map(model));
        Ok(relations)
    }

    fn system_relation(&self, relation: &SystemRelation) -> Relation {
        let oid = self.oids.object(relation.schema, relation.name);
        Relation {
            columns: schema_of(&relation.columns),
            ..Relation::new(oid, relation.schema, relation.name, relation.kind)
        }
    }

    async fn opened(
        &self,
        schema: &str,
        name: &str,
        tables: &dyn SchemaProvider,
        object: Option<ObjectFacts>,
    ) -> Result<Relation> {
        let table = match tables.table(name).await {
            Ok(table) => table,
            Err(error) => {
                tracing::debug!(schema, name, %error, "a relation cannot be opened");
                None
            }
        };
        let table = table.as_ref();
        let is_view = table.is_some_and(|table| table.table_type() == TableType::View);
        let kind = if is_view || object.is_none() {
            "v"
        } else {
            "r"
        };
        let oid = object.as_ref().map(|object| self.number_of(object));
        let oid = oid.unwrap_or_else(|| self.oids.object(schema, name));
        let mut relation = Relation::new(oid, schema, name, kind);
        if let Some(table) = table {
            relation.columns = table.schema();
            (relation.n_rows, relation.n_bytes) = measured(table.as_ref());
        }
        let Some(object) = object else {
            return Ok(relation);
        };
        relation.owner = object.owner;
        relation.comment = object.comment;
        relation.options = object.options;
        match object.kind {
            FactsKind::View => {
                relation.kind = "v";
                relation.rules = table.map_or_else(TableRules::default, rules_of_view);
                let written = self.facts.written_columns(schema, name);
                relation.written = Box::pin(written).await?;
            }
            FactsKind::MaterializedView { is_populated } => {
                relation.kind = "m";
                relation.is_populated = is_populated;
                relation.rules = Box::pin(self.facts.rules(schema, name)).await?;
            }
            FactsKind::Sequence => relation.kind = "S",
            FactsKind::Table => relation.rules = Box::pin(self.facts.rules(schema, name)).await?,
            _ => {}
        }
        let references = relation.rules.references.iter_mut();
        for reference in references.filter(|reference| reference.oid == 0) {
            // One within a temporary table. Lossless: numbers are positive.
            reference.oid = self.oids.object(&reference.schema, &reference.table) as u32;
        }
        Ok(relation)
    }
}

/// Of the rules of what a view reads, its columns keep the types that columns were declared with.
fn rules_of_view(view: &Arc<dyn TableProvider>) -> TableRules {
    let declared = declared_columns_of_view(view.as_ref());
    let limit = |declared: &Option<DeclaredType>| match declared {
        Some(DeclaredType::Text(limit)) => Some(*limit),
        _ => None,
    };
    let digits = |declared: &Option<DeclaredType>| match declared {
        Some(DeclaredType::Clock(digits)) => Some(*digits),
        _ => None,
    };
    TableRules {
        text_limits: declared.iter().map(limit).collect(),
        clock_digits: declared.iter().map(digits).collect(),
        ..TableRules::default()
    }
}

/// Lossless: entries count up from 16384.
pub(super) fn number(object: &ObjectFacts) -> i32 {
    object.oid as i32
}

fn is_model(object: &ObjectFacts) -> bool {
    matches!(object.kind, FactsKind::Model(_))
}

fn model(object: &ObjectFacts) -> Relation {
    let facts = match &object.kind {
        FactsKind::Model(facts) => Some(facts.clone()),
        _ => None,
    };
    Relation {
        owner: object.owner.clone(),
        comment: object.comment.clone(),
        model: facts,
        ..Relation::new(number(object), &object.schema, &object.name, "f")
    }
}

/// Rows and bytes as the files tell them.
fn measured(table: &dyn TableProvider) -> (Option<usize>, Option<usize>) {
    let Some(statistics) = table.statistics() else {
        return (None, None);
    };
    let n_rows = statistics.num_rows.get_value().copied();
    (n_rows, statistics.total_byte_size.get_value().copied())
}
