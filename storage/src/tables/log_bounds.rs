//! Which bounds in the log of a Delta table hold: the least and the greatest value of a column in a file.
//!
//! Types flow in, and whether their bounds may be believed flows out; the statistics of a new file flow in, and the same
//! without what may not be believed flows out. Scans, look-ups of keys and writers ask here. That no bound says anything of
//! NaN is the business of `nan_bounds`.

use datafusion::arrow::datatypes::{DataType, Fields, Schema};
use serde_json::{Map, Value};

/// Bounds of longer decimals may be floats, which the format's library makes of them; a log does not say who wrote it.
const DIGITS_OF_FLOATS: u8 = 15;

/// Whether the bounds of columns of a type hold.
pub(crate) fn hold(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal128(precision, _) | DataType::Decimal256(precision, _) => {
            *precision <= DIGITS_OF_FLOATS
        }
        // Texts of intervals are in another order than intervals.
        DataType::Interval(_) => false,
        // Bounds of fields are none of the whole.
        data_type => !data_type.is_nested(),
    }
}

/// Statistics of a file without bounds that do not hold; other engines leave files out by them, too.
pub(crate) fn without_unsure(statistics: &str, schema: &Schema) -> Option<String> {
    let Ok(Value::Object(mut statistics)) = serde_json::from_str(statistics) else {
        return None;
    };
    for bounds in ["minValues", "maxValues"] {
        if let Some(Value::Object(bounds)) = statistics.get_mut(bounds) {
            remove_unsure(bounds, schema.fields());
        }
    }
    Some(Value::Object(statistics).to_string())
}

fn remove_unsure(bounds: &mut Map<String, Value>, fields: &Fields) {
    for field in fields {
        match (field.data_type(), bounds.get_mut(field.name())) {
            (DataType::Struct(fields), Some(Value::Object(bounds))) => {
                remove_unsure(bounds, fields);
            }
            (data_type, Some(_)) if !hold(data_type) => {
                bounds.remove(field.name());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;

    use super::*;
    use crate::tables::time_columns::INTERVAL;

    #[test]
    fn bounds_of_long_decimals_and_intervals_are_none() {
        let fields = |prefix: &str| -> Vec<Field> {
            let field =
                |name: &str, data_type| Field::new(format!("{prefix}{name}"), data_type, true);
            vec![
                field("short", DataType::Decimal128(15, 2)),
                field("long", DataType::Decimal128(16, 2)),
                field("float", DataType::Float64),
                field("interval", INTERVAL),
            ]
        };
        let mut all = fields("");
        all.push(Field::new("s", DataType::Struct(fields("s_").into()), true));
        let statistics = r#"{"numRecords":2,
            "minValues":{"short":1.25,"long":1.5,"float":0.1,"interval":"1 days","s":{"s_short":2.5,"s_long":2.5}},
            "maxValues":{"short":1.25,"long":1e30,"float":2.2250738585072014e-308},
            "nullCount":{"long":1}}"#;
        let sure = without_unsure(statistics, &Schema::new(all)).unwrap();
        let expected: Value = serde_json::from_str(
            r#"{"numRecords":2,
            "minValues":{"short":1.25,"float":0.1,"s":{"s_short":2.5}},
            "maxValues":{"short":1.25,"float":2.2250738585072014e-308},
            "nullCount":{"long":1}}"#,
        )
        .unwrap();
        assert_eq!(serde_json::from_str::<Value>(&sure).unwrap(), expected);
        assert_eq!(without_unsure("no json", &Schema::empty()), None);
    }
}
