//! What the text of a model's query means, whoever trains the model: the schemas of names without one, the time zone,
//! and which names are temporary tables.
//!
//! In: the session that runs `CREATE MODEL`; out: a part of the model's definition, by which each training binds the
//! query. Definitions of old have none: their queries mean what the session that trains them means.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use auspex_sql::Dialect;
use auspex_storage::{ModelDefinition, ViewObject};
use chrono::{DateTime, Utc};
use datafusion::execution::SessionState;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Error, Result};
use crate::name_scope::{self, Met};
use crate::session::Session;

/// The field of a definition's `extra` that it is kept in.
const FIELD: &str = "query";

tokio::task_local! {
    static BOUND: Circumstances;
}

/// What counts in place of the session's settings while a training query is bound.
#[derive(Debug, Clone)]
struct Circumstances {
    time_zone: Option<String>,
    dialect: Dialect,
    /// What `now()` is; `None`: the time of the clock.
    start: Option<DateTime<Utc>>,
}

/// What the text of a model's query means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct QueryMeaning {
    /// The schemas of names without one, in order.
    search_path: Vec<String>,
    time_zone: Option<String>,
    /// The temporary tables that it names; `None` until it is bound for the first time.
    temporary: Option<BTreeSet<String>>,
}

impl QueryMeaning {
    /// What a text means to a session.
    pub(crate) fn of_session(session: &Session) -> QueryMeaning {
        QueryMeaning {
            search_path: session.search_path(),
            time_zone: Some(session.settings().time_zone()),
            temporary: None,
        }
    }

    /// What the query of a model means; of a model of old, what it means to the session.
    pub(crate) fn of_model(definition: &ModelDefinition, session: &Session) -> QueryMeaning {
        let kept = definition.extra.get(FIELD).cloned();
        let kept = kept.and_then(|kept| serde_json::from_value::<QueryMeaning>(kept).ok());
        let kept = kept.filter(|meaning| !meaning.search_path.is_empty());
        kept.unwrap_or_else(|| QueryMeaning::of_session(session))
    }

    /// Keeps it in a model's definition.
    pub(crate) fn keep(&self, definition: &mut ModelDefinition) {
        definition.extra = json!({ FIELD: self });
    }

    /// Runs a binding of the query by its meaning; the second value: what the query names. Names of `objects` mean these
    /// objects, whatever their names are now.
    pub(crate) async fn scope<T>(
        &self,
        dialect: Dialect,
        (objects, start): (&BTreeSet<ViewObject>, Option<DateTime<Utc>>),
        binding: impl Future<Output = T>,
    ) -> (T, Met) {
        let circumstances = Circumstances {
            time_zone: self.time_zone.clone(),
            dialect,
            start,
        };
        let temporary = self.temporary.clone().map(Arc::new);
        let schemas = self.search_path.clone();
        let binding = BOUND.scope(circumstances, binding);
        name_scope::in_training((schemas, objects), temporary, binding).await
    }

    /// Takes down which temporary tables the query names. Errors: 42P01 if one of those that it is about is not there.
    pub(crate) fn settle(&mut self, met: &Met) -> Result<()> {
        let meant = self.temporary.get_or_insert_with(|| met.temporary.clone());
        match meant.difference(&met.temporary).next() {
            None => Ok(()),
            Some(name) => {
                let message = format!(
                    "temporary table \"{name}\" of the model's query is not one of this session"
                );
                let hint = "Train it in the session that has the table, or on other rows: TRAIN MODEL ... ON (SELECT ...).";
                Err(Error::invalid("42P01", message, Some(hint)))
            }
        }
    }
}

/// The time zone of the training query that is being bound.
pub(crate) fn time_zone() -> Option<String> {
    let zone = BOUND.try_with(|bound| bound.time_zone.clone());
    zone.ok().flatten()
}

/// The dialect of the training query that is being bound, else the session's.
pub(crate) fn dialect(session: &Session) -> Dialect {
    let bound = BOUND.try_with(|bound| bound.dialect);
    bound.unwrap_or_else(|_| session.settings().dialect())
}

/// Marks the start of a statement in a state, from which functions read the settings and the time: that of the training
/// that is being repeated, if one is.
pub(crate) fn mark_start(state: &mut SessionState, now: DateTime<Utc>) {
    state.mark_start_execution();
    let start = BOUND.try_with(|bound| bound.start).ok().flatten();
    state.execution_props_mut().query_execution_start_time = Some(start.unwrap_or(now));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_definition_keeps_it() {
        let mut definition = ModelDefinition {
            statement: String::new(),
            query: None,
            model_type: String::new(),
            labels: Vec::new(),
            options: Value::Null,
            dialect: "auto".to_owned(),
            current_version: 0,
            aliases: BTreeMap::new(),
            dropped_versions: Vec::new(),
            extra: Value::Null,
        };
        let meaning = QueryMeaning {
            search_path: vec!["s9".to_owned(), "public".to_owned()],
            time_zone: Some("Asia/Tokyo".to_owned()),
            temporary: Some(BTreeSet::new()),
        };
        meaning.keep(&mut definition);
        let kept = definition.extra[FIELD].clone();
        let kept: QueryMeaning = serde_json::from_value(kept).unwrap();
        assert_eq!(kept, meaning);
    }

    #[test]
    fn a_temporary_table_of_another_session_is_missed() {
        let mut met = Met::default();
        met.temporary.insert("t".to_owned());
        let mut meaning = QueryMeaning::default();
        meaning.settle(&met).unwrap();
        meaning.settle(&met).unwrap();
        let error = meaning.settle(&Met::default()).unwrap_err();
        assert!(error.to_string().contains("\"t\""), "{error}");
    }
}
