//! What a prepared statement tells of its parameters, and what it does with their values.
//!
//! In: values, of whatever types clients give them; out: fields and statements. Runs nothing.

use std::borrow::Cow;
use std::sync::Arc;

use auspex_sql::ParsedStatement;
use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;

use super::Prepared;
use crate::bind::{cast_values, typed_values, with_values};
use crate::error::Result;
use crate::execute::Work;

impl Prepared {
    /// Its parameters with what tells of one that it is a uuid, json or a label of an enum.
    pub fn parameter_fields(&self) -> Vec<FieldRef> {
        let field = |(idx, known): (usize, &DataType)| {
            let marks = self.marked_parameter(idx).map(|marked| marks_of(marked));
            let field = Field::new("value", known.clone(), true);
            Arc::new(field.with_metadata(marks.unwrap_or_default()))
        };
        self.parameter_types.iter().enumerate().map(field).collect()
    }

    /// What tells of a parameter that it is a uuid or json, or an array of them.
    pub fn marked_parameter(&self, idx: usize) -> Option<&FieldRef> {
        self.marked_parameters.get(&idx)
    }

    /// The same statement with these values as the names of models and queries that parameters give, and the types that
    /// the client declared; `None`: no parameter gives such a name. Its columns are known only so.
    pub fn with_names(
        &self,
        values: &[ScalarValue],
    ) -> Option<Result<(ParsedStatement, Vec<Option<FieldRef>>)>> {
        let planned = self.planned();
        let Work::Late { given, .. } = &planned.work else {
            return None;
        };
        let statement = with_values(&self.statement, values);
        Some(statement.map(|statement| (statement, given.clone())))
    }

    /// Whether parameters name its models or queries, so that its columns are not known.
    pub fn has_late_names(&self) -> bool {
        matches!(self.planned().work, Work::Late { alike: None, .. })
    }

    /// Values of other types as its parameters.
    pub fn cast_parameters(&self, values: &[ScalarValue]) -> Result<Vec<ScalarValue>> {
        cast_values(values, &self.parameter_types)
    }

    /// The statement with the declared types of its parameters.
    pub(crate) fn typed_statement(&self) -> Cow<'_, ParsedStatement> {
        match typed_values(&self.statement, &self.declared) {
            Some(typed) => Cow::Owned(typed),
            None => Cow::Borrowed(&self.statement),
        }
    }
}
