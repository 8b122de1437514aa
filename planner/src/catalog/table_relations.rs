//! Relations that have no entry in the catalog: the indexes of keys, the sequences of numbered columns.
//!
//! In: a statement that looks relations up by texts, or asks for the sequences of columns; out: the names of such relations
//! and the definitions of tables, which stand in their logs. These are read before the statement is planned, or before its
//! plan runs, so that a look-up by name waits for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::{CatalogEntry, Definition, RESERVED_SCHEMAS, TableShape};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::{self, ExprSchemable as _, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Visit, Visitor,
};
use futures::StreamExt as _;

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
        let schema = session.known_schema(schema).to_owned();
        Ok(known.names.contains(&(schema, name.to_owned())))
    }
}

/// Logs that are read at a time: of tables in an object store, each is a few answers of it.
const LOGS_IN_FLIGHT: usize = 32;

/// What a statement has been given of the tables' logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableLogs {
    Unread,
    Read,
}

/// Reads the logs of all tables if a statement looks up a name that may stand in them.
pub(crate) async fn read(session: &Arc<Session>, statement: &Statement) -> TableLogs {
    match Visit::visit(statement, &mut Asked(session)) {
        ControlFlow::Break(()) => read_all(session).await,
        ControlFlow::Continue(()) => TableLogs::Unread,
    }
}

/// The same for a plan that looks up texts which only its rows tell. Numbers have names without a look into logs.
pub(crate) async fn read_for(session: &Arc<Session>, plan: &LogicalPlan, logs: TableLogs) {
    if logs == TableLogs::Unread && looks_up_texts(plan) {
        read_all(session).await;
    }
}

async fn read_all(session: &Arc<Session>) -> TableLogs {
    // They change without a change of the catalog.
    Named::note_files();
    let state = session.seen_catalog();
    let mut entries: Vec<Arc<CatalogEntry>> = state.all().cloned().collect();
    entries.extend(session.temporary_entries());
    entries.retain(|entry| matches!(entry.definition, Definition::Table(_)));
    let reads = entries.into_iter().map(|entry| async move {
        match session.tables().shape(&entry.id).await {
            Ok(shape) => Some((entry, shape)),
            // One that cannot be read shows none.
            Err(error) => {
                let table = &entry.name;
                tracing::debug!(table, %error, "a table cannot be opened");
                None
            }
        }
    });
    let mut reads = futures::stream::iter(reads).buffer_unordered(LOGS_IN_FLIGHT);
    let mut found = TableRelations::default();
    while let Some(read) = reads.next().await {
        if let Some((entry, shape)) = read {
            found.add(&entry, shape);
        }
    }
    *lock(&session.table_relations) = Arc::new(found);
    TableLogs::Read
}

/// Whether a plan calls a function that looks relations up by texts which are not written out.
fn looks_up_texts(plan: &LogicalPlan) -> bool {
    let mut is_found = false;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                is_found = is_found || looks_up_text(expr, node);
                Ok(match is_found {
                    true => TreeNodeRecursion::Stop,
                    false => TreeNodeRecursion::Continue,
                })
            })
        })
    });
    is_found || walked.is_err()
}

/// Whether an expression of a node is such a call; what has no known type may be a text.
fn looks_up_text(expr: &logical_expr::Expr, node: &LogicalPlan) -> bool {
    let logical_expr::Expr::ScalarFunction(call) = expr else {
        return false;
    };
    // As PostgreSQL calls what stands behind a cast to regclass, and from it.
    let name = call.func.name();
    let [arg] = call.args.as_slice() else {
        return false;
    };
    if !name.starts_with("regclass") && name != "to_regclass" {
        return false;
    }
    let mut seen = node.inputs().into_iter().map(|input| input.schema());
    let found = seen.find_map(|schema| arg.get_type(schema.as_ref()).ok());
    let found = found.or_else(|| arg.get_type(node.schema().as_ref()).ok());
    let is_written = matches!(arg, logical_expr::Expr::Literal(..));
    !is_written && found.is_none_or(|found| found.is_string() || found.is_null())
}

/// Looks for names that may be those of such relations.
struct Asked<'a>(&'a Session);

impl Asked<'_> {
    /// Whether an expression may give a name that no entry of the catalog has.
    fn is_of_table(&self, expr: &Expr) -> bool {
        // What is not written out is looked at once its type is known.
        let Some(text) = string_literal(expr) else {
            return false;
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::logical_expr::{
        ColumnarValue, LogicalPlanBuilder, Volatility, col, create_udf, lit,
    };

    use super::*;

    fn looks_up(name: &str, data_type: DataType, value: logical_expr::Expr) -> bool {
        let same = |args: &[ColumnarValue]| Ok(args[0].clone());
        let taken = vec![data_type.clone()];
        let function = create_udf(name, taken, data_type, Volatility::Stable, Arc::new(same));
        let rows = vec![vec![lit(1_i32), lit("t")]];
        let rows = LogicalPlanBuilder::values(rows).unwrap();
        let plan = rows.project([function.call(vec![value])]).unwrap();
        looks_up_texts(&plan.build().unwrap())
    }

    #[test]
    fn texts_of_rows_are_looked_up_and_numbers_are_not() {
        let (number, text) = (col("column1"), col("column2"));
        assert!(looks_up("regclassout", DataType::Utf8, text.clone()));
        assert!(looks_up("to_regclass", DataType::Utf8, text.clone()));
        assert!(!looks_up("regclassout", DataType::Int32, number));
        assert!(!looks_up("regclassin", DataType::Utf8, lit("t")));
        assert!(!looks_up("regtypeout", DataType::Utf8, text));
    }
}
