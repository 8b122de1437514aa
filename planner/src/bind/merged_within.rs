//! Merged columns within what sees the joins that merge them: LATERAL relations behind, and subqueries,
//! `SELECT (SELECT max(x) FROM t WHERE k = id) FROM a FULL JOIN b USING (id), LATERAL (SELECT id * 2 AS twice) AS l`.
//!
//! In: such a relation, or a part of the SELECT; the merged columns, and the columns of the relations within; out: the same with
//! the values of the names that nothing within has. Where that is not known, or the value names a relation that has a namesake
//! within, a query stays as it is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, Visit, VisitMut,
    Visitor, VisitorMut,
};

use super::merged_columns::Merged;
use super::relation_columns::{all_relations, is_called};
use crate::commands::folded;

/// The columns of relations, by how these are written.
pub(super) type Within = BTreeMap<String, Option<Vec<String>>>;

/// The relations of the queries within a SELECT that see its own, but for those of relations that are not LATERAL.
pub(super) fn relations_within(select: &Select) -> Vec<TableFactor> {
    let mut finder = Finder::default();
    let _ = Visit::visit(select, &mut finder);
    finder.found
}

/// Puts the values of merged columns into a relation, if it is LATERAL.
pub(super) fn put_into_relation(factor: &mut TableFactor, merged: Vec<Merged>, within: &Within) {
    if !merged.is_empty() && is_lateral(factor) {
        put_values(factor, &merged, within);
    }
}

/// Puts the values of merged columns into a part of a SELECT, also into queries within.
pub(super) fn put_values<T: VisitMut>(part: &mut T, merged: &[Merged], within: &Within) {
    let mut putting = Putting {
        merged,
        within,
        open: Vec::new(),
    };
    // The visitor never breaks off.
    let _ = VisitMut::visit(part, &mut putting);
}

/// Whether a relation sees those before it, as functions do always.
fn is_lateral(factor: &TableFactor) -> bool {
    matches!(
        factor,
        TableFactor::Derived { lateral: true, .. }
            | TableFactor::Function { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::Table { args: Some(_), .. }
    )
}

#[derive(Default)]
struct Finder {
    found: Vec<TableFactor>,
    /// How many SELECTs are around what is visited, and how many relations that see nothing of the first one's.
    n_selects: usize,
    n_apart: usize,
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if self.n_selects > 0 && self.n_apart == 0 {
            let relations = all_relations(&select.from).into_iter();
            self.found.extend(relations.cloned());
        }
        self.n_selects += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.n_selects -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.n_apart += usize::from(self.n_selects == 1 && is_apart(factor));
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.n_apart -= usize::from(self.n_selects == 1 && is_apart(factor));
        ControlFlow::Continue(())
    }
}

fn is_apart(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Derived { lateral: false, .. })
}

/// What a query within has of its own.
enum Scope {
    /// Columns of these names, and relations.
    Known {
        columns: Vec<String>,
        relations: Vec<TableFactor>,
    },
    /// Maybe any.
    Unknown,
}

impl Scope {
    fn of(query: &Query, within: &Within) -> Scope {
        let SetExpr::Select(select) = query.body.as_ref() else {
            // Each side has a scope of its own, and the whole is ordered by what it gives.
            return match query.order_by {
                Some(_) => Scope::Unknown,
                None => Scope::none(),
            };
        };
        match orders_by_output(query, select) {
            true => Scope::Unknown,
            false => Scope::of_select(select, within),
        }
    }

    fn of_select(select: &Select, within: &Within) -> Scope {
        let mut columns = Vec::new();
        let relations = all_relations(&select.from);
        for relation in &relations {
            match within.get(&relation.to_string()) {
                Some(Some(known)) => columns.extend(known.iter().cloned()),
                _ => return Scope::Unknown,
            }
        }
        Scope::Known {
            columns,
            relations: relations.into_iter().cloned().collect(),
        }
    }

    fn none() -> Scope {
        Scope::Known {
            columns: Vec::new(),
            relations: Vec::new(),
        }
    }

    /// Whether a merged column is none of its own, and its value means the same within.
    fn lets_pass(&self, merged: &Merged) -> bool {
        match self {
            Scope::Known { columns, relations } => {
                let named = relations_of_value(&merged.value);
                let is_hidden = |name: &String| relations.iter().any(|it| is_called(it, name));
                !columns.contains(&merged.name) && !named.iter().any(is_hidden)
            }
            Scope::Unknown => false,
        }
    }
}

/// Whether a query is ordered by the name of a column that it gives.
fn orders_by_output(query: &Query, select: &Select) -> bool {
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind)
    else {
        return false;
    };
    let gives = |name: &Ident| {
        let mut items = select.projection.iter();
        items.any(|item| {
            matches!(item, SelectItem::ExprWithAlias { alias, .. } if folded(alias) == folded(name))
        })
    };
    let mut keys = keys.iter();
    keys.any(|key| matches!(&key.expr, Expr::Identifier(name) if gives(name)))
}

/// The names of the relations whose columns a value is made of.
fn relations_of_value(value: &Expr) -> Vec<String> {
    struct Names(Vec<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::CompoundIdentifier(parts) = expr {
                self.0.extend(parts.first().map(folded));
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    let _ = value.visit(&mut names);
    names.0
}

struct Putting<'a> {
    merged: &'a [Merged],
    within: &'a Within,
    /// The scopes of what is visited.
    open: Vec<Scope>,
}

impl Putting<'_> {
    /// The merged column that a name means.
    fn meant(&self, name: &Ident) -> Option<&Merged> {
        let name = folded(name);
        let merged = self.merged.iter().find(|merged| merged.name == name)?;
        let mut open = self.open.iter();
        open.all(|scope| scope.lets_pass(merged)).then_some(merged)
    }
}

impl VisitorMut for Putting<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.open.push(Scope::of(query, self.within));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.open.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.open.push(Scope::of_select(select, self.within));
        for item in &mut select.projection {
            // It keeps its name.
            if let SelectItem::UnnamedExpr(expr) = item
                && let Expr::Identifier(name) = &*expr
                && self.meant(name).is_some()
            {
                let (alias, expr) = (name.clone(), expr.clone());
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.open.pop();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = &*expr
            && let Some(merged) = self.meant(name)
        {
            *expr = merged.value.as_ref().clone();
        }
        ControlFlow::Continue(())
    }
}
