//! Where relations, functions, types and columns are named that do not exist.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, CopySource, Cte, Expr, Ident, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Statement, TableFactor, Visit, Visitor,
};

use super::{Sought, only};
use crate::commands::{folded, name_parts};

/// The relation of `relation "name" does not exist`.
pub(super) fn relation(sought: &Sought<'_>) -> Option<usize> {
    let name = sought.told("relation \"", "\" does not exist")?;
    let mut found = Relations {
        name,
        depth: 0,
        places: Vec::new(),
        is_unsure: false,
    };
    // Commands that are no queries tell no place in PostgreSQL either.
    let _ = match sought.statement {
        Statement::CreateView(view) => view.query.visit(&mut found),
        Statement::CreateTable(create) => create.query.as_ref()?.visit(&mut found),
        Statement::Copy {
            source: CopySource::Query(query),
            ..
        } => query.visit(&mut found),
        statement @ (Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Merge(_)
        | Statement::Explain { .. }) => statement.visit(&mut found),
        _ => return None,
    };
    sought.place(&found.first()?)
}

/// Collects where a relation is named.
struct Relations<'a> {
    name: &'a str,
    /// How many expressions are around.
    depth: usize,
    /// The names' first parts, with the number of expressions around.
    places: Vec<(Ident, usize)>,
    /// Whether the name also means something else.
    is_unsure: bool,
}

impl Relations<'_> {
    fn is_it(&self, name: &ObjectName) -> bool {
        let parts = name_parts(name);
        let schema_and_name = parts.get(parts.len().saturating_sub(2)..);
        parts.last().is_some_and(|last| last == self.name)
            || schema_and_name.is_some_and(|parts| parts.join(".") == self.name)
    }

    /// PostgreSQL meets relations of FROM in their order, but those of expressions behind or between them.
    fn first(self) -> Option<Ident> {
        if self.is_unsure {
            return None;
        }
        let is_in_order = self.places.iter().all(|(_, depth)| *depth == 0);
        let mut places: Vec<Ident> = self.places.into_iter().map(|(ident, _)| ident).collect();
        match is_in_order {
            true => (!places.is_empty()).then(|| places.swap_remove(0)),
            false => only(places),
        }
    }
}

impl Visitor for Relations<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let queries = query.with.iter().flat_map(|with| &with.cte_tables);
        let is_it = |query: &Cte| folded(&query.alias.name) == self.name;
        self.is_unsure |= queries.into_iter().any(is_it);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        // A function of the name is none of its places.
        if let TableFactor::Table {
            name,
            args: Some(_),
            ..
        }
        | TableFactor::Function { name, .. } = factor
        {
            self.is_unsure |= self.is_it(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let first = relation.0.first().and_then(|part| part.as_ident());
        if let Some(first) = first.filter(|_| self.is_it(relation)) {
            self.places.push((first.clone(), self.depth));
        }
        ControlFlow::Continue(())
    }
}

/// `q.*` of `missing FROM-clause entry for table "q"`.
pub(super) fn star_of_relation(sought: &Sought<'_>) -> Option<usize> {
    let name = sought.told("missing FROM-clause entry for table \"", "\"")?;
    let mut found = Stars {
        name,
        places: Vec::new(),
    };
    let _ = sought.statement.visit(&mut found);
    sought.place(&only(found.places)?)
}

/// Collects what takes columns of a relation: each is a place that the error may be about.
struct Stars<'a> {
    name: &'a str,
    places: Vec<Ident>,
}

impl Visitor for Stars<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                _,
            ) = item
                && let [only] = name.0.as_slice()
                && let Some(ident) = only.as_ident().filter(|ident| folded(ident) == self.name)
            {
                self.places.push(ident.clone());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expr
            && let [relation, _, ..] = names.as_slice()
            && folded(relation) == self.name
        {
            self.places.push(relation.clone());
        }
        ControlFlow::Continue(())
    }
}

/// Functions that are called by syntax of their own, too.
const OF_SYNTAX: [&str; 22] = [
    "array_append",
    "array_concat",
    "array_element",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_prepend",
    "array_slice",
    "btrim",
    "ceil",
    "concat",
    "date_part",
    "floor",
    "ltrim",
    "make_array",
    "overlay",
    "position",
    "rtrim",
    "strpos",
    "substr",
    "substring",
    "timezone",
];

/// The function of `function name(types) does not exist`.
pub(super) fn function(sought: &Sought<'_>) -> Option<usize> {
    let call = sought.message.strip_prefix("function ")?;
    let call = call.strip_suffix(" does not exist")?;
    let (name, _) = call.split_once('(').unwrap_or((call, ""));
    let name = name.rsplit('.').next()?;
    if OF_SYNTAX.contains(&name) {
        return None;
    }
    let mut found = Functions {
        name,
        places: Vec::new(),
    };
    let _ = sought.statement.visit(&mut found);
    sought.place(&only(found.places)?)
}

/// Collects the calls of a function.
struct Functions<'a> {
    name: &'a str,
    places: Vec<Ident>,
}

impl Functions<'_> {
    fn meet(&mut self, name: &ObjectName) {
        let is_it = name_parts(name)
            .last()
            .is_some_and(|last| last == self.name);
        let first = name.0.first().and_then(|part| part.as_ident());
        self.places.extend(first.filter(|_| is_it).cloned());
    }
}

impl Visitor for Functions<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.meet(&function.name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name,
            args: Some(_),
            ..
        }
        | TableFactor::Function { name, .. } = factor
        {
            self.meet(name);
        }
        ControlFlow::Continue(())
    }
}

/// The column of `column "name" of relation "t" does not exist` in the SET of an UPDATE.
pub(super) fn set_column(sought: &Sought<'_>) -> Option<usize> {
    let name = sought.told("column \"", "\" of relation \"")?;
    let Statement::Update(update) = sought.statement else {
        return None;
    };
    let mut places = Vec::new();
    for assignment in &update.assignments {
        let columns = match &assignment.target {
            AssignmentTarget::ColumnName(column) => std::slice::from_ref(column),
            AssignmentTarget::Tuple(columns) => columns.as_slice(),
        };
        let is_it = |column: &&ObjectName| name_parts(column) == [name];
        places.extend(columns.iter().filter(is_it));
    }
    sought.place_of_name(only(places)?)
}

/// The type of `type "name" does not exist`. The tree of a type has no places, so that its name must be nothing else in the
/// text, whatever it is there.
pub(super) fn type_name(sought: &Sought<'_>) -> Option<usize> {
    let name = sought.told("type \"", "\" does not exist")?;
    let is_placed = matches!(
        sought.statement,
        Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::CreateView(_)
            | Statement::CreateTable(_)
    );
    let (text, name) = (sought.text.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut places = text.match_indices(name.as_str()).map(|(place, _)| place);
    let place = places.next().filter(|_| is_placed)?;
    if places.next().is_some() {
        return None;
    }
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
    let (before, behind) = (&text[..place], &text[place + name.len()..]);
    let is_literal = before.matches('\'').count() % 2 == 1;
    if is_literal || ["--", "/*", "$$"].iter().any(|mark| before.contains(mark)) {
        return None;
    }
    match before.strip_suffix('"') {
        Some(_) if name.contains('.') => None,
        Some(before) => (behind.starts_with('"') && !before.ends_with('.')).then_some(place - 1),
        None => {
            let is_whole = !before.ends_with(is_of_name) && !behind.starts_with(is_of_name);
            is_whole.then_some(place)
        }
    }
}
