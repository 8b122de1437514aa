//! What PostgreSQL has and the planner has under another name, or not at all.
//!
//! In and out: a syntax tree. `pg_catalog.t.c` is `t.c`; `x LIKE p ESCAPE e` gets a pattern with backslashes; `t.tableoid` of a catalog table
//! is its number, `name[0]` of a name its first letter; `'{1,2}'::int[]` is an array; and words such as `localtimestamp` are calls.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use auspex_planner::{ArrayItem, split_array};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Select, SelectItem, Statement, Subscript,
    TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};

use super::super::functions::EXPAND_ARRAY;
use super::super::{INFORMATION_SCHEMA, columns};
use super::{PG_CATALOG, acl, catalog_table, json_aggregates, parsed, standard, subscripts};

/// The column of each table that says which one it is.
const TABLE_OID: &str = "tableoid";
/// The function of numbers and times in a row.
const SERIES: &str = "generate_series";

/// Rewrites the statement.
pub(super) fn rewrite(statement: &mut Statement) {
    let mut numbers = TableNumbers::default();
    // The visitors never break off.
    let _ = Visit::visit(&*statement, &mut numbers);
    let _ = VisitMut::visit(statement, &mut Postgres { numbers });
}

/// The numbers of the catalog tables that a statement reads, by alias.
#[derive(Default)]
struct TableNumbers {
    by_alias: BTreeMap<String, i32>,
}

impl Visitor for TableNumbers {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
            && let Some(table) = catalog_table(name)
            && let Some(relation) = columns::find(PG_CATALOG, &table)
        {
            let alias = alias.as_ref().map(|alias| alias.name.value.clone());
            self.by_alias.insert(alias.unwrap_or(table), relation.oid);
        }
        ControlFlow::Continue(())
    }
}

impl TableNumbers {
    /// The number that `t.tableoid` asks for.
    fn asked(&self, expr: &Expr) -> Option<i32> {
        match expr {
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [table, column] if column.value == TABLE_OID => {
                    self.by_alias.get(&table.value).copied()
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// The number of the catalog table that alone stands behind a FROM.
fn only_table(select: &Select) -> Option<i32> {
    let [from] = select.from.as_slice() else {
        return None;
    };
    let TableFactor::Table {
        name, args: None, ..
    } = &from.relation
    else {
        return None;
    };
    let table = catalog_table(name).filter(|_| from.joins.is_empty())?;
    Some(columns::find(PG_CATALOG, &table)?.oid)
}

fn is_table_oid(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case(TABLE_OID))
}

struct Postgres {
    numbers: TableNumbers,
}

impl VisitorMut for Postgres {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let table_oid = only_table(select);
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(oid) = self
                    .numbers
                    .asked(expr)
                    .or_else(|| table_oid.filter(|_| is_table_oid(expr)))
            {
                let (expr, alias) = (number(i64::from(oid)), Ident::new(TABLE_OID));
                *item = SelectItem::ExprWithAlias { expr, alias };
            } else if let SelectItem::UnnamedExpr(expr) = item
                && let Some(name) = rows_of_numbers(expr)
            {
                let (expr, alias) = (expr.clone(), Ident::with_quote('"', name));
                *item = SelectItem::ExprWithAlias { expr, alias };
            } else if let SelectItem::ExprWithAlias { expr, .. } = item {
                rows_of_numbers(expr);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let rows = subscripts::relation(factor).or_else(|| acl::relation(factor));
        if let Some(rows) = rows.or_else(|| standard::settings(factor)) {
            *factor = rows;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Like { .. } | Expr::ILike { .. } => plain_escape(expr),
            Expr::CompoundFieldAccess { root, access_chain }
                if self.is_of_type(root, "name") && letter(root, access_chain).is_some() =>
            {
                if let Some(letter) = letter(root, access_chain) {
                    *expr = letter;
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                qualify(root, access_chain);
                subscripts::element(root, access_chain);
                if let Some(field) = field_of(root, access_chain) {
                    *expr = field;
                }
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq | BinaryOperator::NotEq,
                right,
            } => truth_value(left, right),
            Expr::Case {
                operand: Some(operand),
                conditions,
                ..
            } => {
                for when in conditions {
                    truth_value(operand, &mut when.condition);
                }
            }
            Expr::CompoundIdentifier(names) => {
                // A table of the catalogs is known by its name alone.
                if names.len() == 3 && names[0].value == PG_CATALOG {
                    names.remove(0);
                }
                if let Some(oid) = self.numbers.asked(expr) {
                    *expr = number(i64::from(oid));
                }
            }
            Expr::Identifier(name) if name.quote_style.is_none() => self.word(expr),
            Expr::Function(function) => {
                // The catalogs hold no json, so that braces beside their columns are an array.
                if !self.numbers.by_alias.is_empty() && is_named(function, "coalesce") {
                    arguments_mut(function).for_each(array_literal);
                }
                if let Some(replacement) = standard::call(function).or_else(|| call(function)) {
                    *expr = replacement;
                }
            }
            Expr::Cast {
                expr: inner,
                data_type: DataType::Array(_),
                ..
            } => array_literal(inner),
            Expr::Cast {
                expr: inner,
                data_type,
                ..
            } if is_text(data_type) && self.is_procedure(inner) => {
                if let Some(name) = parsed(&format!("regprocout({inner})")) {
                    *expr = name;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Postgres {
    /// Whether an expression is a catalog's column of functions, whose text is a name.
    fn is_procedure(&self, expr: &Expr) -> bool {
        self.is_of_type(expr, "regproc")
    }

    /// Whether an expression is a catalog's column of a type.
    fn is_of_type(&self, expr: &Expr, data_type: &str) -> bool {
        let column = match expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(names) => match names.last() {
                Some(name) => name,
                None => return false,
            },
            _ => return false,
        };
        let mut relations = columns::all();
        !self.numbers.by_alias.is_empty()
            && relations.any(|relation| {
                let mut columns = relation.columns.iter();
                columns.any(|(name, kind)| kind.0 == data_type && *name == column.value)
            })
    }

    /// A word without quotes that is a call in PostgreSQL.
    fn word(&self, expr: &mut Expr) {
        let Expr::Identifier(name) = &*expr else {
            return;
        };
        let only = self.numbers.by_alias.values().next();
        let replacement = match name.value.to_lowercase().as_str() {
            "current_role" => parsed("current_user"),
            TABLE_OID if self.numbers.by_alias.len() == 1 => {
                only.map(|oid| number(i64::from(*oid)))
            }
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
    }
}

/// `typname[0]`, the first letter of a name, whose letters PostgreSQL counts from 0.
fn letter(name: &Expr, access: &[AccessExpr]) -> Option<Expr> {
    let [AccessExpr::Subscript(Subscript::Index { index })] = access else {
        return None;
    };
    parsed(&format!("substr({name}, ({index}) + 1, 1)"))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Text | DataType::Varchar(None) | DataType::String(None)
    )
}

fn number(value: i64) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).with_empty_span())
}

pub(super) fn last_name(name: &ObjectName) -> Option<String> {
    let last = name.0.last().and_then(ObjectNamePart::as_ident)?;
    Some(last.value.to_lowercase())
}

/// `generate_series(…)` in a SELECT list gives rows; the planner's gives an array. The name of such a call.
fn rows_of_numbers(expr: &mut Expr) -> Option<&'static str> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let (name, rows) = match last_name(&function.name)?.as_str() {
        SERIES => (SERIES, parsed(&format!("unnest({function})"))?),
        subscripts::NAME => (subscripts::NAME, call(function)?),
        _ => return None,
    };
    *expr = rows;
    Some(name)
}

/// A LIKE whose escape character is the backslash.
fn plain_escape(expr: &mut Expr) {
    let (Expr::Like {
        pattern,
        escape_char,
        ..
    }
    | Expr::ILike {
        pattern,
        escape_char,
        ..
    }) = expr
    else {
        return;
    };
    let Some(ValueWithSpan {
        value: Value::SingleQuotedString(escape),
        ..
    }) = escape_char
    else {
        return;
    };
    if escape == "\\" {
        return;
    }
    let escape = escape.replace('\'', "''");
    if let Some(plain) = parsed(&format!("like_escape({pattern}, '{escape}')")) {
        **pattern = plain;
        *escape_char = None;
    }
}

fn is_named(function: &Function, name: &str) -> bool {
    last_name(&function.name).is_some_and(|last| last == name)
}

/// The plain arguments of a call.
pub(super) fn arguments_mut(function: &mut Function) -> impl Iterator<Item = &mut Expr> {
    let list = match &mut function.args {
        FunctionArguments::List(list) => list.args.as_mut_slice(),
        _ => &mut [],
    };
    list.iter_mut().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
}

/// A call with one argument, which need not be written in the dialect of what is written here.
pub(super) fn call_of(name: &str, argument: Expr) -> Option<Expr> {
    let mut call = parsed(&format!("{name}(NULL)"))?;
    if let Expr::Function(function) = &mut call {
        *arguments_mut(function).next()? = argument;
    }
    Some(call)
}

/// The call that means the same.
fn call(function: &Function) -> Option<Expr> {
    let name = last_name(&function.name)?;
    let list = match &function.args {
        FunctionArguments::List(list) => list,
        FunctionArguments::None => {
            return match name.as_str() {
                "localtimestamp" => parsed("CAST(now() AS TIMESTAMP)"),
                "localtime" => parsed("CAST(now() AS TIME)"),
                _ => None,
            };
        }
        FunctionArguments::Subquery(_) => return None,
    };
    let schema = function.name.0.first().and_then(ObjectNamePart::as_ident);
    if name == EXPAND_ARRAY
        && schema.is_some_and(|schema| schema.value.eq_ignore_ascii_case(INFORMATION_SCHEMA))
    {
        let array = list.args.first()?;
        return parsed(&format!("unnest({EXPAND_ARRAY}({array}))"));
    }
    let in_catalog = function.name.0.len() == 1
        || matches!(function.name.0.first().and_then(ObjectNamePart::as_ident),
            Some(schema) if schema.value.eq_ignore_ascii_case(PG_CATALOG));
    if !in_catalog {
        return None;
    }
    match name.as_str() {
        "json_agg" | "jsonb_agg" => json_aggregates::array(&name, function),
        "json_object_agg" | "jsonb_object_agg" => json_aggregates::object(&name, function),
        "transaction_timestamp" if list.args.is_empty() => parsed("now()"),
        // The planner knows it without the schema.
        "mod" if function.name.0.len() > 1 => {
            let mut plain = function.clone();
            plain.name = ObjectName::from(vec![Ident::new("mod")]);
            Some(Expr::Function(plain))
        }
        subscripts::NAME => subscripts::rows(&list.args),
        acl::NAME => acl::rows(&list.args),
        _ => None,
    }
}

/// `t.c[n]` is an element of the column `t.c`, not a field of a column `t`.
fn qualify(root: &mut Expr, chain: &mut Vec<AccessExpr>) {
    if let (
        Expr::Identifier(relation),
        [
            AccessExpr::Dot(Expr::Identifier(column)),
            AccessExpr::Subscript(_),
            ..,
        ],
    ) = (&*root, chain.as_slice())
    {
        *root = Expr::CompoundIdentifier(vec![relation.clone(), column.clone()]);
        chain.remove(0);
    }
}

/// `indisprimary = 't'`, `CASE attnotnull WHEN 't'`: a text beside a column of the catalogs that is a truth value.
fn truth_value(column: &Expr, text: &mut Expr) {
    let name = match column {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    let Expr::Value(value) = &mut *text else {
        return;
    };
    let Value::SingleQuotedString(written) = &value.value else {
        return;
    };
    let is_true = match written.as_str() {
        "t" | "true" => true,
        "f" | "false" => false,
        _ => return,
    };
    const OF_COLUMNS: [&str; 3] = ["attnotnull", "atthasdef", "attisdropped"];
    let is_switch = |name: &str| name.starts_with("indis") || OF_COLUMNS.contains(&name);
    if name.is_some_and(|name| is_switch(&name.value)) {
        value.value = Value::Boolean(is_true);
    }
}

/// `(row).field` of a row that an expression in brackets makes.
fn field_of(root: &Expr, fields: &[AccessExpr]) -> Option<Expr> {
    let (Expr::Nested(row), [AccessExpr::Dot(Expr::Identifier(field))]) = (root, fields) else {
        return None;
    };
    let field = Value::SingleQuotedString(field.value.clone());
    parsed(&format!("get_field({row}, {field})"))
}

/// `'{1,2}'`, cast to an array, is an array of its items.
fn array_literal(expr: &mut Expr) {
    let Expr::Value(value) = &*expr else { return };
    let Value::SingleQuotedString(text) = &value.value else {
        return;
    };
    let Some(items) = array_items(text) else {
        return;
    };
    let items: Vec<String> = items
        .into_iter()
        .map(|item| match item {
            Some(item) => format!("'{}'", item.replace('\'', "''")),
            None => "NULL".to_owned(),
        })
        .collect();
    if let Some(array) = parsed(&format!("ARRAY[{}]", items.join(", "))) {
        *expr = array;
    }
}

/// The items of PostgreSQL's text of an array of one dimension; `None` for any other text.
pub(super) fn array_items(text: &str) -> Option<Vec<Option<String>>> {
    let item = |item| match item {
        ArrayItem::Null => Some(None),
        ArrayItem::Value(text) => Some(Some(text)),
        ArrayItem::Array(_) => None,
    };
    split_array(text)?.into_iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_arrays_are_taken_apart() {
        let items = |text| {
            array_items(text).map(|items| {
                let shown = items
                    .into_iter()
                    .map(|item| item.unwrap_or_else(|| "∅".to_owned()));
                shown.collect::<Vec<_>>().join("|")
            })
        };
        assert_eq!(items("{1, 2}").as_deref(), Some("1|2"));
        assert_eq!(items("{}").as_deref(), Some(""));
        assert_eq!(
            items(r#"{"a,b","c\"d",NULL,"NULL"}"#).as_deref(),
            Some("a,b|c\"d|∅|NULL")
        );
        assert_eq!(items("{a,}"), None);
        assert_eq!(items("{{1},{2}}"), None);
        assert_eq!(items("plain"), None);
    }
}
