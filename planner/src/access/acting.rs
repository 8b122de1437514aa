//! As whom a part of a statement is bound: the session's role, the owner of a view, or the engine itself.
//!
//! In: a future; out: its result, bound as somebody else. The choice holds for what the future does itself, not for what
//! it spawns.

use std::future::Future;
use std::sync::Arc;

tokio::task_local! {
    static ACTING: Acting;
}

tokio::task_local! {
    /// Who acted when the engine began to describe its catalog.
    static ASKING: Acting;
}

tokio::task_local! {
    /// The table that a statement writes to and does not read.
    static WRITTEN: Option<String>;
}

/// Whose privileges count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acting {
    /// The role of the session.
    Session,
    /// The owner of the view that is being bound.
    Role(Arc<str>),
    /// Nobody's: the engine describes its catalog.
    System,
}

impl Acting {
    /// Who acts where this is asked.
    pub(crate) fn now() -> Acting {
        ACTING.try_with(Clone::clone).unwrap_or(Acting::Session)
    }

    /// For whom it is done, also while the engine describes its catalog.
    pub(crate) fn asking() -> Acting {
        match Acting::now() {
            Acting::System => ASKING.try_with(Clone::clone).unwrap_or(Acting::Session),
            other => other,
        }
    }

    /// Does something later as who acted then.
    pub(crate) async fn during<T>(self, doing: impl Future<Output = T>) -> T {
        ACTING.scope(self, doing).await
    }

    /// Whether the engine describes its catalog.
    pub(crate) fn is_system() -> bool {
        Acting::now() == Acting::System
    }
}

/// Binds something with the privileges of a role; inside the engine's own reading they stay the engine's.
pub(crate) async fn as_role<T>(role: &str, binding: impl Future<Output = T>) -> T {
    match Acting::is_system() {
        true => binding.await,
        false => ACTING.scope(Acting::Role(role.into()), binding).await,
    }
}

/// Lets the engine describe its catalog.
pub(crate) async fn as_system<T>(reading: impl Future<Output = T>) -> T {
    let reading = ACTING.scope(Acting::System, reading);
    ASKING.scope(Acting::asking(), reading).await
}

/// Binds a statement that writes to a table, if one is given, whose columns it must know and whose rows it does not read.
pub(crate) async fn as_writer<T>(table: Option<String>, binding: impl Future<Output = T>) -> T {
    WRITTEN.scope(table, binding).await
}

/// Whether the table of an id is the one that is being written to.
pub(crate) fn is_writer_of(id: &str) -> bool {
    let is_it = WRITTEN.try_with(|written| written.as_deref() == Some(id));
    is_it.unwrap_or(false)
}
