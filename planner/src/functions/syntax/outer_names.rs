//! `LATERAL (SELECT s.name FROM readings)`: a column of a relation before it keeps its name.
//!
//! In: a lateral query; out: the same whose columns of other relations have their names as aliases, since the planner would
//! call them by what they refer to.

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, SelectItem, SetExpr, TableFactor};

use crate::commands::folded;

/// Names the columns of a lateral relation.
pub(super) fn keep(factor: &mut TableFactor) {
    if let TableFactor::Derived {
        lateral: true,
        subquery,
        ..
    } = factor
    {
        in_query(subquery);
    }
}

fn in_query(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    let own = relations(select);
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) = &*item else {
            continue;
        };
        if let [relation, name] = parts.as_slice()
            && !own.contains(&folded(relation))
        {
            let (expr, alias) = (Expr::CompoundIdentifier(parts.clone()), name.clone());
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// What the relations of a SELECT are called.
fn relations(select: &Select) -> Vec<String> {
    let tables = select.from.iter().flat_map(|table| {
        let joined = table.joins.iter().map(|join| &join.relation);
        std::iter::once(&table.relation).chain(joined)
    });
    let name = |factor: &TableFactor| match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::UNNEST {
            alias: Some(alias), ..
        }
        | TableFactor::Function {
            alias: Some(alias), ..
        } => Some(folded(&alias.name)),
        TableFactor::Table { name, .. } => Some(folded(name.0.last()?.as_ident()?)),
        // What it holds is not looked at: nothing is named then.
        _ => None,
    };
    tables.filter_map(name).collect()
}
