//! The columns that `JOIN … USING` merges: `SELECT * FROM a LEFT JOIN b USING (id)` has `id` once, as the first column, and
//! with the value of the side that has a row. The planner keeps that of one relation, whichever side it is.
//!
//! In: a syntax tree; out: the tree with columns written out where the merged ones are meant. Joins whose left side is several
//! relations of which it is not known which has the column stay as they are, and so does NATURAL.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, Statement, TableFactor, TableWithJoins,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use super::column_rules::parse_expr;
use crate::commands::folded;

/// Writes merged columns out.
pub(super) fn spell(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Merging);
}

struct Merging;

impl VisitorMut for Merging {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Some(columns) = columns_of(&select.from) {
            write_out(select, &columns);
        }
        ControlFlow::Continue(())
    }
}

/// What the star of a SELECT stands for.
enum Columns {
    /// A column that a join merged.
    Merged(Merged),
    /// Those of a relation that no join merged.
    Of {
        relation: Ident,
        merged: Vec<String>,
    },
}

#[derive(Clone)]
struct Merged {
    name: String,
    value: Box<Expr>,
    /// Whether the first relation that has a column of this name may have none of the value.
    differs: bool,
}

/// The columns of a FROM in PostgreSQL's order; `None`: it merges none, or they are not known.
fn columns_of(from: &[TableWithJoins]) -> Option<Vec<Columns>> {
    let mut all = Vec::new();
    let mut merges = false;
    for table in from {
        let mut columns = vec![relation_of(&table.relation)?];
        for join in &table.joins {
            let relation = relation_of(&join.relation)?;
            let (constraint, kind) = match &join.join_operator {
                JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
                    (constraint, Kept::Left)
                }
                JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                    (constraint, Kept::Left)
                }
                JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                    (constraint, Kept::Right)
                }
                JoinOperator::FullOuter(constraint) => (constraint, Kept::Both),
                JoinOperator::CrossJoin(constraint) => (constraint, Kept::Left),
                _ => return None,
            };
            match constraint {
                JoinConstraint::Using(names) => {
                    merges = true;
                    let names = names.iter().map(single).collect::<Option<Vec<_>>>()?;
                    columns = merged(columns, relation, &names, kind)?;
                }
                JoinConstraint::Natural => return None,
                JoinConstraint::On(_) | JoinConstraint::None => columns.push(relation),
            }
        }
        all.extend(columns);
    }
    merges.then_some(all)
}

/// Which side of a join has a row always.
#[derive(Clone, Copy)]
enum Kept {
    Left,
    Right,
    Both,
}

fn single(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(folded),
        _ => None,
    }
}

/// A relation by the name that its columns have in the SELECT.
fn relation_of(factor: &TableFactor) -> Option<Columns> {
    let alias = match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. } => alias.as_ref(),
        _ => return None,
    };
    let relation = match (alias, factor) {
        (Some(alias), _) => alias.name.clone(),
        (
            None,
            TableFactor::Table {
                name, args: None, ..
            },
        ) => name.0.last()?.as_ident()?.clone(),
        _ => return None,
    };
    Some(Columns::Of {
        relation,
        merged: Vec::new(),
    })
}

/// The columns of a join that merges some: these first, then the others of the left side, then of the right.
fn merged(
    mut left: Vec<Columns>,
    right: Columns,
    names: &[String],
    kept: Kept,
) -> Option<Vec<Columns>> {
    let Columns::Of {
        relation: right, ..
    } = right
    else {
        return None;
    };
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let (first, differed) = taken(&mut left, name)?;
        let second = column(&right, name);
        let value = match kept {
            Kept::Left => first,
            Kept::Right => second,
            Kept::Both => parse_expr(&format!("coalesce({first}, {second})")).ok()?,
        };
        columns.push(Columns::Merged(Merged {
            name: name.clone(),
            value: Box::new(value),
            differs: differed || !matches!(kept, Kept::Left),
        }));
    }
    columns.extend(left);
    columns.push(Columns::Of {
        relation: right,
        merged: names.to_vec(),
    });
    Some(columns)
}

/// Takes a column out of those of the left side: its value, and whether that may differ from the first relation's.
fn taken(left: &mut Vec<Columns>, name: &str) -> Option<(Expr, bool)> {
    let is_it =
        |columns: &Columns| matches!(columns, Columns::Merged(merged) if merged.name == name);
    if let Some(place) = left.iter().position(is_it) {
        return match left.remove(place) {
            Columns::Merged(merged) => Some((*merged.value, merged.differs)),
            Columns::Of { .. } => None,
        };
    }
    let mut holders = left.iter_mut().filter_map(|columns| match columns {
        Columns::Of { relation, merged } => Some((relation, merged)),
        Columns::Merged(_) => None,
    });
    let (Some((relation, merged)), None) = (holders.next(), holders.next()) else {
        return None;
    };
    merged.push(name.to_owned());
    Some((column(relation, name), false))
}

fn column(relation: &Ident, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![relation.clone(), Ident::with_quote('"', name)])
}

fn write_out(select: &mut Select, columns: &[Columns]) {
    let star = WildcardAdditionalOptions::default();
    let is_plain = |item: &SelectItem| match item {
        SelectItem::Wildcard(options) => *options == star,
        _ => true,
    };
    if !select.projection.iter().all(is_plain) {
        return;
    }
    let all = columns.iter().filter_map(|columns| match columns {
        Columns::Merged(merged) => Some(merged.clone()),
        Columns::Of { .. } => None,
    });
    let mut of_either = Naming {
        merged: all.collect(),
        depth: 0,
    };
    // To the planner, a name in WHERE may be that of either side.
    let _ = VisitMut::visit(&mut select.selection, &mut of_either);
    let mut naming = of_either;
    naming.merged.retain(|merged| merged.differs);
    let mut items = Vec::with_capacity(select.projection.len());
    for mut item in std::mem::take(&mut select.projection) {
        match &mut item {
            SelectItem::Wildcard(_) => {
                items.extend(columns.iter().map(star_item));
                continue;
            }
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
                if let Some(merged) = naming.merged_of(name) {
                    item = as_column(merged);
                }
            }
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                let _ = VisitMut::visit(expr, &mut naming);
            }
            _ => {}
        }
        items.push(item);
    }
    select.projection = items;
    if naming.merged.is_empty() {
        return;
    }
    let _ = VisitMut::visit(&mut select.having, &mut naming);
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        let _ = VisitMut::visit(keys, &mut naming);
    }
}

fn as_column(merged: &Merged) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr: merged.value.as_ref().clone(),
        alias: Ident::with_quote('"', merged.name.as_str()),
    }
}

fn star_item(columns: &Columns) -> SelectItem {
    match columns {
        Columns::Merged(merged) if merged.differs => as_column(merged),
        Columns::Merged(merged) => SelectItem::UnnamedExpr(merged.value.as_ref().clone()),
        Columns::Of { relation, merged } => {
            let name =
                |name: &String| ObjectName::from(vec![Ident::with_quote('"', name.as_str())]);
            let options = WildcardAdditionalOptions {
                opt_exclude: (!merged.is_empty())
                    .then(|| ExcludeSelectItem::Multiple(merged.iter().map(name).collect())),
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

/// Puts the values of merged columns in the place of their names, but not within subqueries.
struct Naming {
    merged: Vec<Merged>,
    depth: usize,
}

impl Naming {
    fn merged_of(&self, name: &Ident) -> Option<&Merged> {
        let name = folded(name);
        self.merged.iter().find(|merged| merged.name == name)
    }
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = &*expr
            && self.depth == 0
            && let Some(merged) = self.merged_of(name)
        {
            *expr = merged.value.as_ref().clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(query: &str) -> String {
        let query = auspex_sql::parse_query(query, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        spell(&mut statement);
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
                "SELECT id FROM a JOIN b USING(id) WHERE a.\"id\" > 1 GROUP BY id",
            ),
            (
                "SELECT * FROM a JOIN b ON a.x = b.x",
                "SELECT * FROM a JOIN b ON a.x = b.x",
            ),
        ] {
            assert_eq!(spelled(query), expected);
        }
    }
}
