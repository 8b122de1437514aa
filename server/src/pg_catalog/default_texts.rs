//! Defaults of columns as PostgreSQL shows them.
//!
//! In: the text of a default and the column's type; out: the text that clients expect, in which a literal tells its type:
//! `'x'::text`, and a column declared as `SERIAL` its sequence.

use super::functions::{quoted, shown_type, type_text};
use super::objects::{Objects, Relation};
use super::sequence_rows::{column_sequence, is_default};
use crate::protocol::types::WireColumn;

const VARCHAR: i32 = 1043;

/// The default of a column.
pub(super) fn shown_default(
    objects: &Objects,
    relation: &Relation,
    idx: usize,
    column: &WireColumn,
) -> Option<String> {
    let default = relation.rules.defaults.get(idx).and_then(Option::as_ref);
    let Some(text) = default else {
        return is_default(relation, idx).then(|| of_serial(objects, relation, idx));
    };
    if let Some(sequence) = sequence_of(text) {
        return Some(format!("nextval({sequence}::regclass)"));
    }
    if !is_literal(text) {
        return Some(text.clone());
    }
    let name = match relation.text_limit(idx) {
        // PostgreSQL's own name, since `character` alone has one character.
        Some(limit) if limit.is_fixed => "bpchar".to_owned(),
        Some(_) => type_text(VARCHAR, -1),
        None => shown_type(&column.pg_type),
    };
    Some(format!("{text}::{name}"))
}

/// The default of a column declared as `SERIAL`. As PostgreSQL does, it names the schema where the search path does not find
/// the table.
fn of_serial(objects: &Objects, relation: &Relation, idx: usize) -> String {
    let mut name = quoted(&column_sequence(relation, idx));
    let found = objects.find(None, &relation.name);
    if !matches!(found, Ok(Some(oid)) if oid == relation.oid) {
        name = format!("{}.{name}", quoted(&relation.schema));
    }
    format!("nextval('{}'::regclass)", name.replace('\'', "''"))
}

/// The literal of a sequence whose numbers are a default; clients know such a column by `nextval('…'::regclass)`.
fn sequence_of(text: &str) -> Option<&str> {
    let literal = text.strip_prefix("nextval(")?.strip_suffix(')')?;
    is_literal(literal).then_some(literal)
}

/// Whether a text of SQL is one literal in quotes.
fn is_literal(text: &str) -> bool {
    let inner = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''));
    inner.is_some_and(|inner| !inner.replace("''", "").contains('\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_literal_is_one() {
        for literal in ["''", "'x'", "'it''s'"] {
            assert!(is_literal(literal), "{literal}");
        }
        assert_eq!(sequence_of("nextval('public.s')"), Some("'public.s'"));
        assert_eq!(sequence_of("nextval('a') + nextval('b')"), None);
        for other in ["'", "1", "now()", "'a' || 'b'", "upper('a')"] {
            assert!(!is_literal(other), "{other}");
        }
    }
}
