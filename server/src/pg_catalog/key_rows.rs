//! Keys of tables as PostgreSQL's catalogs tell them: a constraint and the unique index that stands for it.
//!
//! In: relations; out: rows. There are no indexes; that of a key is shown since clients look for keys by it.

use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::functions::quoted;
use super::normal_form::{self, Columns};
use super::objects::Objects;
use super::relation::{Key, Relation};
use super::schemas::written_schema;
use crate::protocol::types::wire_columns;

/// The access method of indexes, PostgreSQL's `btree`.
const BTREE: i32 = 403;

/// The number of a key's constraint.
pub(super) fn key_oid(objects: &Objects, relation: &Relation, key: &Key) -> i32 {
    objects.number("key", &format!("{}.{}", relation.oid, key.name))
}

/// The number of a key's index, which is a relation beside its table.
pub(super) fn index_oid(objects: &Objects, relation: &Relation, key: &Key) -> i32 {
    objects.number(&relation.schema, &key.name)
}

/// The columns of a key, counted from 1, in its order; 0 is an expression.
pub(super) fn positions(relation: &Relation, key: &Key) -> Vec<i64> {
    let place = |(place, name): (usize, &String)| match key.is_expression(place) {
        true => Some(0),
        // Lossless: a table has few columns.
        false => relation
            .columns
            .index_of(name)
            .ok()
            .map(|idx| idx as i64 + 1),
    };
    key.columns.iter().enumerate().filter_map(place).collect()
}

fn listed(key: &Key) -> String {
    let names: Vec<String> = key.columns.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

/// What a key says of NULL.
fn nulls(key: &Key) -> &'static str {
    match key.nulls_are_equal {
        true => " NULLS NOT DISTINCT",
        false => "",
    }
}

/// What an index consists of, as PostgreSQL writes it.
pub(super) struct Shown {
    /// Its columns, as its definition has them.
    written: Vec<String>,
    /// The same for people, with fewer brackets.
    pub(super) elements: Vec<String>,
    /// Those of them that are expressions, as trees would tell them.
    expressions: Vec<String>,
    condition: Option<String>,
}

impl Shown {
    pub(super) fn of(objects: &Objects, relation: &Relation, key: &Key) -> Shown {
        let columns = match key.index {
            Some(_) => {
                let columns = wire_columns(&relation.columns).unwrap_or_default();
                Columns::of(objects, relation, &columns)
            }
            None => Columns::default(),
        };
        let condition = key.condition();
        let mut shown = Shown {
            written: Vec::with_capacity(key.columns.len()),
            elements: Vec::with_capacity(key.columns.len()),
            expressions: Vec::new(),
            condition: condition.map(|text| normal_form::condition(text, &columns)),
        };
        for (place, text) in key.columns.iter().enumerate() {
            if !key.is_expression(place) {
                shown.written.push(quoted(text));
                shown.elements.push(quoted(text));
                continue;
            }
            let expression = normal_form::expression(text, &columns);
            let expression = expression.unwrap_or_else(|| text.clone());
            let for_people = normal_form::for_people(&expression);
            // In brackets unless it is a call.
            let (written, element) = match text.starts_with('(') {
                true => (format!("({expression})"), format!("({for_people})")),
                false => (expression.clone(), for_people),
            };
            shown.written.push(written);
            shown.elements.push(element);
            shown.expressions.push(expression);
        }
        shown
    }

    /// Its expressions and its condition; `None`: it has none.
    fn trees(self) -> (Option<String>, Option<String>) {
        let has_some = !self.expressions.is_empty();
        let expressions = has_some.then(|| self.expressions.join(", "));
        (expressions, self.condition)
    }

    /// The index as `pg_get_indexdef` writes it.
    pub(super) fn text(&self, relation: &Relation, key: &Key) -> String {
        index_text(relation, key, (&self.written, self.condition.as_deref()))
    }

    /// The same for people.
    pub(super) fn text_for_people(&self, relation: &Relation, key: &Key) -> String {
        let condition = self.condition.as_deref().map(normal_form::for_people);
        index_text(relation, key, (&self.elements, condition.as_deref()))
    }
}

/// A key as `pg_get_constraintdef` writes it.
pub(super) fn constraint_text(key: &Key) -> String {
    let kind = if key.is_primary {
        "PRIMARY KEY"
    } else {
        "UNIQUE"
    };
    format!("{kind}{} ({})", nulls(key), listed(key))
}

fn index_text(
    relation: &Relation,
    key: &Key,
    (elements, condition): (&[String], Option<&str>),
) -> String {
    let condition = condition.map(|condition| format!(" WHERE {condition}"));
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({}){}{}",
        quoted(&key.name),
        quoted(written_schema(&relation.schema)),
        quoted(&relation.name),
        elements.join(", "),
        nulls(key),
        condition.unwrap_or_default()
    )
}

/// Rows of `pg_class` for the indexes of a relation, `table` being its own.
pub(super) fn classes(objects: &Objects, relation: &Relation, table: &Row) -> Vec<Row> {
    let row = |key: &Key| {
        let mut row: Row = table.clone();
        for (name, cell) in &mut row {
            *cell = match *name {
                "oid" | "relfilenode" => index_oid(objects, relation, key).into(),
                "relname" => key.name.as_str().into(),
                "relam" => BTREE.into(),
                "relkind" => "i".into(),
                "relnatts" => key.columns.len().into(),
                "relhasindex" => false.into(),
                "relchecks" | "relpages" | "reltype" => 0.into(),
                "relreplident" => "n".into(),
                _ => continue,
            };
        }
        row
    };
    relation.rules.keys.iter().map(row).collect()
}

/// Rows of `pg_attribute` for the columns of a relation's indexes, `columns` being those of the relation.
pub(super) fn attributes(objects: &Objects, relation: &Relation, columns: &[Row]) -> Vec<Row> {
    let mut rows = Vec::new();
    for key in &relation.rules.keys {
        let oid = index_oid(objects, relation, key);
        for (number, position) in positions(relation, key).into_iter().enumerate() {
            // Of what type an expression is, is not known here: it is shown as a column that it reads.
            let read = || key.reads().last();
            let column = match position {
                0 => read().and_then(|name| relation.columns.index_of(name).ok()),
                position => usize::try_from(position - 1).ok(),
            };
            let column = column.and_then(|idx| columns.get(idx));
            let Some(mut row) = column.cloned() else {
                continue;
            };
            for (name, cell) in &mut row {
                match *name {
                    "attname" if position == 0 => *cell = element_name(key, number).into(),
                    "attrelid" => *cell = oid.into(),
                    "attnum" => *cell = (number + 1).into(),
                    "attnotnull" | "atthasdef" => *cell = false.into(),
                    "attidentity" | "attgenerated" => *cell = "".into(),
                    _ => {}
                }
            }
            rows.push(row);
        }
    }
    rows
}

/// What PostgreSQL calls an element of an index that is no column: as the function that it calls.
fn element_name(key: &Key, place: usize) -> String {
    let text = key.columns.get(place).map_or("", String::as_str);
    match text.split_once('(') {
        Some((function, _)) if !function.is_empty() => function.to_lowercase(),
        _ => "expr".to_owned(),
    }
}

/// Rows of `pg_index`.
pub(super) fn indexes(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let row = |key: &Key| {
        let positions = positions(relation, key);
        let (expressions, condition) = match key.index {
            Some(_) => Shown::of(objects, relation, key).trees(),
            None => (None, None),
        };
        let zeros = || Cell::Ints(vec![0; positions.len()]);
        let (yes, no) = (|| Cell::from(true), || Cell::from(false));
        vec![
            ("indexrelid", index_oid(objects, relation, key).into()),
            ("indrelid", relation.oid.into()),
            ("indnatts", positions.len().into()),
            ("indnkeyatts", positions.len().into()),
            ("indisunique", yes()),
            ("indnullsnotdistinct", key.nulls_are_equal.into()),
            ("indisprimary", key.is_primary.into()),
            ("indisexclusion", no()),
            ("indimmediate", yes()),
            ("indisclustered", no()),
            ("indisvalid", yes()),
            ("indcheckxmin", no()),
            ("indisready", yes()),
            ("indislive", yes()),
            ("indisreplident", no()),
            ("indcollation", zeros()),
            ("indclass", zeros()),
            ("indoption", zeros()),
            ("indkey", Cell::Ints(positions)),
            ("indexprs", expressions.into()),
            ("indpred", condition.into()),
        ]
    };
    Ok(relation.rules.keys.iter().map(row).collect())
}

/// Rows of the view `pg_indexes`.
pub(super) fn index_views(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let row = |key: &Key| {
        vec![
            ("schemaname", relation.schema.as_str().into()),
            ("tablename", relation.name.as_str().into()),
            ("indexname", key.name.as_str().into()),
            (
                "indexdef",
                Shown::of(objects, relation, key).text(relation, key).into(),
            ),
        ]
    };
    Ok(relation.rules.keys.iter().map(row).collect())
}

/// Rows of `pg_constraint`; `schema` is the number of the relation's schema.
pub(super) fn constraints(objects: &Objects, relation: &Relation, schema: &Cell) -> Vec<Row> {
    let row = |key: &Key| {
        let (yes, no, zero) = (|| Cell::from(true), || Cell::from(false), || Cell::from(0));
        vec![
            ("oid", key_oid(objects, relation, key).into()),
            ("conname", key.name.as_str().into()),
            ("connamespace", schema.clone()),
            ("contype", if key.is_primary { "p" } else { "u" }.into()),
            ("condeferrable", no()),
            ("condeferred", no()),
            ("convalidated", yes()),
            ("conrelid", relation.oid.into()),
            ("contypid", zero()),
            ("conindid", index_oid(objects, relation, key).into()),
            ("conparentid", zero()),
            ("confrelid", zero()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", yes()),
            ("coninhcount", zero()),
            ("connoinherit", yes()),
            ("conkey", Cell::Ints(positions(relation, key))),
        ]
    };
    relation.key_constraints().map(row).collect()
}
