//! The columns that `JOIN … USING` and `NATURAL JOIN` merge: `SELECT * FROM a LEFT JOIN b USING (id)` has `id` once, as the
//! first column, and with the value of the side that has a row. The planner keeps that of one relation, whichever side it is.
//!
//! In: a syntax tree; out: the tree with the values of merged columns in the place of their names, and with the columns of
//! natural joins written out. Joins of which it is not known which relation has the column stay as they are. A join in
//! parentheses that has a name, `(a FULL JOIN b USING (id)) AS j`, is the query of its columns.

use std::ops::ControlFlow;

use auspex_sql::Dialect;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderBy, OrderByKind,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor,
    TableWithJoins, Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};

use super::merged_columns::{
    Columns, Known, Merged, Naming, columns_of, merged_among, object_name,
};
use super::merged_within::{Within, put_values, relations_within};
use super::relation_columns::{RelationColumns, all_relations, relations};
use crate::commands::folded;

/// Writes merged columns out. The state plans what tells the columns of relations, where these matter.
pub(super) async fn spell(statement: &mut Statement, state: &SessionState) {
    let _ = VisitMut::visit(statement, &mut NamedJoins);
    let mut asking = Asking::default();
    let _ = Visit::visit(&*statement, &mut asking);
    if !asking.merges {
        return;
    }
    let mut known = Vec::with_capacity(asking.selects.len());
    for asked in &asking.selects {
        let mut columns = Vec::with_capacity(asked.len());
        for relation in asked {
            columns.push(asking.columns.of(relation, state).await);
        }
        known.push(columns);
    }
    let mut within = Within::new();
    for relation in &asking.within {
        let columns = asking.columns.of(relation, state).await;
        within.insert(relation.to_string(), columns);
    }
    write_all(statement, known, &within);
}

/// Makes queries of joins in parentheses that merge columns and have a name.
struct NamedJoins;

impl VisitorMut for NamedJoins {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin {
            table_with_joins,
            alias: Some(alias),
        } = factor
            && operators_of(table_with_joins)
                .iter()
                .any(|operator| merges_columns(operator))
            && let Some(subquery) = all_of(table_with_joins)
        {
            *factor = TableFactor::Derived {
                lateral: false,
                subquery,
                alias: Some(alias.clone()),
                sample: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// The query of all columns of joined relations.
pub(super) fn all_of(table: &TableWithJoins) -> Option<Box<Query>> {
    let mut query = auspex_sql::parse_query("SELECT * FROM t", Dialect::Postgres).ok()?;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return None;
    };
    select.from = vec![table.clone()];
    Some(query)
}

/// Writes the merged columns of all SELECTs out, of which the columns are known in the order of visits.
fn write_all(statement: &mut Statement, known: Vec<Known>, within: &Within) {
    let mut merging = Merging {
        known: known.into_iter(),
        within,
        open: Vec::new(),
    };
    let _ = VisitMut::visit(statement, &mut merging);
}

/// Finds the relations of each SELECT whose columns must be known, in the order of visits.
#[derive(Default)]
struct Asking {
    columns: RelationColumns,
    selects: Vec<Vec<TableFactor>>,
    /// The relations of queries within that see merged columns.
    within: Vec<TableFactor>,
    merges: bool,
}

impl Visitor for Asking {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.columns.note(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let merges = |table: &TableWithJoins| {
            let operators = operators_of(table);
            operators.iter().any(|operator| merges_columns(operator))
        };
        // With two relations, USING says all.
        let asks = |table: &TableWithJoins| {
            let operators = operators_of(table);
            let is_natural = |operator: &&JoinOperator| {
                matches!(constraint_of(operator), Some(JoinConstraint::Natural))
            };
            merges(table) && (operators.len() > 1 || operators.iter().any(is_natural))
        };
        if select.from.iter().any(merges) {
            self.merges = true;
            self.within.extend(relations_within(select));
        }
        self.selects.push(match select.from.iter().any(asks) {
            true => all_relations(&select.from).into_iter().cloned().collect(),
            false => Vec::new(),
        });
        ControlFlow::Continue(())
    }
}

/// Whether the columns of joined relations stand one behind the other, each as it is.
pub(super) fn stand_apart(table: &TableWithJoins) -> bool {
    let mut joins = table.joins.iter().map(|join| &join.join_operator);
    joins.all(|operator| constraint_of(operator).is_some_and(|joined| !is_merging(joined)))
}

/// The joins of relations that are joined in a FROM, also those in parentheses.
fn operators_of(table: &TableWithJoins) -> Vec<&JoinOperator> {
    let mut operators: Vec<_> = table.joins.iter().map(|join| &join.join_operator).collect();
    for factor in relations(std::slice::from_ref(table)) {
        if let TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } = factor
        {
            operators.extend(operators_of(table_with_joins));
        }
    }
    operators
}

fn merges_columns(operator: &JoinOperator) -> bool {
    constraint_of(operator).is_some_and(is_merging)
}

fn is_merging(constraint: &JoinConstraint) -> bool {
    matches!(
        constraint,
        JoinConstraint::Using(_) | JoinConstraint::Natural
    )
}

fn constraint_of(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Some(constraint),
        _ => None,
    }
}

struct Merging<'a> {
    known: std::vec::IntoIter<Known>,
    within: &'a Within,
    /// For each query around: the merged columns that its ORDER BY may name.
    open: Vec<Option<Vec<Merged>>>,
}

impl VisitorMut for Merging<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.open.push(None);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(Some(merged)) = self.open.pop()
            && let SetExpr::Select(select) = query.body.as_ref()
            && let Some(order_by) = &mut query.order_by
        {
            order_by_values(order_by, &select.projection, merged);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let known = self.known.next().unwrap_or_default();
        let merged = write_out(select, known, self.within);
        if let Some(first) = self.open.last_mut() {
            first.get_or_insert(merged);
        }
        ControlFlow::Continue(())
    }
}

/// Writes out the columns that a SELECT merges; those columns.
fn write_out(select: &mut Select, known: Known, within: &Within) -> Vec<Merged> {
    let star = WildcardAdditionalOptions::default();
    let is_plain = |item: &SelectItem| match item {
        SelectItem::Wildcard(options) => *options == star,
        _ => true,
    };
    if !select.projection.iter().all(is_plain) {
        return Vec::new();
    }
    let mut from = select.from.clone();
    let Some(columns) = columns_of(&mut from, known, within) else {
        return Vec::new();
    };
    let naming = Naming::of(merged_among(&columns));
    let items = std::mem::take(&mut select.projection);
    // All that is left of the SELECT, but for its FROM.
    select.from = Vec::new();
    naming.put_values(select);
    put_values(select, naming.columns(), within);
    select.from = from;
    for mut item in items {
        match &mut item {
            SelectItem::Wildcard(_) => {
                select.projection.extend(columns.iter().map(star_item));
                continue;
            }
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
                if let Some(merged) = naming.merged_of(name) {
                    item = as_item(merged);
                }
            }
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                naming.put_values(expr);
                put_values(expr, naming.columns(), within);
            }
            _ => {}
        }
        select.projection.push(item);
    }
    naming.merged()
}

/// The values of merged columns in an ORDER BY. A name by itself is that of an output column first.
fn order_by_values(order_by: &mut OrderBy, items: &[SelectItem], merged: Vec<Merged>) {
    let output = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(folded(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(folded),
        _ => None,
    };
    let outputs: Vec<String> = items.iter().filter_map(output).collect();
    let OrderByKind::Expressions(keys) = &mut order_by.kind else {
        return;
    };
    let naming = Naming::of(merged);
    for key in keys {
        let is_output =
            matches!(&key.expr, Expr::Identifier(name) if outputs.contains(&folded(name)));
        if !is_output {
            naming.put_values(&mut key.expr);
        }
    }
}

/// A merged column in a SELECT, with its name.
fn as_item(merged: &Merged) -> SelectItem {
    let expr = merged.value.as_ref().clone();
    match merged.differs {
        true => SelectItem::ExprWithAlias {
            expr,
            alias: Ident::with_quote('"', merged.name.as_str()),
        },
        false => SelectItem::UnnamedExpr(expr),
    }
}

fn star_item(columns: &Columns) -> SelectItem {
    match columns {
        Columns::Merged(merged) => as_item(merged),
        Columns::Of {
            relation, merged, ..
        } => {
            let options = WildcardAdditionalOptions {
                opt_exclude: (!merged.is_empty()).then(|| {
                    ExcludeSelectItem::Multiple(
                        merged.iter().map(|name| object_name(name)).collect(),
                    )
                }),
                ..Default::default()
            };
            let relation = ObjectName::from(vec![relation.clone()]);
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(relation),
                options,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(query: &str, known: Vec<Known>) -> String {
        let query = auspex_sql::parse_query(query, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        write_all(&mut statement, known, &Within::new());
        statement.to_string()
    }

    #[test]
    fn merged_columns_come_first_and_once() {
        for (query, expected) in [
            (
                "SELECT * FROM a LEFT JOIN b USING (id)",
                "SELECT a.\"id\", a.* EXCLUDE (\"id\"), b.* EXCLUDE (\"id\") FROM a LEFT JOIN b USING(id)",
            ),
            (
                "SELECT id FROM a FULL JOIN b USING (id) WHERE id > 1",
                "SELECT coalesce(a.\"id\", b.\"id\") AS \"id\" FROM a FULL JOIN b USING(id) WHERE coalesce(a.\"id\", b.\"id\") > 1",
            ),
            (
                "SELECT id FROM a JOIN b USING (id) WHERE id > 1 GROUP BY id",
                "SELECT a.\"id\" FROM a JOIN b USING(id) WHERE a.\"id\" > 1 GROUP BY a.\"id\"",
            ),
            (
                "SELECT id, x FROM a JOIN b USING (id) ORDER BY id, id + 1",
                "SELECT a.\"id\", x FROM a JOIN b USING(id) ORDER BY id, a.\"id\" + 1",
            ),
            (
                "SELECT x FROM a RIGHT JOIN b USING (id) JOIN c ON c.x = id ORDER BY id",
                "SELECT x FROM a RIGHT JOIN b USING(id) JOIN c ON c.x = b.\"id\" ORDER BY b.\"id\"",
            ),
            (
                "SELECT * FROM a JOIN b ON a.x = b.x",
                "SELECT * FROM a JOIN b ON a.x = b.x",
            ),
            (
                "SELECT l.z FROM a FULL JOIN b USING (id), LATERAL (SELECT id, x FROM f(id) AS g(y)) AS l",
                "SELECT l.z FROM a FULL JOIN b USING(id), LATERAL (SELECT id, x FROM f(id) AS g (y)) AS l",
            ),
            (
                "SELECT l.z FROM a FULL JOIN b USING (id), LATERAL (SELECT id, id + 1 AS z) AS l",
                "SELECT l.z FROM a FULL JOIN b USING(id), LATERAL (SELECT coalesce(a.\"id\", b.\"id\") AS id, coalesce(a.\"id\", b.\"id\") + 1 AS z) AS l",
            ),
            (
                "SELECT (SELECT id) FROM a FULL JOIN b USING (id) WHERE EXISTS (SELECT 1 WHERE id > 1)",
                "SELECT (SELECT coalesce(a.\"id\", b.\"id\") AS id) FROM a FULL JOIN b USING(id) WHERE EXISTS (SELECT 1 WHERE coalesce(a.\"id\", b.\"id\") > 1)",
            ),
            (
                "SELECT x FROM a RIGHT JOIN b USING (id), unnest(ARRAY[id]) AS g(x)",
                "SELECT x FROM a RIGHT JOIN b USING(id), UNNEST(ARRAY[b.\"id\"]) AS g (x)",
            ),
        ] {
            assert_eq!(spelled(query, Vec::new()), expected);
        }
    }

    #[test]
    fn natural_joins_merge_what_both_sides_have() {
        let columns = |names: &str| Some(names.split(' ').map(ToOwned::to_owned).collect());
        let known = || vec![vec![columns("i x"), columns("y i"), columns("z y")]];
        for (query, expected) in [
            (
                "SELECT i FROM a NATURAL JOIN b WHERE i = 1",
                "SELECT a.\"i\" FROM a JOIN b USING(\"i\") WHERE a.\"i\" = 1",
            ),
            (
                "SELECT y FROM a NATURAL LEFT JOIN b NATURAL JOIN c",
                "SELECT b.\"y\" FROM a LEFT JOIN b USING(\"i\") JOIN c ON b.\"y\" = c.\"y\"",
            ),
            (
                "SELECT z FROM a NATURAL JOIN c",
                "SELECT z FROM a JOIN c ON true",
            ),
        ] {
            let mut known = known();
            if query.ends_with("NATURAL JOIN c") && !query.contains(" b ") {
                known[0].remove(1);
            }
            assert_eq!(spelled(query, known), expected);
        }
        let unknown = "SELECT * FROM a NATURAL JOIN b";
        assert_eq!(spelled(unknown, Vec::new()), unknown);
    }
}
