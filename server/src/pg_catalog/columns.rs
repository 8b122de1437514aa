//! The relations of the system schemas and their columns, as PostgreSQL 15 has them.
//!
//! In: a schema's and a relation's name; out: its columns, kind and number. Holds no rows; `relations.txt`
//! is the list.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::cells::Kind;

const LIST: &str = include_str!("relations.txt");

/// A relation of a system schema.
#[derive(Debug)]
pub(super) struct SystemRelation {
    /// The schema.
    pub(super) schema: &'static str,
    /// The name.
    pub(super) name: &'static str,
    /// `r` or `v`, as in `pg_class.relkind`.
    pub(super) kind: &'static str,
    /// The number, by which its row type names it.
    pub(super) oid: i32,
    /// The columns in order.
    pub(super) columns: Vec<(&'static str, Kind)>,
}

/// The relations of each schema.
type Relations = BTreeMap<&'static str, BTreeMap<&'static str, SystemRelation>>;

static RELATIONS: LazyLock<Relations> = LazyLock::new(|| {
    let mut relations = Relations::new();
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    for relation in lines.filter_map(relation) {
        let schema = relations.entry(relation.schema).or_default();
        schema.insert(relation.name, relation);
    }
    relations
});

/// All relations by schema and name.
pub(super) fn all() -> impl Iterator<Item = &'static SystemRelation> {
    RELATIONS.values().flat_map(BTreeMap::values)
}

/// The relation of a name.
pub(super) fn find(schema: &str, name: &str) -> Option<&'static SystemRelation> {
    RELATIONS.get(schema)?.get(name)
}

fn relation(line: &'static str) -> Option<SystemRelation> {
    let (head, columns) = line.split_once(": ")?;
    let mut head = head.split(' ');
    Some(SystemRelation {
        schema: head.next()?,
        name: head.next()?,
        kind: head.next()?,
        oid: head.next()?.parse().ok()?,
        columns: columns
            .split(", ")
            .map(|column| {
                column
                    .split_once(' ')
                    .map(|(name, kind)| (name, Kind(kind)))
            })
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_a_relation() {
        let lines = LIST.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(all().count(), lines);
        let class = find("pg_catalog", "pg_class").unwrap();
        assert_eq!(
            (class.kind, class.oid, class.columns.len()),
            ("r", 1259, 33)
        );
        assert_eq!(class.columns[1], ("relname", Kind("name")));
        assert!(find("pg_catalog", "pg_nothing").is_none());
    }
}
