//! Records that functions give: `FROM jsonb_populate_record(NULL::t, x)` has the columns of the table `t`, and
//! `SELECT (f(x)).*` those of the function.
//!
//! In: a statement; out: the statement in which a function of a table's records lists its columns, `jsonb_to_record(x) AS r
//! (id int, name text)`, and the columns of one that is among the results stand there one by one.

use std::ops::ControlFlow;

use auspex_sql::{RECORD_COLUMNS, is_record_columns};
use datafusion::arrow::datatypes::Field;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, Select, SelectItem, SetExpr, Statement, TableAlias, TableAliasColumnDef,
    TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::column_rules::column_type;
use super::file_functions::call_of;
use crate::commands::{folded, name_parts};
use crate::error::{Error, Result};
use crate::functions::{record_document, record_member};

/// Spells the calls out.
pub(super) async fn spell(statement: &mut Statement, state: &SessionState) -> Result<()> {
    let mut tables = Tables::default();
    if let ControlFlow::Break(error) = Visit::visit(&*statement, &mut tables) {
        return Err(error);
    }
    if !tables.has_calls {
        return Ok(());
    }
    let mut known = Vec::with_capacity(tables.names.len());
    for name in tables.names {
        let columns = columns_of(&name, state).await?;
        known.push((name, columns));
    }
    match VisitMut::visit(statement, &mut Spelling { known }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// A call among the results of which columns are asked for.
struct Asked<'a> {
    function: &'a Function,
    /// `None`: all.
    column: Option<&'a Ident>,
}

impl<'a> Asked<'a> {
    fn of(expr: &'a Expr) -> Option<Asked<'a>> {
        let Expr::CompoundFieldAccess { root, access_chain } = expr else {
            return None;
        };
        let inner = match root.as_ref() {
            Expr::Nested(inner) => inner.as_ref(),
            other => other,
        };
        let Expr::Function(function) = inner else {
            return None;
        };
        match access_chain.as_slice() {
            chain if is_record_columns(chain) => Some(Asked {
                function,
                column: None,
            }),
            [AccessExpr::Dot(Expr::Identifier(column))] => Some(Asked {
                function,
                column: Some(column),
            }),
            _ => None,
        }
    }

    /// The table whose record is read from json, and the json.
    fn record(&self) -> Option<(&'a ObjectName, Expr)> {
        let of_columns = listing(&self.function.name).filter(|name| name.ends_with("record"))?;
        let FunctionArguments::List(list) = &self.function.args else {
            return None;
        };
        match list.args.as_slice() {
            [
                record,
                FunctionArg::Unnamed(FunctionArgExpr::Expr(document)),
            ] => Some((row_type(record)?, record_document(of_columns, document))),
            _ => None,
        }
    }

    /// Whether its rows are the pairs of an object.
    fn gives_pairs(&self) -> bool {
        let name = name_parts(&self.function.name);
        let pairs = [
            "json_each",
            "json_each_text",
            "jsonb_each",
            "jsonb_each_text",
        ];
        matches!(name.as_slice(), [name] if pairs.contains(&name.as_str()))
    }
}

/// The function that gives the same of a list of columns; `None`: the function gives no records of tables.
fn listing(name: &ObjectName) -> Option<&'static str> {
    let parts = name_parts(name);
    let name = match parts.as_slice() {
        [name] => name,
        [schema, name] if schema == "pg_catalog" => name,
        _ => return None,
    };
    match name.as_str() {
        "json_populate_record" => Some("json_to_record"),
        "jsonb_populate_record" => Some("jsonb_to_record"),
        "json_populate_recordset" => Some("json_to_recordset"),
        "jsonb_populate_recordset" => Some("jsonb_to_recordset"),
        _ => None,
    }
}

/// The table whose rows `NULL::t` is one of.
fn row_type(arg: &FunctionArg) -> Option<&ObjectName> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
        return None;
    };
    let mut expr = expr;
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    match expr {
        Expr::Cast {
            expr,
            data_type: ast::DataType::Custom(name, modifiers),
            ..
        } if modifiers.is_empty() => {
            let is_null = matches!(expr.as_ref(), Expr::Value(value) if value.value == Value::Null);
            is_null.then_some(name)
        }
        _ => None,
    }
}

/// The tables that such calls name.
#[derive(Default)]
struct Tables {
    names: Vec<ObjectName>,
    /// Whether there are calls to spell out.
    has_calls: bool,
}

impl Tables {
    fn note(&mut self, table: &ObjectName) {
        if !self.names.contains(table) {
            self.names.push(table.clone());
        }
    }
}

impl Visitor for Tables {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        if let Some(asked) = Asked::of(expr) {
            if let Some((table, _)) = asked.record() {
                self.note(table);
                self.has_calls = true;
            }
            self.has_calls |= asked.column.is_none();
        }
        self.has_calls |= matches!(expr, Expr::Identifier(name) if name.value == RECORD_COLUMNS);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        let Some((name, [record, _])) = call_of(factor) else {
            return ControlFlow::Continue(());
        };
        if listing(name).is_none() {
            return ControlFlow::Continue(());
        }
        self.has_calls = true;
        let renames = matches!(
            factor,
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. } if !alias.columns.is_empty()
        );
        match row_type(record) {
            Some(_) if renames => {
                let what = format!("a list of columns behind {name}");
                ControlFlow::Break(Error::unsupported(what))
            }
            Some(table) => {
                self.note(table);
                ControlFlow::Continue(())
            }
            None => {
                let what = format!("{name} of a record other than NULL::table");
                ControlFlow::Break(Error::unsupported(what))
            }
        }
    }
}

/// The columns of a table's rows with their types.
async fn columns_of(table: &ObjectName, state: &SessionState) -> Result<Vec<TableAliasColumnDef>> {
    let mut query = auspex_sql::parse_query("SELECT * FROM t", auspex_sql::Dialect::Postgres)?;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Table { name, .. } = &mut from.relation
    {
        name.clone_from(table);
    }
    let statement = SqlStatement::Statement(Box::new(Statement::Query(query)));
    let plan = state.statement_to_plan(statement).await;
    let plan = plan.map_err(|_| Error::Undefined {
        kind: "type",
        name: name_parts(table).join("."),
        nearest: None,
        position: None,
    })?;
    let column = |field: &Field| {
        let data_type = column_type(field).ok_or_else(|| {
            Error::unsupported(format!("a record with the column \"{}\"", field.name()))
        })?;
        Ok(TableAliasColumnDef {
            name: Ident::with_quote('"', field.name()),
            data_type: Some(data_type),
        })
    };
    let fields = plan.schema().fields().iter();
    fields.map(|field| column(field)).collect()
}

/// Lists the columns of records.
struct Spelling {
    known: Vec<(ObjectName, Vec<TableAliasColumnDef>)>,
}

impl Spelling {
    fn columns(&self, table: &ObjectName) -> &[TableAliasColumnDef] {
        let mut known = self.known.iter();
        let found = known.find(|(known, _)| known == table);
        found.map_or(&[], |(_, columns)| columns.as_slice())
    }

    /// The items in the place of one; `None`: it stays.
    fn items(&self, item: &SelectItem) -> Result<Option<Vec<SelectItem>>> {
        let (expr, given) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => return Ok(None),
        };
        let Some(asked) = Asked::of(expr) else {
            return Ok(None);
        };
        let item = |expr: Expr, alias: Ident| SelectItem::ExprWithAlias { expr, alias };
        match (asked.record(), asked.column) {
            (Some((table, document)), None) => {
                let columns = self.columns(table).iter();
                let items =
                    columns.map(|column| item(member_of(&document, column), column.name.clone()));
                Ok(Some(items.collect()))
            }
            (Some((table, document)), Some(name)) => {
                let mut columns = self.columns(table).iter();
                let column = columns.find(|column| column.name.value == folded(name));
                let Some(column) = column else {
                    let (name, table) = (folded(name), name_parts(table).join("."));
                    let message = format!("column \"{name}\" not found in data type {table}");
                    return Err(Error::invalid("42703", message, None));
                };
                let alias = given.cloned().unwrap_or_else(|| column.name.clone());
                Ok(Some(vec![item(member_of(&document, column), alias)]))
            }
            (None, None) if asked.gives_pairs() => {
                let half = |half: &str| {
                    let access = AccessExpr::Dot(Expr::Identifier(Ident::new(half)));
                    let call = Expr::Function(asked.function.clone());
                    let half_of = Expr::CompoundFieldAccess {
                        root: Box::new(Expr::Nested(Box::new(call))),
                        access_chain: vec![access],
                    };
                    item(half_of, Ident::new(half))
                };
                Ok(Some(vec![half("key"), half("value")]))
            }
            _ => Ok(None),
        }
    }
}

/// The member of a document that a column of a record holds.
fn member_of(document: &Expr, column: &TableAliasColumnDef) -> Expr {
    let data_type = column.data_type.clone().unwrap_or(ast::DataType::Text);
    record_member(document, &column.name, data_type)
}

impl VisitorMut for Spelling {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let mut items = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match self.items(&item) {
                Ok(Some(spelt)) => items.extend(spelt),
                Ok(None) => items.push(item),
                Err(error) => return ControlFlow::Break(error),
            }
        }
        select.projection = items;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match expr {
            Expr::Identifier(name) if name.value == RECORD_COLUMNS => {
                ControlFlow::Break(Error::unsupported("the star of this expression"))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let (name, args, alias) = match factor {
            TableFactor::Table {
                name,
                args: Some(list),
                alias,
                ..
            } => (name, &mut list.args, alias),
            TableFactor::Function {
                name, args, alias, ..
            } => (name, args, alias),
            _ => return ControlFlow::Continue(()),
        };
        let Some(listing) = listing(name).filter(|_| args.len() == 2) else {
            return ControlFlow::Continue(());
        };
        if let Some(table) = row_type(&args[0]) {
            let columns = self.columns(table).to_vec();
            let called = name_parts(name).pop().unwrap_or_default();
            let called = alias.take().map_or(Ident::new(called), |alias| alias.name);
            *alias = Some(named(called, columns));
            *name = ObjectName::from(vec![Ident::new(listing)]);
            args.remove(0);
        }
        ControlFlow::Continue(())
    }
}

fn named(name: Ident, columns: Vec<TableAliasColumnDef>) -> TableAlias {
    TableAlias {
        explicit: true,
        name,
        columns,
        at: None,
    }
}
