//! What stands on an object: the views and models that name it, and the references of tables.
//!
//! In: the objects to drop, or a column of one; out: all that goes with them, or an error that names what stands on it. A view keeps what its names
//! meant; of what was replaced since, and in views of old, its text is parsed again.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::{Dialect, MlArg, ml_function, parse_query};
use auspex_storage::{CatalogEntry, CatalogState, Definition, Error as StorageError, ViewObject};
use datafusion::sql::sqlparser::ast::{self, ObjectName, TableFactor, Visit, Visitor};

use crate::commands::table_references::{referring, shown};
use crate::commands::{kind_name, name_parts};
use crate::error::{Error, Result};

/// The objects to drop and, with `CASCADE`, the views and objects that stand on them.
pub(in crate::commands) fn with_dependents(
    catalog: &CatalogState,
    dropped: Vec<Arc<CatalogEntry>>,
    cascade: bool,
) -> Result<Vec<Arc<CatalogEntry>>> {
    let mut all = dropped;
    let mut idx = 0;
    while idx < all.len() {
        let entry = Arc::clone(&all[idx]);
        let dependents: Vec<Arc<CatalogEntry>> = catalog
            .all()
            .filter(|other| !all.iter().any(|known| known.id == other.id))
            .filter(|other| depends_on(catalog, other, &entry))
            .cloned()
            .collect();
        if !cascade {
            let name = |entry: &Arc<CatalogEntry>| format!("{} {}", shown_kind(entry), entry.name);
            let mut names: Vec<String> = dependents.iter().map(name).collect();
            names.extend(references_to(catalog, &entry, &all));
            refuse(&entry, names)?;
        }
        all.extend(dependents);
        idx += 1;
    }
    Ok(all)
}

/// Fails if references of other tables stand on one.
pub(in crate::commands) fn check_not_referred(
    catalog: &CatalogState,
    table: &Arc<CatalogEntry>,
) -> Result<()> {
    let own = std::slice::from_ref(table);
    refuse(table, references_to(catalog, table, own))
}

/// Fails with `Conflict` if what was made or changed since a state of the catalog stands on objects that are to go.
pub(super) fn check_free_since(
    before: &CatalogState,
    now: &CatalogState,
    dropped: &[Arc<CatalogEntry>],
) -> auspex_storage::Result<()> {
    let is_known = |other: &Arc<CatalogEntry>| {
        let known = before.by_id(&other.id);
        known.is_some_and(|known| Arc::ptr_eq(known, other) || known == other)
            || dropped.iter().any(|entry| entry.id == other.id)
    };
    for other in now.all().filter(|other| !is_known(other)) {
        let stands_on = |entry: &&Arc<CatalogEntry>| {
            depends_on(now, other, entry)
                || referring(now, &entry.id).any(|(table, _)| table.id == other.id)
        };
        if let Some(entry) = dropped.iter().find(stands_on) {
            let object = format!("what stands on {} \"{}\"", shown_kind(entry), entry.name);
            return Err(StorageError::Conflict { object });
        }
    }
    Ok(())
}

/// The references to a table of others than those that go with it.
fn references_to(
    catalog: &CatalogState,
    table: &CatalogEntry,
    dropped: &[Arc<CatalogEntry>],
) -> Vec<String> {
    let stays = |entry: &CatalogEntry| !dropped.iter().any(|known| known.id == entry.id);
    referring(catalog, &table.id)
        .filter(|(entry, _)| stays(entry))
        .map(|(entry, reference)| shown(entry, reference))
        .collect()
}

fn refuse(entry: &CatalogEntry, dependents: Vec<String>) -> Result<()> {
    match dependents.is_empty() {
        true => Ok(()),
        false => Err(Error::Dependents {
            kind: shown_kind(entry),
            name: entry.name.clone(),
            dependents,
        }),
    }
}

/// What an object is called whose going is at stake: a domain is a type.
fn shown_kind(entry: &CatalogEntry) -> &'static str {
    match &entry.definition {
        Definition::Domain(_) => "type",
        other => kind_name(other),
    }
}

/// Fails where the query of a view names a column of a table that is to go or to have another name.
pub(in crate::commands) fn check_unnamed(
    catalog: &CatalogState,
    table: &CatalogEntry,
    column: &str,
) -> Result<()> {
    let names_it = |view: &&Arc<CatalogEntry>| {
        let Some(definition) = view.definition.stored_query() else {
            return false;
        };
        let dialect = Dialect::parse(&definition.dialect).unwrap_or(Dialect::Auto);
        let query = parse_query(&definition.text, dialect);
        depends_on(catalog, view, table)
            && query.is_ok_and(|query| query.visit(&mut ColumnFinder(column)).is_break())
    };
    let Some(view) = catalog.all().find(names_it) else {
        return Ok(());
    };
    let (table, view) = (&table.name, &view.name);
    let message = format!(
        "cannot drop or rename column \"{column}\" of table \"{table}\" because view \"{view}\" names it"
    );
    let hint = format!("Drop view \"{view}\" first, and create it anew.");
    Err(Error::invalid("2BP01", message, Some(&hint)))
}

/// Looks for a column's name.
struct ColumnFinder<'a>(&'a str);

impl Visitor for ColumnFinder<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        let name = match expr {
            ast::Expr::Identifier(name) => Some(name),
            ast::Expr::CompoundIdentifier(names) => names.last(),
            _ => None,
        };
        match name.is_some_and(|name| name.value.eq_ignore_ascii_case(self.0)) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn depends_on(catalog: &CatalogState, other: &CatalogEntry, entry: &CatalogEntry) -> bool {
    if matches!(entry.definition, Definition::Schema) {
        return other.schema == entry.name;
    }
    if let Definition::Domain(domain) = &other.definition {
        return domain.over.as_ref() == Some(&entry.id);
    }
    let Some(view) = other.definition.stored_query() else {
        return false;
    };
    if view.objects.iter().any(|object| object.id == entry.id) {
        return true;
    }
    let dialect = Dialect::parse(&view.dialect).unwrap_or(Dialect::Auto);
    let Ok(query) = parse_query(&view.text, dialect) else {
        return false;
    };
    let means_another = |object: &&ViewObject| catalog.by_id(&object.id).is_some();
    let mut finder = Finder {
        schemas: view.schemas_of_names(&other.schema),
        others: view.objects.iter().filter(means_another).collect(),
        entry,
    };
    query.visit(&mut finder).is_break()
}

/// Looks for a name in a view's query.
struct Finder<'a> {
    /// The schemas of names without one.
    schemas: Vec<String>,
    /// Names that are known to mean something else.
    others: Vec<&'a ViewObject>,
    entry: &'a CatalogEntry,
}

impl Finder<'_> {
    fn is_it(&self, parts: &[String]) -> bool {
        let (schemas, name) = match parts {
            [name] => (self.schemas.as_slice(), name),
            [.., schema, name] => (std::slice::from_ref(schema), name),
            [] => return false,
        };
        let is_other = |schema: &&String| {
            let mut others = self.others.iter();
            others.any(|other| other.schema == **schema && other.name == *name)
        };
        let mut schemas = schemas.iter().take_while(|schema| !is_other(schema));
        *name == self.entry.name && schemas.any(|schema| *schema == self.entry.schema)
    }
}

impl Visitor for Finder<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if self.is_it(&name_parts(relation)) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let Some(Ok(call)) = ml_function(factor) else {
            return ControlFlow::Continue(());
        };
        let models = call.args.iter().filter_map(|arg| match arg {
            MlArg::Model(model) => Some(&model.name.parts),
            _ => None,
        });
        let mut models = models;
        if models.any(|parts| self.is_it(parts)) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Function(function) = expr
            && let Some(Ok(call)) = auspex_sql::scalar_predict(function)
            && self.is_it(&call.model.name.parts)
        {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
