//! What unqualified names mean: the session's search_path and temporary tables, or what a view's creator meant.
//!
//! In: a future that binds a view; out: its result, bound by the names of the view's creator. The choice holds for what
//! the future does itself, not for what it spawns.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};

use auspex_storage::{CatalogEntry, ViewDefinition, ViewObject};

use crate::engine::lock;

tokio::task_local! {
    static NAMES: NameScope;
}

/// What the query of a view to be names.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// It means a temporary table.
    pub(crate) temporary: bool,
    /// What its names mean.
    pub(crate) objects: BTreeSet<ViewObject>,
}

/// What a view's names mean.
#[derive(Debug)]
struct ViewNames {
    /// The schemas of names without one, in order.
    schemas: Vec<String>,
    /// The identities of objects by the schema and name that they had.
    objects: BTreeMap<(String, String), String>,
}

/// Whose names count while something is bound.
#[derive(Debug, Clone)]
enum NameScope {
    /// The session's, in the query of a view to be.
    Defining(Arc<Mutex<Met>>),
    /// The view's. No temporary table is known.
    View(Arc<ViewNames>),
}

/// Binds a view of this schema with the names of its creator.
pub(crate) async fn in_view<T>(
    view: &ViewDefinition,
    own_schema: &str,
    binding: impl Future<Output = T>,
) -> T {
    let object = |object: &ViewObject| {
        let place = (object.schema.clone(), object.name.clone());
        (place, object.id.clone())
    };
    let names = ViewNames {
        schemas: view.schemas_of_names(own_schema),
        objects: view.objects.iter().map(object).collect(),
    };
    NAMES.scope(NameScope::View(Arc::new(names)), binding).await
}

/// Binds the query of a view to be; the second value: what it names.
pub(crate) async fn defining<T>(binding: impl Future<Output = T>) -> (T, Met) {
    let met = Arc::<Mutex<Met>>::default();
    let scope = NameScope::Defining(Arc::clone(&met));
    let bound = NAMES.scope(scope, binding).await;
    let met = std::mem::take(&mut *lock(&met));
    (bound, met)
}

/// Asks the view that is being bound, if one is.
fn of_view<T>(ask: impl FnOnce(&ViewNames) -> T) -> Option<T> {
    let ask = |names: &NameScope| match names {
        NameScope::View(view) => Some(ask(view)),
        NameScope::Defining(_) => None,
    };
    NAMES.try_with(ask).ok().flatten()
}

/// The schemas of names without one in the view that is being bound.
pub(crate) fn view_schemas() -> Option<Vec<String>> {
    of_view(|view| view.schemas.clone())
}

/// Whether a view is being bound.
pub(crate) fn is_in_view() -> bool {
    of_view(|_| ()).is_some()
}

/// The identity of what a name meant when the view that is being bound was made.
pub(crate) fn object_of_view(schema: &str, name: &str) -> Option<String> {
    let place = (schema.to_owned(), name.to_owned());
    of_view(|view| view.objects.get(&place).cloned()).flatten()
}

/// Whether an object came into a nearer schema after the view that is being bound was made, whose name means another one.
pub(crate) fn is_hidden_from_view(schema: &str, name: &str) -> bool {
    let place = |schema: &str| (schema.to_owned(), name.to_owned());
    of_view(|view| {
        let is_bound = |schema: &String| view.objects.contains_key(&place(schema));
        !view.objects.contains_key(&place(schema)) && view.schemas.iter().any(is_bound)
    })
    .unwrap_or(false)
}

/// Says that a name means a temporary table.
pub(crate) fn note_temporary() {
    note(|met| met.temporary = true);
}

/// Says that a name means an object of the catalog.
pub(crate) fn note_object(entry: &CatalogEntry) {
    note(|met| {
        met.objects.insert(ViewObject {
            schema: entry.schema.clone(),
            name: entry.name.clone(),
            id: entry.id.clone(),
        });
    });
}

fn note(change: impl FnOnce(&mut Met)) {
    // Nobody asks where no view is defined.
    let _ = NAMES.try_with(|names| {
        if let NameScope::Defining(met) = names {
            change(&mut lock(met));
        }
    });
}
