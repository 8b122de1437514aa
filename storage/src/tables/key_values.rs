//! The values of keys as bytes: equal for equal values, so that sets find them.
//!
//! Rows flow in; one value a row flows out, none where a column is NULL or the row does not count for an index.

use std::collections::{BTreeMap, HashSet};

use datafusion::arrow::array::{Array as _, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};
use crate::tables::floats::canonical;
use crate::tables::key_form::KeyForm;
use crate::tables::keys::Key;
use crate::tables::shape::TableShape;

/// What a set needs for a value beside its bytes.
const ENTRY_BYTES: usize = 48;

/// One value of a key.
pub(crate) type KeyValue = Box<[u8]>;

/// Makes the values of one key of a table.
#[derive(Debug)]
pub(crate) struct KeyEncoder<'a> {
    converter: RowConverter,
    pub(crate) key: &'a Key,
    /// What computes the columns; `None`: they are columns of the table.
    pub(crate) form: Option<&'a KeyForm>,
    types: Vec<DataType>,
}

/// A key and the types that it is made of: values of other ones say nothing to each other.
pub(crate) fn full_name(key: &Key, shape: &TableShape) -> String {
    let fields = key.reads().filter_map(|name| shape.position(name));
    let types = fields.map(|idx| shape.columns()[idx].data_type());
    let (columns, index) = (&key.columns, &key.index);
    let nulls = key.nulls_are_equal;
    format!(
        "{columns:?} {nulls} {index:?} {:?}",
        types.collect::<Vec<_>>()
    )
}

/// The columns of a key in some rows.
pub(crate) struct KeyColumns {
    pub(crate) columns: Vec<ArrayRef>,
    /// Which rows have a key at all; `None`: all have.
    counted: Option<BooleanArray>,
}

impl<'a> KeyEncoder<'a> {
    /// `form` computes the key of an index.
    pub(crate) fn new(key: &'a Key, shape: &TableShape, form: Option<&'a KeyForm>) -> Result<Self> {
        let columns = key.columns.iter();
        let types: Vec<DataType> = match form {
            Some(form) => form.types(shape)?,
            None => columns
                .filter_map(|name| shape.position(name))
                .map(|idx| shape.columns()[idx].data_type().clone())
                .collect(),
        };
        let fields = types.iter().cloned().map(SortField::new);
        Ok(Self {
            converter: RowConverter::new(fields.collect())?,
            key,
            form,
            types,
        })
    }

    /// The columns of the key in rows of the table.
    pub(crate) fn key_of(&self, rows: &RecordBatch) -> Result<KeyColumns> {
        let (columns, counted) = match self.form {
            None => (self.columns_of(rows)?, None),
            Some(form) => {
                let (columns, counted) = form.of(rows)?;
                let typed = columns.iter().zip(&self.types);
                let typed = typed.map(|(column, data_type)| cast(column, data_type));
                (typed.collect::<Result<_, _>>()?, counted)
            }
        };
        Ok(KeyColumns { columns, counted })
    }

    /// The columns of the key in what a plan gives of it, under their names.
    pub(crate) fn columns_of(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.key.columns.iter().zip(&self.types);
        let column = |(name, data_type): (&String, &DataType)| {
            let column = rows.column_by_name(name).ok_or_else(|| Error::Internal {
                what: format!("rows have no column \"{name}\" of a key"),
            })?;
            Ok(cast(column, data_type)?)
        };
        columns.map(column).collect()
    }

    /// The values of rows of the table.
    pub(crate) fn values_of(&self, key: &KeyColumns) -> Result<Vec<Option<KeyValue>>> {
        let mut values = self.values(&key.columns)?;
        if let Some(counted) = &key.counted {
            for (value, counts) in values.iter_mut().zip(counted.values()) {
                value.take_if(|_| !counts);
            }
        }
        Ok(values)
    }

    /// The values of the rows whose columns of the key these are.
    pub(crate) fn values(&self, columns: &[ArrayRef]) -> Result<Vec<Option<KeyValue>>> {
        // Files of others have NaNs and zeros of both signs.
        let columns: Vec<ArrayRef> = columns.iter().cloned().map(canonical).collect();
        let rows = self.converter.convert_columns(&columns)?;
        let value = |row: usize| {
            let is_whole = || columns.iter().all(|column| column.is_valid(row));
            (self.key.nulls_are_equal || is_whole()).then(|| rows.row(row).as_ref().into())
        };
        Ok((0..rows.num_rows()).map(value).collect())
    }
}

/// Values of the keys of a table, by the name of the key.
#[derive(Debug, Default)]
pub(crate) struct KeyValues {
    by_key: BTreeMap<String, HashSet<KeyValue>>,
    bytes: usize,
}

impl KeyValues {
    pub(crate) fn contains(&self, key: &str, value: &KeyValue) -> bool {
        self.by_key
            .get(key)
            .is_some_and(|values| values.contains(value))
    }

    pub(crate) fn insert(&mut self, key: &str, value: KeyValue) {
        let n_bytes = value.len() + ENTRY_BYTES;
        let values = match self.by_key.get_mut(key) {
            Some(values) => values,
            None => self.by_key.entry(key.to_owned()).or_default(),
        };
        if values.insert(value) {
            self.bytes += n_bytes;
        }
    }

    /// Takes over the values of others.
    pub(crate) fn append(&mut self, others: KeyValues) {
        for (key, values) in others.by_key {
            self.by_key.entry(key).or_default().extend(values);
        }
        self.bytes += others.bytes;
    }

    /// The values of one key.
    pub(crate) fn of(&self, key: &str) -> impl Iterator<Item = &KeyValue> {
        self.by_key.get(key).into_iter().flatten()
    }

    /// What they take of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray};
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;

    #[test]
    fn equal_rows_have_equal_values_and_null_has_none() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let key = Key {
            name: "k".to_owned(),
            is_primary: false,
            columns: vec!["b".to_owned(), "a".to_owned()],
            ..Key::default()
        };
        let encoder = KeyEncoder::new(&key, &TableShape::new(&schema), None).unwrap();
        let a = Int64Array::from(vec![Some(1), Some(1), None, Some(2)]);
        let b = StringArray::from(vec!["x", "x", "x", "x"]);
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(a), Arc::new(b)]).unwrap();
        let columns = encoder.columns_of(&rows).unwrap();
        let values = encoder.values(&columns).unwrap();
        assert_eq!(values[0], values[1]);
        assert_eq!(values[2], None);
        assert_ne!(values[0], values[3]);
        let mut known = KeyValues::default();
        let first = values[0].clone().unwrap();
        known.insert("k", first.clone());
        let bytes = known.bytes();
        known.insert("k", first.clone());
        assert!(known.contains("k", &first) && !known.contains("other", &first));
        assert_eq!((known.bytes(), known.of("k").count()), (bytes, 1));
        assert!(bytes >= first.len());
    }
}
