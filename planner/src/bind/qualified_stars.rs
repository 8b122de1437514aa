//! `emp.*` where FROM names the table with its schema: `SELECT emp.* FROM public.emp`.
//!
//! In: a syntax tree; out: the tree whose stars name such a table as FROM does, since the planner compares qualifiers of
//! stars to the letter. A table with an alias has no other name. As an argument, `row_to_json(emp.*)`, a star is the row, as it
//! is in a row, `(emp.*, 1)`, and in brackets that are tested, `(emp.*) IS NULL`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Statement, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use crate::commands::{folded, name_parts};

/// Spells the qualifiers of stars out.
pub(super) fn spell(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Stars);
}

struct Stars;

impl VisitorMut for Stars {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                if let FunctionArguments::List(list) = &mut function.args {
                    list.args.iter_mut().for_each(as_row);
                }
            }
            Expr::Tuple(fields) => fields.iter_mut().for_each(as_field),
            Expr::IsNull(tested) | Expr::IsNotNull(tested) => as_field(tested),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let is_qualified = |item: &SelectItem| matches!(item, SelectItem::QualifiedWildcard(..));
        if !select.projection.iter().any(is_qualified) {
            return ControlFlow::Continue(());
        }
        let mut relations = Vec::new();
        for tables in &select.from {
            collect(tables, &mut relations);
        }
        for item in &mut select.projection {
            if let SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                _,
            ) = item
                && let Some(full) = full_name(name, &relations)
            {
                *name = full;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The relation in the place of a star of all its columns.
fn as_row(arg: &mut FunctionArg) {
    if let FunctionArg::Unnamed(arg) = arg
        && let FunctionArgExpr::QualifiedWildcard(name) = arg
        && let Some(relation) = name.0.last().and_then(|part| part.as_ident())
    {
        *arg = FunctionArgExpr::Expr(Expr::Identifier(relation.clone()));
    }
}

/// The same of a field of a row, or of what is tested.
fn as_field(field: &mut Expr) {
    match field {
        Expr::Nested(within) => as_field(within),
        Expr::QualifiedWildcard(name, _) => {
            if let Some(relation) = name.0.last().and_then(|part| part.as_ident()) {
                *field = Expr::Identifier(relation.clone());
            }
        }
        _ => {}
    }
}

/// What a FROM calls a relation.
struct Called<'a> {
    parts: Vec<String>,
    /// The name of a table without an alias, as it is written.
    written: Option<&'a ObjectName>,
}

fn collect<'a>(tables: &'a TableWithJoins, found: &mut Vec<Called<'a>>) {
    let joined = tables.joins.iter().map(|join| &join.relation);
    for factor in std::iter::once(&tables.relation).chain(joined) {
        match factor {
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => collect(table_with_joins, found),
            TableFactor::Table {
                name,
                alias: None,
                args: None,
                version: None,
                ..
            } => found.push(Called {
                parts: name_parts(name),
                written: Some(name),
            }),
            TableFactor::Table {
                alias: Some(alias), ..
            }
            | TableFactor::Derived {
                alias: Some(alias), ..
            } => found.push(Called {
                parts: vec![folded(&alias.name)],
                written: None,
            }),
            _ => {}
        }
    }
}

/// The name of the one table whose name ends with the qualifier and says more; `None` where the qualifier is that of a
/// relation as it stands.
fn full_name(qualifier: &ObjectName, relations: &[Called<'_>]) -> Option<ObjectName> {
    let wanted = name_parts(qualifier);
    if relations.iter().any(|relation| relation.parts == wanted) {
        return None;
    }
    let mut meant = relations
        .iter()
        .filter(|relation| relation.parts.ends_with(&wanted))
        .filter_map(|relation| relation.written);
    match (meant.next(), meant.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
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
    fn stars_have_the_name_that_from_has() {
        for (query, expected) in [
            (
                "SELECT emp.*, 1 FROM public.emp",
                "SELECT public.emp.*, 1 FROM public.emp",
            ),
            (
                "SELECT \"columns\".* FROM \"information_schema\".\"columns\" LEFT JOIN b AS c ON true",
                "SELECT \"information_schema\".\"columns\".* FROM \"information_schema\".\"columns\" LEFT JOIN b AS c ON true",
            ),
            (
                "SELECT emp.* FROM s.emp, t.emp",
                "SELECT emp.* FROM s.emp, t.emp",
            ),
            (
                "SELECT emp.* FROM s.emp AS e",
                "SELECT emp.* FROM s.emp AS e",
            ),
            (
                "SELECT emp.* FROM s.emp, t AS emp",
                "SELECT emp.* FROM s.emp, t AS emp",
            ),
            (
                "SELECT row_to_json(emp.*) FROM emp",
                "SELECT row_to_json(emp) FROM emp",
            ),
            (
                "SELECT 1 FROM emp WHERE (emp.*, 1) IS NULL AND (emp.*) IS NOT NULL",
                "SELECT 1 FROM emp WHERE (emp, 1) IS NULL AND (emp) IS NOT NULL",
            ),
        ] {
            assert_eq!(spelled(query), expected);
        }
    }
}
