//! References of a table: columns whose values are said to be those of another table's key.
//!
//! A definition flows in and becomes properties of Delta's metadata, as keys do; those of a version flow out as the same
//! definition. Nothing looks whether rows keep to them. The key stands for its columns, so that a reference follows their
//! names; the other table stands by its id.

use serde::{Deserialize, Serialize};

use crate::catalog::{TableDefinition, TableReference, columns_of};
use crate::tables::shape::TableShape;

/// What the names of properties with references start with.
pub(crate) const REFERENCE_PREFIX: &str = "auspex.reference.";

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The constraint's name.
    #[serde(skip)]
    pub name: String,
    /// The names of its columns, in its order.
    pub columns: Vec<String>,
    /// The id of the table that it refers to, which may be its own.
    pub table: String,
    /// The name of that table's key.
    pub key: String,
    /// For each column, the place of the one that it refers to in the key.
    pub places: Vec<usize>,
    /// What is to happen when the key changes.
    pub on_update: ReferenceAction,
    /// What is to happen when the row of the key goes.
    pub on_delete: ReferenceAction,
    /// Whether `MATCH FULL` was written.
    pub is_full: bool,
    /// Whether and when it may be looked at late.
    pub deferral: Deferral,
    /// Whether the definition itself says `NOT ENFORCED`.
    pub is_declared_so: bool,
}

/// What a definition wants to happen to rows that refer to others. Nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceAction {
    /// `NO ACTION`.
    #[default]
    NoAction,
    /// `RESTRICT`.
    Restrict,
    /// `CASCADE`.
    Cascade,
    /// `SET NULL`.
    SetNull,
    /// `SET DEFAULT`.
    SetDefault,
}

impl ReferenceAction {
    /// The action as SQL writes it.
    pub fn words(self) -> &'static str {
        match self {
            ReferenceAction::NoAction => "NO ACTION",
            ReferenceAction::Restrict => "RESTRICT",
            ReferenceAction::Cascade => "CASCADE",
            ReferenceAction::SetNull => "SET NULL",
            ReferenceAction::SetDefault => "SET DEFAULT",
        }
    }

    /// The letter that stands for it in `pg_constraint`.
    pub fn letter(self) -> &'static str {
        match self {
            ReferenceAction::NoAction => "a",
            ReferenceAction::Restrict => "r",
            ReferenceAction::Cascade => "c",
            ReferenceAction::SetNull => "n",
            ReferenceAction::SetDefault => "d",
        }
    }
}

/// Whether and when a definition allows a reference to be looked at late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deferral {
    /// `NOT DEFERRABLE`.
    #[default]
    Never,
    /// `DEFERRABLE`.
    Possible,
    /// `DEFERRABLE INITIALLY DEFERRED`.
    Initially,
}

impl TableShape {
    /// The references by name.
    pub fn references(&self) -> Vec<Reference> {
        let of = |(property, text): (&String, &String)| {
            let name = property.strip_prefix(REFERENCE_PREFIX)?;
            let reference: Reference = serde_json::from_str(text).ok()?;
            Some(Reference {
                name: name.to_owned(),
                ..reference
            })
        };
        self.all_properties().iter().filter_map(of).collect()
    }

    /// Adds a reference, or changes the one of its name.
    pub fn add_reference(&mut self, reference: &Reference) {
        // Texts, numbers and names of variants always have a JSON form.
        if let Ok(text) = serde_json::to_string(reference) {
            self.set_property(&format!("{REFERENCE_PREFIX}{}", reference.name), &text);
        }
    }

    /// Removes a reference; whether there was one.
    pub fn drop_reference(&mut self, name: &str) -> bool {
        self.unset_property(&format!("{REFERENCE_PREFIX}{name}"))
    }

    /// Removes the references that a column belongs to.
    pub fn drop_references_of(&mut self, column: &str) {
        for reference in self.references() {
            if reference.columns.iter().any(|name| name == column) {
                self.drop_reference(&reference.name);
            }
        }
    }

    /// Gives a column of references another name.
    pub(crate) fn rename_in_references(&mut self, from: &str, to: &str) {
        for mut reference in self.references() {
            let named = reference.columns.iter_mut().find(|name| *name == from);
            if let Some(name) = named {
                to.clone_into(name);
                self.add_reference(&reference);
            }
        }
    }

    /// What the catalog keeps of the definition: the columns, and which tables it refers to.
    pub fn definition(&self) -> TableDefinition {
        let references = self
            .references()
            .into_iter()
            .map(|reference| TableReference {
                name: reference.name,
                table: reference.table,
                key: reference.key,
            });
        TableDefinition {
            columns: columns_of(&self.schema()),
            references: references.collect(),
            materialized: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn references_follow_their_columns() {
        let field = |name| Field::new(name, DataType::Int64, true);
        let mut shape = TableShape::new(&Schema::new(vec![field("a"), field("b"), field("d")]));
        let reference = |name: &str, columns: &[&str]| Reference {
            name: name.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            table: "0f".to_owned(),
            key: "t_pkey".to_owned(),
            places: (0..columns.len()).collect(),
            on_update: ReferenceAction::NoAction,
            on_delete: ReferenceAction::SetNull,
            is_full: false,
            deferral: Deferral::Initially,
            is_declared_so: false,
        };
        shape.add_reference(&reference("one", &["a"]));
        shape.add_reference(&reference("two", &["b", "a"]));
        shape.rename(0, "c");
        let renamed = [reference("one", &["c"]), reference("two", &["b", "c"])];
        assert_eq!(shape.references(), renamed);
        assert!(shape.properties().is_empty());
        let kept = shape.definition().references;
        assert_eq!(
            (kept[0].name.as_str(), kept[0].table.as_str()),
            ("one", "0f")
        );
        shape.drop_references_of("b");
        assert_eq!(shape.references(), renamed[..1]);
        assert!(shape.drop_reference("one") && !shape.drop_reference("one"));
    }
}
