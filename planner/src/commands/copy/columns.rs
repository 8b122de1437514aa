//! The columns of a file beside those of the table that its rows go into.
//!
//! In: both; out: the file's columns for those of the table, or an error that names a column that is missing or of another
//! type.

use std::sync::Arc;

use auspex_storage::name_in_file;
use datafusion::arrow::datatypes::{FieldRef, Fields, Schema};

use crate::error::{Error, Result};
use crate::functions::{can_be_assigned, type_of};

/// The columns of a file that go into those of a table, in their order: by name, in another case if none has the very name.
pub(super) fn found_columns(
    path: &str,
    found: &Schema,
    wanted: &[&FieldRef],
) -> Result<Vec<FieldRef>> {
    let columns: Fields = wanted.iter().map(|column| Arc::clone(column)).collect();
    let mut all = Vec::with_capacity(wanted.len());
    for column in wanted {
        let name = name_in_file(column.name(), &columns, found.fields());
        let name =
            name.map_err(|failure| auspex_storage::Error::from(failure.in_file(path.to_owned())))?;
        let Some((_, held)) = name.and_then(|name| found.fields().find(name)) else {
            let name = column.name();
            let message = format!("file \"{path}\" has no column \"{name}\"");
            let found: Vec<&str> = found.fields().iter().map(|f| f.name().as_str()).collect();
            let hint = format!(
                "Its columns are {}. Name those to fill: COPY t (a, b) FROM ...",
                found.join(", ")
            );
            return Err(Error::invalid("42703", message, Some(&hint)));
        };
        all.push(Arc::clone(held));
    }
    Ok(all)
}

/// Fails if a column of a file is of a type that is not cast to that of the table's; texts are read as what they say.
pub(super) fn check_types(path: &str, found: &[FieldRef], wanted: &[&FieldRef]) -> Result<()> {
    for (column, held) in wanted.iter().zip(found) {
        if !held.data_type().is_string() && !can_be_assigned(held, column) {
            let message = format!(
                "column \"{}\" is of type {} but of type {} in \"{path}\"",
                column.name(),
                type_of(column),
                type_of(held)
            );
            let hint = "INSERT INTO ... SELECT over the file can cast its values.";
            return Err(Error::invalid("42804", message, Some(hint)));
        }
    }
    Ok(())
}
