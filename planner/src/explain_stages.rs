//! The stages of a distributed plan as nodes of `EXPLAIN (FORMAT JSON)`.
//!
//! In: the drawing of stages; out: one json value, whose stages stand below the operators that read them, with their
//! tasks, the worker of each and what was measured of it.

use serde_json::{Map, Value, json};

use crate::explain_json::{count, milliseconds, operators};

/// What a block of the drawing begins with.
const CORNER: &str = "┌─────";

/// A stage as it is drawn.
struct Block<'a> {
    /// `Stage 1 ── tasks=2, partitions=4, on={…}`
    header: &'a str,
    /// The lines of its operators.
    lines: String,
}

/// The text before a drawing, and the drawing; `None`: the text has none.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    Some(text.split_at(text.find(CORNER)?))
}

/// The plan that is drawn.
pub(crate) fn plan(drawing: &str) -> Value {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in drawing.lines() {
        let text = line.trim_start();
        if let Some(header) = text.strip_prefix(CORNER) {
            blocks.push(Block {
                header: header.trim(),
                lines: String::new(),
            });
        } else if let (Some(operator), Some(block)) = (text.strip_prefix('│'), blocks.last_mut())
        {
            block
                .lines
                .push_str(operator.strip_prefix(' ').unwrap_or(operator));
            block.lines.push('\n');
        }
    }
    match blocks.first() {
        Some(first) => node(first, &blocks),
        None => Value::Null,
    }
}

/// A stage with its operators, below which the stages stand that they read.
fn node(block: &Block<'_>, blocks: &[Block<'_>]) -> Value {
    let (name, figures) = block
        .header
        .split_once(" ── ")
        .unwrap_or((block.header, ""));
    let mut node = Map::new();
    match name.strip_prefix("Stage ") {
        Some(number) => {
            node.insert("Node Type".to_owned(), json!("Stage"));
            node.insert("Stage".to_owned(), json!(number.parse::<u64>().ok()));
        }
        None => drop(node.insert("Node Type".to_owned(), json!(name))),
    }
    add_figures(&mut node, figures);
    let mut inputs = operators(&block.lines);
    for input in &mut inputs {
        attach(input, blocks);
    }
    node.insert("Plans".to_owned(), Value::Array(inputs));
    Value::Object(node)
}

/// `[Stage 1] => NetworkShuffleExec` stands above its stage, `t0: DataSourceExec` is what a task reads.
fn attach(node: &mut Value, blocks: &[Block<'_>]) {
    let Value::Object(node) = node else { return };
    let text = |node: &Map<String, Value>, key: &str| {
        let value = node.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let name = text(node, "Node Type");
    let read = name
        .strip_prefix('[')
        .and_then(|name| name.split_once("] => "));
    let task = name
        .strip_prefix('t')
        .and_then(|task| task.parse::<u64>().ok());
    if let Some((stage, operator)) = read {
        node.insert("Node Type".to_owned(), json!(operator));
        let is_read = |block: &&Block<'_>| block.header.split(" ── ").next() == Some(stage);
        if let Some(block) = blocks.iter().find(is_read) {
            node.insert("Plans".to_owned(), json!([self::node(block, blocks)]));
        }
    } else if let Some(task) = task {
        let detail = text(node, "Detail");
        let (operator, detail) = detail.split_once(": ").unwrap_or((&detail, ""));
        node.insert("Node Type".to_owned(), json!(operator));
        node.insert("Detail".to_owned(), json!(detail));
        node.insert("Task".to_owned(), json!(task));
    } else if let Some(Value::Array(inputs)) = node.get_mut("Plans") {
        for input in inputs {
            attach(input, blocks);
        }
    }
}

/// What stands in a block's header: of the block, or of each of its tasks.
fn add_figures(node: &mut Map<String, Value>, mut text: &str) {
    let (mut tasks, mut measured) = (Vec::new(), Map::new());
    while let Some((name, rest)) = text.split_once('=') {
        let (value, rest) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}').unwrap_or((rest, "")),
            None => {
                let (value, rest) = rest.split_once(", ").unwrap_or((rest, ""));
                match name {
                    "tasks" => {}
                    "partitions" => drop(node.insert("Partitions".to_owned(), json!(count(value)))),
                    _ => drop(measured.insert(name.to_owned(), json!(value))),
                }
                text = rest;
                continue;
            }
        };
        for value in value.split(", ") {
            let Some((task, value)) = value.split_once(':') else {
                continue;
            };
            let Ok(task) = task.parse::<usize>() else {
                continue;
            };
            if tasks.len() <= task {
                tasks.resize(task + 1, Map::new());
            }
            let (key, value) = match (name, milliseconds(value)) {
                ("on", _) => ("Worker", json!(value)),
                ("time", Some(time)) => ("Actual Total Time", json!(time)),
                (name, _) => (name, json!(value)),
            };
            tasks[task].insert(key.to_owned(), value);
        }
        text = rest.trim_start_matches(", ");
    }
    let number = |(number, mut task): (usize, Map<String, Value>)| {
        task.insert("Task".to_owned(), json!(number));
        Value::Object(task)
    };
    if !tasks.is_empty() {
        let tasks = tasks.into_iter().enumerate().map(number).collect();
        node.insert("Tasks".to_owned(), Value::Array(tasks));
    }
    if !measured.is_empty() {
        node.insert("Metrics".to_owned(), Value::Object(measured));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_stand_below_the_operators_that_read_them() {
        let text = "workers=a:1, b:1\n┌───── DistributedExec ── channels=4, plan_bytes_sent={0:3.5 KB}\n\
            │ CoalescePartitionsExec, metrics=[output_rows=7]\n\
            │   [Stage 1] => NetworkCoalesceExec: output_partitions=4, input_tasks=2\n\
            └──────────\n\
            \x20 ┌───── Stage 1 ── tasks=2, partitions=4, on={0:a:1, 1:b:1}, time={0:2.00ms, 1:9.00ms}, plan_added_at={0:1ms, 1:2ms}\n\
            \x20 │ FilterExec: x@0 > 1, metrics=[output_rows=7, elapsed_compute=1.5ms]\n\
            \x20 │   DistributedLeafExec:, metrics=[output_rows=9]\n\
            \x20 │     t0: DataSourceExec: file_groups={a}\n\
            \x20 │     t1: DataSourceExec: file_groups={b}\n\
            \x20 └──────────\n";
        let (before, drawing) = split(text).unwrap();
        assert_eq!(before, "workers=a:1, b:1\n");
        let leaf = |task: u64, files: &str| json!({"Node Type": "DataSourceExec", "Detail": format!("file_groups={{{files}}}"), "Task": task});
        let stage = json!({
            "Node Type": "Stage", "Stage": 1, "Partitions": 4,
            "Tasks": [
                {"Task": 0, "Worker": "a:1", "Actual Total Time": 2.0, "plan_added_at": "1ms"},
                {"Task": 1, "Worker": "b:1", "Actual Total Time": 9.0, "plan_added_at": "2ms"},
            ],
            "Plans": [{
                "Node Type": "FilterExec", "Detail": "x@0 > 1", "Actual Rows": 7, "Actual Total Time": 1.5,
                "Plans": [{
                    "Node Type": "DistributedLeafExec", "Actual Rows": 9,
                    "Plans": [leaf(0, "a"), leaf(1, "b")],
                }],
            }],
        });
        let expected = json!({
            "Node Type": "DistributedExec", "Metrics": {"channels": "4"},
            "Tasks": [{"Task": 0, "plan_bytes_sent": "3.5 KB"}],
            "Plans": [{
                "Node Type": "CoalescePartitionsExec", "Actual Rows": 7,
                "Plans": [{
                    "Node Type": "NetworkCoalesceExec", "Detail": "output_partitions=4, input_tasks=2",
                    "Plans": [stage],
                }],
            }],
        });
        assert_eq!(plan(drawing), expected);
    }
}
