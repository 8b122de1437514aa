//! `ALTER COLUMN … ADD GENERATED AS IDENTITY` and `DROP IDENTITY`, and `DROP DEFAULT` of a column declared as `SERIAL`.
//!
//! In: an operation of `ALTER TABLE`; out: the definition that it makes. Rows stay as they are: a new identity column begins
//! at its start, whatever numbers the rows have.

use auspex_sql::{DROP_IDENTITY, DROP_IDENTITY_IF_EXISTS};
use auspex_storage::IdentityKind;
use datafusion::sql::sqlparser::ast::{Expr, GeneratedAs, Ident, SequenceOptions};

use super::Altering;
use crate::commands::table_shape::{set_identity, steps};
use crate::error::{Error, Result};
use crate::statement_run::{Notice, StatementControl};

/// Whether a default stands for `DROP IDENTITY`, and whether `IF EXISTS` was written.
pub(super) fn dropped(value: &Expr) -> Option<bool> {
    let Expr::Identifier(mark) = value else {
        return None;
    };
    match mark.value.as_str() {
        DROP_IDENTITY => Some(false),
        DROP_IDENTITY_IF_EXISTS => Some(true),
        _ => None,
    }
}

impl Altering<'_> {
    pub(super) fn add_identity(
        &mut self,
        idx: usize,
        kind: Option<GeneratedAs>,
        options: &[SequenceOptions],
    ) -> Result<()> {
        let column = &self.shape.columns()[idx];
        let identity = self.shape.identity_of(column);
        let is_serial = identity.as_ref().is_some_and(|found| found.is_serial());
        let fault = if identity.is_some() && !is_serial {
            "is already an identity column"
        } else if is_serial || self.shape.default_of(column).is_some() {
            "already has a default value"
        } else if column.is_nullable() {
            "must be declared NOT NULL before identity can be added"
        } else {
            let kind = match kind {
                Some(GeneratedAs::Always) => IdentityKind::Always,
                _ => IdentityKind::ByDefault,
            };
            set_identity(&mut self.shape, idx, steps(options)?, kind, self.relation)?;
            // Numbers that a former identity of the column took do not count.
            self.shape.restart_identity(idx);
            return Ok(());
        };
        Err(self.fault(idx, fault))
    }

    pub(super) fn drop_identity(
        &mut self,
        idx: usize,
        if_exists: bool,
        control: &StatementControl,
    ) -> Result<()> {
        let identity = self.shape.identity_of(&self.shape.columns()[idx]);
        if identity.is_none_or(|identity| identity.is_serial()) {
            let error = self.fault(idx, "is not an identity column");
            if !if_exists {
                return Err(error);
            }
            control.notify(Notice::plain(format!("{error}, skipping")));
            return Ok(());
        }
        self.end_numbers(idx);
        Ok(())
    }

    /// `DROP DEFAULT`, by which a column declared as `SERIAL` gets no more numbers.
    pub(super) fn drop_default(&mut self, idx: usize) {
        self.shape.set_default(idx, None);
        let identity = self.shape.identity_of(&self.shape.columns()[idx]);
        if identity.is_some_and(|identity| identity.is_serial()) {
            self.end_numbers(idx);
        }
    }

    fn end_numbers(&mut self, idx: usize) {
        let column = self.shape.columns()[idx].clone();
        self.shape.drop_identity(idx);
        // What a check said of it, the column itself says from now on.
        let own = format!("{} IS NOT NULL", Ident::with_quote('"', column.name()));
        for (name, text) in self.shape.checks() {
            if text == own {
                self.shape.drop_check(&name);
            }
        }
        self.shape.set_nullable(idx, false);
        self.forbid_null(column.name());
    }

    pub(super) fn fault(&self, idx: usize, what: &str) -> Error {
        let column = self.shape.columns()[idx].name();
        let relation = self.relation;
        let message = format!("column \"{column}\" of relation \"{relation}\" {what}");
        Error::invalid("55000", message, None)
    }
}
