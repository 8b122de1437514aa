//! What a plan was bound to: the objects that its statement names, as they were then.
//!
//! In: names that were looked up while a statement is bound; out: whether they still mean the same. So a plan may be
//! kept although the catalog has changed, unless the change is about what it names.

use std::future::Future;
use std::sync::{Arc, Mutex};

use auspex_storage::{CatalogEntry, CatalogState, Definition, ObjectKind};

use crate::engine::lock;

tokio::task_local! {
    /// The names of the statement that is being bound.
    static CURRENT: Named;
}

/// The names of one statement. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    objects: Vec<Object>,
    /// Roles, schemas, locations, credentials and catalogs, which decide who may use what and which object a short name
    /// means.
    rules: Vec<Arc<CatalogEntry>>,
    /// It reads the catalog itself, so that every change concerns it.
    whole_catalog: bool,
    /// It reads files that were listed when it was bound, or versions that were looked up then.
    files: bool,
}

#[derive(Debug)]
struct Object {
    schema: String,
    name: String,
    /// `None`: there was no such object.
    entry: Option<Arc<CatalogEntry>>,
}

/// What decides beside the objects themselves.
fn rules(catalog: &CatalogState) -> impl Iterator<Item = &Arc<CatalogEntry>> {
    const KINDS: [ObjectKind; 5] = [
        ObjectKind::Role,
        ObjectKind::Location,
        ObjectKind::Credential,
        ObjectKind::Catalog,
        ObjectKind::Database,
    ];
    let globals = KINDS
        .into_iter()
        .flat_map(move |kind| catalog.globals(kind));
    globals.chain(catalog.schemas())
}

impl Named {
    /// No names yet, in a state of the catalog.
    pub(crate) fn of(catalog: &CatalogState) -> Named {
        Named(Arc::new(Mutex::new(Names {
            rules: rules(catalog).cloned().collect(),
            ..Names::default()
        })))
    }

    /// Binds something whose names are added to these.
    pub(crate) async fn scope<F: Future>(&self, binding: F) -> F::Output {
        CURRENT.scope(self.clone(), binding).await
    }

    /// Adds an object to those of the statement that is being bound.
    pub(crate) fn note(schema: &str, name: &str, entry: Option<&Arc<CatalogEntry>>) {
        Named::change(|names| {
            let is_known = |object: &Object| object.schema == schema && object.name == name;
            if !names.objects.iter().any(is_known) {
                names.objects.push(Object {
                    schema: schema.to_owned(),
                    name: name.to_owned(),
                    entry: entry.cloned(),
                });
            }
        });
    }

    /// Says that the statement that is being bound reads the catalog itself.
    pub(crate) fn note_catalog() {
        Named::change(|names| names.whole_catalog = true);
    }

    /// Says that the statement that is being bound has listed files, or looked up versions of a table.
    pub(crate) fn note_files() {
        Named::change(|names| names.files = true);
    }

    fn change(change: impl FnOnce(&mut Names)) {
        // Nobody asks for the names of what is bound outside a statement, as at a training's end.
        let _ = CURRENT.try_with(|named| change(&mut lock(&named.0)));
    }

    /// The managed tables among the objects.
    pub(crate) fn tables(&self) -> Vec<Arc<CatalogEntry>> {
        let names = lock(&self.0);
        let entries = names
            .objects
            .iter()
            .filter_map(|object| object.entry.as_ref());
        let tables = entries.filter(|entry| matches!(entry.definition, Definition::Table(_)));
        tables.cloned().collect()
    }

    /// Whether the plan holds a list of files or a version, which may be another one by now.
    pub(crate) fn reads_files(&self) -> bool {
        lock(&self.0).files
    }

    /// Whether all names mean in this state of the catalog what they meant when the statement was bound.
    pub(crate) fn mean_the_same(&self, catalog: &CatalogState) -> bool {
        let names = lock(&self.0);
        let is_same = |object: &Object| {
            let now = catalog.get(&object.schema, &object.name);
            match (now, &object.entry) {
                (Some(now), Some(then)) => Arc::ptr_eq(now, then),
                (None, None) => true,
                _ => false,
            }
        };
        let mut known = names.rules.iter();
        let mut now = rules(catalog);
        let same_rules = now.all(|rule| known.next().is_some_and(|known| Arc::ptr_eq(known, rule)))
            && known.next().is_none();
        same_rules && !names.whole_catalog && names.objects.iter().all(is_same)
    }
}
