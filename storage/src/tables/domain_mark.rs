//! Columns of domains: columns of the type that a domain is made of, with a note that tells the domain and its rules.
//!
//! A definition's field flows in, and its domain flows out, or the other way round. Rows know nothing of domains: the note
//! is kept beside a column's default, in a table's log alone. What a log says of the rules is what they were when the column
//! was made; a table that is opened has those of the catalog's now, as it has the labels of enums (see `enum_mark`).

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef};
use serde::{Deserialize, Serialize};

use crate::catalog::{CatalogEntry, CatalogState, Definition, DomainDefinition};
use crate::tables::shape::TableShape;

/// Where columns keep the domain that they are of.
const NOTE: &str = "auspex.domain";

/// A domain as a column's note tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DomainType {
    /// The identity of its entry, which a rename keeps.
    pub id: String,
    /// Its number.
    pub oid: u32,
    /// The schema that it lies in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is made of, and its own rules.
    pub definition: DomainDefinition,
    /// The domain that it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Box<DomainType>>,
}

impl DomainType {
    /// The domain that an entry defines, over those of a state; `None`: it defines something else.
    pub fn of_entry(entry: &CatalogEntry, state: &CatalogState) -> Option<DomainType> {
        let Definition::Domain(definition) = &entry.definition else {
            return None;
        };
        let over = definition.over.as_ref().and_then(|id| state.by_id(id));
        let over = over.and_then(|entry| DomainType::of_entry(entry, state));
        Some(DomainType {
            id: entry.id.clone(),
            oid: entry.oid,
            schema: entry.schema.clone(),
            name: entry.name.clone(),
            definition: definition.clone(),
            over: over.map(Box::new),
        })
    }

    /// It and the domains that it is made of, itself first.
    pub fn levels(&self) -> impl Iterator<Item = &DomainType> {
        std::iter::successors(Some(self), |domain| domain.over.as_deref())
    }

    /// Whether NULL is forbidden by it or by what it is made of.
    pub fn is_not_null(&self) -> bool {
        self.levels().any(|domain| domain.definition.not_null)
    }

    /// The conditions with their names: those of what it is made of come first.
    pub fn checks(&self) -> Vec<(&String, &String)> {
        let mut levels: Vec<&DomainType> = self.levels().collect();
        levels.reverse();
        let checks = levels
            .into_iter()
            .flat_map(|domain| &domain.definition.checks);
        checks.collect()
    }

    fn to_note(&self) -> String {
        // A record of texts and numbers has no value without a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl TableShape {
    /// The domain that a column is of.
    pub fn domain_of(&self, column: &Field) -> Option<DomainType> {
        domain_of(column)
    }

    /// Makes a column one of a domain, or of none.
    pub fn set_domain(&mut self, idx: usize, domain: Option<&DomainType>) {
        let note = domain.map(DomainType::to_note);
        self.set_note(idx, NOTE, note.as_deref());
    }

    /// The text of what a column holds that is given no value: its own default, else that of its domain.
    pub fn value_without(&self, column: &Field) -> Option<String> {
        let of_domain = || domain_of(column)?.definition.default;
        self.default_of(column).or_else(of_domain)
    }
}

/// The domain that a column with its notes is of.
pub(crate) fn domain_of(column: &Field) -> Option<DomainType> {
    serde_json::from_str(column.metadata().get(NOTE)?).ok()
}

/// Whether a column is of a domain.
pub(crate) fn has_note(field: &Field) -> bool {
    field.metadata().contains_key(NOTE)
}

/// A column with the rules of now; one of a domain that nobody knows here is of none.
pub(crate) fn of_now(field: &FieldRef, domains: &BTreeMap<String, DomainType>) -> FieldRef {
    if !has_note(field) {
        return Arc::clone(field);
    }
    let mut notes = field.metadata().clone();
    match domain_of(field).and_then(|then| domains.get(&then.id)) {
        Some(now) => notes.insert(NOTE.to_owned(), now.to_note()),
        None => notes.remove(NOTE),
    };
    Arc::new(field.as_ref().clone().with_metadata(notes))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Schema};

    use super::*;

    #[test]
    fn rules_of_all_levels_hold() {
        let domain = |id: &str, check: &str, over: Option<DomainType>| DomainType {
            id: id.into(),
            definition: DomainDefinition {
                checks: BTreeMap::from([(check.to_owned(), "true".to_owned())]),
                ..DomainDefinition::default()
            },
            over: over.map(Box::new),
            ..DomainType::default()
        };
        let mut lowest = domain("1", "z", None);
        lowest.definition.not_null = true;
        let top = domain("3", "a", Some(domain("2", "m", Some(lowest))));
        let names = top.checks().into_iter().map(|(name, _)| name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["z", "m", "a"]);
        assert!(top.is_not_null() && !top.definition.not_null);
        let ids = top.levels().map(|level| level.id.as_str());
        assert_eq!(ids.collect::<Vec<_>>(), ["3", "2", "1"]);
        let note: DomainType = serde_json::from_str(&top.to_note()).unwrap();
        assert_eq!(note, top);
    }

    #[test]
    fn rules_are_those_of_now() {
        let then = DomainType {
            id: "1".into(),
            name: "positive".into(),
            ..DomainType::default()
        };
        let mut now = then.clone();
        now.definition.not_null = true;
        now.definition.default = Some("1".into());
        let column = Field::new("c", DataType::Int32, true);
        let mut shape = TableShape::new(&Schema::new(vec![column]));
        shape.set_domain(0, Some(&then));
        assert_eq!(shape.domain_of(&shape.columns()[0]), Some(then.clone()));
        let known = BTreeMap::from([("1".to_owned(), now.clone())]);
        let field = of_now(&shape.columns()[0], &known);
        assert_eq!(domain_of(&field), Some(now));
        assert_eq!(shape.value_without(&field).as_deref(), Some("1"));
        let field = of_now(&shape.columns()[0], &BTreeMap::new());
        assert!(!has_note(&field));
    }
}
