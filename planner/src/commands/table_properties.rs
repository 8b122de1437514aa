//! The properties of a managed table that `SET TBLPROPERTIES` and its like write.
//!
//! In: a name and a value; out: the table's shape with it, or an error if the engine cannot keep what it promises.

use auspex_storage::TableShape;

use crate::error::{Error, Result};

/// Properties that change how files are read, which the engine does not write.
const REFUSED: &[&str] = &[
    "delta.columnMapping.mode",
    "delta.enableDeletionVectors",
    "delta.enableIcebergCompatV1",
    "delta.enableIcebergCompatV2",
    "delta.enableInCommitTimestamps",
    "delta.enableRowTracking",
    "delta.enableTypeWidening",
    "delta.enableVariantShredding",
];
/// Properties that ask for a feature of the format by its name.
const FEATURES: &str = "delta.feature.";
/// Properties that are true or false.
const SWITCHES: [&str; 2] = ["delta.appendOnly", "delta.enableChangeDataFeed"];
/// Properties that are whole numbers from 1 on.
const COUNTS: [&str; 1] = ["delta.checkpointInterval"];
/// Properties that are spans of time, as the format's library reads them.
const SPANS: [&str; 2] = [
    "delta.deletedFileRetentionDuration",
    "delta.logRetentionDuration",
];
/// How many columns have bounds in the log; -1: all.
const INDEXED_COLUMNS: &str = "delta.dataSkippingNumIndexedCols";
/// The columns that `table_changes` adds to those of a table.
const CHANGE_COLUMNS: [&str; 3] = ["_change_type", "_commit_version", "_commit_timestamp"];
/// Properties that have statements of their own.
const CONSTRAINTS: [&str; 3] = ["delta.constraints.", "auspex.key.", "auspex.reference."];

/// Sets a property after looking whether the engine can keep its promise.
pub(super) fn set_property(shape: &mut TableShape, name: &str, value: &str) -> Result<()> {
    let asks =
        REFUSED.contains(&name) && !["none", "false"].contains(&value.to_lowercase().as_str());
    if asks || name.starts_with(FEATURES) {
        return Err(Error::unsupported(format!(
            "the table property \"{name}\" = '{value}'"
        )));
    }
    if is_constraint(name) {
        let message = format!("property \"{name}\" cannot be set");
        let hint = "Use ALTER TABLE ... ADD CONSTRAINT.";
        return Err(Error::invalid("22023", message, Some(hint)));
    }
    let expected = match name {
        name if SWITCHES.contains(&name) && value.parse::<bool>().is_err() => "true or false",
        name if COUNTS.contains(&name) && !value.parse::<u32>().is_ok_and(|n| n > 0) => {
            "a whole number from 1 on"
        }
        INDEXED_COLUMNS if !value.parse::<i32>().is_ok_and(|n| n >= -1) => {
            "a whole number from -1 on"
        }
        name if SPANS.contains(&name) && !is_span(value) => {
            "a number of a unit of time, as in interval 7 days"
        }
        _ => {
            shape.set_property(name, value);
            return Ok(());
        }
    };
    let message = format!("invalid value for property \"{name}\": \"{value}\"");
    let hint = format!("The value is {expected}.");
    Err(Error::invalid("22023", message, Some(&hint)))
}

fn is_span(text: &str) -> bool {
    const UNITS: [&str; 8] = [
        "nanosecond",
        "microsecond",
        "millisecond",
        "second",
        "minute",
        "hour",
        "day",
        "week",
    ];
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_unit = |unit: &str| UNITS.contains(&unit.strip_suffix('s').unwrap_or(unit));
    matches!(words.as_slice(), ["interval", number, unit]
        if number.parse::<u64>().is_ok() && is_unit(unit))
}

/// Fails if a table that keeps changes has a column of a name that `table_changes` adds to its columns.
pub(super) fn check_change_columns(shape: &TableShape) -> Result<()> {
    let mut columns = shape.columns().iter();
    let taken = columns.find(|column| CHANGE_COLUMNS.contains(&column.name().as_str()));
    match taken.filter(|_| shape.keeps_changes()) {
        Some(column) => {
            let message = format!(
                "column name \"{}\" conflicts with one of table_changes",
                column.name()
            );
            let hint = "A table that keeps the changes of its rows has no columns of such names.";
            Err(Error::invalid("42701", message, Some(hint)))
        }
        None => Ok(()),
    }
}

/// Takes away a property, if there is one.
pub(super) fn unset_property(shape: &mut TableShape, name: &str) -> Result<()> {
    if is_constraint(name) {
        let message = format!("property \"{name}\" cannot be unset");
        let hint = "Use ALTER TABLE ... DROP CONSTRAINT.";
        return Err(Error::invalid("22023", message, Some(hint)));
    }
    shape.unset_property(name);
    Ok(())
}

fn is_constraint(name: &str) -> bool {
    CONSTRAINTS.iter().any(|prefix| name.starts_with(prefix))
}
