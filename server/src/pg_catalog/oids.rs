//! Object identifiers: numbers for names, the same in every session and after a restart.
//!
//! In: a schema and a name; out: a number, and the way back. Numbers are hashes of the names; what
//! PostgreSQL's own clients know by number has PostgreSQL's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where numbers of users' objects begin in PostgreSQL.
const FIRST: u32 = 16_384;
/// The schema `ml`; the numbers behind it are its functions'. PostgreSQL leaves 8000 to 9999 free.
pub(super) const ML_SCHEMA: i32 = 9_000;
/// Numbers that PostgreSQL fixes, of schemas (with an empty name) and of catalog tables.
const FIXED: &[(&str, &str, i32)] = &[
    ("ml", "", ML_SCHEMA),
    ("pg_catalog", "", 11),
    ("public", "", 2200),
    ("pg_catalog", "pg_type", 1247),
    ("pg_catalog", "pg_attribute", 1249),
    ("pg_catalog", "pg_proc", 1255),
    ("pg_catalog", "pg_class", 1259),
    ("pg_catalog", "pg_authid", 1260),
    ("pg_catalog", "pg_database", 1262),
    ("pg_catalog", "pg_tablespace", 1213),
    ("pg_catalog", "pg_am", 2601),
    ("pg_catalog", "pg_attrdef", 2604),
    ("pg_catalog", "pg_constraint", 2606),
    ("pg_catalog", "pg_description", 2609),
    ("pg_catalog", "pg_index", 2610),
    ("pg_catalog", "pg_namespace", 2615),
    ("pg_catalog", "pg_operator", 2617),
    ("pg_catalog", "pg_trigger", 2620),
    ("pg_catalog", "pg_extension", 3079),
];

/// A schema's and an object's name; the schema itself has an empty object name.
pub(super) type ObjectName = (String, String);

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
    /// The number of a schema.
    pub(super) fn schema(&self, schema: &str) -> i32 {
        self.object(schema, "")
    }

    /// The number of an object.
    pub(super) fn object(&self, schema: &str, name: &str) -> i32 {
        let key = (schema.to_owned(), name.to_owned());
        let mut given = self.lock();
        if let Some(oid) = given.by_name.get(&key) {
            return *oid;
        }
        let fixed = FIXED.iter().find(|(s, n, _)| (*s, *n) == (schema, name));
        let mut oid = fixed.map_or_else(|| hashed(schema, name), |(_, _, oid)| *oid);
        while given.by_oid.contains_key(&oid) {
            // Two names with one hash: the later one takes the next free number.
            oid = (oid + 1).max(FIRST as i32);
        }
        given.by_name.insert(key.clone(), oid);
        given.by_oid.insert(oid, key);
        oid
    }

    /// The object of a number, if it was asked for before.
    pub(super) fn name(&self, oid: i32) -> Option<ObjectName> {
        self.lock().by_oid.get(&oid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        // A panic elsewhere must not end the numbering; a half-made entry only wastes a number.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// FNV-1a over both names, in the positive range above PostgreSQL's own numbers.
fn hashed(schema: &str, name: &str) -> i32 {
    let bytes = schema.bytes().chain([0]).chain(name.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // Lossless: below 2^31.
    (FIRST + hash % (i32::MAX as u32 - FIRST)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_lead_back_to_their_names() {
        let oids = Oids::default();
        let oid = oids.object("public", "penguins");
        assert!(oid >= FIRST as i32);
        assert_eq!(oids.object("public", "penguins"), oid);
        assert_eq!(Oids::default().object("public", "penguins"), oid);
        assert_eq!(
            oids.name(oid),
            Some(("public".to_owned(), "penguins".to_owned()))
        );
        assert_eq!(oids.schema("pg_catalog"), 11);
        assert_eq!(oids.name(1), None);
    }
}
