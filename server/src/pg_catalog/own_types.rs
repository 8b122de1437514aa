//! Names and numbers of the warehouse's types, both ways: enums, domains, and the row types of relations.
//!
//! In: a name or a number; out: the other. A type is found by its name as a relation is: in the schemas of the path, behind
//! PostgreSQL's own types.

use std::collections::{BTreeMap, BTreeSet};

use auspex_planner::{ROW_TYPE_KEY, TypeFacts};
use datafusion::arrow::datatypes::Field;
use datafusion::error::Result;

use super::PG_CATALOG;
use super::columns;
use super::functions::{identifier_parts, is_catalog_type, quoted};
use super::objects::Objects;
use super::row_types;
use super::schemas::written_schema;

/// A type of the warehouse, and that of its arrays.
struct OwnType {
    schema: String,
    name: String,
    oid: i32,
    array_oid: i32,
}

impl From<TypeFacts> for OwnType {
    fn from(facts: TypeFacts) -> OwnType {
        OwnType {
            schema: facts.schema,
            name: facts.name,
            // Lossless: entries count up from 16384.
            oid: facts.oid as i32,
            array_oid: facts.array_oid as i32,
        }
    }
}

/// The type of a schema's name, which is none of arrays.
fn of_name(objects: &Objects, schema: &str, name: &str) -> Result<Option<OwnType>> {
    if let Some(made) = objects.facts().made_type(schema, name)? {
        return Ok(Some(made.into()));
    }
    Ok(objects.row_place(schema, name)?.map(|place| {
        let (oid, array_oid) = row_types::numbers(objects, place.oid);
        OwnType {
            schema: place.schema,
            name: place.name,
            oid,
            array_oid,
        }
    }))
}

/// The type of a number, or that whose arrays have it.
fn of_number(objects: &Objects, oid: i32) -> Result<Option<OwnType>> {
    // The numbers of row types tell that they are some; a number of arrays is looked for among all types.
    let Some((relation, _)) = row_types::relation_of(objects, oid) else {
        let Ok(oid) = u32::try_from(oid) else {
            return Ok(None);
        };
        return Ok(objects.facts().made_type_of(oid)?.map(OwnType::from));
    };
    let Some((schema, name)) = objects.name(relation) else {
        return Ok(None);
    };
    let known = of_name(objects, &schema, &name)?;
    Ok(known.filter(|known| [known.oid, known.array_oid].contains(&oid)))
}

/// A name without the underscores at its beginning, and how many those are.
fn stem(name: &str) -> (&str, usize) {
    let stem = name.trim_start_matches('_');
    (stem, name.len() - stem.len())
}

/// The names of the arrays of all types. Names may be of any length, so that each is looked at once.
pub(super) struct ArrayNames(BTreeMap<(String, String), BTreeMap<usize, usize>>);

impl ArrayNames {
    pub(super) fn of(objects: &Objects) -> Result<ArrayNames> {
        let made = objects.facts().made_types()?.into_iter();
        let made = made.map(|made| (made.schema, made.name));
        let rows = objects.row_places()?.into_iter();
        let rows = rows.map(|place| (place.schema, place.name));
        let mut elements: BTreeMap<(String, String), BTreeSet<usize>> = BTreeMap::new();
        for (schema, name) in made.chain(rows) {
            let (stem, n_before) = stem(&name);
            let of_stem = elements.entry((schema, stem.to_owned()));
            of_stem.or_default().insert(n_before);
        }
        let named = elements.into_iter();
        let named = named.map(|(stem, elements)| (stem, array_underscores(&elements)));
        Ok(ArrayNames(named.collect()))
    }

    /// The name of the arrays of a type: underscores before its own, as many as it takes to be no other's.
    pub(super) fn of_type(&self, schema: &str, name: &str) -> String {
        let (stem, n_before) = stem(name);
        let of_stem = self.0.get(&(schema.to_owned(), stem.to_owned()));
        let known = of_stem.and_then(|arrays| arrays.get(&n_before));
        "_".repeat(known.copied().unwrap_or(n_before + 1)) + stem
    }
}

/// The underscores of the types of one stem that have fewer than so many.
fn elements_below(
    objects: &Objects,
    schema: &str,
    stem: &str,
    n_before: usize,
) -> Result<BTreeSet<usize>> {
    let n_bytes = stem.len() + n_before;
    let mut names = objects.facts().underscored(schema, stem, n_bytes)?;
    // Those of the server have no entries.
    let system = columns::all().filter(|relation| relation.schema == schema);
    names.extend(system.map(|relation| relation.name.to_owned()));
    names.push(stem.to_owned());
    let mut elements = BTreeSet::new();
    for name in names {
        let (stem_of_name, n_of_name) = self::stem(&name);
        let is_asked = stem_of_name == stem && n_of_name < n_before;
        if is_asked && of_name(objects, schema, &name)?.is_some() {
            elements.insert(n_of_name);
        }
    }
    Ok(elements)
}

/// The underscores of the arrays of all types of one stem, by those of the types. The shortest name comes first, since the
/// arrays of longer ones evade its arrays; so each has more than the one before.
fn array_underscores(elements: &BTreeSet<usize>) -> BTreeMap<usize, usize> {
    let mut arrays = BTreeMap::new();
    let mut free = 0;
    for element in elements {
        free = free.max(element + 1);
        while elements.contains(&free) {
            free += 1;
        }
        arrays.insert(*element, free);
        free += 1;
    }
    arrays
}

/// The number of a schema's type, or of arrays, by a name of the catalogs or with brackets.
fn number_in(objects: &Objects, schema: &str, name: &str) -> Result<Option<i32>> {
    if let Some(element) = name.strip_suffix("[]") {
        let known = of_name(objects, schema, element)?;
        return Ok(known.map(|known| known.array_oid));
    }
    if let Some(known) = of_name(objects, schema, name)? {
        return Ok(Some(known.oid));
    }
    let (stem, n_before) = stem(name);
    if n_before == 0 {
        return Ok(None);
    }
    let arrays = array_underscores(&elements_below(objects, schema, stem, n_before)?);
    let element = arrays.iter().find(|(_, array)| **array == n_before);
    if let Some((n_of_element, _)) = element {
        let known = of_name(objects, schema, &("_".repeat(*n_of_element) + stem))?;
        return Ok(known.map(|known| known.array_oid));
    }
    Ok(None)
}

/// The number of the type of a name, looked for in all schemas of the path if it names none.
pub(super) fn number_of(
    objects: &Objects,
    schema: Option<&str>,
    name: &str,
) -> Result<Option<i32>> {
    let path = match schema {
        Some(schema) => vec![schema.to_owned()],
        None => objects.facts().relation_path()?,
    };
    for schema in path.iter().filter(|schema| *schema != PG_CATALOG) {
        if let Some(number) = number_in(objects, schema, name)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// The name of the type, or of the arrays of one, that has a number, as `format_type` writes it.
pub(super) fn name_of(objects: &Objects, oid: i32) -> Result<Option<String>> {
    let Some(known) = of_number(objects, oid)? else {
        return Ok(None);
    };
    let brackets = if oid == known.array_oid { "[]" } else { "" };
    let name = quoted(&known.name) + brackets;
    Ok(Some(match is_found(objects, &known)? {
        true => name,
        false => format!("{}.{name}", quoted(written_schema(&known.schema))),
    }))
}

/// The name of the type of a relation's rows, where a value is one of them.
pub(super) fn row_type_of(objects: &Objects, value: &Field) -> Result<Option<String>> {
    let Some(named) = value.metadata().get(ROW_TYPE_KEY) else {
        return Ok(None);
    };
    let number = match identifier_parts(named).as_slice() {
        [schema, name] => number_of(objects, Some(schema), name)?,
        _ => None,
    };
    number.map_or(Ok(None), |oid| name_of(objects, oid))
}

/// Whether a type is found without naming its schema.
fn is_found(objects: &Objects, known: &OwnType) -> Result<bool> {
    let found = number_of(objects, None, &known.name)?;
    Ok(found == Some(known.oid) && !is_catalog_type(&known.name))
}

/// Whether the type of a number, or that whose arrays have it, is found without naming its schema; `None`: it is none of the
/// warehouse.
pub(super) fn is_visible(objects: &Objects, oid: i32) -> Result<Option<bool>> {
    let known = of_number(objects, oid)?;
    known.map(|known| is_found(objects, &known)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_many_names_of_one_stem_are_named_at_once() {
        let arrays = array_underscores(&(0..1_000_000).collect());
        assert_eq!(arrays.get(&0), Some(&1_000_000));
        assert_eq!(arrays.get(&999_999), Some(&1_999_999));
    }

    #[test]
    fn arrays_of_longer_names_evade_those_of_shorter_ones() {
        let arrays = array_underscores(&BTreeSet::from([0, 1, 3]));
        assert_eq!(arrays, BTreeMap::from([(0, 2), (1, 4), (3, 5)]));
    }
}
