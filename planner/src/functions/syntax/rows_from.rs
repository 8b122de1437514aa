//! `ROWS FROM (f(…), g(…))`: the rows of functions side by side, filled up with NULLs.
//!
//! In: a call in FROM of the function that the reading of statements made of it; out: a relation of the elements of arrays. A
//! function that gives one value has one row.

use auspex_sql::ROWS_FROM;
use datafusion::sql::sqlparser::ast::{Expr, TableFactor};

use super::relations::{KEY_FUNCTIONS, called, gives_rows, item_exprs, shown, unnested};
use super::{call, function_name, plain_arguments};
use crate::error::{Error, Result};

/// The relation; `None` of any other.
pub(super) fn rows(factor: &TableFactor) -> Result<Option<TableFactor>> {
    let Some((name, args, is_numbered, alias)) = called(factor) else {
        return Ok(None);
    };
    if name != ROWS_FROM {
        return Ok(None);
    }
    let (mut arrays, mut names) = (Vec::new(), Vec::new());
    for arg in args {
        let (name, of_function) = arrays_of(arg)?;
        names.resize(names.len() + of_function.len(), name);
        arrays.extend(of_function);
    }
    let is_lateral = arrays.iter().any(super::unnest::names_columns);
    let exprs = item_exprs(ROWS_FROM, &arrays, is_numbered);
    let mut names: Vec<&str> = match (names.as_slice(), &alias) {
        // The one column is called as the relation is.
        ([_], Some(alias)) => vec![alias.name.value.as_str()],
        (names, _) => names.iter().map(|name| shown(name)).collect(),
    };
    let relation = names.first().copied().unwrap_or("rows").to_owned();
    if is_numbered {
        names.push("ordinality");
    }
    unnested(
        exprs,
        &names,
        (relation.as_str(), alias.as_ref()),
        is_lateral,
    )
    .map(Some)
}

/// The name of a function and the arrays of its rows.
fn arrays_of(arg: Expr) -> Result<(String, Vec<Expr>)> {
    let Expr::Function(function) = &arg else {
        return Err(Error::unsupported(format!("ROWS FROM ({arg})")));
    };
    let name = function_name(function).unwrap_or_else(|| function.name.to_string());
    let arrays = match name.as_str() {
        "unnest" => plain_arguments(function).unwrap_or_default(),
        name if KEY_FUNCTIONS.contains(&name) => {
            return Err(Error::unsupported(format!("ROWS FROM ({name}(…))")));
        }
        name if gives_rows(name) => vec![arg.clone()],
        _ => vec![call("make_array", vec![arg.clone()])],
    };
    Ok((name, arrays))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    #[test]
    fn rows_are_elements_of_arrays() {
        let text = "SELECT * FROM ROWS FROM (unnest(a), upper('x')) AS t (x, y)";
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        super::super::rewrite(&mut statement, None).unwrap();
        assert_eq!(
            statement.to_string(),
            "SELECT * FROM LATERAL (SELECT unnest(a) AS x, unnest(make_array(upper('x'))) AS y) AS t"
        );
    }
}
