//! What Arrow calls that a column's values are more than their type tells: uuids, json, labels of an enum.
//!
//! The name is a note of the column, which [`Field::extension_type_name`] reads; what writes or removes it uses the key.
//!
//! [`Field::extension_type_name`]: datafusion::arrow::datatypes::Field::extension_type_name

/// Arrow's key of such names among the notes of a column.
pub(crate) const EXTENSION_KEY: &str = "ARROW:extension:name";
