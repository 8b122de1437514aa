//! What a role must be allowed to do with the table that a statement changes.
//!
//! In: the syntax tree of UPDATE, DELETE, MERGE or INSERT ... ON CONFLICT; out: how it uses the table. Nothing is planned: a
//! name within a query counts as the table's, since which relation it is of is known only when the query is planned.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Assignment, Expr, OnConflictAction, Select, SelectItem, Visit, Visitor,
};

use super::change::Change;
use super::column_rules::is_default;
use super::upsert;
use crate::access::TableUse;

impl Change {
    /// What the role must be allowed to do; to find rows by their values, or to compute new ones of them, it must be allowed
    /// to read them.
    pub(super) fn usage(&self) -> TableUse {
        match self {
            Change::Update(update) => TableUse::Update {
                reads: update.selection.is_some()
                    || update.from.is_some()
                    || read_columns(&update.assignments),
            },
            Change::Delete(delete) => TableUse::Delete {
                reads: delete.selection.is_some() || delete.using.is_some(),
            },
            Change::Merge(merge) => {
                use ast::MergeAction as A;
                let has =
                    |test: fn(&A) -> bool| merge.clauses.iter().any(|clause| test(&clause.action));
                TableUse::Merge {
                    inserts: has(|action| matches!(action, A::Insert(_))),
                    updates: has(|action| matches!(action, A::Update { .. })),
                    deletes: has(|action| matches!(action, A::Delete { .. })),
                }
            }
            Change::Upsert(insert) => match upsert::conflict_of(insert) {
                // It looks at no column that it names.
                Some(ast::OnConflict {
                    conflict_target: None,
                    action: OnConflictAction::DoNothing,
                }) => TableUse::Insert,
                conflict => {
                    let action = conflict.map(|conflict| &conflict.action);
                    TableUse::Merge {
                        inserts: true,
                        updates: matches!(action, Some(OnConflictAction::DoUpdate(_))),
                        deletes: false,
                    }
                }
            },
        }
    }
}

/// Whether new values are computed of columns.
fn read_columns(assignments: &[Assignment]) -> bool {
    let mut values = assignments.iter().map(|assignment| &assignment.value);
    values.any(|value| Visit::visit(value, &mut Columns).is_break())
}

/// Finds the name of a column, or of a whole row.
struct Columns;

impl Visitor for Columns {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut items = select.projection.iter();
        let names_row = items.any(|item| matches!(item, SelectItem::QualifiedWildcard(..)));
        found(names_row)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        found(match expr {
            Expr::Identifier(_) => !is_default(expr),
            Expr::CompoundIdentifier(_) | Expr::QualifiedWildcard(..) => true,
            Expr::Function(function) => names_row(function),
            _ => false,
        })
    }
}

/// Whether a call has the argument `t.*`.
fn names_row(function: &ast::Function) -> bool {
    use ast::{FunctionArg as A, FunctionArgExpr as E, FunctionArguments};
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    list.args.iter().any(|arg| {
        let (A::Unnamed(arg) | A::Named { arg, .. } | A::ExprNamed { arg, .. }) = arg;
        matches!(arg, E::QualifiedWildcard(_))
    })
}

fn found(is_found: bool) -> ControlFlow<()> {
    match is_found {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(text: &str) -> TableUse {
        let mut parsed = auspex_sql::parse_own(text).unwrap();
        let auspex_sql::Statement::Sql(statement) = parsed.remove(0).statement else {
            panic!("{text}");
        };
        let datafusion::sql::parser::Statement::Statement(statement) = *statement else {
            panic!("{text}");
        };
        Change::of(&statement).unwrap().usage()
    }

    #[test]
    fn what_computes_of_columns_reads_them() {
        for value in [
            "a",
            "t.a",
            "1 / (a - 5)",
            "(SELECT a)",
            "(SELECT max(s.x) FROM s WHERE s.y = t.a)",
            "(SELECT row_to_json(t.*))",
            "(SELECT count(*) FROM (SELECT t.*) AS x)",
            "CASE WHEN true THEN (t).a END",
            "a[1]",
        ] {
            let found = usage(&format!("UPDATE t SET c = 1, b = {value}"));
            assert_eq!(found, TableUse::Update { reads: true }, "{value}");
        }
        for value in [
            "1",
            "DEFAULT",
            "now() + interval '1 day'",
            "upper('a') || current_user",
            "extract(year FROM current_date)",
            "nextval('s')",
            "(SELECT count(*) FROM s)",
            "ARRAY[1, NULL]",
        ] {
            let found = usage(&format!("UPDATE t SET c = 1, b = {value}"));
            assert_eq!(found, TableUse::Update { reads: false }, "{value}");
        }
        let found = usage("UPDATE t SET (a, b) = (DEFAULT, c)");
        assert_eq!(found, TableUse::Update { reads: true });
        let found = usage("UPDATE t SET (a, b) = (DEFAULT, 1)");
        assert_eq!(found, TableUse::Update { reads: false });
    }

    #[test]
    fn a_conflict_that_names_nothing_reads_nothing() {
        let text = "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING";
        assert_eq!(usage(text), TableUse::Insert);
        for (target, updates) in [
            ("(a) DO NOTHING", false),
            ("ON CONSTRAINT k DO NOTHING", false),
            ("(a) DO UPDATE SET b = 1", true),
        ] {
            let found = usage(&format!("INSERT INTO t VALUES (1) ON CONFLICT {target}"));
            let expected = TableUse::Merge {
                inserts: true,
                updates,
                deletes: false,
            };
            assert_eq!(found, expected, "{target}");
        }
    }
}
