//! Sequences as relations: the one row of `SELECT * FROM s`, and what catalogs tell of all of them.
//!
//! In: a sequence, or a column that is numbered; out: its last number and whether it was given. Takes no number.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, CatalogState, Definition, Identity, SequenceDefinition};
use datafusion::arrow::array::{BooleanArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};

use super::facts::CatalogFacts;
use crate::error::{Error, Result};
use crate::functions::type_name;
use crate::named::Named;
use crate::sequences::{identity_of, sequence_name};
use crate::session::Session;

/// A sequence of its own, or the numbers of an identity column, as catalogs show it.
#[derive(Debug, Clone)]
pub struct SequenceFacts {
    /// The schema's name.
    pub schema: String,
    /// The name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// `smallint`, `integer` or `bigint`.
    pub data_type: String,
    /// The number that it was declared to start with.
    pub start: i64,
    /// The least number.
    pub min: i64,
    /// The greatest number.
    pub max: i64,
    /// From each number to the next.
    pub increment: i64,
    /// Whether it begins anew behind its last number.
    pub cycle: bool,
    /// The numbers that a session was to take at a time.
    pub cache: i64,
    /// The number that was given last.
    pub last: Option<i64>,
    /// Whether `CREATE SEQUENCE` made it.
    pub is_own: bool,
    /// The column that it goes with.
    pub owner_column: Option<SequenceOwner>,
}

/// The column that owns a sequence.
#[derive(Debug, Clone)]
pub struct SequenceOwner {
    /// The number of the table; 0: it is a temporary one.
    pub table_oid: u32,
    /// The name of the table.
    pub table: String,
    /// The column's number, from 1.
    pub position: usize,
    /// Whether it is an identity column, and not one with a default.
    pub is_identity: bool,
}

/// The row of a sequence.
pub(super) async fn of(
    session: &Session,
    entry: &CatalogEntry,
    sequence: &SequenceDefinition,
) -> Result<Arc<dyn TableProvider>> {
    // It is another one at the next statement, as files are.
    Named::note_files();
    let tables = session.tables();
    let taken = tables.taken_identities(&entry.id, &sequence.run).await?;
    let (last, called) = sequence.last(taken);
    row(last, called)
}

/// The row of the numbers of an identity column.
pub(super) async fn of_identity(
    session: &Session,
    table: &CatalogEntry,
    column: &str,
) -> Result<Arc<dyn TableProvider>> {
    Named::note_files();
    let identity = identity_of(session, table, column).await?;
    let tables = session.tables();
    let taken = tables.taken_identities(&table.id, &identity.sequence);
    match taken.await? {
        taken if taken > 0 => row(identity.number(taken)?, true),
        _ => row(identity.origin, false),
    }
}

fn row(last: i64, called: bool) -> Result<Arc<dyn TableProvider>> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("last_value", DataType::Int64, false),
        Field::new("log_cnt", DataType::Int64, false),
        Field::new("is_called", DataType::Boolean, false),
    ]));
    let row = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int64Array::from(vec![last])),
            Arc::new(Int64Array::from(vec![0])),
            Arc::new(BooleanArray::from(vec![called])),
        ],
    );
    let row = row.map_err(datafusion::error::DataFusionError::from)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![row]])?))
}

impl CatalogFacts {
    /// The sequences, and the numbers of identity columns as sequences; temporary ones are the session's.
    pub async fn sequences(&self) -> Result<Vec<SequenceFacts>> {
        let session = self.session()?;
        let state = session.seen_catalog();
        let mut found = Vec::new();
        let temporary = session.temporary_entries();
        for entry in state.all().chain(&temporary) {
            match &entry.definition {
                Definition::Sequence(sequence) => {
                    let owner = owner_of(&state, sequence);
                    let facts = own_facts(&session, entry, sequence).await?;
                    found.push(SequenceFacts {
                        owner_column: owner,
                        ..facts
                    });
                }
                Definition::Table(_) => {
                    // A table that cannot be read shows none.
                    let columns = of_columns(&session, entry).await;
                    found.extend(columns.unwrap_or_default());
                }
                _ => {}
            }
        }
        for sequence in &mut found {
            sequence.schema = session.shown_schema(&sequence.schema);
        }
        Ok(found)
    }
}

/// The column that a sequence was given to.
fn owner_of(state: &CatalogState, sequence: &SequenceDefinition) -> Option<SequenceOwner> {
    let owned = sequence.owned_by.as_ref()?;
    let table = state.by_id(&owned.table)?;
    let Definition::Table(definition) = &table.definition else {
        return None;
    };
    let mut columns = definition.columns.iter();
    let idx = columns.position(|column| column.name == owned.column)?;
    Some(SequenceOwner {
        table_oid: table.oid,
        table: table.name.clone(),
        position: idx + 1,
        is_identity: false,
    })
}

async fn own_facts(
    session: &Session,
    entry: &CatalogEntry,
    sequence: &SequenceDefinition,
) -> Result<SequenceFacts> {
    let tables = &session.engine.tables;
    let taken = tables.taken_identities(&entry.id, &sequence.run).await?;
    let (last, called) = sequence.last(taken);
    Ok(SequenceFacts {
        schema: entry.schema.clone(),
        name: entry.name.clone(),
        owner: entry.owner.clone(),
        data_type: sequence.data_type.clone(),
        start: sequence.start,
        min: sequence.min,
        max: sequence.max,
        increment: sequence.increment,
        cycle: sequence.cycle,
        cache: sequence.cache,
        last: called.then_some(last),
        is_own: true,
        owner_column: None,
    })
}

async fn of_columns(session: &Session, table: &CatalogEntry) -> Result<Vec<SequenceFacts>> {
    let tables = &session.engine.tables;
    let shape = tables.shape(&table.id).await?;
    let mut found = Vec::new();
    for (idx, field) in shape.columns().iter().enumerate() {
        let Some(identity) = shape.identity_of(field) else {
            continue;
        };
        let taken = tables.taken_identities(&table.id, &identity.sequence);
        let last = match taken.await? {
            taken if taken > 0 => identity.number(taken).ok(),
            _ => None,
        };
        found.push(SequenceFacts {
            owner_column: Some(SequenceOwner {
                table_oid: table.oid,
                table: table.name.clone(),
                position: idx + 1,
                is_identity: !identity.is_serial(),
            }),
            ..of_column(table, field, &identity, last)?
        });
    }
    Ok(found)
}

fn of_column(
    table: &CatalogEntry,
    field: &Field,
    identity: &Identity,
    last: Option<i64>,
) -> Result<SequenceFacts> {
    let data_type = field.data_type();
    let Some((min, max)) = identity.bounds(data_type) else {
        return Err(Error::unsupported(format!(
            "an identity column of {data_type}"
        )));
    };
    Ok(SequenceFacts {
        schema: table.schema.clone(),
        name: sequence_name(&table.name, field.name()),
        owner: table.owner.clone(),
        data_type: type_name(data_type),
        start: identity.start,
        min,
        max,
        increment: identity.increment,
        cycle: false,
        cache: 1,
        last,
        is_own: false,
        owner_column: None,
    })
}
