//! What unqualified names mean: the session's search_path and temporary tables, or what a view's creator meant.
//!
//! In: a future that binds a view; out: its result, bound by the names of the view's creator. The choice holds for what
//! the future does itself, not for what it spawns.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

tokio::task_local! {
    static NAMES: NameScope;
}

/// Whose names count while something is bound.
#[derive(Debug, Clone)]
enum NameScope {
    /// The session's, in the query of a view to be: whether it met a temporary table.
    Defining(Arc<AtomicBool>),
    /// The view's: the schema of names without one. No temporary table is known.
    View(Arc<str>),
}

/// Binds a view whose names without a schema lie in this one.
pub(crate) async fn in_view<T>(schema: &str, binding: impl Future<Output = T>) -> T {
    NAMES.scope(NameScope::View(schema.into()), binding).await
}

/// Binds the query of a view to be; the second value: whether it means a temporary table.
pub(crate) async fn defining<T>(binding: impl Future<Output = T>) -> (T, bool) {
    let met = Arc::new(AtomicBool::new(false));
    let scope = NameScope::Defining(Arc::clone(&met));
    let bound = NAMES.scope(scope, binding).await;
    (bound, met.load(Ordering::Relaxed))
}

/// The schema of names without one in the view that is being bound.
pub(crate) fn view_schema() -> Option<String> {
    let of_view = |names: &NameScope| match names {
        NameScope::View(schema) => Some(schema.to_string()),
        NameScope::Defining(_) => None,
    };
    NAMES.try_with(of_view).ok().flatten()
}

/// Says that a name means a temporary table.
pub(crate) fn note_temporary() {
    // Nobody asks where no view is defined.
    let _ = NAMES.try_with(|names| {
        if let NameScope::Defining(met) = names {
            met.store(true, Ordering::Relaxed);
        }
    });
}
