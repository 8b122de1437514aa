//! The relations that a `RETURNING` may name beside the table: those of FROM, of USING, and the source of a MERGE.
//!
//! In: a statement; out: its relations, and the select list in which `merge_action()` is a column.

use std::ops::ControlFlow;

use auspex_storage::RowAction;
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectName, OutputClause, SelectItem, SelectItemQualifiedWildcardKind,
    TableFactor, TableWithJoins, UpdateTableFromKind, VisitMut, VisitorMut,
};

use super::change::{Change, action, table_alias};
use crate::commands::name_parts;
use crate::error::Result;

/// The relation whose column tells what a MERGE does with a row.
const MERGE: &str = "__auspex_merge";
const MERGE_ACTION: &str = "merge_action";

/// The relations of a statement beside the table.
#[derive(Debug, Default)]
pub(crate) struct Others {
    before: Vec<TableWithJoins>,
    behind: Vec<TableWithJoins>,
}

impl Others {
    pub(super) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.behind.is_empty()
    }

    /// The relations of a FROM with the table in its place, which decides the order of `*`.
    pub(super) fn around(self, table: TableWithJoins) -> Vec<TableWithJoins> {
        let mut from = self.before;
        from.push(table);
        from.extend(self.behind);
        from
    }
}

/// The select list of a statement's `RETURNING` and the relations that it may name; `None`: it has none.
pub(crate) fn returned_items(change: &Change) -> Result<Option<(Vec<SelectItem>, Others)>> {
    let Some(items) = change.returning() else {
        return Ok(None);
    };
    let mut items = items.to_vec();
    let others = match change {
        Change::Update(update) => Others {
            behind: match &update.from {
                Some(
                    UpdateTableFromKind::AfterSet(tables) | UpdateTableFromKind::BeforeSet(tables),
                ) => tables.clone(),
                None => vec![],
            },
            ..Others::default()
        },
        Change::Delete(delete) => Others {
            behind: delete.using.clone().unwrap_or_default(),
            ..Others::default()
        },
        Change::Upsert(_) => Others::default(),
        Change::Merge(merge) => {
            let mut before = vec![alone(merge.source.clone())];
            let mut finder = Actions { is_found: false };
            let _ = VisitMut::visit(&mut items, &mut finder);
            if finder.is_found {
                before.push(alone(action_relation()?));
                items = without_star(items, &name_of(&merge.source), &change.alias()?);
            }
            Others {
                before,
                ..Others::default()
            }
        }
    };
    Ok(Some((items, others)))
}

/// The select list of a MERGE.
pub(super) fn merge_items(merge: &ast::Merge) -> Option<&[SelectItem]> {
    match &merge.output {
        Some(OutputClause::Returning { select_items, .. }) => Some(select_items),
        _ => None,
    }
}

/// A column of another relation in the statement's own query; `None`: it is what a MERGE does.
pub(super) fn column_of(relation: &str, column: &str) -> Option<Expr> {
    let names = [relation, column].map(|name| Ident::with_quote('"', name));
    (relation != MERGE).then(|| Expr::CompoundIdentifier(names.to_vec()))
}

/// The word for what becomes of a row.
pub(super) fn merge_action(of_row: &Expr) -> Expr {
    let word = |word: &str| {
        let text = ast::Value::SingleQuotedString(word.to_owned());
        Expr::Value(text.with_empty_span())
    };
    let words = [
        (RowAction::Insert, "INSERT"),
        (RowAction::Update, "UPDATE"),
        (RowAction::Delete, "DELETE"),
    ];
    let branch = |(number, text): (RowAction, &str)| ast::CaseWhen {
        condition: action(number),
        result: word(text),
    };
    Expr::Case {
        case_token: ast::helpers::attached_token::AttachedToken::empty(),
        end_token: ast::helpers::attached_token::AttachedToken::empty(),
        operand: Some(Box::new(of_row.clone())),
        conditions: words.into_iter().map(branch).collect(),
        else_result: None,
    }
}

fn alone(relation: TableFactor) -> TableWithJoins {
    TableWithJoins {
        relation,
        joins: vec![],
    }
}

fn action_relation() -> Result<TableFactor> {
    let text = format!("SELECT CAST('' AS TEXT) AS {MERGE_ACTION}");
    Ok(TableFactor::Derived {
        lateral: false,
        subquery: auspex_sql::parse_query(&text, auspex_sql::Dialect::Postgres)?,
        alias: Some(table_alias(Ident::new(MERGE))),
        sample: None,
    })
}

/// What a source is called; one without a name is refused elsewhere.
fn name_of(source: &TableFactor) -> Ident {
    match source {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => alias.name.clone(),
        TableFactor::Table { name, .. } => {
            Ident::with_quote('"', name_parts(name).pop().unwrap_or_default())
        }
        _ => Ident::new("source"),
    }
}

/// A select list whose `*` means the source and the target alone.
fn without_star(items: Vec<SelectItem>, source: &Ident, target: &Ident) -> Vec<SelectItem> {
    let mut spelt = Vec::with_capacity(items.len());
    for item in items {
        match item {
            SelectItem::Wildcard(options) => spelt.extend([source, target].map(|relation| {
                let name = ObjectName::from(vec![relation.clone()]);
                let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                SelectItem::QualifiedWildcard(kind, options.clone())
            })),
            item => spelt.push(item),
        }
    }
    spelt
}

/// Puts a column in the place of `merge_action()`.
struct Actions {
    is_found: bool,
}

impl VisitorMut for Actions {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && name_parts(&function.name) == [MERGE_ACTION]
        {
            self.is_found = true;
            let names = [MERGE, MERGE_ACTION].map(|name| Ident::with_quote('"', name));
            *expr = Expr::CompoundIdentifier(names.to_vec());
        }
        ControlFlow::Continue(())
    }
}
