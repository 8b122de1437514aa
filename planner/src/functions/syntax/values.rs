//! `VALUES` of json, uuid and enums: `VALUES ('{"a":1}'::jsonb), ('{}'), (NULL)`.
//!
//! In and out: a query. A literal, a parameter and NULL are of the type to which another row's value is cast in their
//! place; to the planner they would be texts, which it does not mix with these.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Query, SetExpr, Value};

use super::cast_to;
use crate::functions::enums::enum_of_type;

/// Casts such values.
pub(super) fn rewrite(query: &mut Query) {
    let SetExpr::Values(values) = query.body.as_mut() else {
        return;
    };
    let width = values.rows.first().map_or(0, |row| row.content.len());
    for idx in 0..width {
        let mut cells = values.rows.iter().filter_map(|row| row.content.get(idx));
        let Some(data_type) = cells.find_map(marked_cast).cloned() else {
            continue;
        };
        let cells = values.rows.iter_mut();
        for cell in cells.filter_map(|row| row.content.get_mut(idx)) {
            if is_open(cell) {
                *cell = cast_to(cell.clone(), data_type.clone());
            }
        }
    }
}

/// The type of a cast to one that Arrow has as text.
fn marked_cast(expr: &Expr) -> Option<&DataType> {
    match expr {
        Expr::Cast { data_type, .. } => {
            let is_marked = matches!(data_type, DataType::JSON | DataType::JSONB | DataType::Uuid);
            (is_marked || enum_of_type(data_type).is_some()).then_some(data_type)
        }
        _ => None,
    }
}

fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(
        value.value,
        Value::SingleQuotedString(_) | Value::Null | Value::Placeholder(_)
    ))
}
