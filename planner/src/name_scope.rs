//! What unqualified names mean: the session's search_path and temporary tables, or what the creator of a view or model
//! meant.
//!
//! In: a future that binds a view or a training query; out: its result, bound by the names of the creator. The choice holds for what
//! the future does itself, not for what it spawns.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};

use auspex_storage::{CatalogEntry, ViewDefinition, ViewObject};

use crate::engine::lock;
use crate::temporary::SCHEMA as TEMPORARY;

tokio::task_local! {
    static NAMES: NameScope;
}

/// What the query of a view to be, or of a training, names.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// The temporary tables that it means.
    pub(crate) temporary: BTreeSet<String>,
    /// What its names mean.
    pub(crate) objects: BTreeSet<ViewObject>,
}

/// What the names of a view or training query mean.
#[derive(Debug)]
struct ViewNames {
    /// The schemas of names without one, in order.
    schemas: Vec<String>,
    /// The identities of objects by the schema and name that they had.
    objects: BTreeMap<(String, String), String>,
    /// Whether names may mean temporary tables, as in a temporary view.
    knows_temporary: bool,
}

impl ViewNames {
    fn new<'a>(
        schemas: Vec<String>,
        objects: impl IntoIterator<Item = &'a ViewObject>,
    ) -> ViewNames {
        let object = |object: &ViewObject| {
            let place = (object.schema.clone(), object.name.clone());
            (place, object.id.clone())
        };
        ViewNames {
            schemas,
            objects: objects.into_iter().map(object).collect(),
            knows_temporary: false,
        }
    }
}

impl ViewNames {
    /// Whether a name may mean a temporary table: not where it meant another one when the view was made.
    fn means_temporary(&self, name: &str) -> bool {
        let mut objects = self.objects.keys();
        self.knows_temporary && !objects.any(|(schema, known)| known == name && schema != TEMPORARY)
    }
}

/// Whose names count while something is bound.
#[derive(Debug, Clone)]
enum NameScope {
    /// The session's, in the query of a view to be.
    Defining(Arc<Mutex<Met>>),
    /// The view's. No temporary table is known, unless it is one itself.
    View(Arc<ViewNames>),
    /// The model's, in its training query.
    Training {
        names: Arc<ViewNames>,
        /// The temporary tables that are known; `None`: all.
        temporary: Option<Arc<BTreeSet<String>>>,
        met: Arc<Mutex<Met>>,
    },
}

impl NameScope {
    fn of_view(view: &ViewDefinition, own_schema: &str) -> NameScope {
        NameScope::View(Arc::new(ViewNames {
            knows_temporary: own_schema == TEMPORARY,
            ..ViewNames::new(view.schemas_of_names(own_schema), &view.objects)
        }))
    }
}

/// Binds a view of this schema with the names of its creator.
pub(crate) async fn in_view<T>(
    view: &ViewDefinition,
    own_schema: &str,
    binding: impl Future<Output = T>,
) -> T {
    let names = NameScope::of_view(view, own_schema);
    NAMES.scope(names, binding).await
}

/// Asks something by the names of the creator of a view of this schema.
pub(crate) fn inside_view<T>(
    view: &ViewDefinition,
    own_schema: &str,
    ask: impl FnOnce() -> T,
) -> T {
    NAMES.sync_scope(NameScope::of_view(view, own_schema), ask)
}

/// Binds a training query with the names of the model's creator; the second value: what it names.
pub(crate) async fn in_training<T>(
    (schemas, objects): (Vec<String>, &BTreeSet<ViewObject>),
    temporary: Option<Arc<BTreeSet<String>>>,
    binding: impl Future<Output = T>,
) -> (T, Met) {
    let met = Arc::<Mutex<Met>>::default();
    let scope = NameScope::Training {
        names: Arc::new(ViewNames::new(schemas, objects)),
        temporary,
        met: Arc::clone(&met),
    };
    let bound = NAMES.scope(scope, binding).await;
    let met = std::mem::take(&mut *lock(&met));
    (bound, met)
}

/// Binds the query of a view to be; the second value: what it names.
pub(crate) async fn defining<T>(binding: impl Future<Output = T>) -> (T, Met) {
    let met = Arc::<Mutex<Met>>::default();
    let scope = NameScope::Defining(Arc::clone(&met));
    let bound = NAMES.scope(scope, binding).await;
    let met = std::mem::take(&mut *lock(&met));
    (bound, met)
}

/// Asks the view or training query that is being bound, if one is.
fn of_view<T>(ask: impl FnOnce(&ViewNames) -> T) -> Option<T> {
    let ask = |names: &NameScope| match names {
        NameScope::View(names) | NameScope::Training { names, .. } => Some(ask(names)),
        NameScope::Defining(_) => None,
    };
    NAMES.try_with(ask).ok().flatten()
}

/// The schemas of names without one in the view or training query that is being bound.
pub(crate) fn view_schemas() -> Option<Vec<String>> {
    of_view(|view| view.schemas.clone())
}

/// Whether a view is being bound that knows no temporary tables.
pub(crate) fn is_in_view() -> bool {
    let is_view =
        |names: &NameScope| matches!(names, NameScope::View(view) if !view.knows_temporary);
    NAMES.try_with(is_view).unwrap_or(false)
}

/// Whether the query of a view to be is being bound, which is not run.
pub(crate) fn is_defining() -> bool {
    let is_defining = |names: &NameScope| matches!(names, NameScope::Defining(_));
    NAMES.try_with(is_defining).unwrap_or(false)
}

/// Whether a name may mean a temporary table; lasting views know none, a training query those that it was made with.
pub(crate) fn knows_temporary(name: &str) -> bool {
    let knows = |names: &NameScope| match names {
        NameScope::Defining(_) => true,
        NameScope::View(view) => view.means_temporary(name),
        NameScope::Training { temporary, .. } => {
            temporary.as_ref().is_none_or(|known| known.contains(name))
        }
    };
    NAMES.try_with(knows).unwrap_or(true)
}

/// The identity of what a name meant when the view that is being bound was made, or the training that is repeated ran.
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
pub(crate) fn note_temporary(name: &str) {
    note(|met| {
        met.temporary.insert(name.to_owned());
    });
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
    // Nobody asks where no view is defined and nothing is trained.
    let _ = NAMES.try_with(|names| match names {
        NameScope::Defining(met) | NameScope::Training { met, .. } => change(&mut lock(met)),
        NameScope::View(_) => {}
    });
}
