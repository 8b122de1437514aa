//! Numbers of identity columns and sequences that an `ON CONFLICT` reads: those of the rows that were to be inserted.
//!
//! In: the statement and the table's definition; out: the columns whose numbers decide what becomes of a row, and the calls
//! that take them. As in PostgreSQL, a row that is then not added has taken its number. Where nothing reads them, numbers are
//! given to rows that are added.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::{CatalogEntry, Key, TableShape};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::sql::sqlparser::ast::{
    self, Expr, OnConflictAction, SetExpr, TableObject, Visit, Visitor,
};

use super::change::Target;
use super::column_rules::{default_of, is_default, parse_expr};
use super::hidden_columns::WholeRows;
use super::numbered_values::numbers_read;
use super::upsert::{EXCLUDED, conflict_of, key_of, places};
use super::view_columns::ViewColumns;
use crate::access::TableUse;
use crate::commands::{folded, name_parts};
use crate::error::Result;
use crate::sequences::{Numbers, default_text, numbers_of_name, sequence_name};
use crate::session::Session;

/// A number that each row takes which is given none.
#[derive(Debug)]
pub(super) struct Number {
    /// The place of its column.
    pub(super) place: usize,
    pub(super) call: Expr,
}

/// The calls for the numbers that a statement reads.
pub(super) fn numbers(
    session: &Arc<Session>,
    insert: &ast::Insert,
    target: &Target<'_>,
) -> Result<Vec<Number>> {
    let shape = target.shape;
    let read = read_numbers(insert, shape, (&target.relation, target.view))?;
    let TableObject::TableName(name) = &insert.table else {
        return Ok(Vec::new());
    };
    if read.is_empty() {
        return Ok(Vec::new());
    }
    let (table, _) = session.changed_table(&name_parts(name), TableUse::Insert, false)?;
    let mut numbers = Vec::with_capacity(read.len());
    for place in read {
        let field = &shape.columns()[place];
        let call = match shape.identity_of(field) {
            Some(_) => identity_call(session, &table, field)?,
            None => Some(default_of(shape, field)?),
        };
        numbers.extend(call.map(|call| Number { place, call }));
    }
    Ok(numbers)
}

/// The call that takes a number of an identity column; `None`: no call by a name does, or the role may only take it by the
/// way of a view.
fn identity_call(
    session: &Arc<Session>,
    table: &CatalogEntry,
    column: &FieldRef,
) -> Result<Option<Expr>> {
    let sequence = sequence_name(&table.name, column.name());
    let parts = [table.schema.clone(), sequence.clone()];
    let is_its_own = match numbers_of_name(session, &parts) {
        Ok(Numbers::Column(entry, name)) => entry.id == table.id && name == *column.name(),
        _ => false,
    };
    if !is_its_own || TableUse::Insert.check(&session.access(), table).is_err() {
        return Ok(None);
    }
    parse_expr(&default_text(&table.schema, &sequence)).map(Some)
}

/// The columns of numbers that some given row lacks, and that the clause reads: they are of
/// a key that it looks at, or of `excluded`.
pub(super) fn read_numbers(
    insert: &ast::Insert,
    shape: &TableShape,
    (relation, view): (&str, Option<&ViewColumns>),
) -> Result<Vec<usize>> {
    let columns = shape.columns().iter().enumerate();
    let numbered = columns.filter(|(_, field)| is_numbered(shape, field));
    let mut read: Vec<usize> = numbered.map(|(idx, _)| idx).collect();
    let Some(conflict) = conflict_of(insert).filter(|_| !read.is_empty()) else {
        return Ok(Vec::new());
    };
    let places = places(insert, shape, (relation, view))?;
    read.retain(|idx| lacks(insert, &places, *idx));
    if read.is_empty() {
        return Ok(read);
    }
    let met: Vec<Key> = match conflict.conflict_target {
        Some(_) => key_of(conflict, shape, (relation, view))?
            .into_iter()
            .collect(),
        // A row that meets any key is left out.
        None => shape.keys(),
    };
    let mut named = Named {
        columns: Vec::new(),
        rows: WholeRows {
            alias: EXCLUDED,
            is_column: shape.position(EXCLUDED).is_some(),
        },
    };
    let names_row = match &conflict.action {
        OnConflictAction::DoUpdate(update) => {
            Visit::visit(&update.assignments, &mut named).is_break()
                || Visit::visit(&update.selection, &mut named).is_break()
        }
        OnConflictAction::DoNothing => false,
    };
    let is_read = |idx: usize| {
        let column = shape.columns()[idx].name();
        let of_key = met.iter().any(|key| key.reads().any(|read| read == column));
        let is_meant = |name: &String| match view {
            // A name that the view lacks is an error elsewhere.
            Some(view) => view.named_place(name).is_ok_and(|place| place == Some(idx)),
            None => name.eq_ignore_ascii_case(column),
        };
        of_key || names_row || named.columns.iter().any(is_meant)
    };
    // A number is read as well where a generated column that reads it is.
    let mut through = Vec::new();
    for (idx, field) in shape.columns().iter().enumerate() {
        if shape.generated_of(field).is_some() && is_read(idx) {
            through.extend(numbers_read(shape, field)?);
        }
    }
    read.retain(|idx| through.contains(idx) || is_read(*idx));
    Ok(read)
}

/// Whether a column that is not given gets a number.
fn is_numbered(shape: &TableShape, column: &FieldRef) -> bool {
    let takes_one = |text: String| text.contains("nextval");
    shape.identity_of(column).is_some() || shape.value_without(column).is_some_and(takes_one)
}

/// Whether the statement leaves a column out, or gives DEFAULT there.
fn lacks(insert: &ast::Insert, places: &[usize], idx: usize) -> bool {
    let Some(at) = places.iter().position(|place| *place == idx) else {
        return true;
    };
    match insert.source.as_ref().map(|source| source.body.as_ref()) {
        Some(SetExpr::Values(values)) => {
            let mut cells = values.rows.iter().filter_map(|row| row.content.get(at));
            cells.any(is_default)
        }
        _ => false,
    }
}

/// Collects the columns of `excluded` that are named; stops where all of it is.
struct Named<'a> {
    columns: Vec<String>,
    rows: WholeRows<'a>,
}

impl Visitor for Named<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
        self.rows.pre_visit_select(select)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [relation, column, ..] = parts.as_slice()
            && folded(relation) == EXCLUDED
        {
            self.columns.push(folded(column));
        }
        self.rows.pre_visit_expr(expr)
    }
}

#[cfg(test)]
mod tests {
    use auspex_sql::Statement;
    use auspex_storage::{Identity, IdentityKind};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::sql::parser::Statement as SqlStatement;

    use super::*;

    /// `t (id bigint GENERATED BY DEFAULT AS IDENTITY, name text)` with a key on each.
    fn shape() -> TableShape {
        let fields = [("id", DataType::Int64), ("name", DataType::Utf8)];
        let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
        let mut shape = TableShape::new(&Schema::new(fields.to_vec()));
        let identity = Identity {
            kind: IdentityKind::ByDefault,
            sequence: "id".to_owned(),
            start: 1,
            increment: 1,
            origin: 1,
        };
        shape.set_identity(0, &identity);
        for column in ["id", "name"] {
            shape.add_key(&Key {
                name: format!("by_{column}"),
                columns: vec![column.to_owned()],
                ..Key::default()
            });
        }
        shape
    }

    fn read(text: &str) -> Vec<usize> {
        let mut parsed = auspex_sql::parse_own(text).unwrap();
        let Statement::Sql(statement) = parsed.remove(0).statement else {
            panic!("{text}");
        };
        let SqlStatement::Statement(statement) = *statement else {
            panic!("{text}");
        };
        let ast::Statement::Insert(insert) = *statement else {
            panic!("{text}");
        };
        read_numbers(&insert, &shape(), ("t", None)).unwrap()
    }

    #[test]
    fn numbers_are_read_where_rows_lack_them_and_the_clause_names_them() {
        for text in [
            "INSERT INTO t (name) VALUES ('a') ON CONFLICT (id) DO NOTHING",
            "INSERT INTO t VALUES (DEFAULT, 'a'), (2, 'b') ON CONFLICT (id) DO NOTHING",
            "INSERT INTO t (name) SELECT 'a' ON CONFLICT DO NOTHING",
            "INSERT INTO t (name) VALUES ('a') ON CONFLICT (name) DO UPDATE SET id = Excluded.id",
            "INSERT INTO t (name) SELECT 'a' ON CONFLICT (name) DO UPDATE SET name = 'b' WHERE t.id < excluded.id",
            "INSERT INTO t (name) VALUES ('a') ON CONFLICT (name) DO UPDATE SET name = to_json(excluded)",
        ] {
            assert_eq!(read(text), [0], "{text}");
        }
        for text in [
            "INSERT INTO t (name) VALUES ('a')",
            "INSERT INTO t (name) VALUES ('a') ON CONFLICT (name) DO NOTHING",
            "INSERT INTO t VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET id = excluded.id",
            "INSERT INTO t SELECT 1, 'a' ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            "INSERT INTO t (name) VALUES ('a') ON CONFLICT (name) DO UPDATE SET name = excluded.name",
            "INSERT INTO t (name) VALUES ('a') ON CONFLICT (name) DO UPDATE SET id = t.id + 1",
        ] {
            assert!(read(text).is_empty(), "{text}");
        }
    }
}
