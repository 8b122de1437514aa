//! Rows of json whose columns are listed: `jsonb_to_recordset(x) AS r(id int, name text)`, `json_to_record(x) AS …`.
//!
//! In: a relation; out: a subquery that takes each column out of the objects and casts it.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Ident, SelectItem, TableAlias, TableFactor};

use super::parameters::is_open;
use super::relations::{called, derived, template};
use super::unnest::names_columns;
use super::{call, cast_to, text};
use crate::error::{Error, Result};

/// The rows of such a call; `None`: it is another relation.
pub(super) fn rows(factor: &TableFactor) -> Result<Option<TableFactor>> {
    let Some((name, args, false, alias)) = called(factor) else {
        return Ok(None);
    };
    let elements = match name.as_str() {
        "json_to_record" | "jsonb_to_record" => None,
        "json_to_recordset" => Some("json_array_elements"),
        "jsonb_to_recordset" => Some("jsonb_array_elements"),
        _ => return Ok(None),
    };
    let [arg] = args.as_slice() else {
        return Ok(None);
    };
    let columns = alias.iter().flat_map(|alias| &alias.columns);
    let columns: Option<Vec<(Ident, DataType)>> = columns
        .map(|column| Some((column.name.clone(), column.data_type.clone()?)))
        .collect();
    let (Some(alias), Some(columns)) = (alias.clone(), columns.filter(|list| !list.is_empty()))
    else {
        let message = "a column definition list is required for functions returning \"record\"";
        return Err(Error::invalid("42601", message, None));
    };
    let (value, from) = match elements {
        None => (record_document(&name, arg), None),
        Some(elements) => {
            let (query, mut select) = template("SELECT 1")?;
            let element = Ident::new("record_element");
            let array = call(elements, vec![arg.clone()]);
            select.projection = vec![SelectItem::ExprWithAlias {
                expr: call("unnest", vec![array]),
                alias: element.clone(),
            }];
            let records = derived(query, select, Some(named(Ident::new("json_records"))));
            (Expr::Identifier(element), Some(records))
        }
    };
    let (query, mut select) = template("SELECT 1 FROM q")?;
    select.projection = columns
        .into_iter()
        .map(|(column, data_type)| SelectItem::ExprWithAlias {
            expr: record_member(&value, &column, data_type),
            alias: column,
        })
        .collect();
    match (from, select.from.first_mut()) {
        (Some(records), Some(from)) => from.relation = records,
        _ => select.from.clear(),
    }
    let mut rows = derived(query, select, Some(named(alias.name)));
    if let TableFactor::Derived { lateral, .. } = &mut rows {
        *lateral = names_columns(arg);
    }
    Ok(Some(rows))
}

fn named(name: Ident) -> TableAlias {
    TableAlias {
        explicit: true,
        name,
        columns: Vec::new(),
        at: None,
    }
}

/// The document that `jsonb_to_record` and its like take, which a parameter without a type is.
pub(crate) fn record_document(function: &str, arg: &Expr) -> Expr {
    let data_type = match function.starts_with("jsonb") {
        true => DataType::JSONB,
        false => DataType::JSON,
    };
    match is_open(arg) {
        true => cast_to(arg.clone(), data_type),
        false => arg.clone(),
    }
}

/// A member of an object as a value of a type.
pub(crate) fn record_member(value: &Expr, column: &Ident, data_type: DataType) -> Expr {
    let name = match column.quote_style {
        Some(_) => column.value.clone(),
        None => column.value.to_lowercase(),
    };
    let args = vec![value.clone(), text(name)];
    match &data_type {
        DataType::JSON => call("as_json", vec![call("json_get", args)]),
        DataType::JSONB => call("as_jsonb", vec![call("json_get", args)]),
        // An array of json is one of PostgreSQL. What is around the elements keeps them from becoming rows.
        DataType::Array(_) => {
            let text = call("json_get_text", args);
            let elements = call("json_array_elements_text", vec![text]);
            cast_to(call("array_flat", vec![elements]), data_type)
        }
        _ => cast_to(call("json_get_text", args), data_type),
    }
}
