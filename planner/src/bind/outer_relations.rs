//! Columns of relations of the queries around: in `SELECT … FROM w WHERE EXISTS (SELECT 1 FROM t WHERE t.x = w.id)` `w` is
//! the relation, also where `t` has a column of that name. The planner takes `w.id` for a field of such a column, and calls
//! a column of a query by what it refers to.
//!
//! In: a syntax tree; out: the tree in which these names have a schema before them, so that their first part is that of no
//! column, and where they are columns of a query their own name as alias. `(w).id` is a field as before, and so is `w.id`
//! where no relation is called `w`. In GoogleSQL the column comes first.

use std::ops::ControlFlow;

use auspex_sql::Dialect;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use super::relation_columns::{own_name, relations};
use crate::commands::folded;

/// The schema of relations whose names have none. No client's text can name it.
const AROUND: &str = "\u{1e}around";

/// Qualifies and names such columns.
pub(super) fn spell(dialect: Dialect, statement: &mut Statement) {
    let mut spelling = Spelling {
        scopes: Vec::new(),
        qualifies: dialect != Dialect::GoogleSql,
    };
    // The visitor never breaks off.
    let _ = VisitMut::visit(statement, &mut spelling);
}

/// A relation of a FROM.
struct Relation {
    name: String,
    /// What the names of its columns may have before its own name.
    schema: Vec<Ident>,
}

impl Relation {
    fn of(factor: &TableFactor) -> Option<Relation> {
        let name = folded(&own_name(factor)?);
        let schema = match factor {
            TableFactor::Table {
                name, alias: None, ..
            } => schema_of(name),
            _ => Vec::new(),
        };
        let schema = match schema.is_empty() {
            true => vec![Ident::with_quote('"', AROUND)],
            false => schema,
        };
        Some(Relation { name, schema })
    }
}

fn schema_of(name: &ObjectName) -> Vec<Ident> {
    let before = name.0.len().saturating_sub(1);
    let parts = name.0.iter().take(before);
    parts.filter_map(|part| part.as_ident()).cloned().collect()
}

fn relations_of(from: &[TableWithJoins]) -> Vec<Relation> {
    let mut found = Vec::new();
    for factor in relations(from) {
        match factor {
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => found.extend(relations_of(std::slice::from_ref(table_with_joins))),
            factor => found.extend(Relation::of(factor)),
        }
    }
    found
}

/// The relations of a query, or of one of its SELECTs.
struct Scope {
    relations: Vec<Relation>,
    /// Whether what is visited sees them: relations in FROM do not unless they are LATERAL, and those of WITH do not.
    is_seen: bool,
}

impl Scope {
    fn relation(&self, name: &str) -> Option<&Relation> {
        let mut relations = self.relations.iter();
        relations.find(|relation| self.is_seen && relation.name == name)
    }
}

struct Spelling {
    /// The scopes of what is visited, from without to within.
    scopes: Vec<Scope>,
    /// Whether relations come before columns.
    qualifies: bool,
}

impl Spelling {
    /// The relation that a name means, if it is none of the query itself.
    fn around(&self, relation: &Ident) -> Option<&Relation> {
        let name = folded(relation);
        let (own, around) = self.scopes.split_last()?;
        match own.relation(&name) {
            Some(_) => None,
            None => around.iter().rev().find_map(|scope| scope.relation(&name)),
        }
    }

    /// What is to stand before the name of a relation.
    fn schema(&self, relation: &Ident) -> Option<Vec<Ident>> {
        let around = self.around(relation).filter(|_| self.qualifies)?;
        let mut schema = around.schema.clone();
        // An error points at the name.
        schema.iter_mut().for_each(|part| part.span = relation.span);
        Some(schema)
    }

    /// Gives a column of a query its name.
    fn name(&self, item: &mut SelectItem) {
        if let SelectItem::UnnamedExpr(expr) = &*item
            && let Expr::CompoundIdentifier(parts) = expr
            && let [relation, name] = parts.as_slice()
            && self.around(relation).is_some()
        {
            let (expr, alias) = (expr.clone(), name.clone());
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }

    fn see(&mut self, is_seen: bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.is_seen = is_seen;
        }
    }
}

fn is_apart(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Derived { lateral: false, .. })
}

impl VisitorMut for Spelling {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // For its ORDER BY, which comes behind its SELECT.
        let relations = match query.body.as_ref() {
            SetExpr::Select(select) => relations_of(&select.from),
            _ => Vec::new(),
        };
        self.scopes.push(Scope {
            relations,
            is_seen: false,
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.scopes.push(Scope {
            relations: relations_of(&select.from),
            is_seen: true,
        });
        select
            .projection
            .iter_mut()
            .for_each(|item| self.name(item));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.scopes.pop();
        self.see(true);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if is_apart(factor) {
            self.see(false);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if is_apart(factor) {
            self.see(true);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::CompoundIdentifier(parts) => {
                if let [relation, _] = parts.as_slice()
                    && let Some(schema) = self.schema(relation)
                {
                    parts.splice(..0, schema);
                }
            }
            // The elements of an array: `w.items[1]`.
            Expr::CompoundFieldAccess { root, access_chain } => {
                if let Expr::Identifier(relation) = root.as_ref()
                    && let Some(AccessExpr::Dot(Expr::Identifier(name))) = access_chain.first()
                    && let Some(mut parts) = self.schema(relation)
                {
                    parts.extend([relation.clone(), name.clone()]);
                    **root = Expr::CompoundIdentifier(parts);
                    access_chain.remove(0);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(text: &str) -> String {
        spelt_in(Dialect::Postgres, text)
    }

    fn spelt_in(dialect: Dialect, text: &str) -> String {
        let query = auspex_sql::parse_query(text, dialect).unwrap();
        let mut statement = Statement::Query(query);
        spell(dialect, &mut statement);
        statement.to_string().replace(AROUND, "around")
    }

    #[test]
    fn columns_of_relations_around_have_a_schema() {
        assert_eq!(
            spelt("SELECT w.id FROM w WHERE EXISTS (SELECT 1 FROM t WHERE t.x = w.id)"),
            "SELECT w.id FROM w WHERE EXISTS (SELECT 1 FROM t WHERE t.x = \"around\".w.id)"
        );
        assert_eq!(
            spelt("SELECT (SELECT t.x FROM t ORDER BY w.id, t.x LIMIT 1) FROM s.w"),
            "SELECT (SELECT t.x FROM t ORDER BY s.w.id, t.x LIMIT 1) FROM s.w"
        );
        assert_eq!(
            spelt(
                "SELECT 1 FROM w, LATERAL (SELECT 1 FROM t, LATERAL (SELECT w.a[1], t.x) AS u) AS v"
            ),
            "SELECT 1 FROM w, LATERAL (SELECT 1 FROM t, LATERAL (SELECT \"around\".w.a[1], \"around\".t.x AS x) AS u) AS v"
        );
        assert_eq!(
            spelt("SELECT (SELECT max(q.id) FROM (SELECT w.id, t.x FROM t) AS q) FROM w"),
            "SELECT (SELECT max(q.id) FROM (SELECT \"around\".w.id AS id, t.x FROM t) AS q) FROM w"
        );
    }

    #[test]
    fn names_of_the_query_itself_and_fields_stay() {
        for text in [
            "SELECT w.id FROM t AS w WHERE EXISTS (SELECT 1 FROM (t AS w JOIN u ON u.x = w.x) WHERE w.id = 1)",
            "SELECT w.id FROM (SELECT w.id FROM t) AS w",
            "WITH w AS (SELECT w.id FROM t) SELECT w.id FROM w ORDER BY w.id + 1",
            "SELECT 1 FROM w WHERE EXISTS (SELECT 1 FROM t WHERE (w).id = 1)",
            "SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM u WHERE w.id = 1)",
        ] {
            assert_eq!(spelt(text), text);
        }
    }

    #[test]
    fn columns_come_first_in_googlesql() {
        assert_eq!(
            spelt_in(
                Dialect::GoogleSql,
                "SELECT (SELECT w.id FROM t WHERE w.x = 1) FROM w"
            ),
            "SELECT (SELECT w.id AS id FROM t WHERE w.x = 1) AS f0_ FROM w"
        );
    }
}
