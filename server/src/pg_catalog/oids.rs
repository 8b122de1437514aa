//! Object identifiers of what has no entry in the warehouse's catalog: system schemas and views, roles, rules.
//!
//! In: names; out: a number that is the same in every session and after a restart, and the way back. What is of a
//! fresh PostgreSQL has its numbers; the others are hashes of the names. Tables, views
//! and models have the numbers of their entries, which a rename keeps. What is of temporary relations is known to their
//! session alone, and forgotten with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use auspex_planner::is_temporary_schema;

use super::columns;
use super::schemas::written_schema;

/// Where hashed numbers begin; entries count up from 16384 and never come so far.
const FIRST_HASHED: u32 = 1 << 30;
/// The schema `ml`; the numbers behind it are its functions'. PostgreSQL leaves 8000 to 9999 free.
pub(super) const ML_SCHEMA: i32 = 9_000;
/// The schema `pg_catalog`, as in PostgreSQL.
pub(super) const PG_CATALOG_OID: i32 = 11;
/// The schema `information_schema`: PostgreSQL gives it one of this range when a cluster is made; the types and functions of
/// the catalogs name this one.
pub(super) const INFORMATION_SCHEMA_OID: i32 = 13_283;
/// Numbers of schemas that have no entry.
const FIXED: &[(&str, i32)] = &[
    ("ml", ML_SCHEMA),
    ("pg_catalog", PG_CATALOG_OID),
    ("information_schema", INFORMATION_SCHEMA_OID),
];

/// A schema's and an object's name; the schema itself has an empty object name.
pub(super) type ObjectName = (String, String);

/// The numbers that a session knows.
#[derive(Debug, Clone)]
pub(super) struct SessionOids {
    /// Those of the server.
    shared: Arc<Oids>,
    /// Those of temporary relations, and of what they have: keys, checks, defaults, types.
    own: Arc<Oids>,
}

impl SessionOids {
    /// Those of a session that begins.
    pub(super) fn new(shared: Arc<Oids>) -> SessionOids {
        SessionOids {
            shared,
            own: Arc::default(),
        }
    }

    /// The number of a schema.
    pub(super) fn schema(&self, schema: &str) -> i32 {
        self.object(schema, "")
    }

    /// The number of an object.
    pub(super) fn object(&self, schema: &str, name: &str) -> i32 {
        match is_temporary_schema(schema) || self.is_of_temporary(name) {
            true => self.own.object(schema, name),
            false => self.shared.object(schema, name),
        }
    }

    /// The object of a number, if it was asked for before.
    pub(super) fn name(&self, oid: i32) -> Option<ObjectName> {
        self.own.name(oid).or_else(|| self.shared.name(oid))
    }

    /// Whether a name begins with the number of a temporary relation, as the names of what relations have do.
    fn is_of_temporary(&self, name: &str) -> bool {
        let number = name
            .split('.')
            .next()
            .and_then(|digits| digits.parse().ok());
        number.is_some_and(|number: i32| self.own.lock().by_oid.contains_key(&number))
    }
}

/// The numbers given so far.
#[derive(Debug, Default)]
pub(super) struct Oids {
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    by_name: BTreeMap<ObjectName, i32>,
    by_oid: BTreeMap<i32, ObjectName>,
}

impl Oids {
    /// The number of an object.
    fn object(&self, schema: &str, name: &str) -> i32 {
        // The schema of temporary relations has another name in each session, and their numbers are the same.
        let schema = written_schema(schema);
        let key = (schema.to_owned(), name.to_owned());
        let mut given = self.lock();
        if let Some(oid) = given.by_name.get(&key) {
            return *oid;
        }
        let mut oid = fixed(schema, name).unwrap_or_else(|| hashed(schema, name));
        while given.by_oid.contains_key(&oid) {
            // Two names with one hash: the later one takes the next free number.
            oid = oid.wrapping_add(1).max(FIRST_HASHED as i32);
        }
        given.by_name.insert(key.clone(), oid);
        given.by_oid.insert(oid, key);
        oid
    }

    /// The object of a number, if it was asked for before.
    fn name(&self, oid: i32) -> Option<ObjectName> {
        let relation = columns::all().find(|relation| relation.oid == oid);
        match relation {
            Some(relation) => Some((relation.schema.to_owned(), relation.name.to_owned())),
            None => self.lock().by_oid.get(&oid).cloned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        // A panic elsewhere must not end the numbering; a half-made entry only wastes a number.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fixed(schema: &str, name: &str) -> Option<i32> {
    if name.is_empty() {
        return FIXED
            .iter()
            .find(|(fixed, _)| *fixed == schema)
            .map(|(_, oid)| *oid);
    }
    columns::find(schema, name).map(|relation| relation.oid)
}

/// FNV-1a over both names, in the range that is kept for it.
pub(super) fn hashed(schema: &str, name: &str) -> i32 {
    let bytes = schema.bytes().chain([0]).chain(name.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // Lossless: below 2^31.
    (FIRST_HASHED + hash % (i32::MAX as u32 - FIRST_HASHED)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_temporary_relations_are_those_of_any_session() {
        let numbers = ["pg_temp", "pg_temp_7"].map(|schema| Oids::default().object(schema, "t"));
        assert_eq!(numbers[0], numbers[1]);
    }

    #[test]
    fn what_is_of_temporary_relations_is_known_to_their_session() {
        let shared = Arc::<Oids>::default();
        let sessions = [(); 2].map(|()| SessionOids::new(Arc::clone(&shared)));
        let oid = sessions[0].object("pg_temp_3", "secret");
        let check = sessions[0].object("check", &format!("{oid}.secret_check"));
        assert_eq!(
            sessions[0].name(oid),
            Some(("pg_temp".to_owned(), "secret".to_owned()))
        );
        assert!(sessions[0].name(check).is_some());
        assert_eq!(sessions[1].name(oid), None);
        assert_eq!(sessions[1].name(check), None);
        assert_eq!(sessions[1].object("pg_temp_4", "secret"), oid);
        let other = sessions[0].object("check", "16384.t_check");
        assert!(sessions[1].name(other).is_some());
    }

    #[test]
    fn numbers_are_stable_and_lead_back_to_their_names() {
        let oids = Oids::default();
        let oid = oids.object("ml", "models");
        assert!(oid >= FIRST_HASHED as i32);
        assert_eq!(oids.object("ml", "models"), oid);
        assert_eq!(Oids::default().object("ml", "models"), oid);
        assert_eq!(oids.name(oid), Some(("ml".to_owned(), "models".to_owned())));
        assert_eq!(oids.object("pg_catalog", ""), 11);
        assert_eq!(oids.object("pg_catalog", "pg_class"), 1259);
        assert_eq!(
            Oids::default().name(1259),
            Some(("pg_catalog".to_owned(), "pg_class".to_owned()))
        );
        assert_eq!(oids.name(1), None);
    }
}
