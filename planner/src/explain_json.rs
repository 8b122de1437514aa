//! `EXPLAIN (FORMAT JSON)`: the lines of a plan as a tree in the form that PostgreSQL's tools read.
//!
//! In: the indented lines of a physical plan, with or without measured figures; out: one json value.

use serde_json::{Map, Value, json};

use crate::explain_stages;

/// Spaces by which an operator stands further in than the one above it.
const STEP: usize = 2;

/// The plan as PostgreSQL has it: a list of one object, whose `Plan` is the topmost operator; `told` stands beside it. A
/// plan in stages is the plan, whether it was measured or only told.
pub(crate) fn tree(plan: &str, told: &[(&'static str, String)]) -> Value {
    let mut top = Map::new();
    if let Some((_, drawing)) = explain_stages::split(plan) {
        top.insert("Plan".to_owned(), explain_stages::plan(drawing));
    } else if let Some(topmost) = operators(plan).into_iter().next() {
        top.insert("Plan".to_owned(), topmost);
    }
    for (what, text) in told {
        let text = match explain_stages::split(text) {
            Some((text, drawing)) => {
                top.insert("Plan".to_owned(), explain_stages::plan(drawing));
                text.trim_end()
            }
            None => text,
        };
        top.insert((*what).to_owned(), Value::from(text));
    }
    Value::Array(vec![Value::Object(top)])
}

/// The operators of indented lines, those below each within it.
pub(crate) fn operators(plan: &str) -> Vec<Value> {
    let lines: Vec<(usize, &str)> = plan
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let text = line.trim_start();
            ((line.len() - text.len()) / STEP, text)
        })
        .collect();
    let (mut operators, mut at) = (Vec::new(), 0);
    while let Some((depth, _)) = lines.get(at) {
        operators.push(operator(&lines, &mut at, *depth));
    }
    operators
}

/// The operator at a line, with those below it.
fn operator(lines: &[(usize, &str)], at: &mut usize, depth: usize) -> Value {
    let mut node = described(lines[*at].1);
    *at += 1;
    let mut inputs = Vec::new();
    while let Some((below, _)) = lines.get(*at).filter(|(below, _)| *below > depth) {
        inputs.push(operator(lines, at, *below));
    }
    if !inputs.is_empty() {
        node.insert("Plans".to_owned(), Value::Array(inputs));
    }
    Value::Object(node)
}

/// What a line says of its operator: `FilterExec: id@0 > 1, metrics=[output_rows=2, elapsed_compute=5µs]`.
fn described(line: &str) -> Map<String, Value> {
    // An operator without a detail has a comma before its figures.
    let line = line.replacen(
        ", metrics=[",
        ": metrics=[",
        usize::from(!line.contains(": ")),
    );
    let (name, rest) = line.split_once(": ").unwrap_or((&line, ""));
    let name = name.trim_end_matches(':');
    let (detail, figures) = match rest.split_once("metrics=[") {
        Some((detail, figures)) => (
            detail.trim_end_matches(", "),
            figures.strip_suffix(']').unwrap_or(figures),
        ),
        None => (rest, ""),
    };
    let mut node = Map::new();
    node.insert("Node Type".to_owned(), Value::from(name));
    if !detail.is_empty() {
        node.insert("Detail".to_owned(), Value::from(detail));
    }
    let mut measured = Map::new();
    for figure in figures.split(", ") {
        let Some((what, value)) = figure.split_once('=') else {
            continue;
        };
        match what {
            "output_rows" => {
                if let Some(rows) = count(value) {
                    node.insert("Actual Rows".to_owned(), json!(rows));
                }
            }
            "elapsed_compute" => {
                if let Some(time) = milliseconds(value) {
                    node.insert("Actual Total Time".to_owned(), json!(time));
                }
            }
            _ => {
                measured.insert(what.to_owned(), Value::from(value));
            }
        }
    }
    if !measured.is_empty() {
        node.insert("Metrics".to_owned(), Value::Object(measured));
    }
    node
}

/// A number as the planner shows it: `12`, `1.50 K`.
pub(crate) fn count(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" => return digits.parse().ok(),
        "K" => 1e3,
        "M" => 1e6,
        "B" => 1e9,
        "T" => 1e12,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    // Lossless enough: the planner rounded it.
    Some((number * factor).round() as u64)
}

/// A duration as the planner shows it, in milliseconds: `5.25µs`, `12.1ms`, `1.5s`.
pub(crate) fn milliseconds(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..end].parse().ok()?;
    Some(match &text[end..] {
        "ns" => number / 1e6,
        "µs" => number / 1e3,
        "ms" => number,
        "s" => number * 1e3,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_tree() {
        let plan = "SortExec: expr=[id@0 ASC], metrics=[output_rows=1.50 K, elapsed_compute=2.5µs, spills=0]\n  \
                    UnionExec, metrics=[]\n    DataSourceExec: a\n    DataSourceExec: b";
        let found = tree(plan, &[("models", "m@1".to_owned())]);
        let expected = json!([{
            "Plan": {
                "Node Type": "SortExec",
                "Detail": "expr=[id@0 ASC]",
                "Actual Rows": 1500,
                "Actual Total Time": 0.0025,
                "Metrics": {"spills": "0"},
                "Plans": [{
                    "Node Type": "UnionExec",
                    "Plans": [
                        {"Node Type": "DataSourceExec", "Detail": "a"},
                        {"Node Type": "DataSourceExec", "Detail": "b"},
                    ],
                }],
            },
            "models": "m@1",
        }]);
        assert_eq!(found, expected);
    }
}
