//! `EXPLAIN (FORMAT YAML)`: the tree of a plan as PostgreSQL writes it in YAML.
//!
//! In: the json value of a plan; out: one text. Texts are quoted as json quotes them, which YAML reads.

use serde_json::{Map, Value};

/// A value as YAML, without a line break at its end.
pub(crate) fn text(value: &Value) -> String {
    let mut lines = Vec::new();
    match value {
        Value::Array(items) => list(items, 0, &mut lines),
        Value::Object(entries) => object(entries, 0, &mut lines),
        scalar => lines.push(scalar.to_string()),
    }
    lines.join("\n")
}

fn object(entries: &Map<String, Value>, indent: usize, lines: &mut Vec<String>) {
    for (key, value) in entries {
        let key = format!("{:indent$}{key}:", "");
        match value {
            Value::Array(items) if !items.is_empty() => {
                lines.push(key);
                list(items, indent + 2, lines);
            }
            Value::Object(entries) if !entries.is_empty() => {
                lines.push(key);
                object(entries, indent + 2, lines);
            }
            scalar => lines.push(format!("{key} {scalar}")),
        }
    }
}

/// The first line of each item has a dash, and the others stand behind it.
fn list(items: &[Value], indent: usize, lines: &mut Vec<String>) {
    for item in items {
        let mut own = Vec::new();
        match item {
            Value::Object(entries) => object(entries, indent + 2, &mut own),
            scalar => own.push(format!("{:indent$}  {scalar}", "")),
        }
        if let Some(first) = own.first_mut() {
            first.replace_range(indent..indent + 1, "-");
        }
        lines.append(&mut own);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_is_a_list_of_one() {
        let plan =
            json!([{"Plan": {"Node Type": "Sort", "Plans": [{"Node Type": "Scan", "Rows": 3}]}}]);
        let lines = [
            "- Plan:",
            "    Node Type: \"Sort\"",
            "    Plans:",
            "      - Node Type: \"Scan\"",
            "        Rows: 3",
        ];
        assert_eq!(text(&plan), lines.join("\n"));
    }
}
