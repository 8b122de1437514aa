//! Where columns stand that a query neither groups by nor aggregates, and aggregates where there may be none.

use std::ops::ControlFlow;

use datafusion::execution::FunctionRegistry as _;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, GroupByExpr, Ident, ObjectName, OrderByKind, Query, Select, SelectItem,
    SetExpr, Statement, Visit, Visitor,
};

use super::{Sought, only};
use crate::commands::{folded, name_parts};

/// What a call does with the rows of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    /// One value of all of them.
    Aggregate,
    /// A value of each, as a function of windows does, too.
    Scalar,
    /// One that has another name when it is planned.
    Unknown,
}

fn call_of(sought: &Sought<'_>, function: &Function) -> Call {
    let Some(name) = name_parts(&function.name).pop() else {
        return Call::Unknown;
    };
    let known = sought.session.context();
    match function.over.is_none() && known.udaf(&name).is_ok() {
        true => Call::Aggregate,
        false if function.over.is_some() || known.udf(&name).is_ok() => Call::Scalar,
        false => Call::Unknown,
    }
}

fn is_aggregate(sought: &Sought<'_>, function: &Function) -> bool {
    call_of(sought, function) == Call::Aggregate
}

/// The column of `column "t.b" must appear in the GROUP BY clause`.
pub(super) fn column(sought: &Sought<'_>) -> Option<usize> {
    let name = sought.told("column \"", "\" must appear in the GROUP BY clause")?;
    let mut found = Selects {
        sought,
        name,
        places: Vec::new(),
    };
    let _ = sought.statement.visit(&mut found);
    if !found.places.is_empty() {
        return only(found.places).flatten();
    }
    // Only what is sorted by may have it.
    let Statement::Query(query) = sought.statement else {
        return None;
    };
    let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &query.order_by) else {
        return None;
    };
    let OrderByKind::Expressions(keys) = &order.kind else {
        return None;
    };
    let is_name = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { .. });
    if select.projection.iter().any(is_name) {
        return None;
    }
    let mut columns = Columns::of(sought, name);
    let _ = keys.visit(&mut columns);
    columns.first(select)
}

/// Looks through the SELECTs that make groups.
struct Selects<'a> {
    sought: &'a Sought<'a>,
    name: &'a str,
    /// Of each that has the column outside of aggregates.
    places: Vec<Option<usize>>,
}

impl Visitor for Selects<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut columns = Columns::of(self.sought, self.name);
        // PostgreSQL looks in this order.
        let _ = select.projection.visit(&mut columns);
        let _ = select.having.visit(&mut columns);
        let has_keys = match &select.group_by {
            GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
            GroupByExpr::All(_) => true,
        };
        let makes_groups = has_keys || select.having.is_some() || columns.n_aggregates > 0;
        if makes_groups && columns.is_met() {
            self.places.push(columns.first(select));
        }
        ControlFlow::Continue(())
    }
}

/// Collects the places of a column outside of aggregates.
struct Columns<'a> {
    sought: &'a Sought<'a>,
    relation: Option<&'a str>,
    name: &'a str,
    /// How many aggregates are around, and how many there are.
    depth: usize,
    n_aggregates: usize,
    places: Vec<Ident>,
    /// How many subqueries and unknown calls are around, and whether one of them has such a column.
    n_unknown: usize,
    is_unsure: bool,
}

impl<'a> Columns<'a> {
    fn of(sought: &'a Sought<'a>, name: &'a str) -> Columns<'a> {
        let (relation, name) = match name.rsplit_once('.') {
            Some((relation, name)) => (Some(relation), name),
            None => (None, name),
        };
        Columns {
            sought,
            relation,
            name,
            depth: 0,
            n_aggregates: 0,
            places: Vec::new(),
            n_unknown: 0,
            is_unsure: false,
        }
    }

    fn is_met(&self) -> bool {
        self.is_unsure || !self.places.is_empty()
    }

    fn meet(&mut self, first: &Ident) {
        match (self.depth, self.n_unknown) {
            (0, 0) => self.places.push(first.clone()),
            (_, 0) => {}
            _ => self.is_unsure = true,
        }
    }

    /// The first place; where keys are more than columns one of them may have the others.
    fn first(self, select: &Select) -> Option<usize> {
        let is_column =
            |key: &Expr| matches!(key, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let has_plain_keys = match &select.group_by {
            GroupByExpr::Expressions(keys, others) => {
                others.is_empty() && keys.iter().all(is_column)
            }
            GroupByExpr::All(_) => false,
        };
        let mut places = self.places.clone();
        let first = match has_plain_keys {
            true if !places.is_empty() => places.swap_remove(0),
            _ => only(places)?,
        };
        self.sought.place(&first).filter(|_| !self.is_unsure)
    }
}

impl Visitor for Columns<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.n_unknown += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.n_unknown -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) if folded(name) == self.name => self.meet(name),
            Expr::CompoundIdentifier(names) => {
                if let [.., relation, column] = names.as_slice()
                    && folded(column) == self.name
                    && self.relation.is_none_or(|known| folded(relation) == known)
                {
                    self.meet(&names[0]);
                }
            }
            Expr::Function(function) => match call_of(self.sought, function) {
                Call::Aggregate => {
                    self.depth += 1;
                    self.n_aggregates += usize::from(self.n_unknown == 0);
                }
                Call::Unknown => self.n_unknown += 1,
                Call::Scalar => {}
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            match call_of(self.sought, function) {
                Call::Aggregate => self.depth -= 1,
                Call::Unknown => self.n_unknown -= 1,
                Call::Scalar => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// The aggregate within another of `aggregate function calls cannot be nested`.
pub(super) fn nested_aggregate(sought: &Sought<'_>) -> Option<usize> {
    let is_it = sought.message == "aggregate function calls cannot be nested";
    let mut found = Aggregates::of(sought);
    let _ = sought.statement.visit(&mut found);
    let nested = found.met.into_iter().filter(|(_, depth)| *depth > 0);
    let (name, _) = only(nested.collect())?;
    sought.place_of_name(&name).filter(|_| is_it)
}

/// The aggregate of `aggregate functions are not allowed in WHERE`.
pub(super) fn aggregate_in_where(sought: &Sought<'_>) -> Option<usize> {
    if sought.message != "aggregate functions are not allowed in WHERE" {
        return None;
    }
    let mut found = InWhere(Aggregates::of(sought));
    let changed = match sought.statement {
        Statement::Update(update) => update.selection.as_ref(),
        Statement::Delete(delete) => delete.selection.as_ref(),
        _ => None,
    };
    let _ = changed.map(|expr| expr.visit(&mut found.0));
    let _ = sought.statement.visit(&mut found);
    let (name, _) = only(found.0.met)?;
    sought.place_of_name(&name)
}

/// Collects aggregates that stand in no query of their own, with how many are around them.
struct Aggregates<'a> {
    sought: &'a Sought<'a>,
    depth: usize,
    met: Vec<(ObjectName, usize)>,
}

impl<'a> Aggregates<'a> {
    fn of(sought: &'a Sought<'a>) -> Aggregates<'a> {
        Aggregates {
            sought,
            depth: 0,
            met: Vec::new(),
        }
    }
}

impl Visitor for Aggregates<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && is_aggregate(self.sought, function)
        {
            self.met.push((function.name.clone(), self.depth));
            self.depth += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && is_aggregate(self.sought, function)
        {
            self.depth -= 1;
        }
        ControlFlow::Continue(())
    }
}

/// The same in the conditions of WHERE alone.
struct InWhere<'a>(Aggregates<'a>);

impl Visitor for InWhere<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let _ = select.selection.visit(&mut self.0);
        ControlFlow::Continue(())
    }
}
