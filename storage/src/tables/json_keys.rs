//! Keys of JSON files that differ from declared columns in case alone, as most writers' do from the names that statements
//! fold.
//!
//! Columns and a file flow in; the keys flow out that are read for columns of other names. A key that equals a column is
//! its own.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::Schema;

use crate::tables::json_types::json_columns;
use crate::tables::plain_bytes::Body;
use crate::tables::sample::Sample;

/// Rows whose keys are compared with the columns.
const KEY_ROWS: usize = 1000;

/// The keys of the first rows of a file for those of the columns that none of them equals.
pub(crate) async fn other_keys(columns: &Schema, text: Body) -> BTreeMap<String, String> {
    match json_columns(text, Sample::rows(KEY_ROWS)).await {
        Ok(found) => same_but_for_case(columns, &found.schema),
        // Whoever reads all rows tells of what cannot be read.
        Err(_) => BTreeMap::new(),
    }
}

/// The names of `found` for those of `wanted` that it lacks, where one alone differs in case and is no other's.
fn same_but_for_case(wanted: &Schema, found: &Schema) -> BTreeMap<String, String> {
    let has = |schema: &Schema, name: &str| schema.column_with_name(name).is_some();
    let mut names = BTreeMap::new();
    for column in wanted.fields().iter().map(|field| field.name()) {
        if has(found, column) {
            continue;
        }
        let lower = column.to_lowercase();
        let alike = found.fields().iter().map(|field| field.name());
        let mut alike = alike.filter(|name| name.to_lowercase() == lower && !has(wanted, name));
        if let (Some(name), None) = (alike.next(), alike.next()) {
            names.insert(column.clone(), name.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn one_key_alone_is_a_column_of_another_case() {
        let schema = |names: &[&str]| {
            let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
            Schema::new(names.iter().map(field).collect::<Vec<_>>())
        };
        let wanted = schema(&["userid", "name", "Name", "both", "x"]);
        let found = schema(&["UserId", "Name", "NAME", "Both", "BOTH", "x", "X"]);
        let names = same_but_for_case(&wanted, &found);
        let expected = [("name", "NAME"), ("userid", "UserId")];
        let expected = expected.map(|(column, key)| (column.to_owned(), key.to_owned()));
        assert_eq!(names, BTreeMap::from(expected));
    }
}
