//! `ALTER COLUMN … RESTART`, `SET GENERATED …`, `SET INCREMENT BY …`, and `ALTER SEQUENCE` of the numbers of a column.
//!
//! In: what changes; out: the definition that it makes. Numbers that go on elsewhere, or in other steps, are ones of another
//! run, so that a definition that is rolled back takes them back.

use std::sync::Arc;

use auspex_sql::{IdentityChanges, SequenceOptions, identity_changes};
use auspex_storage::{
    CatalogEntry, Error as StorageError, Identity, IdentityKind, SequenceDefinition,
    TableOperation, TableShape,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{AlterColumnOperation, Expr};

use super::{Altering, MAX_ROUNDS, record};
use crate::access::TableUse;
use crate::commands::sequences::declared;
use crate::error::{Error, Result};
use crate::functions::type_name;
use crate::sequences::identity_of;
use crate::session::Session;

/// The changes of an identity column that an operation stands for.
pub(super) fn changes_of(operation: &AlterColumnOperation) -> Option<IdentityChanges> {
    match operation {
        AlterColumnOperation::SetDefault {
            value: Expr::Identifier(name),
        } => identity_changes(&name.value),
        _ => None,
    }
}

impl Altering<'_> {
    pub(super) async fn change_identity(
        &mut self,
        session: &Arc<Session>,
        idx: usize,
        changes: &IdentityChanges,
    ) -> Result<()> {
        let identity = self.shape.identity_of(&self.shape.columns()[idx]);
        let Some(mut identity) = identity.filter(|identity| !identity.is_serial()) else {
            return Err(self.fault(idx, "is not an identity column"));
        };
        if let Some(is_always) = changes.is_always {
            identity.kind = match is_always {
                true => IdentityKind::Always,
                false => IdentityKind::ByDefault,
            };
            self.shape.set_identity(idx, &identity);
        }
        if changes.options != SequenceOptions::default() {
            set_numbers(
                session,
                self.table,
                (&mut self.shape, idx),
                &changes.options,
            )
            .await?;
        }
        Ok(())
    }
}

/// `ALTER SEQUENCE t_id_seq …` of the numbers of a column, whether it is an identity column or declared as `SERIAL`.
pub(in crate::commands) async fn change_numbers(
    session: &Arc<Session>,
    (table, column): (&CatalogEntry, &str),
    options: &SequenceOptions,
    text: &str,
) -> Result<()> {
    let table = session.managed_table(&table.schema, &table.name, TableUse::Define)?;
    identity_of(session, &table, column).await?;
    if session.keeps_definitions() {
        session.change_table("ALTER SEQUENCE", &table)?;
    }
    for _ in 0..MAX_ROUNDS {
        let rewrite = session.tables().rewrite(&table.id).await?;
        let mut shape = rewrite.shape().clone();
        let Some(idx) = shape.position(column) else {
            break;
        };
        set_numbers(session, &table, (&mut shape, idx), options).await?;
        if shape == *rewrite.shape() {
            return Ok(());
        }
        let redefined = rewrite.redefine(&shape, None, TableOperation::Properties);
        match Box::pin(redefined).await {
            Ok(()) => return record(session, &table, &shape, &[], text).await,
            Err(StorageError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let object = format!("table \"{}\"", table.name);
    Err(StorageError::Conflict { object }.into())
}

/// Lets options change the numbers of a column.
async fn set_numbers(
    session: &Session,
    table: &CatalogEntry,
    (shape, idx): (&mut TableShape, usize),
    options: &SequenceOptions,
) -> Result<()> {
    let column = Arc::clone(&shape.columns()[idx]);
    let data_type = type_name(column.data_type());
    let identity = shape.identity_of(&column);
    let bounds = |identity: &Identity| identity.bounds(column.data_type());
    let Some((identity, (min, max))) = identity.and_then(|it| Some((it.clone(), bounds(&it)?)))
    else {
        return Err(Error::unsupported("ALTER SEQUENCE of this column"));
    };
    let old = SequenceDefinition {
        data_type: data_type.clone(),
        start: identity.start,
        increment: identity.increment,
        min,
        max,
        cycle: false,
        cache: 1,
        owned_by: None,
        run: identity.sequence.clone(),
        origin: identity.origin,
        called: false,
    };
    let tables = session.tables();
    let taken = tables.taken_identities(&table.id, &old.run).await?;
    let new = declared(options, Some((&old, taken)))?;
    refuse_unkept(&new, options, column.data_type())?;
    let steps = |of: &SequenceDefinition| (of.start, of.increment);
    if steps(&old) == steps(&new) && options.restart.is_none() {
        return Ok(());
    }
    let anew = Identity {
        start: new.start,
        increment: new.increment,
        ..identity
    };
    shape.set_identity(idx, &anew);
    if new.run == old.run {
        return Ok(());
    }
    // The first number of a run that goes on behind one; none is left behind the last one of 64 bits.
    let origin = match new.called {
        true => new.origin.checked_add(new.increment),
        false => Some(new.origin),
    };
    let exhausted = || StorageError::IdentityExhausted {
        column: column.name().clone(),
    };
    let origin = origin.ok_or_else(exhausted)?;
    shape.restart_identity(idx);
    let column = Arc::clone(&shape.columns()[idx]);
    if let Some(restarted) = shape.identity_of(&column) {
        shape.set_identity(
            idx,
            &Identity {
                origin,
                ..restarted
            },
        );
    }
    Ok(())
}

/// Fails for what the numbers of a column do not keep: they end where its type does.
fn refuse_unkept(
    new: &SequenceDefinition,
    options: &SequenceOptions,
    data_type: &DataType,
) -> Result<()> {
    let anew = Identity {
        kind: IdentityKind::ByDefault,
        sequence: String::new(),
        start: new.start,
        increment: new.increment,
        origin: new.start,
    };
    let Some((least, greatest)) = anew.bounds(data_type) else {
        return Ok(());
    };
    let ends_before = match new.increment > 0 {
        true => new.max < greatest,
        false => new.min > least,
    };
    let what = if options.owned_by.is_some() {
        "another owner of the numbers of a column"
    } else if new.cycle {
        "CYCLE for the numbers of a column"
    } else if ends_before {
        "an end of the numbers of a column before that of its type"
    } else {
        return Ok(());
    };
    Err(Error::Unsupported {
        what: what.to_owned(),
        hint: Some(
            "ALTER TABLE ... ALTER COLUMN ... TYPE changes the bounds; a sequence of its own has all options."
                .to_owned(),
        ),
    })
}
