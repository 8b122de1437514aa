//! The syntax tree of `CREATE MATERIALIZED VIEW` and `REFRESH MATERIALIZED VIEW`.
//!
//! In: nothing; out: plain values. Never knows which views exist; dropping and renaming are in the parser's own tree.

use datafusion::sql::sqlparser::ast::CreateView;

use crate::statement::Name;

/// `CREATE MATERIALIZED VIEW [IF NOT EXISTS] name [(column, …)] AS query [WITH [NO] DATA]`.
#[derive(Debug, Clone)]
pub struct CreateMaterializedView {
    /// The statement without what it says of its rows.
    pub view: CreateView,
    /// Whether it has rows at once.
    pub with_data: bool,
}

/// `REFRESH MATERIALIZED VIEW [CONCURRENTLY] name [WITH [NO] DATA]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshMaterializedView {
    /// The view.
    pub name: Name,
    /// `CONCURRENTLY` was written.
    pub concurrently: bool,
    /// Whether it has rows afterwards.
    pub with_data: bool,
}
