//! Forms of `ROLLUP`, `CUBE` and `GROUPING SETS` that the planner lacks: positions of result columns, `ROLLUP (1, 2)`, keys that
//! stand twice, `ROLLUP (k, k)`, several keys as one, `CUBE ((a, b), c)`, sets within sets, `GROUPING SETS (ROLLUP (a, b), c)`, and
//! no key at all, `GROUP BY ()`, sets that stand once, `GROUP BY DISTINCT ROLLUP (a), CUBE (a)`.
//!
//! In and out: a SELECT. The planner knows positions only where they stand for themselves, and the sets of ROLLUP and CUBE only
//! of single keys of different names; those of others are written out.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Select, SelectItem, Value};

use super::{function_name, plain_arguments};
use crate::error::{Error, Result};
use crate::functions::cast_keys::bare;

/// How many elements of CUBE are written out, as many as PostgreSQL takes.
const CUBE_LIMIT: usize = 12;
/// How many sets are written out, as many as PostgreSQL takes.
const SET_LIMIT: usize = 4096;

/// Puts the expressions of the columns in the place of their positions, and writes sets out.
/// Errors: 54001, 54011.
pub(super) fn resolve(select: &mut Select) -> Result<()> {
    let Select {
        group_by,
        projection,
        ..
    } = select;
    let GroupByExpr::Expressions(keys, _) = group_by else {
        return Ok(());
    };
    let is_distinct = auspex_sql::take_distinct_groups(keys);
    for key in keys.iter_mut() {
        write_inner_out(key);
        if matches!(key, Expr::Tuple(keys) if keys.is_empty()) {
            *key = Expr::GroupingSets(vec![Vec::new()]);
        }
        if let Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) = key {
            for key in sets.iter_mut().flatten() {
                if let Some(column) = position(key).and_then(|place| column(projection, place)) {
                    *key = column;
                }
            }
        }
        if let Some(sets) = written_out(key) {
            *key = Expr::GroupingSets(sets);
        }
    }
    match is_distinct && keys.iter().any(is_set) {
        true => make_distinct(keys, projection),
        false => Ok(()),
    }
}

fn is_set(key: &Expr) -> bool {
    matches!(key, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_))
}

/// Writes out the sets of all keys together, each one once.
fn make_distinct(keys: &mut Vec<Expr>, items: &[SelectItem]) -> Result<()> {
    let mut sets: Vec<Vec<Expr>> = vec![Vec::new()];
    for key in keys.drain(..) {
        let of_key = match key {
            Expr::Rollup(elements) => rolled_up(&elements),
            Expr::Cube(elements) if elements.len() > CUBE_LIMIT => {
                let message = format!("CUBE is limited to {CUBE_LIMIT} elements");
                return Err(Error::invalid("54011", message, None));
            }
            Expr::Cube(elements) => cubed(&elements),
            Expr::GroupingSets(sets) => sets,
            key => {
                let column = position(&key).and_then(|place| column(items, place));
                vec![vec![column.unwrap_or(key)]]
            }
        };
        if sets.len().saturating_mul(of_key.len()) > SET_LIMIT {
            let message = format!("too many grouping sets present (maximum {SET_LIMIT})");
            return Err(Error::invalid("54001", message, None));
        }
        let with_each = |set: Vec<Expr>| {
            let of_key = of_key.iter().cloned();
            of_key.map(move |more| [set.clone(), more].concat())
        };
        sets = sets.into_iter().flat_map(with_each).collect();
    }
    let mut known = BTreeSet::new();
    sets.retain(|set| {
        let names: BTreeSet<String> = set.iter().map(ToString::to_string).collect();
        known.insert(names)
    });
    for set in &mut sets {
        let mut names = BTreeSet::new();
        set.retain(|key| names.insert(key.to_string()));
    }
    keys.push(Expr::GroupingSets(sets));
    Ok(())
}

/// The place that a whole number means, from 0.
fn position(key: &Expr) -> Option<usize> {
    match key {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        Expr::Nested(inner) => position(inner),
        _ => None,
    }
}

fn column(items: &[SelectItem], place: usize) -> Option<Expr> {
    match items.get(place)? {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(expr.clone())
        }
        _ => None,
    }
}

/// Puts the sets of ROLLUP and CUBE within GROUPING SETS in their place.
fn write_inner_out(key: &mut Expr) {
    let Expr::GroupingSets(sets) = key else {
        return;
    };
    let sets_of = |set: Vec<Expr>| match set.as_slice() {
        [key] => inner_sets(key).unwrap_or_else(|| vec![set]),
        _ => vec![set],
    };
    *sets = std::mem::take(sets).into_iter().flat_map(sets_of).collect();
}

/// The sets of `ROLLUP (…)` and `CUBE (…)`, which the parser takes for calls there.
fn inner_sets(key: &Expr) -> Option<Vec<Vec<Expr>>> {
    let Expr::Function(function) = key else {
        return None;
    };
    let name = function_name(function)?;
    let elements = plain_arguments(function)?.into_iter().map(|arg| match arg {
        Expr::Tuple(keys) => keys,
        key => vec![key],
    });
    let elements: Vec<Vec<Expr>> = elements.collect();
    match name.as_str() {
        "rollup" => Some(rolled_up(&elements)),
        "cube" if elements.len() <= CUBE_LIMIT => Some(cubed(&elements)),
        _ => None,
    }
}

/// The sets of ROLLUP and CUBE where the planner cannot make them.
fn written_out(key: &Expr) -> Option<Vec<Vec<Expr>>> {
    match key {
        Expr::Rollup(elements) if !is_plain(elements) => Some(rolled_up(elements)),
        Expr::Cube(elements) if !is_plain(elements) && elements.len() <= CUBE_LIMIT => {
            Some(cubed(elements))
        }
        _ => None,
    }
}

/// Whether all elements are single keys of different names.
fn is_plain(elements: &[Vec<Expr>]) -> bool {
    let mut names = BTreeSet::new();
    elements.iter().all(|element| match element.as_slice() {
        [key] => names.insert(bare(key)),
        _ => false,
    })
}

/// All elements, and those without the last one, down to none.
fn rolled_up(elements: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    let sizes = (0..=elements.len()).rev();
    sizes.map(|size| elements[..size].concat()).collect()
}

/// The elements of which each is there or not.
fn cubed(elements: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    let choices = (0..1_usize << elements.len()).rev();
    let set = |choice: usize| {
        let chosen = elements.iter().enumerate();
        let chosen = chosen.filter(|(place, _)| choice >> place & 1 == 1);
        chosen.flat_map(|(_, keys)| keys.iter().cloned()).collect()
    };
    choices.map(set).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    fn keys(text: &str) -> String {
        let query = format!("SELECT a + 1, b FROM t GROUP BY {text}");
        let query = auspex_sql::parse_query(&query, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        super::super::rewrite(&mut statement, None).unwrap();
        let text = statement.to_string();
        text.split_once(" GROUP BY ").unwrap().1.to_owned()
    }

    #[test]
    fn sets_are_written_out_where_they_must_be() {
        assert_eq!(keys("ROLLUP (1, b)"), "ROLLUP (a + 1, b)");
        assert_eq!(keys("b, ()"), "b, GROUPING SETS (())");
        assert_eq!(keys("ROLLUP (b, t.b)"), "GROUPING SETS ((b, t.b), (b), ())");
        assert_eq!(
            keys("CUBE ((a, b), 2)"),
            "GROUPING SETS ((a, b, b), (b), (a, b), ())"
        );
        assert_eq!(
            keys("GROUPING SETS (ROLLUP ((a, b), 2), b)"),
            "GROUPING SETS ((a, b, b), (a, b), (), (b))"
        );
        assert_eq!(
            keys("DISTINCT ROLLUP (a, b), CUBE (b), 2"),
            "GROUPING SETS ((a, b), (b))"
        );
        assert_eq!(
            keys("DISTINCT ROLLUP (a, b), ROLLUP (a)"),
            "GROUPING SETS ((a, b), (a), ())"
        );
        assert_eq!(keys("DISTINCT a, b"), "a, b");
    }
}
