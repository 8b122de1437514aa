//! Indexes over expressions or with a condition, as expressions over the columns of their table.
//!
//! In: the texts of a definition; out: what computes the keys of rows, and syntax trees of it over the rows of a statement.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use auspex_sql::Dialect;
use auspex_storage::{Key, KeyForm, RowExpr, TableShape};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::{self, Ident, VisitMut, VisitorMut};

use super::column_rules::{column_place, defined_expr, parse_expr};
use super::evaluated::evaluated;
use super::view_columns::ViewColumns;
use crate::commands::folded;
use crate::error::Result;

/// What computes the keys of a table that do not consist of columns, by their names.
pub(crate) fn key_forms(
    state: &SessionState,
    shape: &TableShape,
) -> Result<BTreeMap<String, KeyForm>> {
    let mut forms = BTreeMap::new();
    let mut schema = None;
    for key in shape.keys() {
        if key.index.is_none() {
            continue;
        }
        let schema: &DFSchemaRef = match &schema {
            Some(schema) => schema,
            None => schema.insert(DFSchema::try_from(shape.schema())?.into()),
        };
        forms.insert(key.name.clone(), key_form(state, &key, schema)?);
    }
    Ok(forms)
}

fn key_form(state: &SessionState, key: &Key, schema: &DFSchemaRef) -> Result<KeyForm> {
    let mut elements = Vec::with_capacity(key.columns.len());
    for (place, text) in key.columns.iter().enumerate() {
        let expr = match key.is_expression(place) {
            true => defined_expr(state, text, schema)?,
            false => Expr::Column(Column::from_name(text)),
        };
        elements.push(row_expr(state, expr, schema)?);
    }
    let condition = match key.condition() {
        Some(text) => {
            let expr = defined_expr(state, text, schema)?;
            let expr = expr.cast_to(&DataType::Boolean, schema)?;
            Some(row_expr(state, expr, schema)?)
        }
        None => None,
    };
    Ok(KeyForm {
        elements,
        condition,
    })
}

fn row_expr(state: &SessionState, expr: Expr, schema: &DFSchemaRef) -> Result<RowExpr> {
    let evaluated = evaluated(state, expr.clone(), schema, None)?;
    let data_type = evaluated.data_type(schema.as_arrow())?;
    Ok(RowExpr {
        planned: expr.cast_to(&data_type, schema)?,
        evaluated,
    })
}

/// What stands for a column of the table in a statement.
type Named<'a> = &'a dyn Fn(&str) -> ast::Expr;

/// The conditions under which two rows have the same key; `there` and `given` name their columns.
pub(super) fn same_keys(
    key: &Key,
    shape: &TableShape,
    (there, given): (Named<'_>, Named<'_>),
) -> Result<Vec<ast::Expr>> {
    let mut conditions = Vec::with_capacity(key.columns.len());
    for (place, name) in key.columns.iter().enumerate() {
        let [left, right] = match key.is_expression(place) {
            true => [over(name, shape, there)?, over(name, shape, given)?],
            false => [there(name), given(name)],
        }
        .map(Box::new);
        conditions.push(match key.nulls_are_equal {
            true => ast::Expr::IsNotDistinctFrom(left, right),
            false => ast::Expr::BinaryOp {
                left,
                op: ast::BinaryOperator::Eq,
                right,
            },
        });
    }
    if let Some(text) = key.condition() {
        conditions.push(over(text, shape, there)?);
        conditions.push(over(text, shape, given)?);
    }
    Ok(conditions)
}

/// The key that a target of `ON CONFLICT` means by its elements and its condition: that of an index with a condition only
/// where the target says all of it.
pub(super) fn inferred_key(
    target: &str,
    shape: &TableShape,
    (relation, view): (&str, Option<&ViewColumns>),
) -> Result<Option<Key>> {
    let query = auspex_sql::parse_query(&format!("SELECT {target}"), Dialect::Postgres)?;
    let ast::SetExpr::Select(select) = *query.body else {
        return Ok(None);
    };
    let mut wanted = Vec::with_capacity(select.projection.len());
    for item in select.projection {
        // What stands behind an element is its class of operators, of which there is one.
        let (ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. }) =
            item
        else {
            return Ok(None);
        };
        wanted.push(match plain_form(expr) {
            ast::Expr::Identifier(name) => {
                let name = folded(&name);
                let place = match view {
                    Some(columns) => columns.named_place(&name)?,
                    None => Some(column_place(shape, &name, relation)?),
                };
                let Some(place) = place else {
                    return Ok(None);
                };
                column_form(shape.columns()[place].name())
            }
            expr => expr,
        });
    }
    let condition = select.selection.map(plain_form);
    let said = condition.as_ref().map(parts_of).unwrap_or_default();
    for key in shape.keys() {
        // What a view calls its columns is another matter than what an index does.
        if key.index.is_some() && view.is_some() {
            continue;
        }
        if is_meant(&key, &wanted, &said)? {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Whether a key consists of what is wanted, and counts all rows of which the conditions are true.
fn is_meant(key: &Key, wanted: &[ast::Expr], said: &[&ast::Expr]) -> Result<bool> {
    let mut elements = Vec::with_capacity(key.columns.len());
    for (place, text) in key.columns.iter().enumerate() {
        elements.push(match key.is_expression(place) {
            true => plain_form(parse_expr(text)?),
            false => column_form(text),
        });
    }
    let are_alike = elements.iter().all(|element| wanted.contains(element))
        && wanted.iter().all(|wanted| elements.contains(wanted));
    Ok(are_alike
        && match key.condition() {
            Some(text) => {
                let condition = plain_form(parse_expr(text)?);
                parts_of(&condition).iter().all(|part| said.contains(part))
            }
            None => true,
        })
}

/// A column in plain form.
fn column_form(name: &str) -> ast::Expr {
    ast::Expr::Identifier(Ident::new(name))
}

/// An expression of a definition with what stands for the columns of the table in a statement.
fn over(text: &str, shape: &TableShape, column: Named<'_>) -> Result<ast::Expr> {
    struct Columns<'a>(&'a TableShape, Named<'a>);
    impl VisitorMut for Columns<'_> {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
            let name = match &*expr {
                ast::Expr::Identifier(name) => Some(folded(name)),
                _ => None,
            };
            if let Some(name) = name.filter(|name| self.0.position(name).is_some()) {
                *expr = (self.1)(&name);
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = parse_expr(text)?;
    let _ = VisitMut::visit(&mut expr, &mut Columns(shape, column));
    Ok(match expr {
        expr @ ast::Expr::Nested(_) => expr,
        expr => ast::Expr::Nested(Box::new(expr)),
    })
}

/// An expression in the form in which such that say the same are equal: without parentheses, quotes and capital letters that
/// mean nothing.
fn plain_form(mut expr: ast::Expr) -> ast::Expr {
    struct Plain;
    impl Plain {
        fn fold(name: &mut Ident) {
            *name = Ident::new(folded(name));
        }
    }
    impl VisitorMut for Plain {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
            match expr {
                ast::Expr::Identifier(name) => Self::fold(name),
                ast::Expr::CompoundIdentifier(names) => names.iter_mut().for_each(Self::fold),
                ast::Expr::Function(call) => {
                    for part in &mut call.name.0 {
                        if let ast::ObjectNamePart::Identifier(name) = part {
                            Self::fold(name);
                        }
                    }
                }
                ast::Expr::Cast { kind, .. } if *kind == ast::CastKind::DoubleColon => {
                    *kind = ast::CastKind::Cast;
                }
                ast::Expr::Nested(inner) => {
                    let null = ast::Expr::Value(ast::Value::Null.with_empty_span());
                    *expr = std::mem::replace(inner.as_mut(), null);
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let _ = VisitMut::visit(&mut expr, &mut Plain);
    expr
}

/// The conditions that all hold where a condition in plain form does.
fn parts_of(condition: &ast::Expr) -> Vec<&ast::Expr> {
    match condition {
        ast::Expr::BinaryOp {
            left,
            op: ast::BinaryOperator::And,
            right,
        } => {
            let mut parts = parts_of(left);
            parts.extend(parts_of(right));
            parts
        }
        other => vec![other],
    }
}
