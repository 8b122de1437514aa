//! Statements whose numerics have more digits than the type that they were planned with holds.
//!
//! In: a prepared statement and values; out: the same statement planned for the digits of these values, with the values as its
//! parameters. A statement keeps the last such plan, so that those who send many values of one kind have it planned once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;

use super::{KeptStatement, Prepared, Session};
use crate::engine::lock;
use crate::error::Result;
use crate::functions::{holds_numerics, planned_type, rounded_numeric};

/// A statement as it is planned for other digits.
pub(super) struct InFull {
    prepared: Arc<Prepared>,
    /// What it is charged with while the statement is kept by its name.
    _memory: Option<KeptStatement>,
}

impl Session {
    /// The statement planned for the digits of its numerics, unless it takes them, and the values as parameters.
    pub(crate) async fn in_full(
        self: &Arc<Session>,
        prepared: &Prepared,
        values: Vec<ScalarValue>,
    ) -> Result<(Option<Arc<Prepared>>, Vec<ScalarValue>)> {
        if prepared.takes(&values) {
            return Ok((None, values));
        }
        let values = prepared.rounded(&values, |idx| prepared.stored.contains(&idx))?;
        if prepared.takes(&values) {
            return Ok((None, values));
        }
        let declared = prepared.declared_in_full(&values);
        let known = lock(&prepared.in_full)
            .as_ref()
            .map(|known| Arc::clone(&known.prepared))
            .filter(|known| known.declared == declared);
        let own = match known {
            Some(known) => known,
            None => {
                let own = Box::pin(self.prepare(&prepared.statement, &declared)).await?;
                let own = Arc::new(own);
                prepared.keep_in_full(self, &own);
                own
            }
        };
        let values = own.rounded(&values, |_| true)?;
        Ok((Some(own), values))
    }
}

impl Prepared {
    /// Whether it was planned for the digits of these values.
    pub(super) fn takes(&self, values: &[ScalarValue]) -> bool {
        let mut pairs = values.iter().zip(&self.parameter_types);
        !pairs.any(|(value, planned)| has_other_digits(value, planned))
    }

    /// The types to plan it with for these values.
    fn declared_in_full(&self, values: &[ScalarValue]) -> Vec<Option<FieldRef>> {
        let pairs = values.iter().zip(&self.parameter_types).enumerate();
        let declared = pairs.map(|(idx, (value, planned))| {
            let own = has_other_digits(value, planned).then(|| planned_type(&value.data_type()));
            match own {
                Some(own) => Some(Arc::new(Field::new("value", own, true))),
                None => self.declared.get(idx).cloned().flatten(),
            }
        });
        declared.collect()
    }

    fn keep_in_full(&self, session: &Session, own: &Arc<Prepared>) {
        let stays = self.stays.load(Ordering::Relaxed);
        let memory = stays.then(|| session.kept_statement(self.text(), Some(own)));
        // Without room for it, it is planned each time.
        *lock(&self.in_full) = match memory.transpose() {
            Ok(memory) => Some(InFull {
                prepared: Arc::clone(own),
                _memory: memory,
            }),
            Err(_) => None,
        };
    }

    /// Values as its parameters, those at the places that are asked for with no more digits than it was planned with.
    /// Errors: 22003.
    fn rounded(
        &self,
        values: &[ScalarValue],
        is_asked: impl Fn(usize) -> bool,
    ) -> Result<Vec<ScalarValue>> {
        let pairs = values.iter().zip(&self.parameter_types).enumerate();
        let round = |(idx, (value, planned)): (usize, (&ScalarValue, &DataType))| {
            Ok(match is_asked(idx) && has_other_digits(value, planned) {
                true => rounded_numeric(value, planned)?,
                false => value.clone(),
            })
        };
        pairs.map(round).collect()
    }
}

/// Whether a value of numerics is of another type than what a statement was planned with.
fn has_other_digits(value: &ScalarValue, planned: &DataType) -> bool {
    holds_numerics(planned) && {
        let found = value.data_type();
        found != *planned && holds_numerics(&found)
    }
}
