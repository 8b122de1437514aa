//! Views that PostgreSQL calls automatically updatable: over one relation, with an optional condition.
//!
//! In: the query of a view and the columns of the relation below it; out: which of the view's columns are columns of that
//! relation, or why rows cannot be written through the view, in PostgreSQL's words.

use datafusion::sql::sqlparser::ast::{
    self, Distinct, Expr, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

use super::change::table_factor;
use crate::commands::{folded, name_parts};
use crate::error::Result;
use crate::functions::{each_own, gives_rows};

/// Why rows cannot be written through a view: a sentence.
pub(super) type Reason = &'static str;

/// The view does not read one table or view, and nothing else.
pub(super) const NOT_ONE_RELATION: Reason =
    "Views that do not select from a single table or view are not automatically updatable.";

/// The query of such a view.
#[derive(Debug, Clone)]
pub(super) struct SimpleQuery {
    select: Select,
    /// The relation that it reads, by the parts of its name.
    pub(super) relation: Vec<String>,
    /// What it calls the relation.
    pub(super) alias: Ident,
}

/// A column of a view that rows are written through, or of the table below.
#[derive(Debug, Clone)]
pub(super) struct WrittenColumn {
    pub(super) name: String,
    /// The column of the table that it is; `None`: it is computed.
    pub(super) place: Option<usize>,
}

impl SimpleQuery {
    /// The query of a view, if it is simple; `is_aggregate` knows the names of aggregate functions.
    pub(super) fn of(
        query: Query,
        is_aggregate: &dyn Fn(&str) -> bool,
    ) -> std::result::Result<SimpleQuery, Reason> {
        let is_limited = query.limit_clause.is_some() || query.fetch.is_some();
        let has_with = query.with.is_some();
        let select = match *query.body {
            SetExpr::Select(select) => *select,
            SetExpr::SetOperation { .. } => {
                return Err(
                    "Views containing UNION, INTERSECT, or EXCEPT are not automatically updatable.",
                );
            }
            _ => return Err(NOT_ONE_RELATION),
        };
        let calls = Calls::of(&select, is_aggregate);
        let is_grouped = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
        };
        let is_distinct = matches!(select.distinct, Some(Distinct::Distinct | Distinct::On(_)));
        let reasons = [
            (
                is_distinct,
                "Views containing DISTINCT are not automatically updatable.",
            ),
            (
                is_grouped,
                "Views containing GROUP BY are not automatically updatable.",
            ),
            (
                select.having.is_some(),
                "Views containing HAVING are not automatically updatable.",
            ),
            (
                has_with,
                "Views containing WITH are not automatically updatable.",
            ),
            (
                is_limited || select.top.is_some(),
                "Views containing LIMIT or OFFSET are not automatically updatable.",
            ),
            (
                calls.aggregates,
                "Views that return aggregate functions are not automatically updatable.",
            ),
            (
                calls.windows || select.qualify.is_some(),
                "Views that return window functions are not automatically updatable.",
            ),
            (
                calls.sets,
                "Views that return set-returning functions are not automatically updatable.",
            ),
            (
                chooses_columns(&select),
                "Views that leave out or replace columns of * are not automatically updatable.",
            ),
        ];
        if let Some((_, reason)) = reasons.into_iter().find(|(is_so, _)| *is_so) {
            return Err(reason);
        }
        let (relation, alias) = only_relation(&select)?;
        Ok(SimpleQuery {
            select,
            relation,
            alias,
        })
    }

    /// The condition of its rows.
    pub(super) fn condition(&self) -> Option<&Expr> {
        self.select.selection.as_ref()
    }

    /// What it says of the relation's columns: its select list, and the condition.
    pub(super) fn parts(&self) -> (&Vec<SelectItem>, &Option<Expr>) {
        (&self.select.projection, &self.select.selection)
    }

    /// The columns over those of the relation below, as a select list and as what is written; `declared` are the names that
    /// the view gives the first ones.
    pub(super) fn columns(
        &self,
        below: &[WrittenColumn],
        declared: &[String],
    ) -> (Vec<SelectItem>, Vec<WrittenColumn>) {
        let (mut items, mut columns) = (Vec::new(), Vec::new());
        for item in &self.select.projection {
            match item {
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                    items.extend(
                        below
                            .iter()
                            .map(|column| self.item(&column.name, &column.name)),
                    );
                    columns.extend(below.iter().cloned());
                }
                SelectItem::UnnamedExpr(expr) => {
                    items.push(item.clone());
                    columns.push(self.written(expr, None, below));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push(item.clone());
                    columns.push(self.written(expr, Some(alias), below));
                }
                // Several names for one expression are no list of columns.
                SelectItem::ExprWithAliases { .. } => items.push(item.clone()),
            }
        }
        for (column, name) in columns.iter_mut().zip(declared) {
            column.name.clone_from(name);
        }
        (items, columns)
    }

    /// A column of the relation below under another name.
    pub(super) fn item(&self, column: &str, name: &str) -> SelectItem {
        let column = Ident::with_quote('"', column);
        SelectItem::ExprWithAlias {
            expr: Expr::CompoundIdentifier(vec![self.alias.clone(), column]),
            alias: Ident::with_quote('"', name),
        }
    }

    /// What an item of the select list is.
    fn written(
        &self,
        expr: &Expr,
        alias: Option<&Ident>,
        below: &[WrittenColumn],
    ) -> WrittenColumn {
        let column = self.column_of(expr).map(folded);
        let found = column.as_deref().and_then(|name| named(below, name));
        let own = || found.map(|column| column.name.clone()).or(column.clone());
        let name = alias.map(folded).or_else(own);
        WrittenColumn {
            name: name.unwrap_or_default(),
            place: found.and_then(|column| column.place),
        }
    }

    /// The name of the column that an expression is; behind another name than the relation's stands a part of a value.
    fn column_of<'a>(&self, expr: &'a Expr) -> Option<&'a Ident> {
        match expr {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [.., relation, name] => {
                    let is_ours = folded(relation).eq_ignore_ascii_case(&folded(&self.alias));
                    is_ours.then_some(name)
                }
                _ => None,
            },
            Expr::Nested(inner) => self.column_of(inner),
            _ => None,
        }
    }

    /// The query with another select list over a relation of this name.
    pub(super) fn over(
        &self,
        relation: ObjectName,
        items: Vec<SelectItem>,
        is_filtered: bool,
    ) -> Result<ast::Statement> {
        let mut select = self.select.clone();
        select.projection = items;
        if !is_filtered {
            select.selection = None;
        }
        select.from = vec![TableWithJoins {
            relation: table_factor(relation, self.alias.clone()),
            joins: vec![],
        }];
        let mut query = auspex_sql::parse_query("SELECT 1", auspex_sql::Dialect::Postgres)?;
        *query.body = SetExpr::Select(Box::new(select));
        Ok(ast::Statement::Query(query))
    }
}

/// The column of a name, in the case that it has.
pub(super) fn named<'a>(columns: &'a [WrittenColumn], name: &str) -> Option<&'a WrittenColumn> {
    let exact = columns.iter().find(|column| column.name == name);
    let same = |column: &&WrittenColumn| column.name.eq_ignore_ascii_case(name);
    exact.or_else(|| columns.iter().find(same))
}

/// Whether a select list has `* EXCEPT (…)` and its like.
fn chooses_columns(select: &Select) -> bool {
    let plain = WildcardAdditionalOptions::default();
    select.exclude.is_some()
        || select.projection.iter().any(|item| match item {
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                *options != plain
            }
            SelectItem::ExprWithAliases { .. } => true,
            _ => false,
        })
}

/// The one relation of a FROM, and what the query calls it.
fn only_relation(select: &Select) -> std::result::Result<(Vec<String>, Ident), Reason> {
    let [from] = select.from.as_slice() else {
        return Err(NOT_ONE_RELATION);
    };
    if !from.joins.is_empty() || !select.lateral_views.is_empty() {
        return Err(NOT_ONE_RELATION);
    }
    let TableFactor::Table {
        name,
        alias,
        args: None,
        version: None,
        with_ordinality: false,
        json_path: None,
        sample,
        ..
    } = &from.relation
    else {
        return Err(NOT_ONE_RELATION);
    };
    if sample.is_some() {
        return Err("Views containing TABLESAMPLE are not automatically updatable.");
    }
    let parts = name_parts(name);
    match alias {
        Some(alias) if alias.columns.is_empty() => Ok((parts, alias.name.clone())),
        Some(_) => Err("Views that rename columns of a table are not automatically updatable."),
        None => {
            let own = parts.last().cloned().unwrap_or_default();
            Ok((parts, Ident::with_quote('"', own)))
        }
    }
}

/// What the select list of a query calls, but for queries within.
#[derive(Default)]
struct Calls {
    aggregates: bool,
    windows: bool,
    sets: bool,
}

impl Calls {
    fn of(select: &Select, is_aggregate: &dyn Fn(&str) -> bool) -> Calls {
        let mut calls = Calls::default();
        each_own(&select.projection, |expr| {
            let Expr::Function(function) = expr else {
                return;
            };
            let name = name_parts(&function.name).pop().unwrap_or_default();
            if function.over.is_some() {
                calls.windows = true;
            } else if is_aggregate(&name) || name.ends_with("_agg") {
                calls.aggregates = true;
            } else if name == "unnest" || gives_rows(&name) {
                calls.sets = true;
            }
        });
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simple(text: &str) -> std::result::Result<SimpleQuery, Reason> {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        SimpleQuery::of(*query, &|name| name == "count")
    }

    #[test]
    fn what_looks_at_several_rows_is_refused() {
        for (text, word) in [
            ("SELECT DISTINCT a FROM t", "DISTINCT"),
            ("SELECT a FROM t GROUP BY a", "GROUP BY"),
            ("SELECT a FROM t UNION SELECT 1", "UNION"),
            ("WITH x AS (SELECT 1) SELECT a FROM t", "WITH"),
            ("SELECT a FROM t LIMIT 1", "LIMIT"),
            ("SELECT count(*) FROM t", "aggregate"),
            ("SELECT count(*) OVER () FROM t", "window"),
            ("SELECT unnest(a) FROM t", "set-returning"),
            ("SELECT a FROM t, u", "single table"),
            ("SELECT a FROM t JOIN u ON true", "single table"),
            ("SELECT a FROM (SELECT 1 AS a) AS t", "single table"),
            ("SELECT 1", "single table"),
        ] {
            let reason = simple(text).map(|_| ()).unwrap_err();
            assert!(reason.contains(word), "{text}: {reason}");
        }
        assert!(simple("SELECT (SELECT count(*) FROM u) FROM t ORDER BY 1").is_ok());
    }

    #[test]
    fn columns_are_known_by_their_places_in_the_table() {
        let column = |(idx, name): (usize, &str)| WrittenColumn {
            name: name.to_owned(),
            place: Some(idx),
        };
        let below: Vec<_> = ["a", "B"].into_iter().enumerate().map(column).collect();
        let query = simple("SELECT x.b AS c, a + 1 AS d, *, (a) FROM t AS x").unwrap();
        let (items, columns) = query.columns(&below, &["first".to_owned()]);
        let shown: Vec<_> = columns.iter().map(|c| (c.name.as_str(), c.place)).collect();
        let expected = [
            ("first", Some(1)),
            ("d", None),
            ("a", Some(0)),
            ("B", Some(1)),
            ("a", Some(0)),
        ];
        assert_eq!(shown, expected);
        assert_eq!(items[3].to_string(), r#"x."B" AS "B""#);
        assert_eq!(items.len(), 5);
    }
}
