//! The functions by which the views of `information_schema` tell types, and which clients call as these views do.
//!
//! In: a call, as `information_schema._pg_truetypid(a.*, t.*)` over rows of `pg_attribute` and `pg_type`; out: the expression
//! that PostgreSQL defines it by. `pg_show_all_settings()`, which `pg_settings` is defined by, is this view.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart,
    TableAlias, TableFactor,
};

use super::super::INFORMATION_SCHEMA;
use super::postgres::last_name;
use super::{called, is_of_catalog, parsed};

/// The function of the settings.
const SETTINGS: &str = "pg_show_all_settings";

/// The rows of the settings' function in FROM; `None` for any other relation.
pub(super) fn settings(factor: &TableFactor) -> Option<TableFactor> {
    let (name, arguments, alias) = called(factor)?;
    if !is_of_catalog(name, SETTINGS) || !arguments.is_empty() {
        return None;
    }
    let Expr::Subquery(subquery) = parsed("(SELECT * FROM pg_catalog.pg_settings)")? else {
        return None;
    };
    let alias = alias.cloned().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(SETTINGS),
        columns: Vec::new(),
        at: None,
    });
    Some(TableFactor::Derived {
        lateral: false,
        subquery,
        alias: Some(alias),
        sample: None,
    })
}

/// The expression; `None` for any other call.
pub(super) fn call(function: &Function) -> Option<Expr> {
    let schema = function.name.0.first().and_then(ObjectNamePart::as_ident)?;
    if function.name.0.len() != 2 || !schema.value.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [first, second] = list.args.as_slice() else {
        return None;
    };
    let name = last_name(&function.name)?;
    let text = match name.as_str() {
        "_pg_truetypid" => of_domain(first, second, ["typbasetype", "atttypid"])?,
        "_pg_truetypmod" => of_domain(first, second, ["typtypmod", "atttypmod"])?,
        "_pg_char_max_length" => format!(
            "CASE WHEN ({second}) = -1 THEN NULL WHEN ({first}) IN (1042, 1043) THEN ({second}) - 4 \
             WHEN ({first}) IN (1560, 1562) THEN ({second}) END"
        ),
        name => of_number(name, first, second)?,
    };
    parsed(&format!("({text})"))
}

/// What the number of a type and its modifier tell.
fn of_number(name: &str, of_type: &FunctionArg, modifier: &FunctionArg) -> Option<String> {
    Some(match name {
        "_pg_char_octet_length" => format!(
            "CASE WHEN ({of_type}) IN (25, 1042, 1043) THEN \
             CASE WHEN ({modifier}) = -1 THEN 1073741824 ELSE (({modifier}) - 4) * 4 END END"
        ),
        "_pg_numeric_precision" => format!(
            "CASE ({of_type}) WHEN 21 THEN 16 WHEN 23 THEN 32 WHEN 20 THEN 64 WHEN 700 THEN 24 WHEN 701 THEN 53 \
             WHEN 1700 THEN CASE WHEN ({modifier}) <> -1 THEN (({modifier}) - 4) / 65536 END END"
        ),
        "_pg_numeric_precision_radix" => format!(
            "CASE WHEN ({of_type}) IN (20, 21, 23, 700, 701) THEN 2 WHEN ({of_type}) = 1700 THEN 10 END"
        ),
        "_pg_numeric_scale" => format!(
            "CASE WHEN ({of_type}) IN (20, 21, 23) THEN 0 \
             WHEN ({of_type}) = 1700 AND ({modifier}) <> -1 THEN (({modifier}) - 4) % 65536 END"
        ),
        "_pg_datetime_precision" => format!(
            "CASE WHEN ({of_type}) = 1082 THEN 0 \
             WHEN ({of_type}) IN (1083, 1114, 1184, 1266) THEN \
             CASE WHEN ({modifier}) < 0 THEN 6 ELSE ({modifier}) END \
             WHEN ({of_type}) = 1186 THEN \
             CASE WHEN ({modifier}) < 0 OR ({modifier}) % 65536 = 65535 THEN 6 ELSE ({modifier}) % 65536 END END"
        ),
        _ => return None,
    })
}

/// A column of a domain's own row, or else of the attribute's.
fn of_domain(
    attribute: &FunctionArg,
    pg_type: &FunctionArg,
    [of_type, own]: [&str; 2],
) -> Option<String> {
    let (attribute, pg_type) = (row(attribute)?, row(pg_type)?);
    Some(format!(
        "CASE WHEN {pg_type}.typtype = 'd' THEN {pg_type}.{of_type} ELSE {attribute}.{own} END"
    ))
}

/// The name of a relation whose rows an argument gives: `t.*`, `t`.
fn row(argument: &FunctionArg) -> Option<String> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => Some(name.to_string()),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name))) => {
            Some(name.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_what_they_are_defined_by() {
        let shown = |text: &str| match parsed(text) {
            Some(Expr::Function(function)) => call(&function).map(|expr| expr.to_string()),
            _ => None,
        };
        let base = "(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE a.atttypid END)";
        let call = "information_schema._pg_truetypid(a.*, t.*)";
        assert_eq!(shown(call).as_deref(), Some(base));
        let radix =
            "(CASE WHEN (1700) IN (20, 21, 23, 700, 701) THEN 2 WHEN (1700) = 1700 THEN 10 END)";
        let call = "information_schema._pg_numeric_precision_radix(1700, -1)";
        assert_eq!(shown(call).as_deref(), Some(radix));
        assert_eq!(shown("_pg_truetypid(a.*, t.*)"), None);
        assert_eq!(shown("information_schema._pg_truetypid(1)"), None);
    }
}
