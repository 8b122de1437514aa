//! Queries of several columns in which a value is looked for: `x IN (SELECT 1, 2)`.
//!
//! In: a statement and the planner's error, which is the same of a query that is a value; out: the statement in which such
//! queries list one column, so that they are refused as PostgreSQL refuses them.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, Statement, VisitMut, VisitorMut};

use super::relation_columns::alias_of;
use crate::functions::{is_compared_with, of_one_column};

/// Lists the one column of such queries; false if nothing was changed.
pub(super) fn adopt(statement: &mut Statement, error: &DataFusionError) -> bool {
    let DataFusionError::Plan(message) = error.find_root() else {
        return false;
    };
    if !message.starts_with("Too many columns!") {
        return false;
    }
    let mut listing = Listing { is_changed: false };
    let _ = VisitMut::visit(statement, &mut listing);
    listing.is_changed
}

struct Listing {
    is_changed: bool,
}

impl VisitorMut for Listing {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::InSubquery { subquery, .. } = expr
            && !is_of_one_column(&subquery.body)
            && let Some(listed) = of_one_column(subquery)
        {
            *subquery = listed;
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }
}

/// Whether a query is known to have one column, or lists one.
fn is_of_one_column(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => match select.projection.as_slice() {
            [SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }] => true,
            [SelectItem::Wildcard(_)] => {
                let mut aliases = select
                    .from
                    .iter()
                    .filter_map(|from| alias_of(&from.relation));
                aliases.any(is_compared_with)
            }
            _ => false,
        },
        SetExpr::Query(query) => is_of_one_column(&query.body),
        SetExpr::SetOperation { left, .. } => is_of_one_column(left),
        SetExpr::Values(values) => values.rows.iter().all(|row| row.len() == 1),
        _ => false,
    }
}
