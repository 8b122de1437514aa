//! The catalog at one moment: names to entries, and the rules that a change must keep.
//!
//! Changes flow in, the next state flows out; a state itself never changes, so a statement holds the one it was bound
//! at. Nothing here reads or writes files.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::definition::{CatalogEntry, Definition, ObjectKind};
use crate::catalog::roles::PUBLIC_ROLE;
use crate::error::{Error, Result};

/// The schema that names without one mean.
pub const PUBLIC_SCHEMA: &str = "public";
/// Schemas that exist without an entry and whose objects only the engine makes.
pub const RESERVED_SCHEMAS: &[&str] = &["information_schema", "ml", "pg_catalog"];

/// Identity of the schema that every warehouse starts with, without an entry in the log.
const PUBLIC_ID: &str = "00000000-0000-0000-0000-000000002200";
/// Its number, as in PostgreSQL.
const PUBLIC_OID: u32 = 2200;
/// The first number for objects of users, as in PostgreSQL.
const FIRST_OID: u32 = 16384;

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(
    clippy::large_enum_variant,
    reason = "a commit holds few changes, nearly all of them `Put`"
)]
pub enum Change {
    /// Adds an entry, or replaces the one with the same id.
    Put(CatalogEntry),
    /// Removes an entry; its id and oid are never used again.
    Drop {
        /// The entry's id.
        id: String,
    },
}

/// All entries at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogState {
    number: u64,
    next_oid: u32,
    by_id: BTreeMap<String, Arc<CatalogEntry>>,
    schemas: BTreeMap<String, Arc<CatalogEntry>>,
    objects: BTreeMap<String, BTreeMap<String, Arc<CatalogEntry>>>,
    /// Objects that lie in no schema.
    globals: BTreeMap<ObjectKind, BTreeMap<String, Arc<CatalogEntry>>>,
    /// Schemas and what they hold, types by the number of their arrays, too.
    by_oid: BTreeMap<u32, Arc<CatalogEntry>>,
}

impl CatalogState {
    /// The state of a new warehouse: the schema `public`.
    pub(crate) fn bootstrap() -> Result<Self> {
        // As in PostgreSQL, everybody may use it, and its owner alone makes something there.
        let usage = BTreeSet::from(["USAGE".to_owned()]);
        let public = CatalogEntry {
            id: PUBLIC_ID.into(),
            oid: PUBLIC_OID,
            grants: BTreeMap::from([(PUBLIC_ROLE.to_owned(), usage)]),
            ..CatalogEntry::new_schema(PUBLIC_SCHEMA)
        };
        Self::from_entries(0, FIRST_OID, [public])
    }

    /// The state that a snapshot holds.
    pub(crate) fn from_entries(
        number: u64,
        next_oid: u32,
        entries: impl IntoIterator<Item = CatalogEntry>,
    ) -> Result<Self> {
        let by_id = entries
            .into_iter()
            .map(|e| (e.id.clone(), Arc::new(e)))
            .collect();
        Self::index(number, next_oid, by_id, &BTreeSet::new())
    }

    /// The number of the last commit that is in it; 0 for a new warehouse.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The oid that the next new entry gets.
    pub fn next_oid(&self) -> u32 {
        self.next_oid
    }

    /// The table, external table, view or model of a name.
    pub fn get(&self, schema: &str, name: &str) -> Option<&Arc<CatalogEntry>> {
        self.objects.get(schema)?.get(name)
    }

    /// Like `get`. Errors: `UndefinedSchema`, `UndefinedObject`.
    pub fn require(&self, schema: &str, name: &str) -> Result<&Arc<CatalogEntry>> {
        self.get(schema, name)
            .ok_or_else(|| match self.schema_exists(schema) {
                true => Error::UndefinedObject {
                    schema: schema.into(),
                    name: name.into(),
                },
                false => Error::UndefinedSchema {
                    schema: schema.into(),
                },
            })
    }

    /// The schema of a name; the reserved ones have no entry.
    pub fn schema(&self, name: &str) -> Option<&Arc<CatalogEntry>> {
        self.schemas.get(name)
    }

    /// Whether the schema exists, with an entry or reserved.
    pub fn schema_exists(&self, name: &str) -> bool {
        self.schemas.contains_key(name) || RESERVED_SCHEMAS.contains(&name)
    }

    /// The entry of an id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<CatalogEntry>> {
        self.by_id.get(id)
    }

    /// The schema, or the object in one, of a number; of that of arrays it is the type of their elements.
    pub fn by_oid(&self, oid: u32) -> Option<&Arc<CatalogEntry>> {
        self.by_oid.get(&oid)
    }

    /// The schemas that have an entry, by name.
    pub fn schemas(&self) -> Vec<&Arc<CatalogEntry>> {
        self.schemas.values().collect()
    }

    /// What a schema holds, by name.
    pub fn entries(&self, schema: &str) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.objects
            .get(schema)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// What a schema holds under names that begin so.
    pub fn entries_with_prefix(
        &self,
        schema: &str,
        prefix: &str,
    ) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let named = self.objects.get(schema).into_iter();
        named
            .flat_map(move |entries| entries.range::<str, _>(from))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(_, entry)| entry)
    }

    /// The object of a name that lies in no schema.
    pub fn global(&self, kind: ObjectKind, name: &str) -> Option<&Arc<CatalogEntry>> {
        self.globals.get(&kind)?.get(name)
    }

    /// Like `global`. Errors: `UndefinedGlobal`.
    pub fn require_global(&self, kind: ObjectKind, name: &str) -> Result<&Arc<CatalogEntry>> {
        self.global(kind, name)
            .ok_or_else(|| Error::UndefinedGlobal {
                kind,
                name: name.into(),
            })
    }

    /// The objects of a kind that lie in no schema, by name.
    pub fn globals(&self, kind: ObjectKind) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.globals
            .get(&kind)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// Everything: the schemas by name, the objects by schema and name, then what lies in no schema.
    pub fn all(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.schemas
            .values()
            .chain(self.objects.values().flat_map(BTreeMap::values))
            .chain(self.globals.values().flat_map(BTreeMap::values))
    }

    /// The state after `changes` as commit `number`, and the changes with what the catalog assigned.
    ///
    /// The rules hold for the changes together, so names may be swapped and a schema may go with all it holds.
    pub(crate) fn apply(
        &self,
        number: u64,
        at_ms: i64,
        mut changes: Vec<Change>,
    ) -> Result<(Self, Vec<Change>)> {
        let mut by_id = self.by_id.clone();
        let mut next_oid = self.next_oid;
        let put = change_entries(&mut by_id, &mut next_oid, at_ms, &mut changes)?;
        let next = Self::index(number, next_oid, by_id, &put)?;
        Ok((next, changes))
    }

    /// The state as changes would leave it that nobody has committed; its number stays, and new entries have no time.
    ///
    /// Errors: those of the rules.
    pub fn with(&self, changes: Vec<Change>) -> Result<Self> {
        self.apply(self.number, 0, changes).map(|(next, _)| next)
    }

    /// The state after several commits, each with its number and time, at the price of one.
    ///
    /// The rules hold for the last state; commits of the log kept them one by one.
    pub(crate) fn apply_all(&self, commits: Vec<(u64, i64, Vec<Change>)>) -> Result<Self> {
        let mut by_id = self.by_id.clone();
        let (mut number, mut next_oid) = (self.number, self.next_oid);
        for (commit, at_ms, mut changes) in commits {
            change_entries(&mut by_id, &mut next_oid, at_ms, &mut changes)?;
            number = commit;
        }
        Self::index(number, next_oid, by_id, &BTreeSet::new())
    }

    /// Builds the name indexes; `put` are the entries to blame for a collision.
    fn index(
        number: u64,
        next_oid: u32,
        by_id: BTreeMap<String, Arc<CatalogEntry>>,
        put: &BTreeSet<String>,
    ) -> Result<Self> {
        let mut schemas = BTreeMap::new();
        let mut objects: BTreeMap<String, BTreeMap<String, Arc<CatalogEntry>>> = BTreeMap::new();
        let mut globals: BTreeMap<ObjectKind, BTreeMap<String, Arc<CatalogEntry>>> =
            BTreeMap::new();
        for entry in by_id.values() {
            let names = match entry.kind() {
                ObjectKind::Schema => &mut schemas,
                kind if kind.is_global() => globals.entry(kind).or_default(),
                _ => objects.entry(entry.schema.clone()).or_default(),
            };
            if let Some(other) = names.insert(entry.name.clone(), Arc::clone(entry)) {
                let holder = if put.contains(&other.id) {
                    entry
                } else {
                    &other
                };
                return Err(duplicate(holder));
            }
        }
        for (schema, names) in &objects {
            if !schemas.contains_key(schema) {
                // An object that is new there was put into nothing; others lost their schema.
                return Err(match names.values().all(|entry| put.contains(&entry.id)) {
                    true => Error::UndefinedSchema {
                        schema: schema.clone(),
                    },
                    false => Error::SchemaNotEmpty {
                        schema: schema.clone(),
                        dependents: dependents(names.values()),
                    },
                });
            }
        }
        let in_schemas = objects.values().flat_map(BTreeMap::values);
        let numbered = schemas.values().chain(in_schemas);
        let by_oid = numbered.flat_map(|entry| {
            let numbers = [Some(entry.oid), array_oid(entry)].into_iter().flatten();
            numbers.map(|oid| (oid, Arc::clone(entry)))
        });
        Ok(Self {
            number,
            next_oid,
            by_oid: by_oid.collect(),
            by_id,
            schemas,
            objects,
            globals,
        })
    }
}

/// The number of the arrays of a type.
fn array_oid(entry: &CatalogEntry) -> Option<u32> {
    match &entry.definition {
        Definition::Enum(definition) => Some(definition.array_oid),
        Definition::Domain(definition) => Some(definition.array_oid),
        _ => None,
    }
}

/// Makes the changes of one commit, and gives them what the catalog assigns; returns the ids of the entries put.
fn change_entries(
    by_id: &mut BTreeMap<String, Arc<CatalogEntry>>,
    next_oid: &mut u32,
    at_ms: i64,
    changes: &mut [Change],
) -> Result<BTreeSet<String>> {
    let mut put = BTreeSet::new();
    for change in changes {
        match change {
            Change::Drop { id } => {
                let gone = by_id.remove(id);
                // Another server was first.
                gone.ok_or_else(|| Error::Conflict {
                    object: "an object that is dropped".into(),
                })?;
            }
            Change::Put(entry) => {
                check_names(entry)?;
                let old = by_id.get(&entry.id);
                assign(entry, old.map(Arc::as_ref), next_oid, at_ms)?;
                put.insert(entry.id.clone());
                by_id.insert(entry.id.clone(), Arc::new(entry.clone()));
            }
        }
    }
    Ok(put)
}

/// Gives a new entry its number and time; an entry that replaces another keeps both and its kind.
fn assign(
    entry: &mut CatalogEntry,
    old: Option<&CatalogEntry>,
    next_oid: &mut u32,
    at_ms: i64,
) -> Result<()> {
    if let Some(old) = old {
        if old.kind() != entry.kind() {
            let what = format!("entry {} cannot become a {}", entry.id, entry.kind());
            return Err(Error::Internal { what });
        }
        entry.oid = old.oid;
        entry.created_at_ms = old.created_at_ms;
        return Ok(());
    }
    if entry.oid == 0 {
        entry.oid = *next_oid;
    }
    if entry.created_at_ms == 0 {
        entry.created_at_ms = at_ms;
    }
    *next_oid = (*next_oid).max(entry.oid.saturating_add(1));
    let array_oid = match &mut entry.definition {
        Definition::Enum(definition) => &mut definition.array_oid,
        Definition::Domain(definition) => &mut definition.array_oid,
        _ => return Ok(()),
    };
    // Arrays of it are a type of their own.
    if *array_oid == 0 {
        *array_oid = *next_oid;
    }
    *next_oid = (*next_oid).max(array_oid.saturating_add(1));
    Ok(())
}

fn check_names(entry: &CatalogEntry) -> Result<()> {
    let kind = entry.kind();
    if entry.name.is_empty() || entry.id.is_empty() {
        return Err(Error::ReservedName {
            kind,
            name: entry.name.clone(),
        });
    }
    if kind.is_global() {
        return match entry.schema.is_empty() {
            true => Ok(()),
            false => Err(Error::Internal {
                what: format!("{kind} {} in a schema", entry.id),
            }),
        };
    }
    if kind != ObjectKind::Schema {
        return match RESERVED_SCHEMAS.contains(&entry.schema.as_str()) {
            true => Err(Error::ReservedSchema {
                schema: entry.schema.clone(),
                name: entry.name.clone(),
            }),
            false => Ok(()),
        };
    }
    if RESERVED_SCHEMAS.contains(&entry.name.as_str()) {
        return Err(Error::DuplicateSchema {
            schema: entry.name.clone(),
        });
    }
    match entry.name.starts_with("pg_") {
        true => Err(Error::ReservedName {
            kind,
            name: entry.name.clone(),
        }),
        false => Ok(()),
    }
}

fn duplicate(holder: &CatalogEntry) -> Error {
    match holder.kind() {
        ObjectKind::Schema => Error::DuplicateSchema {
            schema: holder.name.clone(),
        },
        kind => Error::DuplicateObject {
            kind,
            schema: holder.schema.clone(),
            name: holder.name.clone(),
        },
    }
}

/// The first few of what a schema holds, for a message.
fn dependents<'a>(entries: impl ExactSizeIterator<Item = &'a Arc<CatalogEntry>>) -> Vec<String> {
    const SHOWN: usize = 5;
    let n_entries = entries.len();
    let mut shown: Vec<String> = entries
        .take(SHOWN)
        .map(|entry| format!("{} \"{}\"", entry.kind(), entry.name))
        .collect();
    if n_entries > SHOWN {
        shown.push(format!("{} more", n_entries - SHOWN));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::definition::{EnumDefinition, TableDefinition, ViewDefinition};

    fn table(schema: &str, name: &str) -> CatalogEntry {
        CatalogEntry::new(schema, name, Definition::Table(TableDefinition::default()))
    }

    fn view(schema: &str, name: &str) -> CatalogEntry {
        let view = ViewDefinition {
            text: "SELECT 1".into(),
            columns: vec![],
            dialect: "pg".into(),
            default_schema: None,
            search_path: vec![],
            objects: vec![],
            security_barrier: false,
            check_option: None,
        };
        CatalogEntry::new(schema, name, Definition::View(view))
    }

    fn apply(state: &CatalogState, changes: Vec<Change>) -> Result<CatalogState> {
        state
            .apply(state.number() + 1, 42, changes)
            .map(|(next, _)| next)
    }

    fn put(state: &CatalogState, entry: CatalogEntry) -> Result<CatalogState> {
        apply(state, vec![Change::Put(entry)])
    }

    fn drop_of(state: &CatalogState, schema: &str, name: &str) -> Change {
        Change::Drop {
            id: state.get(schema, name).unwrap().id.clone(),
        }
    }

    #[test]
    fn a_new_catalog_has_public() {
        let state = CatalogState::bootstrap().unwrap();
        assert_eq!(state.schemas().len(), 1);
        assert_eq!(state.schema("public").unwrap().oid, 2200);
        assert!(state.schema_exists("ml") && state.schema("ml").is_none());
        assert_eq!(state.require("nope", "x").unwrap_err().sqlstate(), "3F000");
        assert_eq!(
            state.require("public", "x").unwrap_err().sqlstate(),
            "42P01"
        );
    }

    #[test]
    fn changes_are_tried_on_a_state_of_their_own() {
        let state = CatalogState::bootstrap().unwrap();
        let add = |name| vec![Change::Put(table("public", name))];
        let tried = state.with(add("a")).unwrap().with(add("b")).unwrap();
        assert_eq!(tried.number(), state.number());
        assert!(tried.get("public", "a").is_some() && tried.get("public", "b").is_some());
        assert!(state.get("public", "a").is_none());
        assert_eq!(tried.with(add("a")).unwrap_err().sqlstate(), "42P07");
    }

    #[test]
    fn oids_are_assigned_once_and_never_reused() {
        let state = CatalogState::bootstrap().unwrap();
        let state = put(&state, table("public", "a")).unwrap();
        assert_eq!(state.get("public", "a").unwrap().oid, 16384);
        assert_eq!(state.get("public", "a").unwrap().created_at_ms, 42);
        let state = apply(&state, vec![drop_of(&state, "public", "a")]).unwrap();
        let state = put(&state, table("public", "b")).unwrap();
        assert_eq!(state.get("public", "b").unwrap().oid, 16385);
        let mut renamed = state.get("public", "b").unwrap().as_ref().clone();
        renamed.name = "c".into();
        renamed.oid = 0;
        let state = put(&state, renamed).unwrap();
        assert!(state.get("public", "b").is_none());
        assert_eq!(state.get("public", "c").unwrap().oid, 16385);
    }

    #[test]
    fn a_schema_has_one_name_space() {
        let state = CatalogState::bootstrap().unwrap();
        let state = put(&state, view("public", "x")).unwrap();
        let error = put(&state, table("public", "x")).unwrap_err();
        assert_eq!(error.sqlstate(), "42P07");
        assert_eq!(error.to_string(), "view \"x\" already exists");
        let state = put(&state, CatalogEntry::new_schema("s")).unwrap();
        put(&state, table("s", "x")).unwrap();
        let error = put(&state, CatalogEntry::new_schema("s")).unwrap_err();
        assert_eq!(error.sqlstate(), "42P06");
    }

    #[test]
    fn replacing_and_swapping_are_one_commit() {
        let state = CatalogState::bootstrap().unwrap();
        let state = apply(
            &state,
            vec![
                Change::Put(table("public", "a")),
                Change::Put(table("public", "b")),
            ],
        )
        .unwrap();
        let swapped = |from: &str, to: &str| {
            let mut entry = state.get("public", from).unwrap().as_ref().clone();
            entry.name = to.into();
            Change::Put(entry)
        };
        let next = apply(&state, vec![swapped("a", "b"), swapped("b", "a")]).unwrap();
        assert_eq!(
            next.get("public", "a").unwrap().id,
            state.get("public", "b").unwrap().id
        );
        let replaced = apply(
            &state,
            vec![
                drop_of(&state, "public", "a"),
                Change::Put(view("public", "a")),
            ],
        )
        .unwrap();
        assert_eq!(
            replaced.get("public", "a").unwrap().kind(),
            ObjectKind::View
        );
    }

    #[test]
    fn schemas_guard_what_they_hold() {
        let state = CatalogState::bootstrap().unwrap();
        let state = put(&state, CatalogEntry::new_schema("s")).unwrap();
        let state = put(&state, table("s", "t")).unwrap();
        let schema = Change::Drop {
            id: state.schema("s").unwrap().id.clone(),
        };
        let error = apply(&state, vec![schema.clone()]).unwrap_err();
        assert_eq!(error.sqlstate(), "2BP01");
        assert_eq!(error.detail().unwrap(), "Schema \"s\" holds table \"t\".");
        let state = apply(&state, vec![schema, drop_of(&state, "s", "t")]).unwrap();
        assert!(state.schema("s").is_none());
        assert_eq!(
            put(&state, table("s", "t")).unwrap_err().sqlstate(),
            "3F000"
        );
    }

    #[test]
    fn reserved_names_are_refused() {
        let state = CatalogState::bootstrap().unwrap();
        for schema in RESERVED_SCHEMAS {
            assert_eq!(
                put(&state, table(schema, "t")).unwrap_err().sqlstate(),
                "42501"
            );
            let error = put(&state, CatalogEntry::new_schema(*schema)).unwrap_err();
            assert_eq!(error.sqlstate(), "42P06");
        }
        let error = put(&state, CatalogEntry::new_schema("pg_mine")).unwrap_err();
        assert_eq!(error.sqlstate(), "42939");
        assert_eq!(
            put(&state, table("public", "")).unwrap_err().sqlstate(),
            "42939"
        );
    }

    #[test]
    fn entries_come_by_name() {
        let mut state = CatalogState::bootstrap().unwrap();
        for name in ["b", "c", "a"] {
            state = put(&state, table("public", name)).unwrap();
        }
        let names: Vec<&str> = state.entries("public").map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(state.all().count(), 4);
        let a = state.get("public", "a").unwrap();
        assert_eq!(state.by_id(&a.id), Some(a));
        assert_eq!(state.by_oid(a.oid), Some(a));
    }

    #[test]
    fn a_type_comes_by_its_number_and_by_that_of_its_arrays() {
        let labels = EnumDefinition {
            labels: vec!["sad".to_owned()],
            array_oid: 0,
        };
        let entry = CatalogEntry::new("public", "mood", Definition::Enum(labels));
        let state = put(&CatalogState::bootstrap().unwrap(), entry).unwrap();
        let mood = state.get("public", "mood").unwrap();
        let arrays = array_oid(mood).unwrap();
        assert_ne!(arrays, mood.oid);
        for oid in [mood.oid, arrays] {
            assert_eq!(state.by_oid(oid), Some(mood));
        }
        assert_eq!(state.by_oid(arrays + 1), None);
    }
}
