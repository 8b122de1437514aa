//! `INSERT … ON CONFLICT` as a MERGE on the columns of a key.
//!
//! In: the syntax tree and the table's definition; out: the syntax tree of a MERGE whose source is called `excluded`. That
//! no two rows of a key come about, also by others at the same time, is the write's business.

use std::ops::ControlFlow;

use auspex_sql::{CONFLICT_TARGET, Dialect, Statement};
use auspex_storage::{Key, OnConflict as Taken, TableShape};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, ConflictTarget, Expr, Ident, MergeAction, OnConflict, OnConflictAction, OnInsert,
    SelectItem, SetExpr, Spanned as _, TableFactor, VisitMut, VisitorMut,
};

use super::change::{Target, table_alias};
use super::column_rules::column_place;
use super::excluded_numbers::{Number, read_numbers};
use super::excluded_rows::{Given, Proposed, derived, without_defaults};
use super::hidden_columns::hidden;
use super::key_forms::{inferred_key, same_keys};
use super::one_relation::{qualify, qualify_known};
use super::view_columns::ViewColumns;
use crate::commands::{folded, name_parts};
use crate::error::{Error, Result};

/// What PostgreSQL calls the row that was to be inserted.
pub(super) const EXCLUDED: &str = "excluded";
/// The relation of the given rows.
pub(super) const GIVEN: &str = "given";
/// The columns of the given rows that tell which of equal ones comes first.
pub(super) const PLACE: &str = "__auspex_place";
pub(super) const TURN: &str = "__auspex_turn";
/// The rows that are there, where those of other keys than the first are looked for.
const TAKEN: &str = "__auspex_taken";
/// What stands for the columns of the given rows in the text of a query: not all types can be written.
const COLUMNS: &str = "__auspex_columns";

/// The clause, if the statement has one.
pub(crate) fn conflict_of(insert: &ast::Insert) -> Option<&OnConflict> {
    match &insert.on {
        Some(OnInsert::OnConflict(conflict)) => Some(conflict),
        _ => None,
    }
}

/// What `DO UPDATE` assigns; `None`: the statement has none.
pub(super) fn assigned(insert: &ast::Insert) -> Option<&[ast::Assignment]> {
    match conflict_of(insert).map(|conflict| &conflict.action) {
        Some(OnConflictAction::DoUpdate(update)) => Some(&update.assignments),
        _ => None,
    }
}

/// An INSERT of values without its clauses, and what becomes of its rows whose key is taken; `None` for other statements.
/// It needs no look at the table's rows where none is taken.
pub(super) fn as_insert(
    insert: &ast::Insert,
    shape: &TableShape,
    relation: (&str, Option<&ViewColumns>),
) -> Result<Option<(ast::Insert, Taken)>> {
    let source = insert.source.as_ref().map(|source| source.body.as_ref());
    let (Some(conflict), Some(SetExpr::Values(_))) = (conflict_of(insert), source) else {
        return Ok(None);
    };
    // A row that gives up has taken its numbers: those that decide what becomes of it are taken once.
    let updates = matches!(conflict.action, OnConflictAction::DoUpdate(_));
    if updates && !read_numbers(insert, shape, relation)?.is_empty() {
        return Ok(None);
    }
    let key = key_of(conflict, shape, relation)?;
    let on_conflict = match (&conflict.action, &conflict.conflict_target) {
        (OnConflictAction::DoUpdate(_), _) => Taken::GiveUp,
        (OnConflictAction::DoNothing, None) => Taken::LeaveOut(None),
        (OnConflictAction::DoNothing, Some(_)) => Taken::LeaveOut(key.map(|key| key.name)),
    };
    let plain = ast::Insert {
        on: None,
        returning: None,
        table_alias: None,
        ..insert.clone()
    };
    Ok(Some((plain, on_conflict)))
}

/// The keys of a table where a clause names none of several: a row that meets any of them is left out.
pub(super) fn any_keys(insert: &ast::Insert, shape: &TableShape) -> Vec<Key> {
    let names_none = |conflict: &OnConflict| {
        conflict.conflict_target.is_none() && matches!(conflict.action, OnConflictAction::DoNothing)
    };
    let mut keys = shape.keys();
    if keys.len() < 2 || !conflict_of(insert).is_some_and(names_none) {
        keys.clear();
    }
    keys
}

/// What the changes must be in the order of: which of equal rows is the first one is seen when they come.
pub(super) fn order(insert: &ast::Insert, shape: &TableShape) -> Option<Expr> {
    let place = || vec![Ident::new(EXCLUDED), Ident::new(PLACE)];
    (!any_keys(insert, shape).is_empty()).then(|| Expr::CompoundIdentifier(place()))
}

/// The key that a clause means, or the first one if it names none; `None`: the table has none, so that nothing conflicts.
/// `view` has the columns of the view that stands in the place of the table: keys have no names there.
pub(super) fn key_of(
    conflict: &OnConflict,
    shape: &TableShape,
    (relation, view): (&str, Option<&ViewColumns>),
) -> Result<Option<Key>> {
    let keys = shape.keys();
    match &conflict.conflict_target {
        Some(ConflictTarget::Columns(names)) => {
            let mut wanted: Vec<String> = names.iter().map(folded).collect();
            for name in &mut wanted {
                let idx = match view {
                    Some(columns) => columns.named_place(name)?.ok_or_else(no_such_key)?,
                    None => column_place(shape, name, relation)?,
                };
                shape.columns()[idx].name().clone_into(name);
            }
            wanted.sort();
            let fits = |key: &Key| {
                let mut columns = key.columns.clone();
                columns.sort();
                columns == wanted && key.is_of_columns()
            };
            let found = keys.into_iter().find(fits);
            found.map(Some).ok_or_else(no_such_key)
        }
        Some(ConflictTarget::OnConstraint(name)) => {
            let name = name_parts(name).pop().unwrap_or_default();
            if let Some(target) = name.strip_prefix(CONFLICT_TARGET) {
                let found = inferred_key(target, shape, (relation, view))?;
                return found.map(Some).ok_or_else(no_such_key);
            }
            let is_named = |key: &Key| view.is_none() && key.index.is_none();
            let mut keys = keys.into_iter().filter(is_named);
            let found = keys.find(|key| key.name == name);
            found.map(Some).ok_or_else(|| {
                let message =
                    format!("constraint \"{name}\" for table \"{relation}\" does not exist");
                Error::invalid("42704", message, None)
            })
        }
        None if matches!(conflict.action, OnConflictAction::DoUpdate(_)) => {
            let message =
                "ON CONFLICT DO UPDATE requires inference specification or constraint name";
            let hint = "For example, ON CONFLICT (column_name).";
            Err(Error::invalid("42601", message, Some(hint)))
        }
        None => Ok(keys.into_iter().next()),
    }
}

fn no_such_key() -> Error {
    let message =
        "there is no unique or exclusion constraint matching the ON CONFLICT specification";
    let hint = "Declare one with PRIMARY KEY, UNIQUE or CREATE UNIQUE INDEX.";
    Error::invalid("42P10", message, Some(hint))
}

/// The rows of a statement that were read without the planner.
pub(super) struct ReadRows {
    /// The relation that stands for them: its columns have the names and types of those of the table.
    pub(super) relation: TableFactor,
    /// The places of its columns in the table.
    pub(super) places: Vec<usize>,
}

/// The statement as a MERGE into the table, which `table` is in a FROM. `read` has its rows if they need no planner;
/// `numbers` are taken for each row that lacks them.
pub(super) fn as_merge(
    insert: &ast::Insert,
    target: &Target<'_>,
    table: &TableFactor,
    read: Option<ReadRows>,
    numbers: &[Number],
) -> Result<ast::Merge> {
    let Some(conflict) = conflict_of(insert) else {
        return Err(Error::unsupported("ON DUPLICATE KEY UPDATE"));
    };
    let shape = target.shape;
    let relation = (target.relation.as_str(), target.view);
    let key = key_of(conflict, shape, relation)?;
    let given = match read {
        Some(read) => Given::read(read),
        None => {
            let places = places(insert, shape, relation)?;
            let (insert, places) = without_defaults(insert, places);
            Given::written(&insert, shape, places, numbers)?
        }
    };
    let mut merge = merge_of(conflict, target, (&given.places, numbers))?;
    if let Some(key) = &key {
        *merge.on = same_key(key, target)?;
    }
    let any = any_keys(insert, shape);
    let text = match (key, any.as_slice()) {
        (Some(_), [_, others @ ..]) => without_taken(others, target)?,
        (Some(key), _) if matches!(conflict.action, OnConflictAction::DoNothing) => {
            first_only(&key)
        }
        _ => format!("SELECT {COLUMNS} FROM {GIVEN}"),
    };
    let mut query = auspex_sql::parse_query(&text, Dialect::Postgres)?;
    let mut taken = table.clone();
    if let TableFactor::Table { alias, .. } = &mut taken {
        *alias = Some(table_alias(Ident::new(TAKEN)));
    }
    let Proposed { given, columns } = given.proposed(shape, numbers)?;
    let mut meant = Meant {
        given,
        columns,
        taken,
    };
    let _ = VisitMut::visit(&mut query, &mut meant);
    merge.source = derived(query, table_alias(Ident::new(EXCLUDED)));
    Ok(merge)
}

/// The MERGE without its source: what becomes of rows that are there, and which columns new rows take of those that were
/// to be inserted. What is not given there comes about when the row is added.
fn merge_of(
    conflict: &OnConflict,
    target: &Target<'_>,
    (places, numbers): (&[usize], &[Number]),
) -> Result<ast::Merge> {
    let shape = target.shape;
    let numbered = numbers.iter().map(|number| &number.place);
    let numbered = numbered.filter(|idx| !places.contains(idx));
    let filled: Vec<&usize> = places.iter().chain(numbered).collect();
    let name = |idx: &usize| shape.columns()[*idx].name().as_str();
    let quoted = |name: &str| Ident::with_quote('"', name).to_string();
    let names: Vec<String> = filled.iter().map(|idx| quoted(name(idx))).collect();
    let values = filled.iter().map(|idx| target.excluded(name(idx)));
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    let update = match &conflict.action {
        OnConflictAction::DoUpdate(_) => "WHEN MATCHED THEN UPDATE SET a = 1",
        OnConflictAction::DoNothing => "",
    };
    let text = format!(
        "MERGE INTO t USING s AS {EXCLUDED} ON FALSE {update} \
         WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
        names.join(", "),
        values.join(", ")
    );
    let mut merge = parsed_merge(&text)?;
    if let OnConflictAction::DoUpdate(update) = &conflict.action
        && let Some(clause) = merge.clauses.first_mut()
        && let MergeAction::Update(action) = &mut clause.action
    {
        clause.predicate.clone_from(&update.selection);
        action.assignments.clone_from(&update.assignments);
        match target.view {
            Some(columns) => qualify_known(clause, &|name| columns.has(name), &target.alias),
            None => qualify(clause, shape, &target.alias),
        }
    }
    Ok(merge)
}

/// The columns that the statement fills, in the order of its source: a query has them named.
pub(super) fn places(
    insert: &ast::Insert,
    shape: &TableShape,
    (relation, view): (&str, Option<&ViewColumns>),
) -> Result<Vec<usize>> {
    if let Some(columns) = view {
        let places = columns.places(insert)?;
        let repeated = (1..places.len()).find(|at| places[..*at].contains(&places[*at]));
        return match repeated {
            Some(at) => Err(named_twice(shape.columns()[places[at]].name())),
            None => Ok(places),
        };
    }
    let all = shape.columns().len();
    if insert.columns.is_empty() {
        let width = match insert.source.as_ref().map(|source| source.body.as_ref()) {
            Some(SetExpr::Values(values)) => values.rows.first().map(|row| row.content.len()),
            _ => None,
        };
        return Ok((0..width.unwrap_or(all).min(all)).collect());
    }
    let mut places = Vec::new();
    for column in &insert.columns {
        let name = name_parts(column).pop().unwrap_or_default();
        let place = column_place(shape, &name, relation);
        let place = place.map_err(|error| error.at(column.span()))?;
        if places.contains(&place) {
            return Err(named_twice(&name).at(column.span()));
        }
        places.push(place);
    }
    Ok(places)
}

fn named_twice(column: &str) -> Error {
    let message = format!("column \"{column}\" specified more than once");
    Error::invalid("42701", message, None)
}

impl Target<'_> {
    /// What a column of the table has in a row: behind the columns of a view, it is hidden.
    fn place_name(&self, column: &str) -> String {
        let place = self.view.and_then(|_| self.shape.position(column));
        place.map_or_else(|| column.to_owned(), hidden)
    }

    /// A column of the row that was to be added.
    fn excluded(&self, column: &str) -> Expr {
        let name = Ident::with_quote('"', self.place_name(column));
        Expr::CompoundIdentifier(vec![Ident::new(EXCLUDED), name])
    }
}

/// `target.k = excluded.k AND …`.
fn same_key(key: &Key, target: &Target<'_>) -> Result<Expr> {
    let (there, given) = (
        |name: &str| target.column(name),
        |name: &str| target.excluded(name),
    );
    let same = same_keys(key, target.shape, (&there, &given))?;
    let both = |left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: ast::BinaryOperator::And,
        right: Box::new(right),
    };
    let none = Expr::Value(ast::Value::Boolean(false).with_empty_span());
    Ok(same.into_iter().reduce(both).unwrap_or(none))
}

fn quoted(key: &Key) -> Vec<String> {
    let columns = key.columns.iter().enumerate();
    let written = columns.map(|(place, name)| match key.is_expression(place) {
        true => format!("({name})"),
        false => Ident::with_quote('"', name).to_string(),
    });
    written.collect()
}

/// The first given rows of each key, and those that have none.
fn first_only(key: &Key) -> String {
    let mut parts = quoted(key);
    let mut apart: Vec<String> = Vec::new();
    if !key.nulls_are_equal {
        apart.extend(parts.iter().map(|name| format!("{name} IS NULL")));
    }
    if let Some(condition) = key.condition() {
        parts.push(format!("({condition}) IS TRUE"));
        apart.push(format!("({condition}) IS NOT TRUE"));
    }
    let apart = apart.iter().map(|condition| format!(" OR {condition}"));
    format!(
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {} ORDER BY {PLACE}) AS {TURN} \
         FROM (SELECT {COLUMNS}, row_number() OVER () AS {PLACE} FROM {GIVEN}) AS placed) AS turns \
         WHERE {TURN} = 1{}",
        parts.join(", "),
        apart.collect::<String>()
    )
}

/// The given rows with their places, without those that meet a row of the table by one of the keys.
fn without_taken(keys: &[Key], target: &Target<'_>) -> Result<String> {
    let column = |relation: &str, name: String| {
        Expr::CompoundIdentifier(vec![Ident::new(relation), Ident::with_quote('"', name)])
    };
    let there = |name: &str| column(TAKEN, target.place_name(name));
    let given = |name: &str| column("placed", name.to_owned());
    let mut are_free = Vec::with_capacity(keys.len());
    for key in keys {
        let same = same_keys(key, target.shape, (&there, &given))?;
        let same: Vec<String> = same.iter().map(ToString::to_string).collect();
        are_free.push(format!(
            "NOT EXISTS (SELECT 1 FROM {TAKEN} WHERE {})",
            same.join(" AND ")
        ));
    }
    Ok(format!(
        "SELECT * FROM (SELECT {COLUMNS}, row_number() OVER () AS {PLACE} FROM {GIVEN}) AS placed \
         WHERE {}",
        are_free.join(" AND ")
    ))
}

/// Puts the given rows in the place of the relation `given`, their columns in that of `COLUMNS`, and the table in that of
/// `TAKEN`.
struct Meant {
    given: TableFactor,
    columns: Vec<SelectItem>,
    taken: TableFactor,
}

impl VisitorMut for Meant {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<()> {
        let stands_for_all = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => name.value == COLUMNS,
            _ => false,
        };
        if let Some(place) = select.projection.iter().position(stands_for_all) {
            let columns = std::mem::take(&mut self.columns);
            select.projection.splice(place..=place, columns);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = factor {
            match name_parts(name).as_slice() {
                [name] if name == GIVEN => *factor = self.given.clone(),
                [name] if name == TAKEN => *factor = self.taken.clone(),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

fn parsed_merge(text: &str) -> Result<ast::Merge> {
    let parsed = auspex_sql::parse_own(text)?;
    let statement = parsed.into_iter().next().map(|parsed| parsed.statement);
    if let Some(Statement::Sql(statement)) = statement
        && let SqlStatement::Statement(statement) = *statement
        && let ast::Statement::Merge(merge) = *statement
    {
        return Ok(merge);
    }
    Err(Error::unsupported("this form of ON CONFLICT"))
}
