//! Keys of a table: columns, or what is computed of them, whose values no two rows share.
//!
//! A definition flows in and becomes properties of Delta's metadata, which other engines carry along; those of a version
//! flow out as the same definition. That rows keep to them is `key_checks.rs`.

use serde_json::{Value, json};

use crate::tables::shape::TableShape;

/// What the names of properties with keys start with.
pub(crate) const KEY_PREFIX: &str = "auspex.key.";
const NULLS_KEY: &str = "nulls";
const EQUAL_NULLS: &str = "equal";

/// A primary key, a unique constraint, or a unique index that computes its values or holds for some of the rows alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key {
    /// The constraint's name.
    pub name: String,
    /// Whether it is the primary key, whose columns are never NULL.
    pub is_primary: bool,
    /// The names of its columns, in its order; where an index has an expression, that one's text.
    pub columns: Vec<String>,
    /// Whether NULL counts as a value like any other.
    pub nulls_are_equal: bool,
    /// What makes it an index; `None`: it is a constraint.
    pub index: Option<IndexRules>,
}

/// What a unique index says that a constraint cannot say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexRules {
    /// The places in the key's columns that are expressions, in parentheses unless they are calls.
    pub expressions: Vec<usize>,
    /// What is true of a row that counts.
    pub condition: Option<String>,
    /// The columns of the table that its expressions and its condition read.
    pub reads: Vec<String>,
}

impl Key {
    /// Readers that know no indexes find the texts of expressions among the columns, so that they fail rather than let
    /// rows through.
    fn of(property: &str, text: &str) -> Option<Key> {
        let name = property.strip_prefix(KEY_PREFIX)?;
        let value: Value = serde_json::from_str(text).ok()?;
        let nulls = value.get(NULLS_KEY).and_then(Value::as_str);
        Some(Key {
            name: name.to_owned(),
            is_primary: value.get("primary")?.as_bool()?,
            columns: texts(value.get("columns")?)?,
            nulls_are_equal: nulls == Some(EQUAL_NULLS),
            index: match value.get("index") {
                Some(index) => Some(IndexRules::of(index)?),
                None => None,
            },
        })
    }

    fn text(&self) -> String {
        let mut value = json!({ "primary": self.is_primary, "columns": self.columns });
        if self.nulls_are_equal {
            value[NULLS_KEY] = EQUAL_NULLS.into();
        }
        if let Some(index) = &self.index {
            value["index"] = index.value();
        }
        value.to_string()
    }

    /// Whether one of its columns is an expression.
    pub fn is_expression(&self, place: usize) -> bool {
        let mut index = self.index.iter();
        index.any(|index| index.expressions.contains(&place))
    }

    /// What is true of the rows that count; `None`: all do.
    pub fn condition(&self) -> Option<&String> {
        self.index.as_ref()?.condition.as_ref()
    }

    /// Whether it consists of columns, and every row counts.
    pub fn is_of_columns(&self) -> bool {
        let mut index = self.index.iter();
        index.all(|index| index.expressions.is_empty()) && self.condition().is_none()
    }

    /// The columns of the table of which the key consists.
    pub fn plain_columns(&self) -> impl Iterator<Item = &String> {
        let placed = self.columns.iter().enumerate();
        let plain = placed.filter(|(place, _)| !self.is_expression(*place));
        plain.map(|(_, column)| column)
    }

    /// All columns of the table that decide about a row's key.
    pub fn reads(&self) -> impl Iterator<Item = &String> {
        let computed = self.index.iter().flat_map(|index| &index.reads);
        self.plain_columns().chain(computed)
    }
}

impl IndexRules {
    fn of(value: &Value) -> Option<IndexRules> {
        let places = value.get("expressions")?.as_array()?.iter();
        let place = |place: &Value| usize::try_from(place.as_u64()?).ok();
        Some(IndexRules {
            expressions: places.map(place).collect::<Option<_>>()?,
            condition: match value.get("where") {
                Some(condition) => Some(condition.as_str()?.to_owned()),
                None => None,
            },
            reads: texts(value.get("reads")?)?,
        })
    }

    fn value(&self) -> Value {
        let mut value = json!({ "expressions": self.expressions, "reads": self.reads });
        if let Some(condition) = &self.condition {
            value["where"] = condition.as_str().into();
        }
        value
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let texts = value.as_array()?.iter();
    texts
        .map(|text| text.as_str().map(ToOwned::to_owned))
        .collect()
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
        self.set_property(&format!("{KEY_PREFIX}{}", key.name), &key.text());
    }

    /// Removes a key; whether there was one.
    pub fn drop_key(&mut self, name: &str) -> bool {
        self.unset_property(&format!("{KEY_PREFIX}{name}"))
    }

    /// Removes the keys that a column belongs to, or is read by.
    pub fn drop_keys_of(&mut self, column: &str) {
        for key in self.keys() {
            if key.reads().any(|name| name == column) {
                self.drop_key(&key.name);
            }
        }
    }

    /// Gives a column of keys another name; the texts of expressions are not read here.
    pub(crate) fn rename_in_keys(&mut self, from: &str, to: &str) {
        for mut key in self.keys() {
            let before = key.clone();
            for place in 0..key.columns.len() {
                if key.columns[place] == from && !key.is_expression(place) {
                    to.clone_into(&mut key.columns[place]);
                }
            }
            let read = key.index.iter_mut().flat_map(|index| &mut index.reads);
            for name in read.filter(|name| *name == from) {
                to.clone_into(name);
            }
            if key != before {
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
            ..Key::default()
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

    #[test]
    fn indexes_follow_the_columns_that_they_read() {
        let field = |name| Field::new(name, DataType::Utf8, true);
        let mut shape = TableShape::new(&Schema::new(vec![field("a"), field("b")]));
        let index = |column: &str| Key {
            name: "t_lower_idx".to_owned(),
            columns: vec!["lower(a)".to_owned(), column.to_owned()],
            nulls_are_equal: true,
            index: Some(IndexRules {
                expressions: vec![0],
                condition: Some("a <> ''".to_owned()),
                reads: vec!["a".to_owned()],
            }),
            ..Key::default()
        };
        shape.add_key(&index("b"));
        assert_eq!(shape.keys(), [index("b")]);
        shape.rename(1, "c");
        assert_eq!(shape.keys(), [index("c")]);
        let [key] = &shape.keys()[..] else { panic!() };
        assert_eq!(key.reads().collect::<Vec<_>>(), ["c", "a"]);
        assert_eq!(key.plain_columns().collect::<Vec<_>>(), ["c"]);
        shape.drop_keys_of("a");
        assert!(shape.keys().is_empty());
    }
}
