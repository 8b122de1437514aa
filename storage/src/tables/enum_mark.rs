//! Columns of enums: texts with a mark that names the type and its labels in their order.
//!
//! A field flows in, and which enum its texts are of flows out, or the other way round. Kept as the mark of uuids is (see
//! `uuid_mark`): beside the column in a table's log, never in data files, and taken away by a cast. What a log says of the
//! labels is what they were when the column was made. The catalog says what they are, so that a table which is opened has
//! the marks of now, and a type that the catalog does not know is no type.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::catalog::{CatalogEntry, CatalogState, Definition};
use crate::tables::domain_mark::{self, DomainType};
use crate::tables::extension_name::EXTENSION_KEY;
use crate::tables::uuid_mark::marked_element;

/// Arrow's key of what the name of an extension type does not tell, and our name of enums.
const DETAIL_KEY: &str = "ARROW:extension:metadata";
const ENUM_NAME: &str = "auspex.enum";

/// An enum as a value's mark tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnumType {
    /// The identity of its entry, which a rename keeps.
    pub id: String,
    /// Its number.
    pub oid: u32,
    /// The number of its arrays.
    pub array_oid: u32,
    /// The schema that it lies in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its labels in their order.
    pub labels: Vec<String>,
}

impl EnumType {
    /// The enum that an entry defines; `None`: it defines something else.
    pub fn of_entry(entry: &CatalogEntry) -> Option<EnumType> {
        let Definition::Enum(definition) = &entry.definition else {
            return None;
        };
        Some(EnumType {
            id: entry.id.clone(),
            oid: entry.oid,
            array_oid: definition.array_oid,
            schema: entry.schema.clone(),
            name: entry.name.clone(),
            labels: definition.labels.clone(),
        })
    }

    /// The enum whose labels a column of texts holds; `None`: none, or arrays of them.
    pub fn of(field: &Field) -> Option<EnumType> {
        is_enum(field).then(|| detail(field)).flatten()
    }

    /// The same of a column of labels or of arrays of them.
    pub fn of_elements(field: &Field) -> Option<EnumType> {
        match marked_element(field) {
            Some(element) => EnumType::of(&element),
            None => EnumType::of(field),
        }
    }

    /// All of it as one text.
    pub fn to_text(&self) -> String {
        // A record of texts and numbers has no value without a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The enum of such a text.
    pub fn of_text(text: &str) -> Option<EnumType> {
        serde_json::from_str(text).ok()
    }

    /// The metadata of fields that hold its labels.
    pub fn marks(&self) -> HashMap<String, String> {
        HashMap::from([
            (EXTENSION_KEY.to_owned(), ENUM_NAME.to_owned()),
            (DETAIL_KEY.to_owned(), self.to_text()),
        ])
    }

    /// The place of a label among the others.
    pub fn position(&self, label: &str) -> Option<usize> {
        self.labels.iter().position(|known| known == label)
    }
}

/// Whether a column of texts holds the labels of an enum.
pub(crate) fn is_enum(field: &Field) -> bool {
    has_mark(field) && field.data_type().is_string()
}

/// The metadata that tells a field of an enum.
pub(crate) fn marks_of(field: &Field) -> HashMap<String, String> {
    let kept = |key: &str| Some((key.to_owned(), field.metadata().get(key)?.clone()));
    [EXTENSION_KEY, DETAIL_KEY]
        .into_iter()
        .filter_map(kept)
        .collect()
}

/// The key of the mark that other types do not have.
pub(crate) const KEY: &str = DETAIL_KEY;

fn has_mark(field: &Field) -> bool {
    field.extension_type_name() == Some(ENUM_NAME)
}

fn detail(field: &Field) -> Option<EnumType> {
    EnumType::of_text(field.metadata().get(DETAIL_KEY)?)
}

/// The enums and domains that the catalog defines, by id, as last adopted.
#[derive(Debug, Default)]
pub(crate) struct EnumTypes(RwLock<Arc<KnownTypes>>);

#[derive(Debug, Default, PartialEq, Eq)]
struct KnownTypes {
    enums: BTreeMap<String, EnumType>,
    domains: BTreeMap<String, DomainType>,
}

impl EnumTypes {
    /// Takes the types of a state of the catalog.
    pub(crate) fn adopt(&self, state: &CatalogState) {
        let enums = state.all().filter_map(|entry| EnumType::of_entry(entry));
        let domains = state
            .all()
            .filter_map(|entry| DomainType::of_entry(entry, state));
        let types = KnownTypes {
            enums: enums.map(|known| (known.id.clone(), known)).collect(),
            domains: domains.map(|known| (known.id.clone(), known)).collect(),
        };
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if **held != types {
            *held = Arc::new(types);
        }
    }

    /// The columns with their types as they are now; those of types that nobody knows here are what these are made of.
    pub(crate) fn of_now(&self, schema: &SchemaRef) -> SchemaRef {
        let is_ours = |field: &FieldRef| has_mark(field) || domain_mark::has_note(field);
        if !schema.fields().iter().any(is_ours) {
            return Arc::clone(schema);
        }
        let types = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let enums = schema
            .fields()
            .iter()
            .map(|field| of_now(field, &types.enums));
        let fields = enums.map(|field| domain_mark::of_now(&field, &types.domains));
        let fields: Vec<FieldRef> = fields.collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }
}

fn of_now(field: &FieldRef, types: &BTreeMap<String, EnumType>) -> FieldRef {
    if !has_mark(field) {
        return Arc::clone(field);
    }
    let mut notes = field.metadata().clone();
    match detail(field).and_then(|then| types.get(&then.id)) {
        Some(now) => notes.extend(now.marks()),
        None => notes.retain(|key, _| ![EXTENSION_KEY, DETAIL_KEY].contains(&key.as_str())),
    }
    Arc::new(field.as_ref().clone().with_metadata(notes))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;
    use crate::catalog::{Change, EnumDefinition};

    fn mood(labels: &[&str]) -> CatalogEntry {
        let definition = EnumDefinition {
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            array_oid: 0,
        };
        CatalogEntry::new("public", "mood", Definition::Enum(definition))
    }

    #[test]
    fn marks_are_those_of_the_catalog_as_it_is_now() -> crate::Result<()> {
        let entry = mood(&["sad", "happy"]);
        let (state, _) = CatalogState::bootstrap()?.apply(1, 0, vec![Change::Put(entry)])?;
        let types = EnumTypes::default();
        types.adopt(&state);
        let known = state
            .get("public", "mood")
            .and_then(|entry| EnumType::of_entry(entry))
            .unwrap();
        assert!(known.array_oid > known.oid);
        let then = EnumType {
            name: "temper".into(),
            labels: vec!["sad".into()],
            ..known.clone()
        };
        let field = Field::new("m", DataType::Utf8, true).with_metadata(then.marks());
        assert_eq!(EnumType::of(&field), Some(then.clone()));
        let now = types.of_now(&Arc::new(Schema::new(vec![field])));
        assert_eq!(EnumType::of(now.field(0)), Some(known));
        let lists = DataType::new_list(DataType::Utf8, true);
        let array = Field::new("ms", lists, true).with_metadata(then.marks());
        assert_eq!(EnumType::of(&array), None);
        assert_eq!(EnumType::of_elements(&array), Some(then.clone()));
        let strange = EnumType {
            id: "of another warehouse".into(),
            ..then
        };
        let mut notes = strange.marks();
        notes.insert("CURRENT_DEFAULT".into(), "'sad'".into());
        let field = Field::new("m", DataType::Utf8, true).with_metadata(notes);
        let now = types.of_now(&Arc::new(Schema::new(vec![field])));
        assert_eq!(EnumType::of(now.field(0)), None);
        assert_eq!(now.field(0).metadata().len(), 1);
        Ok(())
    }
}
