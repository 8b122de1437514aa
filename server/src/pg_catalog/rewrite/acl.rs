//! `aclexplode(privileges)`: the items of a list of privileges, as rows.
//!
//! In: a call, as an expression or in FROM; out: the elements of the array of items. In FROM each of their fields is a column.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, Ident, TableAlias, TableFactor, visit_expressions,
};

use super::super::functions::{ACL_COLUMNS, ACL_ITEMS};
use super::{called, is_of_catalog, parsed};

/// The function's name.
pub(super) const NAME: &str = "aclexplode";

/// The call as an expression.
pub(super) fn rows(arguments: &[FunctionArg]) -> Option<Expr> {
    parsed(&unnested(arguments)?)
}

/// The call in FROM, which may stand beside the rows that hold the list.
pub(super) fn relation(factor: &TableFactor) -> Option<TableFactor> {
    let (name, arguments, alias) = called(factor)?;
    if !is_of_catalog(name, NAME) {
        return None;
    }
    let items = unnested(arguments)?;
    let columns = ACL_COLUMNS.map(|field| format!("get_field({items}, '{field}') AS {field}"));
    let Expr::Subquery(subquery) = parsed(&format!("(SELECT {})", columns.join(", ")))? else {
        return None;
    };
    let is_column = |expr: &Expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let lateral = visit_expressions(&subquery, is_column).is_break();
    let alias = alias.cloned().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(NAME),
        columns: Vec::new(),
        at: None,
    });
    Some(TableFactor::Derived {
        lateral,
        subquery,
        alias: Some(alias),
        sample: None,
    })
}

fn unnested(arguments: &[FunctionArg]) -> Option<String> {
    let [list] = arguments else {
        return None;
    };
    Some(format!("unnest({ACL_ITEMS}({list}))"))
}

#[cfg(test)]
mod tests {
    use super::super::{rewrite, statement_of};

    fn rewritten(text: &str) -> String {
        let mut statement = statement_of(text).unwrap();
        rewrite(&mut statement);
        statement.to_string()
    }

    #[test]
    fn items_are_rows() {
        assert_eq!(
            rewritten("SELECT aclexplode(relacl) AS d FROM pg_class"),
            "SELECT unnest(acl_items(relacl)) AS d FROM pg_class"
        );
        assert_eq!(
            rewritten("SELECT a.grantee FROM pg_class AS c, aclexplode(c.relacl) AS a"),
            "SELECT a.grantee FROM pg_class AS c, LATERAL (SELECT \
             get_field(unnest(acl_items(c.relacl)), 'grantor') AS grantor, \
             get_field(unnest(acl_items(c.relacl)), 'grantee') AS grantee, \
             get_field(unnest(acl_items(c.relacl)), 'privilege_type') AS privilege_type, \
             get_field(unnest(acl_items(c.relacl)), 'is_grantable') AS is_grantable) AS a"
        );
    }
}
