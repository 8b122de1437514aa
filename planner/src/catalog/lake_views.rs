//! The views about credentials, external locations and catalogs. No secret is in any of them.
//!
//! In: the catalog; out: rows as they are now.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_storage::{CatalogEntry, Definition, Grants, ObjectKind};

use super::rows::{Cell, ColumnType};
use crate::session::Session;

use ColumnType::{Text, Timestamp};

pub(super) const CREDENTIALS: &[(&str, ColumnType)] = &[
    ("name", Text),
    ("type", Text),
    ("scope", Text),
    ("options", Text),
    ("grants", Text),
    ("owner", Text),
    ("created_at", Timestamp),
];
pub(super) const EXTERNAL_LOCATIONS: &[(&str, ColumnType)] = &[
    ("name", Text),
    ("url", Text),
    ("credential", Text),
    ("grants", Text),
    ("owner", Text),
    ("created_at", Timestamp),
];
pub(super) const CATALOGS: &[(&str, ColumnType)] = &[
    ("name", Text),
    ("type", Text),
    ("options", Text),
    ("grants", Text),
    ("owner", Text),
    ("created_at", Timestamp),
];

/// The rows of a kind.
pub(super) fn rows(session: &Session, kind: ObjectKind) -> Vec<Vec<Cell>> {
    let state = session.seen_catalog();
    let access = session.access();
    state
        .globals(kind)
        .filter(|entry| access.sees(entry))
        .map(row)
        .collect()
}

fn row(entry: &Arc<CatalogEntry>) -> Vec<Cell> {
    let mut cells: Vec<Cell> = vec![entry.name.as_str().into()];
    let grants = match &entry.definition {
        Definition::Credential(credential) => {
            cells.push(credential.store.as_str().into());
            cells.push(credential.scope.clone().into());
            cells.push(pairs(&credential.options));
            &credential.grants
        }
        Definition::Location(location) => {
            cells.push(location.url.as_str().into());
            cells.push(location.credential.clone().into());
            &location.grants
        }
        Definition::Catalog(catalog) => {
            cells.push(format!("iceberg {}", catalog.catalog).into());
            cells.push(pairs(&catalog.options));
            &catalog.grants
        }
        _ => return cells,
    };
    cells.push(privileges(grants));
    cells.push(entry.owner.as_str().into());
    cells.push(Cell::Timestamp(entry.created_at_ms));
    cells
}

fn pairs(options: &BTreeMap<String, String>) -> Cell {
    let pairs: Vec<String> = options
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join(", ")).into()
}

/// As PostgreSQL lists them: `role=READ,WRITE`.
fn privileges(grants: &Grants) -> Cell {
    let roles: Vec<String> = grants
        .iter()
        .map(|(role, held)| {
            let held: Vec<&str> = held.iter().map(String::as_str).collect();
            format!("{role}={}", held.join(","))
        })
        .collect();
    (!roles.is_empty()).then(|| roles.join("; ")).into()
}
