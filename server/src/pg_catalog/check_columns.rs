//! Which columns the text of a check names.
//!
//! In: an expression and a table's columns; out: their positions, as `pg_constraint.conkey` has them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{Expr, Ident, visit_expressions};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// The columns, counted from 1, in order; none of a text that cannot be read.
pub(super) fn columns_of_check(text: &str, columns: &Schema) -> Vec<i64> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    let Ok(expr) = parsed.and_then(|mut parser| parser.parse_expr()) else {
        return Vec::new();
    };
    let mut found = BTreeSet::new();
    let mut note = |name: &Ident| {
        let folded = match name.quote_style {
            Some(_) => name.value.clone(),
            None => name.value.to_lowercase(),
        };
        found.extend(columns.index_of(&folded).ok());
    };
    // The closure never breaks off.
    let _ = visit_expressions(&expr, |expr| {
        match expr {
            Expr::Identifier(name) => note(name),
            Expr::CompoundIdentifier(names) => names.last().into_iter().for_each(&mut note),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    // Lossless: a table has few columns.
    found.into_iter().map(|idx| idx as i64 + 1).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn columns_are_found_wherever_they_stand() {
        let columns = ["a", "b", "C"].map(|name| Field::new(name, DataType::Int32, true));
        let schema = Schema::new(columns.to_vec());
        assert_eq!(
            columns_of_check("B > 0 AND t.a < abs(\"C\")", &schema),
            [1, 2, 3]
        );
        assert_eq!(columns_of_check("1 > 0", &schema), [] as [i64; 0]);
        assert_eq!(columns_of_check("not an (", &schema), [] as [i64; 0]);
    }
}
