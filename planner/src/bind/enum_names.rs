//! Names of enums and domains in casts: `'happy'::mood`, `CAST(x AS app.mood[])`; and the enums that a plan stands on.
//!
//! In: a syntax tree; out: the same with types that tell which enum they are, and with the rules of domains, so that nothing
//! below asks the catalog. A name that means neither stays what it is.

use std::ops::ControlFlow;

use auspex_storage::EnumType;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    Statement, VisitMut, VisitorMut,
};

use super::domains::{as_domain, domain_name, settle_domain};
use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::functions::{enum_of_type, enum_type_name};
use crate::named::Named;
use crate::session::Session;

/// Settles the casts of a statement.
pub(super) fn settle(session: &Session, statement: &mut Statement) -> Result<()> {
    match VisitMut::visit(statement, &mut Casts(session)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Settles the casts to enums in the values for columns, so that those to the type of their column are known as such.
pub(super) fn settle_values(
    session: &Session,
    values: &mut impl VisitMut,
    columns: &[FieldRef],
) -> Result<()> {
    let mut columns = columns.iter();
    if !columns.any(|column| EnumType::of_elements(column).is_some()) {
        return Ok(());
    }
    let settled = ast::visit_expressions_mut(values, |expr| {
        if let Expr::Cast { data_type, .. } = expr {
            if let Err(error) = check_usage(session, data_type) {
                return ControlFlow::Break(error);
            }
            settle_type(session, data_type);
        }
        ControlFlow::Continue(())
    });
    match settled {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Casts<'a>(&'a Session);

impl VisitorMut for Casts<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.named_domain(expr) {
            Ok(Some(named)) => *expr = named,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        let Expr::Cast { data_type, .. } = &mut *expr else {
            return ControlFlow::Continue(());
        };
        if let Err(error) = check_usage(self.0, data_type) {
            return ControlFlow::Break(error);
        }
        settle_type(self.0, data_type);
        let looked_at = settle_domain(self.0, data_type)
            .and_then(|domain| domain.map(|domain| as_domain(expr, &domain)).transpose());
        match looked_at {
            Ok(Some(looked_at)) => *expr = looked_at,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

impl Casts<'_> {
    /// What `pg_typeof(x::domain)` gives.
    fn named_domain(&self, expr: &Expr) -> Result<Option<Expr>> {
        let Expr::Function(function) = expr else {
            return Ok(None);
        };
        let FunctionArguments::List(list) = &function.args else {
            return Ok(None);
        };
        let asked = name_parts(&function.name);
        if asked.last().is_none_or(|name| name != "pg_typeof") {
            return Ok(None);
        }
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(cast))] = list.args.as_slice() else {
            return Ok(None);
        };
        let mut cast = cast.clone();
        let Expr::Cast { data_type, .. } = &mut cast else {
            return Ok(None);
        };
        let DataType::Custom(name, _) = &*data_type else {
            return Ok(None);
        };
        let name = name_parts(name);
        let name = match name.as_slice() {
            [schema, name] if schema == "public" => name.clone(),
            parts => parts.join("."),
        };
        let domain = settle_domain(self.0, data_type)?;
        let named = domain.map(|domain| domain_name(&cast, &domain, &name));
        named.transpose()
    }
}

/// Fails unless the role may use the schema of a type that somebody made, or of that of an array's elements.
pub(crate) fn check_usage(session: &Session, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element),
        ) => check_usage(session, element),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            match session.type_entry(&name_parts(name)) {
                Some(entry) => session.access().check_schema(&entry.schema, "USAGE"),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Settles a type, or that of an array's elements.
pub(crate) fn settle_type(session: &Session, data_type: &mut DataType) {
    match data_type {
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element),
        ) => settle_type(session, element),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            let entry = session.enum_entry(&name_parts(name));
            if let Some(known) = entry.and_then(|entry| EnumType::of_entry(&entry)) {
                *data_type = enum_type_name(&known);
            }
        }
        told => settle_told(session, told),
    }
}

/// Settles the type of a parameter that a client declared as an enum: it may have got other labels since.
fn settle_told(session: &Session, told: &mut DataType) {
    let Some(then) = enum_of_type(told) else {
        return;
    };
    let catalog = session.seen_catalog();
    if let Some(entry) = catalog.by_id(&then.id)
        && let Some(now) = EnumType::of_entry(entry)
    {
        Named::note(&entry.schema, &entry.name, Some(entry));
        *told = enum_type_name(&now);
    }
}

/// Says that the statement that is being bound stands on the enums of these columns: labels that are added later belong to
/// another plan.
pub(crate) fn note_enums(session: &Session, columns: &Schema) {
    let catalog = session.seen_catalog();
    for field in columns.fields() {
        let known = EnumType::of_elements(field);
        if let Some(entry) = known.and_then(|known| catalog.by_id(&known.id)) {
            Named::note(&entry.schema, &entry.name, Some(entry));
        }
    }
}
