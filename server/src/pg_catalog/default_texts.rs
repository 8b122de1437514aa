//! Defaults and generated values of columns as PostgreSQL shows them.
//!
//! In: the text of a default and the column's type; out: the text that clients expect, in which a literal tells its type:
//! `'x'::text`, and a column declared as `SERIAL` its sequence.

use datafusion::error::Result;

use super::functions::{identifier_parts, quoted};
use super::normal_form::{self, Columns, shown_name};
use super::objects::Objects;
use super::relation::Relation;
use super::schemas::written_schema;
use super::sequence_rows::{column_sequence, is_default};
use crate::protocol::types::WireColumn;

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
    let data_type = shown_name(objects, relation.text_limit(idx), column);
    // A dump writes what is shown here, which means the same.
    let shown = normal_form::value(text, &data_type, &Columns::default());
    Some(shown.unwrap_or_else(|| text.clone()))
}

/// What generates the values of a column.
pub(super) fn shown_generation(
    objects: &Objects,
    relation: &Relation,
    idx: usize,
    columns: &[WireColumn],
) -> Option<String> {
    let text = relation.rules.generated.get(idx)?.as_ref()?;
    let data_type = shown_name(objects, relation.text_limit(idx), columns.get(idx)?);
    let known = Columns::of(objects, relation, columns);
    let shown = normal_form::value(text, &data_type, &known);
    Some(shown.unwrap_or_else(|| text.clone()))
}

/// The default of a column declared as `SERIAL`. As PostgreSQL does, it names the schema where the search path does not find
/// the table.
fn of_serial(objects: &Objects, relation: &Relation, idx: usize) -> String {
    let mut name = quoted(&column_sequence(relation, idx));
    let found = objects.find(None, &relation.name);
    if !matches!(found, Ok(Some(oid)) if oid == relation.oid) {
        name = format!("{}.{name}", quoted(written_schema(&relation.schema)));
    }
    format!("nextval('{}'::regclass)", name.replace('\'', "''"))
}

/// The number of the sequence whose numbers are a column's default.
pub(super) fn sequence_of_column(
    objects: &Objects,
    relation: &Relation,
    idx: usize,
) -> Result<Option<i32>> {
    let default = relation.rules.defaults.get(idx).and_then(Option::as_ref);
    let Some(text) = default else {
        let name = is_default(relation, idx).then(|| column_sequence(relation, idx));
        return Ok(name.map(|name| objects.number(&relation.schema, &name)));
    };
    let Some(name) = sequence_of(text).and_then(unquoted) else {
        return Ok(None);
    };
    match identifier_parts(&name.replace("''", "'")).as_slice() {
        [.., schema, name] => objects.find(Some(schema), name),
        [name] => objects.find(None, name),
        [] => Ok(None),
    }
}

/// The literal of a sequence whose numbers are a default; clients know such a column by `nextval('…'::regclass)`.
fn sequence_of(text: &str) -> Option<&str> {
    let literal = text.strip_prefix("nextval(")?.strip_suffix(')')?;
    is_literal(literal).then_some(literal)
}

/// Whether a text of SQL is one literal in quotes.
fn is_literal(text: &str) -> bool {
    unquoted(text).is_some_and(|inner| !inner.replace("''", "").contains('\''))
}

/// What stands between the quotes around a text.
fn unquoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.strip_suffix('\'')
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
