//! `generate_subscripts(array, dimension)`: the numbers by which an array's elements are found.
//!
//! In: a call, as an expression or in FROM; out: a series up to the array's length in that dimension, as rows, or down from it.
//! A dimension that there is not gives no rows. It is kept, since it may be a parameter, whose type it tells. Elements of
//! vectors, which count from 0 in their one dimension, get the numbers of an array's.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, FunctionArg, FunctionArgExpr, Ident, Subscript, TableAlias, TableFactor,
};

use super::{is_of_catalog, parsed};

/// The function's name.
pub(super) const NAME: &str = "generate_subscripts";

/// The call as an expression: the numbers as rows.
pub(super) fn rows(arguments: &[FunctionArg]) -> Option<Expr> {
    parsed(&format!("unnest({})", numbers(arguments)?))
}

/// The call in FROM: the elements of the array of numbers, which may stand beside the rows that hold the array.
pub(super) fn relation(factor: &TableFactor) -> Option<TableFactor> {
    let (name, arguments, alias, with_ordinality) = match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality,
            ..
        } => (name, args.args.as_slice(), alias, *with_ordinality),
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality,
            ..
        } => (name, args.as_slice(), alias, *with_ordinality),
        _ => return None,
    };
    if !is_of_catalog(name, NAME) {
        return None;
    }
    let numbers = parsed(&numbers(arguments)?)?;
    let mut alias = alias.clone().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(NAME),
        columns: Vec::new(),
        at: None,
    });
    // The one column of `AS s (n)` is what statements name.
    if let ([column], false) = (alias.columns.as_slice(), with_ordinality) {
        alias.name = column.name.clone();
        alias.columns.clear();
    }
    Some(TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: vec![numbers],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality,
    })
}

/// The array of the numbers.
fn numbers(arguments: &[FunctionArg]) -> Option<String> {
    let array = arguments.first()?;
    let dimension = match arguments.get(1).map(ToString::to_string) {
        Some(dimension) if dimension != "1" => format!("CAST(({dimension}) AS INTEGER)"),
        _ => "1".to_owned(),
    };
    // Vectors, unlike arrays, count from 0.
    let (first, less) = if is_vector(array) {
        (0, " - 1")
    } else {
        (1, "")
    };
    let last = format!("array_upper({array}, {dimension}){less}");
    let up = format!("generate_series({first}, {last})");
    Some(match arguments.get(2) {
        None => up,
        Some(is_reverse) => format!(
            "CASE WHEN {is_reverse} THEN generate_series({last}, {first}, -1) \
             WHEN NOT ({is_reverse}) THEN {up} END"
        ),
    })
}

/// `indkey[0]`: the first element of a vector is what an array has at 1.
pub(super) fn element(root: &Expr, chain: &mut [AccessExpr]) {
    if let [AccessExpr::Subscript(Subscript::Index { index }), ..] = chain
        && is_vector_column(root)
        && let Some(next) = parsed(&format!("({index}) + 1"))
    {
        *index = next;
    }
}

/// Whether an argument is a column of `pg_index` that is a vector.
fn is_vector(argument: &FunctionArg) -> bool {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => is_vector_column(expr),
        _ => false,
    }
}

fn is_vector_column(expr: &Expr) -> bool {
    const VECTORS: [&str; 4] = ["indkey", "indclass", "indoption", "indcollation"];
    let column = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    column.is_some_and(|column| VECTORS.contains(&column.value.as_str()))
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
    fn the_dimension_is_kept() {
        assert_eq!(
            rewritten("SELECT generate_subscripts(a, 1) FROM t"),
            "SELECT unnest(generate_series(1, array_upper(a, 1))) AS \"generate_subscripts\" FROM t"
        );
        let text = rewritten("SELECT generate_subscripts(a, $1::INTEGER) FROM t");
        assert!(text.contains("$1::INTEGER"), "{text}");
    }

    #[test]
    fn vectors_count_from_zero() {
        assert_eq!(
            rewritten("SELECT i.indkey[s.n], indkey[0], tags[1] FROM i, s"),
            "SELECT i.indkey[(s.n) + 1], indkey[(0) + 1], tags[1] FROM i, s"
        );
    }

    #[test]
    fn in_from_the_numbers_are_unnested() {
        let text = rewritten("SELECT s FROM t, generate_subscripts(t.a, 1) AS s");
        assert!(text.contains("UNNEST(generate_series(1, "), "{text}");
        assert!(text.ends_with(" AS s"), "{text}");
    }
}
