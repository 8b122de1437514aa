//! Unique indexes over expressions or with a condition, as `CREATE UNIQUE INDEX` declares them.
//!
//! In: the statement and the table's definition; out: a key of the definition, which rows keep to as to any other.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::{IndexRules, Key, TableShape};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as PlanResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable as _, Operator, Volatility};
use datafusion::sql::sqlparser::ast::{self, visit_expressions};

use super::{Altering, carry_out};
use crate::bind::{column_name_of, column_place, defined_expr, parse_expr};
use crate::commands::folded;
use crate::commands::storage_options::check_collation;
use crate::commands::table_keys::{free_name, is_taken};
use crate::commands::unnamed_types::without_named_types;
use crate::constants::holds_query;
use crate::error::{Error, Result};
use crate::functions::type_name;
use crate::session::Session;
use crate::statement_run::StatementControl;

/// What PostgreSQL calls an expression without a name of its own in the name of an index.
const NAMELESS: &str = "expr";
/// What the engine calls such an expression in a query.
const NAMELESS_COLUMN: &str = "?column?";
/// Functions whose value is one of their arguments.
const CHOOSING: [&str; 4] = ["coalesce", "nullif", "greatest", "least"];

/// Whether an index says more than a unique constraint could.
pub(in crate::commands) fn says_more(index: &ast::CreateIndex) -> bool {
    let is_computed =
        |column: &ast::IndexColumn| !matches!(column.column.expr, ast::Expr::Identifier(_));
    index.predicate.is_some() || index.columns.iter().any(is_computed)
}

/// The error that a relation has the name of an index already.
pub(in crate::commands) fn index_exists(name: &str) -> Error {
    let message = format!("relation \"{name}\" already exists");
    Error::invalid("42P07", message, None)
}

/// Adds a unique index that no constraint could stand for.
pub(in crate::commands) async fn add_index(
    session: &Arc<Session>,
    index: &ast::CreateIndex,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let table = (&index.table_name, false);
    let changes = ([].as_slice(), Some(index));
    Box::pin(carry_out(session, table, changes, text, control)).await
}

impl Altering<'_> {
    pub(super) fn declare_index(
        &mut self,
        session: &Session,
        index: &ast::CreateIndex,
    ) -> Result<()> {
        let declared = Declared {
            session,
            state: &session.state(None),
            shape: &self.shape,
            schema: &DFSchema::try_from(self.shape.schema())?,
        };
        let key = declared.key(index, self.relation)?;
        self.shape.add_key(&key);
        self.demand_key(key);
        Ok(())
    }
}

/// An index over the columns of a table.
struct Declared<'a> {
    session: &'a Session,
    state: &'a SessionState,
    shape: &'a TableShape,
    schema: &'a DFSchema,
}

/// Where an expression stands, as messages call it.
#[derive(Clone, Copy)]
enum Place {
    Expression,
    Predicate,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Expression => "index expression",
            Place::Predicate => "index predicate",
        }
    }
}

impl Declared<'_> {
    fn key(&self, index: &ast::CreateIndex, relation: &str) -> Result<Key> {
        let mut columns = Vec::new();
        let mut rules = IndexRules::default();
        let mut reads = BTreeSet::new();
        for (place, column) in index.columns.iter().enumerate() {
            let name = match inner(&column.column.expr)? {
                ast::Expr::Identifier(name) => self.column(&folded(name), relation)?,
                expr => {
                    rules.expressions.push(place);
                    self.expression(expr, &mut reads)?
                }
            };
            if columns.contains(&name) {
                let message = format!("column \"{name}\" appears twice in unique index");
                return Err(Error::invalid("42701", message, None));
            }
            columns.push(name);
        }
        if let Some(condition) = &index.predicate {
            rules.condition = Some(self.condition(condition, &mut reads)?);
        }
        rules.reads = reads.into_iter().collect();
        let mut key = Key {
            name: String::new(),
            is_primary: false,
            columns,
            nulls_are_equal: index.nulls_distinct == Some(false),
            index: Some(rules),
        };
        let name = index.name.as_ref().and_then(|name| name.0.last());
        key.name = match name.and_then(|part| part.as_ident()) {
            Some(name) if is_taken(self.shape, &folded(name)) => {
                return Err(index_exists(&folded(name)));
            }
            Some(name) => folded(name),
            None => default_name(self.shape, &key, relation)?,
        };
        Ok(key)
    }

    fn column(&self, name: &str, relation: &str) -> Result<String> {
        let missing =
            |_| Error::invalid("42703", format!("column \"{name}\" does not exist"), None);
        let idx = column_place(self.shape, name, relation).map_err(missing)?;
        let field = &self.shape.columns()[idx];
        check_type(field.data_type())?;
        Ok(field.name().clone())
    }

    /// The text of an expression, in parentheses unless it is a call.
    fn expression(&self, expr: &ast::Expr, reads: &mut BTreeSet<String>) -> Result<String> {
        let (text, planned) = self.planned(expr, Place::Expression, reads)?;
        check_type(&planned.get_type(self.schema)?)?;
        Ok(match is_call(expr) {
            true => text,
            false => format!("({text})"),
        })
    }

    fn condition(&self, expr: &ast::Expr, reads: &mut BTreeSet<String>) -> Result<String> {
        let (text, planned) = self.planned(inner(expr)?, Place::Predicate, reads)?;
        let found = planned.get_type(self.schema)?;
        if found != DataType::Boolean {
            let found = type_name(&found);
            let message = format!("argument of WHERE must be type boolean, not type {found}");
            return Err(Error::invalid("42804", message, None));
        }
        Ok(text)
    }

    fn planned(
        &self,
        expr: &ast::Expr,
        place: Place,
        reads: &mut BTreeSet<String>,
    ) -> Result<(String, Expr)> {
        self.refuse(expr, place)?;
        let text = without_named_types(self.session, expr).to_string();
        let planned = defined_expr(self.state, &text, self.schema)?;
        self.check_immutable(&planned, place)?;
        let columns = planned.column_refs();
        reads.extend(columns.into_iter().map(|column| column.name().to_owned()));
        Ok((text, planned))
    }

    /// Fails for what has no value in a row alone.
    fn refuse(&self, expr: &ast::Expr, place: Place) -> Result<()> {
        let place = place.name();
        if holds_query(expr) {
            let message = format!("cannot use subquery in {place}");
            return Err(Error::invalid("0A000", message, None));
        }
        let aggregates = self.state.aggregate_functions();
        let found = visit_expressions(expr, |expr| {
            let ast::Expr::Function(call) = expr else {
                return ControlFlow::Continue(());
            };
            let name = call.name.0.last().and_then(|part| part.as_ident());
            let is_aggregate = name.is_some_and(|name| aggregates.contains_key(&folded(name)));
            match (call.over.is_some(), is_aggregate) {
                (true, _) => ControlFlow::Break(("42P20", "window")),
                (false, true) => ControlFlow::Break(("42803", "aggregate")),
                (false, false) => ControlFlow::Continue(()),
            }
        });
        match found {
            ControlFlow::Break((sqlstate, kind)) => {
                let message = format!("{kind} functions are not allowed in {place}s");
                Err(Error::invalid(sqlstate, message, None))
            }
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// Fails where the value of a row may be another one in another session, or at another time.
    fn check_immutable(&self, planned: &Expr, place: Place) -> Result<()> {
        let mut changes = false;
        planned.apply(|expr| {
            changes |= self.may_change(expr)?;
            Ok(match changes {
                true => TreeNodeRecursion::Stop,
                false => TreeNodeRecursion::Continue,
            })
        })?;
        match changes {
            true => {
                let message = format!("functions in {} must be marked IMMUTABLE", place.name());
                Err(Error::invalid("42P17", message, None))
            }
            false => Ok(()),
        }
    }

    /// The same of a part alone. What depends on the time zone is what makes other types of moments, and what calls of
    /// functions read of them; a moment that is written out is one of the zone of its session.
    fn may_change(&self, expr: &Expr) -> PlanResult<bool> {
        let type_of = |expr: &Expr| expr.get_type(self.schema);
        Ok(match expr {
            Expr::ScalarFunction(call) => {
                let reads_moment = || -> PlanResult<bool> {
                    let mut types = call.args.iter().map(type_of);
                    types.try_fold(false, |found, arg| Ok(found || is_moment(&arg?)))
                };
                call.func.signature().volatility != Volatility::Immutable
                    || !CHOOSING.contains(&call.func.name()) && reads_moment()?
            }
            Expr::Cast(cast) => {
                let (from, to) = (type_of(&cast.expr)?, type_of(expr)?);
                let is_constant = matches!(*cast.expr, Expr::Literal(..)) && !is_moment(&to);
                !is_constant && depends_on_session(&from, &to)
            }
            Expr::TryCast(cast) => depends_on_session(&type_of(&cast.expr)?, &type_of(expr)?),
            Expr::BinaryExpr(both) if matches!(both.op, Operator::Plus | Operator::Minus) => {
                is_moment(&type_of(&both.left)?) || is_moment(&type_of(&both.right)?)
            }
            Expr::Literal(value, _) => {
                is_moment(&value.data_type()) && !matches!(value, ScalarValue::Null)
            }
            _ => false,
        })
    }
}

/// An expression without the parentheses around it and without its collation.
fn inner(expr: &ast::Expr) -> Result<&ast::Expr> {
    match expr {
        ast::Expr::Nested(expr) => inner(expr),
        ast::Expr::Collate { expr, collation } => {
            check_collation(collation)?;
            inner(expr)
        }
        expr => Ok(expr),
    }
}

/// What PostgreSQL writes without parentheses in the definition of an index.
fn is_call(expr: &ast::Expr) -> bool {
    use ast::Expr as E;
    matches!(
        expr,
        E::Function(_)
            | E::Extract { .. }
            | E::Trim { .. }
            | E::Substring { .. }
            | E::Overlay { .. }
            | E::Position { .. }
            | E::Ceil { .. }
            | E::Floor { .. }
    )
}

fn check_type(data_type: &DataType) -> Result<()> {
    match data_type.is_nested() {
        true => {
            let found = type_name(data_type);
            let message = format!("data type {found} cannot be part of an index");
            Err(Error::invalid("42704", message, None))
        }
        false => Ok(()),
    }
}

fn is_moment(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

/// Whether a cast reads settings of the session: its time zone, or how dates are written.
fn depends_on_session(from: &DataType, to: &DataType) -> bool {
    let is_clock = |data_type: &DataType| {
        data_type.is_temporal() && !matches!(data_type, DataType::Duration(_))
    };
    let is_text = |data_type: &DataType| data_type.is_string();
    let has_zone = is_moment(from) != is_moment(to);
    has_zone || is_text(from) && is_clock(to) || is_clock(from) && is_text(to)
}

/// The name that PostgreSQL gives an index without one: of its table and its columns, of which it numbers those that come
/// again.
pub(in crate::commands) fn default_name(
    shape: &TableShape,
    key: &Key,
    relation: &str,
) -> Result<String> {
    let mut names: Vec<String> = Vec::with_capacity(key.columns.len());
    for (place, column) in key.columns.iter().enumerate() {
        let part = match key.is_expression(place) {
            true => column_name_of(inner(&parse_expr(column)?)?),
            false => column.clone(),
        };
        let part = match part.as_str() {
            NAMELESS_COLUMN => NAMELESS.to_owned(),
            _ => part,
        };
        let mut name = part.clone();
        let mut number = 1;
        while names.contains(&name) {
            name = format!("{part}{number}");
            number += 1;
        }
        names.push(name);
    }
    let wish = format!("{relation}_{}_idx", names.join("_"));
    Ok(free_name(shape, &wish))
}
