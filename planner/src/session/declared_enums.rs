//! Enums as the types that clients declare parameters with, by their numbers.
//!
//! In: the number of a type; out: the field of such a parameter, as the catalog knows the labels now.

use std::sync::Arc;

use auspex_storage::EnumType;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};

use super::Session;

impl Session {
    /// A parameter that is a label of an enum, or an array of labels, by the number of its type; `None`: the number is that
    /// of another type, or of none.
    pub fn enum_field(&self, type_oid: u32) -> Option<FieldRef> {
        let catalog = self.seen_catalog();
        let known = EnumType::of_entry(catalog.by_oid(type_oid)?)?;
        let data_type = match known.array_oid == type_oid {
            true => DataType::new_list(DataType::Utf8, true),
            false => DataType::Utf8,
        };
        let field = Field::new("value", data_type, true);
        Some(Arc::new(field.with_metadata(known.marks())))
    }
}
