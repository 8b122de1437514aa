//! References of tables as PostgreSQL's catalogs tell them: with the table and the columns that they mean now.
//!
//! In: a table's definition; out: its references. One whose table or key is gone, as after RESTORE, is not told.

use auspex_storage::{CatalogEntry, CatalogState, Definition, Reference, TableShape};

use crate::session::Session;

/// A reference of a table.
#[derive(Debug, Clone)]
pub struct ReferenceFacts {
    /// The definition.
    pub reference: Reference,
    /// The number of the table that it refers to.
    pub oid: u32,
    /// That table's schema.
    pub schema: String,
    /// That table's name.
    pub table: String,
    /// For each of its columns, the name of the one that it refers to.
    pub columns: Vec<String>,
    /// The same by place in that table, counted from 1.
    pub positions: Vec<i64>,
}

/// The references of a table.
pub(crate) async fn references(
    session: &Session,
    entry: &CatalogEntry,
    shape: &TableShape,
) -> Vec<ReferenceFacts> {
    let mut all = Vec::new();
    for reference in shape.references() {
        if reference.table == entry.id {
            all.extend(told(session, (reference, entry), shape));
            continue;
        }
        let state = session.seen_catalog();
        let Some(other) = state.by_id(&reference.table) else {
            continue;
        };
        match session.seen_shape(&other.id).await {
            Ok(shape) => all.extend(told(session, (reference, other), &shape)),
            Err(error) => {
                let name = &other.name;
                tracing::debug!(name, %error, "a table that is referred to cannot be opened");
            }
        }
    }
    all
}

fn told(
    session: &Session,
    (reference, other): (Reference, &CatalogEntry),
    shape: &TableShape,
) -> Option<ReferenceFacts> {
    let keys = shape.keys();
    let key = keys.iter().find(|key| key.name == reference.key)?;
    let column = |place: &usize| key.columns.get(*place).cloned();
    let columns: Vec<String> = reference.places.iter().map(column).collect::<Option<_>>()?;
    // Lossless: a table has few columns.
    let position = |name: &String| shape.position(name).map(|idx| idx as i64 + 1);
    Some(ReferenceFacts {
        positions: columns.iter().map(position).collect::<Option<_>>()?,
        columns,
        oid: other.oid,
        schema: session.shown_schema(&other.schema),
        table: other.name.clone(),
        reference,
    })
}

/// Whether a table refers to this one.
pub(super) fn is_referred(state: &CatalogState, entry: &CatalogEntry) -> bool {
    let refers = |other: &CatalogEntry| match &other.definition {
        Definition::Table(table) => {
            let mut references = table.references.iter();
            references.any(|reference| reference.table == entry.id)
        }
        _ => false,
    };
    state.all().any(|other| refers(other))
}
