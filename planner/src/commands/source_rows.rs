//! The rows of a table that is altered, computed from those that it has.
//!
//! In: the rows as a relation without a name, and expressions over its columns; out: streams of their values. Writes
//! nothing.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::TableShape;
use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::sql::sqlparser::ast::{self, Expr, Ident, ObjectName, VisitMut, VisitorMut};

use crate::bind::{GivenTables, Numbers, as_table_rows, bind_sql_with};
use crate::error::Result;
use crate::session::Session;
use crate::statement_run::StatementControl;
use crate::streams::streams;

/// What is wanted of a relation.
pub(super) struct SourceRows<'a> {
    /// What messages call the relation.
    pub(super) name: &'a str,
    /// The relation.
    pub(super) source: Arc<dyn TableProvider>,
    /// The values of each row.
    pub(super) columns: Vec<Expr>,
    /// Which rows.
    pub(super) condition: Option<Expr>,
    /// The table that takes them, whose types they get.
    pub(super) taken_by: Option<&'a TableShape>,
}

impl SourceRows<'_> {
    /// The rows in streams, whose order is theirs.
    pub(super) async fn streams(
        self,
        session: &Arc<Session>,
        control: &StatementControl,
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let mut given = GivenTables::default();
        let private = given.give(self.name, self.source);
        let mut statement = query(self.columns, self.condition)?;
        let _ = VisitMut::visit(&mut statement, &mut SourceName(private));
        let state = session.state(None);
        let mut bound = bind_sql_with(session, statement, state, given).await?;
        bound.names.clear();
        if let Some(shape) = self.taken_by {
            bound.plan = as_table_rows(&bound.state, shape, bound.plan, 0, Numbers::Given)?;
        }
        streams(session, &bound, Vec::new(), control).await
    }
}

/// `SELECT columns FROM source [WHERE condition]`.
fn query(columns: Vec<Expr>, condition: Option<Expr>) -> Result<ast::Statement> {
    let text = "SELECT 1 FROM source";
    let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres)?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        let item = |(idx, expr): (usize, Expr)| ast::SelectItem::ExprWithAlias {
            expr,
            alias: Ident::with_quote('"', format!("__auspex_{idx}")),
        };
        select.projection = columns.into_iter().enumerate().map(item).collect();
        select.selection = condition;
    }
    Ok(ast::Statement::Query(query))
}

/// Puts a name in the place of the one relation of a query.
struct SourceName(ObjectName);

impl VisitorMut for SourceName {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        *relation = self.0.clone();
        ControlFlow::Continue(())
    }
}
