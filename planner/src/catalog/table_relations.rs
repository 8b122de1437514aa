//! Relations that have no entry in the catalog: the indexes of keys, the sequences of numbered columns.
//!
//! In: a statement that looks relations up by texts, or asks for the sequences of columns; out: the names of such relations
//! and the definitions of tables, which stand in their logs. These are read before the statement is planned, so that a
//! look-up by name waits for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::{CatalogEntry, Definition, RESERVED_SCHEMAS, TableShape};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Value, Visit,
    Visitor,
};

use super::PG_CATALOG;
use super::facts::CatalogFacts;
use crate::bind::{SERIAL, string_literal};
use crate::engine::lock;
use crate::error::Result;
use crate::named::Named;
use crate::sequences::{parts_of, sequence_name};
use crate::session::Session;

/// Such relations and tables as they were when a statement was bound.
#[derive(Debug, Default)]
pub(crate) struct TableRelations {
    /// The schema and the name of each such relation.
    names: BTreeSet<(String, String)>,
    /// The definitions of tables by the ids of their entries.
    shapes: BTreeMap<String, TableShape>,
}

impl TableRelations {
    /// The definition of a table; `None` of what is none, or cannot be read.
    pub(crate) fn shape(&self, id: &str) -> Option<&TableShape> {
        self.shapes.get(id)
    }

    /// Whether a table of any schema has an index or a sequence of a name.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|(_, known)| known == name)
    }

    fn add(&mut self, table: &CatalogEntry, shape: TableShape) {
        let mut names: Vec<String> = shape.keys().into_iter().map(|key| key.name).collect();
        let columns = shape.columns().iter();
        let numbered = columns.filter(|column| shape.identity_of(column).is_some());
        names.extend(numbered.map(|column| sequence_name(&table.name, column.name())));
        let schema = || table.schema.clone();
        self.names
            .extend(names.into_iter().map(|name| (schema(), name)));
        self.shapes.insert(table.id.clone(), shape);
    }
}

impl CatalogFacts {
    /// Whether a table of a schema has an index or a sequence of a name; known to statements that look up names alone.
    pub fn is_of_table(&self, schema: &str, name: &str) -> Result<bool> {
        let session = self.session()?;
        let known = Arc::clone(&lock(&session.table_relations));
        Ok(known.names.contains(&(schema.to_owned(), name.to_owned())))
    }
}

/// Reads the logs of all tables if a statement looks up what may stand in them.
pub(crate) async fn read(session: &Arc<Session>, statement: &Statement) {
    if Visit::visit(statement, &mut Asked(session)).is_continue() {
        return;
    }
    // They change without a change of the catalog.
    Named::note_files();
    let state = session.engine.catalog.state();
    let mut entries: Vec<Arc<CatalogEntry>> = state.all().cloned().collect();
    entries.extend(session.temporary.entries());
    let mut found = TableRelations::default();
    for entry in entries {
        if !matches!(entry.definition, Definition::Table(_)) {
            continue;
        }
        match session.tables().shape(&entry.id).await {
            Ok(shape) => found.add(&entry, shape),
            // One that cannot be read shows none.
            Err(error) => {
                let table = &entry.name;
                tracing::debug!(table, %error, "a table cannot be opened");
            }
        }
    }
    *lock(&session.table_relations) = Arc::new(found);
}

/// Looks for names that may be those of such relations.
struct Asked<'a>(&'a Session);

impl Asked<'_> {
    /// Whether an expression may give a name that no entry of the catalog has.
    fn is_of_table(&self, expr: &Expr) -> bool {
        let Some(text) = string_literal(expr) else {
            let is_number = |value: &Value| matches!(value, Value::Number(..) | Value::Null);
            return !matches!(expr, Expr::Value(value) if is_number(&value.value));
        };
        let is_number = text.parse::<u32>().is_ok();
        let parts = parts_of(text);
        let is_system = match parts.as_slice() {
            [.., schema, _] => RESERVED_SCHEMAS.contains(&schema.as_str()),
            [name] => name.starts_with("pg_"),
            [] => false,
        };
        if is_number || is_system {
            return false;
        }
        let known = self.0.relation_parts(&parts);
        let entry = known.map(|(schema, name)| self.0.entry(&schema, &name));
        !matches!(entry, Ok(Some(_)))
    }

    fn calls(&self, function: &Function) -> bool {
        let name = function.name.0.last().and_then(|part| part.as_ident());
        let is_called =
            |known: &str| name.is_some_and(|name| name.value.eq_ignore_ascii_case(known));
        // Of names that are written out, nothing is left of it.
        if is_called(SERIAL) {
            return true;
        }
        if !is_called("to_regclass") {
            return false;
        }
        let FunctionArguments::List(list) = &function.args else {
            return false;
        };
        list.args.iter().any(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.is_of_table(expr),
            _ => false,
        })
    }
}

impl Visitor for Asked<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let is_asked = match expr {
            Expr::Function(function) => self.calls(function),
            Expr::Cast {
                expr, data_type, ..
            } => {
                let name = data_type.to_string().to_lowercase();
                let name = name.trim_end_matches("[]");
                let bare = name.strip_prefix(PG_CATALOG).unwrap_or(name);
                bare.trim_start_matches('.') == "regclass" && self.is_of_table(expr)
            }
            _ => false,
        };
        match is_asked {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
