//! Sequences in a statement: `pg_get_serial_sequence('t', 'id')` becomes the name, `'s'::regclass` the text.
//!
//! In: a syntax tree; out: the same with names that the functions of sequences take. Which columns are numbered stands in
//! their table's log, which is read here.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::{CatalogEntry, Definition, RESERVED_SCHEMAS, TableShape};
use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};

use super::column_rules::{column_place, parse_expr};
use super::model_scope::string_literal;
use crate::access::TableUse;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::sequences::{
    Numbers, default_text, numbers_of_name, parts_of, qualified, sequence_name,
};
use crate::session::Session;

pub(crate) const SERIAL: &str = "pg_get_serial_sequence";

/// Settles what a statement says of sequences.
pub(super) async fn settle(session: &Arc<Session>, statement: &mut Statement) -> Result<()> {
    let mut asked = Asked(Vec::new());
    let _ = VisitMut::visit(statement, &mut Plain);
    let _ = Visit::visit(&*statement, &mut asked);
    let mut names = Vec::with_capacity(asked.0.len());
    for (table, column) in asked.0 {
        names.push(sequence_of_column(session, &table, &column).await?);
    }
    if !names.is_empty() {
        names.reverse();
        let _ = VisitMut::visit(statement, &mut Named(names));
    }
    Ok(())
}

/// The name of the sequence of a column as SQL writes it; `None` if it has none.
pub(crate) async fn sequence_of_column(
    session: &Arc<Session>,
    table: &str,
    column: &str,
) -> Result<Option<String>> {
    let (schema, relation) = session.relation_parts(&parts_of(table))?;
    match session.entry(&schema, &relation) {
        // What others than managed tables hold comes from no sequence.
        Some(entry) if !matches!(entry.definition, Definition::Table(_)) => return Ok(None),
        None if is_of_server(&schema, &relation) => return Ok(None),
        _ => {}
    }
    let entry = session.managed_table(&schema, &relation, TableUse::Read)?;
    let shape = session.tables().shape(&entry.id).await?;
    sequence_in(session, &entry, &shape, column)
}

/// The same of a table as it was when the statement that runs was bound, for whoever sees its name.
pub(crate) fn known_sequence_of_column(
    session: &Session,
    table: &str,
    column: &str,
) -> Result<Option<String>> {
    let (schema, relation) = session.relation_parts(&parts_of(table))?;
    let known = Arc::clone(&lock(&session.table_relations));
    match session.entry(&schema, &relation) {
        Some(entry) => match known.shape(&entry.id) {
            Some(shape) => sequence_in(session, &entry, shape, column),
            None => Ok(None),
        },
        // Catalogs have columns of indexes, too.
        None if is_of_server(&schema, &relation) || known.has_name(&relation) => Ok(None),
        None => Err(session.undefined_relation(&schema, &relation)),
    }
}

/// Whether a relation without an entry is one of the server's own.
fn is_of_server(schema: &str, name: &str) -> bool {
    RESERVED_SCHEMAS.contains(&schema) || name.starts_with("pg_")
}

fn sequence_in(
    session: &Session,
    table: &CatalogEntry,
    shape: &TableShape,
    column: &str,
) -> Result<Option<String>> {
    // The column's name is no identifier: its letters are kept.
    let idx = column_place(shape, column, &table.name)?;
    let field = &shape.columns()[idx];
    if shape.identity_of(field).is_some() {
        let sequence = sequence_name(&table.name, field.name());
        return Ok(Some(qualified(&table.schema, &sequence)));
    }
    let state = session.seen_catalog();
    let owned = state.all().find(|other| match &other.definition {
        Definition::Sequence(sequence) => {
            let owner = sequence.owned_by.as_ref();
            owner.is_some_and(|owner| owner.table == table.id && owner.column == *field.name())
        }
        _ => false,
    });
    Ok(owned.map(|sequence| qualified(&sequence.schema, &sequence.name)))
}

fn name(function: &Function) -> String {
    let last = function.name.0.last().and_then(|part| part.as_ident());
    last.map_or_else(String::new, |name| name.value.to_lowercase())
}

/// The texts that the sequence of a column is asked for with.
fn asked(expr: &Expr) -> Option<(String, String)> {
    let Expr::Function(function) = expr else {
        return None;
    };
    if name(function) != SERIAL {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let text = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
            string_literal(expr).map(ToOwned::to_owned)
        }
        _ => None,
    };
    match list.args.as_slice() {
        [table, column] => Some((text(table)?, text(column)?)),
        _ => None,
    }
}

/// Collects what is asked, in the order of visits.
struct Asked(Vec<(String, String)>);

impl Visitor for Asked {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0.extend(asked(expr));
        ControlFlow::Continue(())
    }
}

/// Puts the names in the place of the calls; the last one comes first.
struct Named(Vec<Option<String>>);

impl VisitorMut for Named {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if asked(expr).is_some()
            && let Some(name) = self.0.pop()
        {
            let value = name.map_or(Value::Null, Value::SingleQuotedString);
            *expr = Expr::Cast {
                kind: datafusion::sql::sqlparser::ast::CastKind::Cast,
                expr: Box::new(Expr::Value(value.with_empty_span())),
                data_type: DataType::Text,
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// The expression of a default whose sequences are named with their schemas, so that they mean the same in every session.
pub(crate) fn default_of_sequences(session: &Session, expr: &Expr) -> Result<Expr> {
    let mut expr = expr.clone();
    let _ = VisitMut::visit(&mut expr, &mut Plain);
    let mut named = Qualified {
        session,
        error: None,
    };
    let _ = VisitMut::visit(&mut expr, &mut named);
    named.error.map_or(Ok(expr), Err)
}

/// Writes out the schemas of the sequences whose numbers are taken.
struct Qualified<'a> {
    session: &'a Session,
    error: Option<Error>,
}

impl Qualified<'_> {
    fn call(&self, expr: &Expr) -> Result<Option<Expr>> {
        let Expr::Function(function) = expr else {
            return Ok(None);
        };
        let FunctionArguments::List(list) = &function.args else {
            return Ok(None);
        };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))] = list.args.as_slice() else {
            return Ok(None);
        };
        let Some(text) = string_literal(arg).filter(|_| name(function) == "nextval") else {
            return Ok(None);
        };
        match numbers_of_name(self.session, &parts_of(text))? {
            Numbers::Own(entry, _) => {
                Ok(Some(parse_expr(&default_text(&entry.schema, &entry.name))?))
            }
            // Those of a column go with its table.
            Numbers::Column(..) => Ok(None),
        }
    }
}

impl VisitorMut for Qualified<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match self.call(expr) {
            Ok(Some(call)) => *expr = call,
            Ok(None) => {}
            Err(error) => self.error = Some(error),
        }
        ControlFlow::Continue(())
    }
}

/// A sequence is no relation here: its name stays a text.
struct Plain;

impl VisitorMut for Plain {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        if !["nextval", "currval", "setval"].contains(&name(function).as_str()) {
            return ControlFlow::Continue(());
        }
        let FunctionArguments::List(list) = &mut function.args else {
            return ControlFlow::Continue(());
        };
        for arg in &mut list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg
                && let Expr::Cast {
                    expr, data_type, ..
                } = &*arg
                && data_type.to_string().eq_ignore_ascii_case("regclass")
            {
                *arg = expr.as_ref().clone();
            }
        }
        ControlFlow::Continue(())
    }
}
