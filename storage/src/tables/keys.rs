//! Keys of a table: columns whose values no two rows share.
//!
//! A definition flows in and becomes properties of Delta's metadata, which other engines carry along; those of a version
//! flow out as the same definition. That rows keep to them is `key_checks.rs`.

use serde_json::{Value, json};

use crate::tables::shape::TableShape;

/// What the names of properties with keys start with.
pub(crate) const KEY_PREFIX: &str = "auspex.key.";

/// A primary key or a unique constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The constraint's name.
    pub name: String,
    /// Whether it is the primary key, whose columns are never NULL.
    pub is_primary: bool,
    /// The names of its columns, in its order.
    pub columns: Vec<String>,
}

impl Key {
    fn of(property: &str, text: &str) -> Option<Key> {
        let name = property.strip_prefix(KEY_PREFIX)?;
        let value: Value = serde_json::from_str(text).ok()?;
        let columns = value.get("columns")?.as_array()?.iter();
        Some(Key {
            name: name.to_owned(),
            is_primary: value.get("primary")?.as_bool()?,
            columns: columns
                .map(|column| column.as_str().map(ToOwned::to_owned))
                .collect::<Option<_>>()?,
        })
    }
}

impl TableShape {
    /// The keys: the primary one first, the others by name.
    pub fn keys(&self) -> Vec<Key> {
        let all = self.all_properties().iter();
        let mut keys: Vec<Key> = all.filter_map(|(name, text)| Key::of(name, text)).collect();
        keys.sort_by_key(|key| !key.is_primary);
        keys
    }

    /// Adds a key, or changes the one of its name.
    pub fn add_key(&mut self, key: &Key) {
        let text = json!({ "primary": key.is_primary, "columns": key.columns });
        self.set_property(&format!("{KEY_PREFIX}{}", key.name), &text.to_string());
    }

    /// Removes a key; whether there was one.
    pub fn drop_key(&mut self, name: &str) -> bool {
        self.unset_property(&format!("{KEY_PREFIX}{name}"))
    }

    /// Removes the keys that a column belongs to.
    pub fn drop_keys_of(&mut self, column: &str) {
        for key in self.keys() {
            if key.columns.iter().any(|name| name == column) {
                self.drop_key(&key.name);
            }
        }
    }

    /// Gives a column of keys another name.
    pub(crate) fn rename_in_keys(&mut self, from: &str, to: &str) {
        for mut key in self.keys() {
            let named = key.columns.iter_mut().find(|name| *name == from);
            if let Some(name) = named {
                to.clone_into(name);
                self.add_key(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn keys_follow_their_columns() {
        let field = |name| Field::new(name, DataType::Int64, true);
        let mut shape = TableShape::new(&Schema::new(vec![field("a"), field("b")]));
        let key = |name: &str, is_primary, columns: &[&str]| Key {
            name: name.to_owned(),
            is_primary,
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
        };
        shape.add_key(&key("a_unique", false, &["b", "a"]));
        shape.add_key(&key("t_pkey", true, &["a"]));
        shape.rename(0, "c");
        let keys = [
            key("t_pkey", true, &["c"]),
            key("a_unique", false, &["b", "c"]),
        ];
        assert_eq!(shape.keys(), keys);
        assert!(shape.properties().is_empty());
        shape.drop_keys_of("b");
        assert_eq!(shape.keys(), keys[..1]);
        assert!(shape.drop_key("t_pkey") && !shape.drop_key("t_pkey"));
    }
}
