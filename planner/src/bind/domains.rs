//! Domains where values become theirs: casts of a statement, and the rows of tables with columns of domains.
//!
//! In: a domain as the catalog has it now; out: syntax trees and expressions in which its rules stand written out, so that
//! nothing below asks the catalog. A value that is cast stands in them once for each rule.

use std::ops::ControlFlow;

use auspex_storage::{CatalogState, DomainType, TableShape};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable as _, lit};
use datafusion::sql::sqlparser::ast::{self, visit_expressions_mut};

use super::column_rules::{defined_expr, parse_expr};
use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::functions::{in_domain, spelt_in_domain};
use crate::named::Named;
use crate::session::Session;

/// What conditions call the value that they are about.
pub(crate) const VALUE: &str = "value";

/// Makes a type that is a domain's name the type that the domain is made of; returns the domain. Error: it is an array of
/// one, whose elements nobody looks at.
pub(crate) fn settle_domain(
    session: &Session,
    data_type: &mut ast::DataType,
) -> Result<Option<DomainType>> {
    let (name, modifiers) = match &*data_type {
        ast::DataType::Custom(name, modifiers) => (name, modifiers),
        ast::DataType::Array(
            ast::ArrayElemTypeDef::SquareBracket(element, _)
            | ast::ArrayElemTypeDef::AngleBracket(element),
        ) => {
            return match settle_domain(session, &mut element.as_ref().clone())? {
                Some(_) => Err(Error::unsupported("an array of a domain")),
                None => Ok(None),
            };
        }
        _ => return Ok(None),
    };
    let entry = match modifiers.is_empty() {
        true => session.domain_entry(&name_parts(name)),
        false => None,
    };
    let catalog = session.seen_catalog();
    let Some(domain) = entry.and_then(|entry| DomainType::of_entry(&entry, &catalog)) else {
        return Ok(None);
    };
    note_levels(&catalog, &domain);
    let base = &domain.definition.base;
    match parse_expr(&format!("CAST(NULL AS {base})"))? {
        ast::Expr::Cast {
            data_type: base, ..
        } => *data_type = base,
        _ => {
            return Err(Error::invalid(
                "XX000",
                format!("\"{base}\" is no type"),
                None,
            ));
        }
    }
    Ok(Some(domain))
}

/// A value of the type that a domain is made of, looked at as one of the domain.
pub(super) fn as_domain(value: &ast::Expr, domain: &DomainType) -> Result<ast::Expr> {
    looked_at(value, domain, value.clone())
}

/// The name of a domain, once a value was looked at as one of it.
pub(super) fn domain_name(value: &ast::Expr, domain: &DomainType, name: &str) -> Result<ast::Expr> {
    let name = ast::Value::SingleQuotedString(name.to_owned());
    looked_at(value, domain, ast::Expr::Value(name.with_empty_span()))
}

/// What is given for a value that keeps to the rules of a domain.
fn looked_at(value: &ast::Expr, domain: &DomainType, given: ast::Expr) -> Result<ast::Expr> {
    let text = |value: ast::Value| ast::Expr::Value(value.with_empty_span());
    let named = |name: &str| text(ast::Value::SingleQuotedString(name.to_owned()));
    let mut args = vec![given, named(&domain.name)];
    if domain.is_not_null() {
        let is_given = ast::Expr::IsNotNull(Box::new(value.clone()));
        args.extend([is_given, text(ast::Value::Null)]);
    }
    for (name, condition) in domain.checks() {
        args.extend([condition_of(condition, value)?, named(name)]);
    }
    Ok(spelt_in_domain(args))
}

/// A domain's condition of some value.
pub(crate) fn condition_of(condition: &str, value: &ast::Expr) -> Result<ast::Expr> {
    let mut condition = parse_expr(condition)?;
    // The visitor never breaks off.
    let _ = visit_expressions_mut(&mut condition, |expr| {
        let is_value = matches!(&*expr, ast::Expr::Identifier(ident)
            if crate::commands::folded(ident) == VALUE);
        if is_value {
            *expr = value.clone();
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(condition)
}

/// What the columns of a table must fulfil that are of domains: true for a row that keeps to all rules, else an error.
pub(super) fn domain_checks(
    state: &SessionState,
    shape: &TableShape,
) -> Result<Vec<(String, Expr)>> {
    let whole = shape.schema();
    let mut checks = Vec::new();
    for (field, marked) in shape.columns().iter().zip(whole.fields()) {
        let Some(domain) = shape.domain_of(field) else {
            continue;
        };
        let column = Expr::Column(Column::from_name(field.name()));
        let value = Schema::new(vec![marked.as_ref().clone().with_name(VALUE)]);
        let value = DFSchema::try_from(value)?;
        let mut args = vec![lit(true), lit(domain.name.clone())];
        if domain.is_not_null() {
            args.extend([column.clone().is_not_null(), lit(ScalarValue::Utf8(None))]);
        }
        for (name, condition) in domain.checks() {
            let holds = defined_expr(state, condition, &value)?;
            let holds = holds.cast_to(&DataType::Boolean, &value)?;
            let of_column = holds.transform(|expr| {
                Ok(match expr {
                    Expr::Column(_) => Transformed::yes(column.clone()),
                    other => Transformed::no(other),
                })
            })?;
            args.extend([of_column.data, lit(name.clone())]);
        }
        if args.len() > 2 {
            checks.push((domain.name, in_domain(args)));
        }
    }
    Ok(checks)
}

/// Says that the statement that is being bound stands on the domains of these columns: rules that change later belong to
/// another plan.
pub(crate) fn note_domains(session: &Session, shape: &TableShape) {
    let catalog = session.seen_catalog();
    for field in shape.columns() {
        if let Some(domain) = shape.domain_of(field) {
            note_levels(&catalog, &domain);
        }
    }
}

/// Says the same of a domain and what it is made of.
fn note_levels(catalog: &CatalogState, domain: &DomainType) {
    for level in domain.levels() {
        if let Some(entry) = catalog.by_id(&level.id) {
            Named::note(&entry.schema, &entry.name, Some(entry));
        }
    }
}
