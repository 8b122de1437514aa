//! `UNNEST` in FROM as GoogleSQL uses it: beside the rows that hold the array, with the place of each element.
//!
//! In and out: what stands in FROM of one SELECT. `FROM t, UNNEST(t.items) AS item WITH OFFSET AS place` becomes a
//! relation `t` with the columns `item` and `place`, so that `item.name` is a field and `t.id` a column as before.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, Select, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, TableWithJoins, Visit, Visitor,
};

use super::call;
use super::relations::{derived, template, unnested};
use crate::error::{Error, Result};

/// An `UNNEST` taken apart.
pub(super) struct Elements {
    pub(super) array: Expr,
    /// What an element is called.
    pub(super) element: Option<Ident>,
    /// What its place is called, from 0.
    pub(super) offset: Option<Ident>,
}

impl Elements {
    pub(super) fn of(factor: &TableFactor) -> Option<Elements> {
        let TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset,
            with_offset_alias,
            with_ordinality: false,
        } = factor
        else {
            return None;
        };
        let [array] = array_exprs.as_slice() else {
            return None;
        };
        if alias
            .as_ref()
            .is_some_and(|alias| !alias.columns.is_empty())
        {
            return None;
        }
        let offset = with_offset_alias.clone();
        let offset = with_offset.then(|| offset.unwrap_or_else(|| Ident::new("offset")));
        Some(Elements {
            array: array.clone(),
            element: alias.as_ref().map(|alias| alias.name.clone()),
            offset,
        })
    }

    /// The columns that the elements and their places are.
    fn items(&self) -> Vec<SelectItem> {
        let unnested = |array: Expr| call("unnest", vec![array]);
        let element = self.element.clone();
        let element = element.unwrap_or_else(|| Ident::with_quote('"', "unnest"));
        let mut items = vec![SelectItem::ExprWithAlias {
            expr: unnested(self.array.clone()),
            alias: element,
        }];
        if let Some(offset) = &self.offset {
            let places = call("googlesql.places", vec![self.array.clone()]);
            items.push(SelectItem::ExprWithAlias {
                expr: unnested(places),
                alias: offset.clone(),
            });
        }
        items
    }
}

/// Rewrites FROM.
pub(super) fn rewrite(select: &mut Select) -> Result<()> {
    let mut kept: Vec<TableWithJoins> = Vec::new();
    for mut table in std::mem::take(&mut select.from) {
        let joins = std::mem::take(&mut table.joins);
        match beside(&table.relation, &kept) {
            Some(elements) => {
                spread(&elements, &mut kept)?;
                if let Some(last) = kept.last_mut() {
                    last.joins.extend(joins);
                }
            }
            None => {
                table.joins = joins;
                kept.push(table);
            }
        }
        if let Some(mut last) = kept.pop() {
            for join in std::mem::take(&mut last.joins) {
                kept.push(last);
                match beside(&join.relation, &kept) {
                    Some(elements) if is_cross(&join) => spread(&elements, &mut kept)?,
                    Some(elements)
                        if is_left(&join) && (elements.offset.is_some() || is_bare(&join)) =>
                    {
                        return Err(Error::unsupported("LEFT JOIN UNNEST of the same row"));
                    }
                    _ => {
                        if let Some(last) = kept.last_mut() {
                            last.joins.push(join);
                        }
                    }
                }
                last = match kept.pop() {
                    Some(last) => last,
                    None => return Ok(()),
                };
            }
            kept.push(last);
        }
    }
    select.from = kept;
    Ok(())
}

fn is_left(join: &Join) -> bool {
    matches!(
        join.join_operator,
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_)
    )
}

/// Whether a left join has no condition, as GoogleSQL writes it.
fn is_bare(join: &Join) -> bool {
    matches!(
        join.join_operator,
        JoinOperator::Left(JoinConstraint::None) | JoinOperator::LeftOuter(JoinConstraint::None)
    )
}

fn is_cross(join: &Join) -> bool {
    matches!(
        join.join_operator,
        JoinOperator::CrossJoin(_)
            | JoinOperator::Join(JoinConstraint::None)
            | JoinOperator::Inner(JoinConstraint::None)
    )
}

/// The elements of an array that a relation before it holds.
fn beside(factor: &TableFactor, before: &[TableWithJoins]) -> Option<Elements> {
    let elements = Elements::of(factor)?;
    (!before.is_empty() && names_columns(&elements.array)).then_some(elements)
}

/// Whether an array is computed of columns.
pub(in crate::functions) fn names_columns(array: &Expr) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    array.visit(&mut Finder).is_break()
}

/// The name of a relation.
fn name_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::Function {
            alias: Some(alias), ..
        } => Some(alias.name.clone()),
        TableFactor::Table { name, .. } => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// Adds the elements as columns to the relation that holds the array: the one that it names, or the only one.
fn spread(elements: &Elements, before: &mut [TableWithJoins]) -> Result<()> {
    let n_relations: usize = before.iter().map(|table| 1 + table.joins.len()).sum();
    let first = match &elements.array {
        Expr::CompoundIdentifier(parts) => parts.first(),
        _ => None,
    };
    let mut factors = before.iter_mut().flat_map(|table| {
        let joined = table.joins.iter_mut().map(|join| &mut join.relation);
        std::iter::once(&mut table.relation).chain(joined)
    });
    let holds = |factor: &&mut TableFactor| {
        let same = |a: &Ident, b: &Ident| a.value.eq_ignore_ascii_case(&b.value);
        let is_named = match (name_of(factor), first) {
            (Some(name), Some(first)) => same(&name, first),
            _ => false,
        };
        n_relations == 1 || is_named || first.is_some_and(|first| spreads(factor, first))
    };
    let Some(holder) = factors.find(holds) else {
        return Err(Error::Unsupported {
            what: format!("UNNEST({}) beside several relations", elements.array),
            hint: Some("Name the relation that holds the array: UNNEST(t.items).".to_owned()),
        });
    };
    let (query, mut select) = template("SELECT * FROM t")?;
    let name = name_of(holder);
    if let Some(table) = select.from.first_mut() {
        table.relation = holder.clone();
    }
    select.projection.extend(elements.items());
    let alias = name.map(|name| TableAlias {
        explicit: true,
        name,
        columns: Vec::new(),
        at: None,
    });
    *holder = derived(query, select, alias);
    Ok(())
}

/// Whether a relation was given a column of elements of this name before.
fn spreads(factor: &TableFactor, name: &Ident) -> bool {
    let TableFactor::Derived { subquery, .. } = factor else {
        return false;
    };
    let SetExpr::Select(select) = subquery.body.as_ref() else {
        return false;
    };
    let is_it = |item: &SelectItem| {
        matches!(item, SelectItem::ExprWithAlias { alias, .. }
            if alias.value.eq_ignore_ascii_case(&name.value))
    };
    let inner = |table: &TableWithJoins| spreads(&table.relation, name);
    select.projection.iter().any(is_it) || select.from.iter().any(inner)
}

/// `FROM unnest(a, b) AS t (x, y)` as a query of such calls; `None`: several of its columns have no names.
pub(in crate::functions) fn unnest_query(factor: &TableFactor) -> Option<TableFactor> {
    const NAME: &str = "unnest";
    let TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_ordinality: false,
        ..
    } = factor
    else {
        return None;
    };
    let n_names = alias.as_ref().map_or(0, |alias| alias.columns.len());
    if n_names + 1 < array_exprs.len() {
        return None;
    }
    let elements = array_exprs
        .iter()
        .map(|array| call(NAME, vec![array.clone()]));
    let is_lateral = array_exprs.iter().any(names_columns);
    unnested(
        elements.collect(),
        &vec![NAME; array_exprs.len()],
        (NAME, alias.as_ref()),
        is_lateral,
    )
    .ok()
}

/// Spells equal arrays of one `UNNEST` in different ways, since the planner names the columns of their elements by how they
/// are written and leaves casts out of that.
pub(super) fn tell_apart(factor: &mut TableFactor) {
    let TableFactor::UNNEST { array_exprs, .. } = factor else {
        return;
    };
    let mut known = Vec::with_capacity(array_exprs.len());
    for array in array_exprs {
        let written = without_casts(array);
        let n_before = known.iter().filter(|known| **known == written).count();
        if n_before > 0 {
            *array = call("coalesce", vec![array.clone(); n_before + 1]);
        }
        known.push(written);
    }
}

/// How an array is written, but for its types.
fn without_casts(expr: &Expr) -> String {
    match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => without_casts(expr),
        Expr::Array(array) => {
            let items: Vec<String> = array.elem.iter().map(without_casts).collect();
            format!("[{}]", items.join(", "))
        }
        expr => expr.to_string(),
    }
}

/// Rewrites an `UNNEST` that stands for itself: its column is called as it is.
pub(super) fn alone(factor: &mut TableFactor) -> Result<()> {
    let Some(elements) = Elements::of(factor) else {
        return Ok(());
    };
    if elements.offset.is_some() {
        let (query, mut select) = template("SELECT 1")?;
        select.projection = elements.items();
        let alias = elements.element.map(|name| TableAlias {
            explicit: true,
            name,
            columns: Vec::new(),
            at: None,
        });
        *factor = derived(query, select, alias);
        return Ok(());
    }
    if let TableFactor::UNNEST {
        alias: Some(alias), ..
    } = factor
    {
        let name = alias.name.clone();
        alias.columns.push(TableAliasColumnDef {
            name,
            data_type: None,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    fn rewritten(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::GoogleSql).unwrap();
        let mut statement = Statement::Query(query);
        super::super::rewrite(&mut statement, None).unwrap();
        statement.to_string()
    }

    #[test]
    fn elements_become_columns_of_the_relation_that_holds_them() {
        assert_eq!(
            rewritten("SELECT id, p.x FROM t, UNNEST(items) AS p"),
            "SELECT id, p.x FROM (SELECT *, unnest(items) AS p FROM t) AS t"
        );
        assert_eq!(
            rewritten("SELECT x FROM a, b CROSS JOIN UNNEST(b.xs) AS x"),
            "SELECT x FROM a, (SELECT *, unnest(b.xs) AS x FROM b) AS b"
        );
        assert_eq!(
            rewritten("SELECT x FROM UNNEST([1, 2]) AS x"),
            "SELECT x FROM UNNEST([1, 2]) AS x (x)"
        );
    }

    #[test]
    fn a_holder_must_be_known() {
        let query = auspex_sql::parse_query(
            "SELECT x FROM a, b, UNNEST(xs) AS x",
            auspex_sql::Dialect::GoogleSql,
        );
        let mut statement = Statement::Query(query.unwrap());
        assert!(super::super::rewrite(&mut statement, None).is_err());
    }
}
