//! What PostgreSQL's catalogs tell of the warehouse beyond the names and columns that the planner sees.
//!
//! In: a session; out: numbers, owners, comments, column rules and settings, as they are at the moment of asking.
//! Reads the catalog and the tables' own logs; changes nothing but settings, which `set_config` may.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use auspex_storage::{
    CatalogEntry, CheckOption, Definition, DomainType, GRANT_OPTION, Identity, Key,
    ModelDefinition, TableShape, TextLimit, ViewDefinition, clock_digits,
};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::Ident;

use super::PG_CATALOG;
use super::reference_facts::{ReferenceFacts, is_referred, references};
use super::temporary_facts::{shown, temporary_privilege};
use crate::access::{Subject, has_privilege, privileges_of};
use crate::commands::assign_role;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::temporary::SCHEMA as TEMPORARY;
use crate::transaction::TransactionState;

/// A look at one session's warehouse.
#[derive(Debug, Clone)]
pub struct CatalogFacts {
    session: Weak<Session>,
}

/// A schema, table, external table, view or model.
#[derive(Debug, Clone)]
pub struct ObjectFacts {
    /// The number, the same after a restart and a rename.
    pub oid: u32,
    /// The schema's name; empty for a schema.
    pub schema: String,
    /// The name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// The text of COMMENT ON.
    pub comment: Option<String>,
    /// Those of COMMENT ON COLUMN, by the column's number from 1.
    pub column_comments: BTreeMap<usize, String>,
    /// Its options as PostgreSQL spells them: `security_barrier=true`.
    pub options: Vec<String>,
    /// What it is.
    pub kind: FactsKind,
}

/// What an object is, as catalogs distinguish it.
#[derive(Debug, Clone)]
pub enum FactsKind {
    /// A schema.
    Schema,
    /// A managed table.
    Table,
    /// Files in place.
    ExternalTable,
    /// A stored query.
    View,
    /// A stored query with its rows.
    MaterializedView {
        /// Whether it has rows.
        is_populated: bool,
    },
    /// Numbers, one after the other.
    Sequence,
    /// A model.
    Model(ModelFacts),
}

/// What is known of a model without opening it.
#[derive(Debug, Clone)]
pub struct ModelFacts {
    /// The canonical name of the estimator.
    pub model_type: String,
    /// The label columns.
    pub labels: Vec<String>,
    /// The version that its name means; 0: none yet.
    pub version: u64,
}

/// The rules of a managed table.
#[derive(Debug, Clone, Default)]
pub struct TableRules {
    /// The text of each column's default.
    pub defaults: Vec<Option<String>>,
    /// The text of the expression that makes each column's values.
    pub generated: Vec<Option<String>>,
    /// How long each column's texts may be.
    pub text_limits: Vec<Option<TextLimit>>,
    /// The digits that the seconds of each column have.
    pub clock_digits: Vec<Option<u8>>,
    /// The domain that each column is of.
    pub domains: Vec<Option<DomainType>>,
    /// How each column's numbers are given, if it is an identity column.
    pub identities: Vec<Option<Identity>>,
    /// The checks: name, text.
    pub checks: Vec<(String, String)>,
    /// The primary key and the unique constraints.
    pub keys: Vec<Key>,
    /// The references to keys of tables.
    pub references: Vec<ReferenceFacts>,
    /// Whether a table refers to it.
    pub is_referred: bool,
    /// The texts of COMMENT ON CONSTRAINT, by constraint.
    pub constraint_comments: BTreeMap<String, String>,
}

/// A setting of the session.
#[derive(Debug, Clone)]
pub struct SettingFacts {
    /// The name.
    pub name: String,
    /// The value now; a number is one of its unit.
    pub value: String,
    /// The value after RESET.
    pub default: String,
    /// The value where neither the server's configuration nor a role has one.
    pub built_in: String,
    /// What it does.
    pub description: &'static str,
    /// Whether SET changes it.
    pub can_be_set: bool,
    /// PostgreSQL's word for the kind of its values: `bool`, `enum`, `integer`, `real` or `string`.
    pub kind: &'static str,
    /// The unit of a number.
    pub unit: Option<&'static str>,
    /// The least and the most that a number may be.
    pub range: Option<(String, String)>,
    /// The words that it may be, where they are few.
    pub words: &'static [&'static str],
}

impl CatalogFacts {
    pub(crate) fn new(session: Weak<Session>) -> CatalogFacts {
        CatalogFacts { session }
    }

    pub(super) fn session(&self) -> Result<Arc<Session>> {
        self.session
            .upgrade()
            .ok_or_else(|| DataFusionError::Internal("the session has ended".to_owned()).into())
    }

    /// The schemas of names without one, in the order in which they are searched, `pg_catalog` at last.
    pub fn search_path(&self) -> Result<Vec<String>> {
        let session = self.session()?;
        let mut path = session.search_path();
        let catalog = session.seen_catalog();
        path.retain(|schema| schema == PG_CATALOG || catalog.schema_exists(schema));
        if !path.iter().any(|schema| schema == PG_CATALOG) {
            path.push(PG_CATALOG.to_owned());
        }
        Ok(path)
    }

    /// The schemas that have a number of their own.
    pub fn schemas(&self) -> Result<Vec<ObjectFacts>> {
        let state = self.session()?.seen_catalog();
        let schemas = state.schemas();
        Ok(schemas.iter().filter_map(|entry| facts(entry)).collect())
    }

    /// What lies in schemas.
    pub fn objects(&self) -> Result<Vec<ObjectFacts>> {
        let state = self.session()?.seen_catalog();
        let schemas = state.schemas();
        let names = schemas.iter().map(|schema| schema.name.as_str());
        let entries = names.flat_map(|schema| state.entries(schema));
        Ok(entries.filter_map(facts).collect())
    }

    /// The object of a name; a temporary one has no number.
    pub fn object(&self, schema: &str, name: &str) -> Result<Option<ObjectFacts>> {
        let session = self.session()?;
        let entry = entry_of(&session, schema, name);
        let found = entry.as_ref().and_then(facts);
        Ok(found.map(|object| shown(&session, object)))
    }

    /// The schema or object of a number.
    pub fn by_oid(&self, oid: u32) -> Result<Option<ObjectFacts>> {
        let state = self.session()?.seen_catalog();
        Ok(state.by_oid(oid).and_then(facts))
    }

    /// The numbers of each view and of an object that its query names.
    pub fn named_by_views(&self) -> Result<Vec<(u32, u32)>> {
        let state = self.session()?.seen_catalog();
        let mut pairs = Vec::new();
        for entry in state.all() {
            let Some(view) = entry.definition.stored_query() else {
                continue;
            };
            let named = view.objects.iter();
            let named = named.filter_map(|object| state.by_id(&object.id));
            pairs.extend(named.map(|object| (entry.oid, object.oid)));
        }
        Ok(pairs)
    }

    /// The objects that the query of one view names.
    pub fn named_by_view(&self, view: u32) -> Result<Vec<ObjectFacts>> {
        let state = self.session()?.seen_catalog();
        let entry = state.by_oid(view);
        let query = entry.and_then(|entry| entry.definition.stored_query());
        let named = query.into_iter().flat_map(|query| &query.objects);
        let named = named.filter_map(|object| state.by_id(&object.id));
        Ok(named.filter_map(facts).collect())
    }

    /// The privileges on a relation, or on a schema where `name` is `None`, as PostgreSQL spells them; `None` where nobody
    /// changed them.
    pub fn acl(&self, schema: &str, name: Option<&str>) -> Result<Option<Vec<String>>> {
        let state = self.session()?.seen_catalog();
        let subject = match name {
            Some(name) => Subject::Relation(schema, name),
            None => Subject::Schema(schema),
        };
        let found = privileges_of(&state, &subject);
        Ok(found.and_then(|(_, acl)| acl))
    }

    /// Fails unless the role that asks may use a schema.
    pub fn check_usage(&self, schema: &str) -> Result<()> {
        self.session()?
            .asking_access()
            .check_schema(schema, "USAGE")
    }

    /// The privileges on the database, likewise.
    pub fn database_acl(&self) -> Result<Option<Vec<String>>> {
        let state = self.session()?.seen_catalog();
        let found = privileges_of(&state, &Subject::Database);
        Ok(found.and_then(|(_, acl)| acl))
    }

    /// Whether a role has one of the privileges that a text lists (`SELECT, INSERT WITH GRANT OPTION`); `None`: there is no
    /// such object.
    pub fn has_privilege(
        &self,
        role: &str,
        subject: &Subject<'_>,
        privileges: &str,
    ) -> Result<Option<bool>> {
        let session = self.session()?;
        if let Some(answer) = temporary_privilege(&session, role, subject, privileges) {
            return Ok(answer);
        }
        Ok(has_privilege(
            session.seen_catalog(),
            role,
            subject,
            privileges,
        ))
    }

    /// The privileges that others than the owner have on a relation: role, privilege, whether the role may grant it.
    pub fn grants(&self, schema: &str, name: &str) -> Result<Vec<(String, String, bool)>> {
        let state = self.session()?.seen_catalog();
        let Some(entry) = state.get(schema, name) else {
            return Ok(Vec::new());
        };
        let grants = entry.granted().iter().flat_map(|(role, privileges)| {
            privileges.iter().map(|word| {
                let plain = word.strip_suffix(GRANT_OPTION);
                let is_grantable = plain.is_some();
                (role.clone(), plain.unwrap_or(word).to_owned(), is_grantable)
            })
        });
        Ok(grants.collect())
    }

    /// Fails unless a superuser acts: as the session's role, or as the owner of the view that is being bound. Error: 42501.
    pub fn check_superuser(&self, kind: &str, name: &str) -> Result<()> {
        if self.session()?.asking_access().is_superuser() {
            return Ok(());
        }
        let message = format!("permission denied for {kind} {name}");
        let hint = "Superusers alone may read it; pg_roles shows the roles to everybody.";
        Err(Error::invalid("42501", message, Some(hint)))
    }

    /// Whether a constraint of a table has a comment.
    pub fn has_constraint_comments(&self) -> Result<bool> {
        let session = self.session()?;
        let state = session.seen_catalog();
        let temporary = session.temporary_entries();
        let mut entries = state.all().chain(&temporary);
        Ok(entries.any(|entry| {
            let is_table = matches!(entry.definition, Definition::Table(_));
            is_table && !entry.constraint_comments.is_empty()
        }))
    }

    /// The rules of a table; none for what is no managed table, or cannot be opened.
    pub async fn rules(&self, schema: &str, name: &str) -> Result<TableRules> {
        let session = self.session()?;
        let Some(entry) = entry_of(&session, schema, name) else {
            return Ok(TableRules::default());
        };
        if !matches!(entry.definition, Definition::Table(_)) {
            return Ok(TableRules::default());
        }
        match session.seen_shape(&entry.id).await {
            Ok(shape) => Ok(TableRules {
                references: Box::pin(references(&session, &entry, &shape)).await,
                is_referred: is_referred(&session.seen_catalog(), &entry),
                constraint_comments: entry.constraint_comments.clone(),
                ..rules_of(&shape)
            }),
            Err(error) => {
                tracing::debug!(schema, name, %error, "a table cannot be opened");
                Ok(TableRules::default())
            }
        }
    }

    /// Which columns of a view take values; `None`: nothing can be written through it.
    pub async fn written_columns(&self, schema: &str, name: &str) -> Result<Option<Vec<bool>>> {
        let session = self.session()?;
        let Some(entry) = entry_of(&session, schema, name) else {
            return Ok(None);
        };
        if !matches!(entry.definition, Definition::View(_)) {
            return Ok(None);
        }
        match Box::pin(session.written_columns(&entry)).await {
            Ok(columns) => Ok(columns),
            Err(error) => {
                tracing::debug!(schema, name, %error, "a view cannot be looked through");
                Ok(None)
            }
        }
    }

    /// The settings by name.
    pub fn settings(&self) -> Result<Vec<SettingFacts>> {
        Ok(self.session()?.settings().facts())
    }

    /// The value of a setting, if there is such a setting.
    pub fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok(self.session()?.settings().get(name))
    }

    /// The value of a setting that must exist.
    pub fn required_setting(&self, name: &str) -> Result<String> {
        self.setting(name)?.ok_or_else(|| {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Error::invalid("42704", message, Some("SHOW ALL lists the settings."))
        })
    }

    /// A number that grows with every change of the catalog.
    pub fn generation(&self) -> Result<u64> {
        Ok(self.session()?.engine.catalog.generation())
    }

    /// Gives the snapshot of the session's block a name, by which others read it. Error: there is no block.
    pub fn export_snapshot(&self) -> Result<String> {
        self.session()?.export_snapshot()
    }

    /// Changes a setting or the role, as SET or SET LOCAL does; the value as it now stands. What is local to no block
    /// ends with its statement, so that nothing is changed.
    pub fn set_setting(&self, name: &str, value: &str, is_local: bool) -> Result<String> {
        let session = self.session()?;
        if is_local && session.transaction() == TransactionState::Idle {
            return Ok(value.to_owned());
        }
        if name.eq_ignore_ascii_case("role") {
            assign_role(&session, value, is_local)?;
        } else {
            if is_local {
                session.set_local(name);
            }
            session.set_setting(name, value)?;
        }
        Ok(session.settings().get(name).unwrap_or_default())
    }
}

/// The entry of a relation; those of temporary ones are the session's.
pub(super) fn entry_of(session: &Session, schema: &str, name: &str) -> Option<Arc<CatalogEntry>> {
    let state = session.seen_catalog();
    let schema = session.known_schema(schema);
    match schema == TEMPORARY {
        true => {
            let entry = session.temporary.get(name)?;
            Some(session.temporary.owned_now(entry, &state))
        }
        false => state.get(schema, name).cloned(),
    }
}

pub(super) fn facts(entry: &Arc<CatalogEntry>) -> Option<ObjectFacts> {
    let kind = match &entry.definition {
        Definition::Schema => FactsKind::Schema,
        Definition::Table(table) => match &table.materialized {
            Some(materialized) => FactsKind::MaterializedView {
                is_populated: materialized.is_populated,
            },
            None => FactsKind::Table,
        },
        Definition::ExternalTable(_) => FactsKind::ExternalTable,
        Definition::View(_) => FactsKind::View,
        Definition::Sequence(_) => FactsKind::Sequence,
        Definition::Model(model) => FactsKind::Model(model_facts(model)),
        // What lies in no schema is no relation.
        _ => return None,
    };
    Some(ObjectFacts {
        oid: entry.oid,
        schema: entry.schema.clone(),
        name: entry.name.clone(),
        owner: entry.owner.clone(),
        comment: entry.comment.clone(),
        column_comments: column_comments(entry),
        options: match &entry.definition {
            Definition::View(view) => view_options(view),
            _ => Vec::new(),
        },
        kind,
    })
}

fn view_options(view: &ViewDefinition) -> Vec<String> {
    let barrier = view.security_barrier.then_some("security_barrier=true");
    let checks = view.check_option.map(|checks| match checks {
        CheckOption::Local => "check_option=local",
        CheckOption::Cascaded => "check_option=cascaded",
    });
    let options = barrier.into_iter().chain(checks);
    options.map(str::to_owned).collect()
}

fn column_comments(entry: &CatalogEntry) -> BTreeMap<usize, String> {
    let names: Vec<&String> = match &entry.definition {
        Definition::Table(table) => table.columns.iter().map(|column| &column.name).collect(),
        _ => entry.commented_columns.iter().collect(),
    };
    let comment = |(idx, column): (usize, &String)| {
        let comment = entry.column_comments.get(column)?;
        Some((idx + 1, comment.clone()))
    };
    names.into_iter().enumerate().filter_map(comment).collect()
}

fn model_facts(model: &ModelDefinition) -> ModelFacts {
    ModelFacts {
        model_type: model.model_type.clone(),
        labels: model.labels.clone(),
        version: model.current_version,
    }
}

fn rules_of(shape: &TableShape) -> TableRules {
    let columns = || shape.columns().iter();
    TableRules {
        defaults: columns().map(|column| shape.default_of(column)).collect(),
        generated: columns().map(|column| shape.generated_of(column)).collect(),
        text_limits: columns()
            .map(|column| shape.text_limit_of(column))
            .collect(),
        clock_digits: columns().map(|column| clock_digits(column)).collect(),
        domains: columns().map(|column| shape.domain_of(column)).collect(),
        identities: columns().map(|column| shape.identity_of(column)).collect(),
        checks: shape
            .checks()
            .into_iter()
            .filter(|(_, text)| !is_of_identity(shape, text))
            .collect(),
        keys: shape.keys(),
        ..TableRules::default()
    }
}

/// Whether a check forbids NULL in an identity column, which its definition says already.
fn is_of_identity(shape: &TableShape, text: &str) -> bool {
    let mut columns = shape.columns().iter();
    columns.any(|column| {
        let name = Ident::with_quote('"', column.name());
        shape.identity_of(column).is_some() && text == format!("{name} IS NOT NULL")
    })
}
