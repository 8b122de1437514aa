//! Lists of privileges taken apart: what `aclexplode` gives rows of, and `acldefault`.
//!
//! In: texts such as `ann=r*w/postgres`, or a kind of object and its owner; out: a list of structs, which the rewriting
//! unnests, or the list that an object has whose privileges nobody changed.

use std::sync::Arc;

use auspex_planner::SessionFacts;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, ListBuilder, StringArray,
    StringBuilder, StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::super::roles::{number, roles};
use super::scalar::{Call, function};

/// The name of the function that `aclexplode` unnests.
pub(crate) const NAME: &str = "acl_items";
/// The columns of `aclexplode`.
pub(crate) const COLUMNS: [&str; 4] = ["grantor", "grantee", "privilege_type", "is_grantable"];

/// The letters of privileges, and their words.
const PRIVILEGES: [(char, &str); 13] = [
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
    ('M', "CREATE MODEL"),
];

/// The functions.
pub(super) fn functions(session: &SessionFacts) -> Vec<ScalarUDF> {
    let known = session.clone();
    let texts = DataType::new_list(DataType::Utf8, true);
    vec![
        function(NAME, &[1], DataType::List(item()), |call| {
            taken_apart(&call.args[0])
        }),
        function("acldefault", &[2], texts, move |call| {
            defaults(call, &roles(&known))
        }),
    ]
}

fn fields() -> Fields {
    let types = [
        DataType::Int32,
        DataType::Int32,
        DataType::Utf8,
        DataType::Boolean,
    ];
    let columns = COLUMNS.into_iter().zip(types);
    columns
        .map(|(name, data_type)| Field::new(name, data_type, true))
        .collect()
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

/// A privilege that a role has.
struct Granted {
    grantor: i32,
    grantee: i32,
    privilege: &'static str,
    is_grantable: bool,
}

/// The privileges of `ann=r*w/postgres`; of everybody there is no name.
fn privileges_of(text: &str) -> Vec<Granted> {
    let Some((rest, grantor)) = text.rsplit_once('/') else {
        return Vec::new();
    };
    let Some((grantee, letters)) = rest.rsplit_once('=') else {
        return Vec::new();
    };
    let grantee = if grantee.is_empty() {
        0
    } else {
        number(grantee)
    };
    let mut granted = Vec::new();
    let mut letters = letters.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_grantable = letters.next_if_eq(&'*').is_some();
        let mut known = PRIVILEGES.iter().filter(|(known, _)| *known == letter);
        granted.extend(known.next().map(|&(_, privilege)| Granted {
            grantor: number(grantor),
            grantee,
            privilege,
            is_grantable,
        }));
    }
    granted
}

fn taken_apart(lists: &ArrayRef) -> Result<ArrayRef> {
    let lists = cast(lists, &DataType::new_list(DataType::Utf8, true))?;
    let lists: &ListArray = lists.as_list();
    let mut granted = Vec::new();
    let mut lengths = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let before = granted.len();
        if lists.is_valid(row) {
            let items = lists.value(row);
            let items = items.as_string::<i32>().iter().flatten();
            granted.extend(items.flat_map(privileges_of));
        }
        lengths.push(granted.len() - before);
    }
    let grantors: Int32Array = granted.iter().map(|found| Some(found.grantor)).collect();
    let grantees: Int32Array = granted.iter().map(|found| Some(found.grantee)).collect();
    let privileges: StringArray = granted.iter().map(|found| Some(found.privilege)).collect();
    let grantable: BooleanArray = granted
        .iter()
        .map(|found| Some(found.is_grantable))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(grantors),
        Arc::new(grantees),
        Arc::new(privileges),
        Arc::new(grantable),
    ];
    let structs = StructArray::try_new(fields(), columns, None)?;
    Ok(Arc::new(ListArray::try_new(
        item(),
        OffsetBuffer::from_lengths(lengths),
        Arc::new(structs),
        lists.nulls().cloned(),
    )?))
}

/// What everybody and the owner have of an object of a kind.
fn default_letters(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "r" => ("", "arwdD"),
        "s" => ("", "rwU"),
        "n" => ("", "UCM"),
        "d" => ("Tc", "CTc"),
        "f" => ("X", "X"),
        "T" | "l" => ("U", "U"),
        "F" | "S" => ("", "U"),
        "t" => ("", "C"),
        _ => ("", ""),
    }
}

fn defaults(call: &Call, roles: &[(i32, String)]) -> Result<ArrayRef> {
    let (kinds, owners) = (call.texts(0)?, call.oids(1)?);
    let mut lists = ListBuilder::new(StringBuilder::new());
    for (kind, owner) in kinds.iter().zip(owners.iter()) {
        let (Some(kind), Some(owner)) = (kind, owner) else {
            lists.append(false);
            continue;
        };
        let mut known = roles.iter().filter(|(oid, _)| *oid == owner);
        let name = known.next().map(|(_, name)| name.clone());
        let owner = name.unwrap_or_else(|| owner.to_string());
        let (everybody, own) = default_letters(kind);
        for (role, letters) in [("", everybody), (owner.as_str(), own)] {
            if !letters.is_empty() {
                lists
                    .values()
                    .append_value(format!("{role}={letters}/{owner}"));
            }
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_taken_apart() {
        let found = privileges_of("postgres=ar*/postgres");
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.grantee, found.privilege, found.is_grantable))
            .collect();
        assert_eq!(found, [(10, "INSERT", false), (10, "SELECT", true)]);
        let everybody = privileges_of("=X/postgres");
        assert_eq!((everybody[0].grantee, everybody[0].grantor), (0, 10));
        assert!(privileges_of("nonsense").is_empty());
    }
}
