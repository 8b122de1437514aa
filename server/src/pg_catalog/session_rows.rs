//! What a session keeps by name, as catalog rows.
//!
//! In: the session's lists; out: rows of `pg_cursors` and `pg_prepared_statements`. Other sessions' are in none, and secrets
//! in no text.

use auspex_planner::{CursorFacts, SessionFacts, StatementFacts};

use super::cells::{Cell, Row};

/// The rows of a table about what the session keeps; `None` when it is none of them.
pub(super) fn rows(name: &str, session: &SessionFacts) -> Option<Vec<Row>> {
    let backend = &session.backend;
    Some(match name {
        "pg_cursors" => backend.cursors().entries().iter().map(cursor).collect(),
        "pg_prepared_statements" => {
            let statements = backend.statements().entries();
            statements.iter().map(statement).collect()
        }
        _ => return None,
    })
}

fn cursor((created_us, cursor): &(i64, CursorFacts)) -> Row {
    vec![
        ("name", cursor.name.as_str().into()),
        ("statement", shown(&cursor.text)),
        ("is_holdable", cursor.is_holdable.into()),
        ("is_binary", cursor.is_binary.into()),
        ("is_scrollable", cursor.is_scrollable.into()),
        ("creation_time", Cell::Int(*created_us)),
    ]
}

fn statement((prepared_us, statement): &(i64, StatementFacts)) -> Row {
    vec![
        ("name", statement.name.as_str().into()),
        ("statement", shown(&statement.text)),
        ("prepare_time", Cell::Int(*prepared_us)),
        (
            "parameter_types",
            Cell::Texts(statement.parameter_types.clone()),
        ),
        ("from_sql", statement.from_sql.into()),
        ("generic_plans", Cell::Int(statement.n_generic_plans)),
        ("custom_plans", Cell::Int(statement.n_custom_plans)),
    ]
}

fn shown(text: &str) -> Cell {
    auspex_sql::redacted(text).into_owned().into()
}
