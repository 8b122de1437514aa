//! The query of a view as SQL that means the same in another session: what `pg_get_viewdef` gives and `pg_dump` writes.
//!
//! In: a view's definition and the session that asks; out: text in which a name has its schema where the session would not
//! find it without, and the columns have the view's names. Nothing is planned: what the view reads may be gone.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::written;
use auspex_storage::{CatalogEntry, CatalogState, ViewDefinition, ViewObject, quoted_name};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, Expr, GroupByExpr, Ident, ObjectName, Query, SelectItem, SetExpr,
    TableAlias, TableFactor, VisitMut, VisitorMut,
};

use super::facts::{CatalogFacts, entry_of};
use crate::commands::{folded, name_parts};
use crate::error::Result;
use crate::session::Session;

impl CatalogFacts {
    /// The query of a view, with PostgreSQL's semicolon at its end; `None`: there is no such view. `columns` are the names
    /// of its columns.
    pub fn view_text(&self, schema: &str, name: &str, columns: &[&str]) -> Result<Option<String>> {
        let session = self.session()?;
        let state = session.seen_catalog();
        let text = entry_of(&session, schema, name).and_then(|entry| {
            let view = entry.definition.stored_query()?;
            let dialect = auspex_sql::Dialect::parse(&view.dialect);
            let dialect = dialect.unwrap_or(auspex_sql::Dialect::Auto);
            Some(match auspex_sql::parse_query(&view.text, dialect) {
                Ok(query) => query_text(&session, &state, (entry.as_ref(), view), *query, columns),
                Err(_) => view.text.clone(),
            })
        });
        Ok(text.map(|text| text + ";"))
    }
}

fn query_text(
    session: &Session,
    state: &CatalogState,
    (entry, view): (&CatalogEntry, &ViewDefinition),
    mut query: Query,
    columns: &[&str],
) -> String {
    let mut names = Names {
        session,
        state,
        view,
        schemas: view.schemas_of_names(&entry.schema),
        given: Vec::new(),
    };
    // The visitor never breaks off.
    let _ = VisitMut::visit(&mut query, &mut names);
    // A view that cannot be opened shows no columns.
    let keeps_names = view.columns.is_empty() || columns.is_empty();
    if keeps_names || name_items(&mut query, columns) {
        return written(&query);
    }
    let columns: Vec<String> = columns.iter().map(|column| quoted_name(column)).collect();
    let (name, columns) = (quoted_name(&entry.name), columns.join(", "));
    format!("SELECT * FROM ({}) AS {name} ({columns})", written(&query))
}

/// Gives the columns of a plain query the view's names, which stand beside the query in the statement that made the view;
/// whether it is plain. Elsewhere the names of columns mean something, or are not written out.
fn name_items(query: &mut Query, columns: &[&str]) -> bool {
    let is_ordered = query.order_by.is_some();
    let SetExpr::Select(select) = query.body.as_mut() else {
        return false;
    };
    let is_grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
    };
    let is_plain = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
        )
    };
    let names_matter = is_ordered
        || is_grouped
        || select.distinct.is_some()
        || select.having.is_some()
        || select.qualify.is_some();
    let items = &mut select.projection;
    if names_matter || items.len() != columns.len() || !items.iter().all(is_plain) {
        return false;
    }
    for (item, column) in items.iter_mut().zip(columns) {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let is_called_so = match &*expr {
                Expr::Identifier(own) => folded(own) == *column,
                Expr::CompoundIdentifier(parts) => {
                    parts.last().is_some_and(|own| folded(own) == *column)
                }
                _ => false,
            };
            let expr = expr.clone();
            *item = match is_called_so {
                true => SelectItem::UnnamedExpr(expr),
                false => SelectItem::ExprWithAlias {
                    expr,
                    alias: ident(column),
                },
            };
        }
    }
    true
}

/// Writes the names of relations and enums as the session must.
struct Names<'a> {
    session: &'a Session,
    state: &'a CatalogState,
    view: &'a ViewDefinition,
    /// The schemas of names without one when the view was made, in order.
    schemas: Vec<String>,
    /// The names that WITH gives, of each query around.
    given: Vec<Vec<String>>,
}

impl<'a> Names<'a> {
    /// What a name means since the view was made, whatever its name now.
    fn meant(&self, parts: &[String]) -> Option<&'a CatalogEntry> {
        let id = |schema: &str, name: &str| {
            let is_it = |object: &&ViewObject| object.schema == schema && object.name == name;
            self.view.objects.iter().find(is_it)
        };
        let object = match parts {
            [name] => self.schemas.iter().find_map(|schema| id(schema, name)),
            [.., schema, name] => id(schema, name),
            [] => None,
        };
        self.state.by_id(&object?.id).map(Arc::as_ref)
    }

    /// Whether the session finds an object by its name alone.
    fn is_visible(&self, entry: &CatalogEntry) -> bool {
        let path = self.session.search_path();
        let first = path
            .iter()
            .find_map(|schema| self.state.get(schema, &entry.name));
        let is_hidden = self.session.temporary.get(&entry.name).is_some();
        !is_hidden && first.is_some_and(|first| first.id == entry.id)
    }

    /// Writes a name; whether the object was given another one since.
    fn settle(&mut self, name: &mut ObjectName) -> bool {
        let parts = name_parts(name);
        let Some(entry) = self.meant(&parts) else {
            return false;
        };
        let mut wanted = vec![entry.schema.clone(), entry.name.clone()];
        if parts.len() == 1 && self.is_visible(entry) {
            wanted.remove(0);
        }
        if parts != wanted {
            let idents: Vec<Ident> = wanted.iter().map(|part| ident(part)).collect();
            *name = ObjectName::from(idents);
        }
        parts.last() != wanted.last()
    }

    fn settle_type(&mut self, data_type: &mut DataType) {
        match data_type {
            DataType::Array(
                ArrayElemTypeDef::SquareBracket(element, _)
                | ArrayElemTypeDef::AngleBracket(element),
            ) => self.settle_type(element),
            DataType::Custom(name, modifiers) if modifiers.is_empty() => {
                self.settle(name);
            }
            _ => {}
        }
    }
}

fn ident(name: &str) -> Ident {
    match quoted_name(name) == name {
        true => Ident::new(name),
        false => Ident::with_quote('"', name),
    }
}

impl VisitorMut for Names<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = tables.map(|table| folded(&table.alias.name));
        self.given.push(names.collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.given.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let parts = name_parts(name);
        let given = |known: &String| parts.len() == 1 && parts.last() == Some(known);
        if self.given.iter().flatten().any(given) {
            return ControlFlow::Continue(());
        }
        if self.settle(name) && alias.is_none() {
            // Its columns are still called by the old name.
            *alias = parts.last().map(|old| TableAlias {
                explicit: true,
                name: ident(old),
                columns: Vec::new(),
                at: None,
            });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast { data_type, .. } = expr {
            self.settle_type(data_type);
        }
        ControlFlow::Continue(())
    }
}
