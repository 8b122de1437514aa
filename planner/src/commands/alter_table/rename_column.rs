//! `RENAME COLUMN`: checks, generated columns and indexes follow the new name.
//!
//! In: an operation of `ALTER TABLE`; out: the definition that it makes, whose rows are written anew.

use auspex_storage::TableOperation;
use datafusion::sql::sqlparser::ast::Ident;

use super::Altering;
use crate::bind::renamed;
use crate::error::{Error, Result};

impl Altering<'_> {
    pub(super) fn rename_column(&mut self, column: &Ident, to: &str) -> Result<()> {
        let idx = self.place(column)?;
        if self
            .shape
            .columns()
            .iter()
            .any(|column| column.name().eq_ignore_ascii_case(to))
        {
            let message = format!(
                "column \"{to}\" of relation \"{}\" already exists",
                self.relation
            );
            return Err(Error::invalid("42701", message, None));
        }
        let from = self.shape.columns()[idx].name().clone();
        self.shape.rename(idx, to);
        self.rename_in_indexes(&from, to)?;
        for (check, text) in self.shape.checks() {
            self.shape.add_check(&check, &renamed(&text, &from, to)?);
        }
        for idx in 0..self.shape.columns().len() {
            if let Some(text) = self.shape.generated_of(&self.shape.columns()[idx]) {
                self.shape
                    .set_generated(idx, Some(&renamed(&text, &from, to)?));
            }
        }
        self.needs_rows = true;
        self.operation = TableOperation::Columns;
        Ok(())
    }

    /// Lets the expressions and conditions of indexes follow.
    fn rename_in_indexes(&mut self, from: &str, to: &str) -> Result<()> {
        for mut key in self.shape.keys() {
            let Some(index) = &mut key.index else {
                continue;
            };
            for place in &index.expressions {
                if let Some(text) = key.columns.get_mut(*place) {
                    *text = renamed(text, from, to)?;
                }
            }
            if let Some(text) = &mut index.condition {
                *text = renamed(text, from, to)?;
            }
            self.shape.add_key(&key);
        }
        Ok(())
    }
}
