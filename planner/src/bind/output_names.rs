//! Rows that already have a column of an output's name, as those of a table that was predicted before.
//!
//! In: planned rows and the outputs of a function; out: an error that names the column. A result has one column of a name.

use auspex_ml::output;
use datafusion::logical_expr::LogicalPlan;
use serde_json::Value;

use super::arguments::Arguments;
use super::model_scope::BoundModel;
use crate::error::{Error, Result};

/// Fails where the rows have a column of the name of an output beside which they are to be kept.
pub(crate) fn check_output_names(
    bound: &BoundModel,
    (function, flat): (&str, bool),
    rows: &LogicalPlan,
    arguments: &Arguments,
) -> Result<()> {
    if arguments.0.get("keep_original_columns") == Some(&Value::Bool(false)) {
        return Ok(());
    }
    let fields = match function {
        "explain_predict" => output::explain_fields(&bound.model),
        "detect_anomalies" => output::anomaly_fields(&bound.model)?,
        _ if flat => output::flat_fields(&bound.model),
        _ => output::predict_fields(&bound.model),
    };
    let names = rows.schema().fields();
    let is_taken = |name: &&String| names.iter().any(|field| field.name() == *name);
    let mut outputs = fields.iter().map(|field| field.name());
    match outputs.find(is_taken) {
        None => Ok(()),
        Some(name) => {
            let message =
                format!("column \"{name}\" of the rows has the name of an output of ml.{function}");
            let hint = format!("Leave it out of the rows: SELECT * EXCEPT ({name}) FROM t.");
            Err(Error::invalid("42701", message, Some(&hint)))
        }
    }
}
