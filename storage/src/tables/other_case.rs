//! Columns of files whose names differ from a table's in case alone, as most writers' do from the names that statements
//! fold.
//!
//! A table's columns and a file's flow in; the file's under the table's names flow out, also within records, or an error
//! where two of them could be meant. A name that equals a column's is that column's.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::error::ColumnFailure;

/// The name in a file of a column of a table; `None`: the file has none. The file is not named in errors yet.
///
/// Errors: several names of the file that are no other column's.
pub fn name_in_file<'a>(
    column: &str,
    table: &Fields,
    file: &'a Fields,
) -> Result<Option<&'a str>, ColumnFailure> {
    if let Some((_, field)) = file.find(column) {
        return Ok(Some(field.name()));
    }
    let lower = column.to_lowercase();
    let names = file.iter().map(|field| field.name().as_str());
    let mut alike = names.filter(|name| name.to_lowercase() == lower && table.find(name).is_none());
    match (alike.next(), alike.next()) {
        (Some(first), Some(second)) => Err(ColumnFailure::Ambiguous {
            column: column.to_owned(),
            file: String::new(),
            first: first.to_owned(),
            second: second.to_owned(),
        }),
        (found, _) => Ok(found),
    }
}

/// The columns of a file under the names that a table has for them.
#[derive(Debug)]
pub(crate) struct Renamed {
    /// The columns in their places.
    pub(crate) fields: Fields,
    /// What those are to be told who read certain columns of the table.
    pub(crate) failures: Vec<ColumnFailure>,
}

/// The columns of a file as a table names them; `None`: the names are the same.
pub(crate) fn renamed(table: &Fields, file: &Fields) -> Option<Renamed> {
    let mut failures = Vec::new();
    let fields = renamed_fields(table, file, &mut failures);
    let is_same = fields.is_none() && failures.is_empty();
    (!is_same).then(|| Renamed {
        fields: fields.unwrap_or_else(|| file.clone()),
        failures,
    })
}

fn renamed_fields(
    table: &Fields,
    file: &Fields,
    failures: &mut Vec<ColumnFailure>,
) -> Option<Fields> {
    let mut fields: Vec<FieldRef> = file.iter().cloned().collect();
    let mut is_changed = false;
    for wanted in table {
        let found = match name_in_file(wanted.name(), table, file) {
            Ok(name) => name.and_then(|name| file.find(name)),
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let Some((place, found)) = found else {
            continue;
        };
        let n_failures = failures.len();
        let data_type = renamed_type(wanted.data_type(), found.data_type(), failures);
        // Whoever reads a record reads all of it.
        for failure in &mut failures[n_failures..] {
            failure.set_column(wanted.name());
        }
        if data_type.is_none() && found.name() == wanted.name() {
            continue;
        }
        let data_type = data_type.unwrap_or_else(|| found.data_type().clone());
        let field = found.as_ref().clone().with_name(wanted.name());
        fields[place] = Arc::new(field.with_data_type(data_type));
        is_changed = true;
    }
    is_changed.then(|| fields.into())
}

/// The same of the records within a type; `None`: there is nothing to change.
fn renamed_type(
    wanted: &DataType,
    found: &DataType,
    failures: &mut Vec<ColumnFailure>,
) -> Option<DataType> {
    use DataType as T;
    match (wanted, found) {
        (T::Struct(wanted), T::Struct(found)) => {
            renamed_fields(wanted, found, failures).map(T::Struct)
        }
        (T::Map(wanted, _), T::Map(found, is_sorted)) => {
            let (T::Struct(pair), T::Struct(found_pair)) = (wanted.data_type(), found.data_type())
            else {
                return None;
            };
            // Key and value have other names with other writers.
            let pairs = pair.iter().zip(found_pair);
            let within: Vec<Option<FieldRef>> = pairs
                .map(|(wanted, found)| renamed_item(wanted, found, failures))
                .collect();
            if within.iter().all(Option::is_none) {
                return None;
            }
            let pairs = within.into_iter().zip(found_pair);
            let fields = pairs.map(|(within, found)| within.unwrap_or_else(|| Arc::clone(found)));
            let entries = T::Struct(fields.collect());
            let entries: Field = found.as_ref().clone().with_data_type(entries);
            Some(T::Map(Arc::new(entries), *is_sorted))
        }
        (T::List(wanted) | T::LargeList(wanted) | T::FixedSizeList(wanted, _), found) => {
            match found {
                T::List(found) => renamed_item(wanted, found, failures).map(T::List),
                T::LargeList(found) => renamed_item(wanted, found, failures).map(T::LargeList),
                T::FixedSizeList(found, n) => {
                    let item = renamed_item(wanted, found, failures)?;
                    Some(T::FixedSizeList(item, *n))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn renamed_item(
    wanted: &Field,
    found: &Field,
    failures: &mut Vec<ColumnFailure>,
) -> Option<FieldRef> {
    let data_type = renamed_type(wanted.data_type(), found.data_type(), failures)?;
    Some(Arc::new(found.clone().with_data_type(data_type)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &[&str]) -> Fields {
        let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
        names.iter().map(field).collect()
    }

    #[test]
    fn one_name_alone_is_a_column_of_another_case() {
        let table = fields(&["userid", "name", "Name", "both", "x", "none"]);
        let file = fields(&["UserId", "Name", "NAME", "Both", "BOTH", "x", "X"]);
        let name = |column| name_in_file(column, &table, &file);
        assert_eq!(name("userid").unwrap(), Some("UserId"));
        assert_eq!(name("name").unwrap(), Some("NAME"));
        assert_eq!(name("Name").unwrap(), Some("Name"));
        assert_eq!(name("x").unwrap(), Some("x"));
        assert_eq!(name("none").unwrap(), None);
        let failure = name("both").unwrap_err().in_file("a".to_owned());
        let expected = "column \"both\" is ambiguous: \"a\" has \"Both\" and \"BOTH\"";
        assert_eq!(failure.to_string(), expected);
        let renamed = renamed(&table, &file).unwrap();
        let expected = fields(&["userid", "Name", "name", "Both", "BOTH", "x", "X"]);
        assert_eq!(renamed.fields, expected);
        assert_eq!(renamed.failures.len(), 1);
    }

    #[test]
    fn fields_within_columns_are_found_too() {
        let record = |name: &str, names: &[&str]| -> FieldRef {
            Arc::new(Field::new(name, DataType::Struct(fields(names)), true))
        };
        let list = |name: &str, item| -> FieldRef {
            Arc::new(Field::new(name, DataType::List(item), true))
        };
        let pairs = |value| -> FieldRef {
            let key = Arc::new(Field::new("k", DataType::Utf8, false));
            let pair = DataType::Struct(vec![key, value].into());
            let pair = Arc::new(Field::new("pair", pair, false));
            Arc::new(Field::new("m", DataType::Map(pair, false), true))
        };
        let table: Fields = vec![
            record("r", &["a", "b"]),
            list("l", record("element", &["a"])),
            pairs(record("other", &["a"])),
        ]
        .into();
        let file = |name: &str| -> Fields {
            vec![
                record("r", &["c", name]),
                list("l", record("item", &[name])),
                pairs(record("v", &[name])),
            ]
            .into()
        };
        assert_eq!(renamed(&table, &file("A")).unwrap().fields, file("a"));
        assert!(renamed(&table, &file("a")).is_none());
    }

    #[test]
    fn failures_are_those_of_whole_columns() {
        let record = |names: &[&str]| -> Fields {
            vec![Field::new("r", DataType::Struct(fields(names)), true)].into()
        };
        let failures = renamed(&record(&["ab"]), &record(&["Ab", "aB"]))
            .unwrap()
            .failures;
        let said = failures[0].clone().in_file("f".to_owned()).to_string();
        assert_eq!(
            said,
            "column \"r\" is ambiguous: \"f\" has \"Ab\" and \"aB\""
        );
    }
}
