//! Keys of JSON files that differ from declared columns in case alone, as most writers' do from the names that statements
//! fold.
//!
//! Columns and a file flow in; the keys flow out that are read for columns of other names (see `other_case`).

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::Schema;

use crate::error::ColumnFailure;
use crate::tables::json_types::json_columns;
use crate::tables::other_case::name_in_file;
use crate::tables::plain_bytes::Body;
use crate::tables::sample::Sample;

/// Rows whose keys are compared with the columns.
const KEY_ROWS: usize = 1000;

/// The keys of the first rows of a file for those of the columns that none of them equals. The file is not named in errors
/// yet.
///
/// Errors: several keys that may be a column's.
pub(crate) async fn other_keys(
    columns: &Schema,
    text: Body,
) -> Result<BTreeMap<String, String>, ColumnFailure> {
    let Ok(found) = json_columns(text, Sample::rows(KEY_ROWS)).await else {
        // Whoever reads all rows tells of what cannot be read.
        return Ok(BTreeMap::new());
    };
    let mut keys = BTreeMap::new();
    for column in columns.fields().iter().map(|field| field.name()) {
        let key = name_in_file(column, columns.fields(), found.schema.fields())?;
        if let Some(key) = key.filter(|key| key != column) {
            keys.insert(column.clone(), key.to_owned());
        }
    }
    Ok(keys)
}
