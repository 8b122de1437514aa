//! Comparisons with all patterns of an array: `x ~ ANY (patterns)`, `x !~* ALL (patterns)`, `x LIKE ANY (patterns)`, whose
//! operator is `~~`.
//!
//! In: a text, patterns and an operator; out: what matching each pattern would give, with SQL's three values.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use datafusion::arrow::compute::{ilike, like};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::call::{Call, Function, function};
use super::strings::Patterns;

/// The function's name.
pub(super) const NAME: &str = "matches_list";

/// The functions of this family: `matches_list(text, patterns, operator, is_all)`.
pub(super) fn functions() -> Vec<Function> {
    vec![function(NAME, &[4], DataType::Boolean, matches_list)]
}

fn matches_list(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, operators) = (call.texts(0)?, call.texts(2)?);
    let lists = call.converted(1, &DataType::new_list(DataType::Utf8, true))?;
    let is_all = call.converted(3, &DataType::Boolean)?;
    let (lists, is_all) = (lists.as_list::<i32>(), is_all.as_boolean());
    let mut known = Patterns::default();
    let mut of_row = |row: usize| -> Result<Option<bool>> {
        if lists.is_null(row) {
            return Ok(None);
        }
        let (operator, is_all) = (operators.value(row), is_all.value(row));
        let flags = if operator.ends_with('*') { "i" } else { "" };
        let patterns = lists.value(row);
        let patterns = patterns.as_string::<i32>();
        let is_like = operator.contains("~~") && texts.is_valid(row);
        let liked = is_like.then(|| alike(texts.value(row), patterns, flags));
        let liked = liked.transpose()?;
        let mut is_unknown = false;
        for (idx, pattern) in patterns.iter().enumerate() {
            let (true, Some(pattern)) = (texts.is_valid(row), pattern) else {
                is_unknown = true;
                continue;
            };
            let matches = match &liked {
                Some(liked) => liked.value(idx),
                None => known.get(pattern, flags)?.is_match(texts.value(row)),
            };
            let holds = matches != operator.starts_with('!');
            // One pattern decides: one for which it holds for ANY, one for which it does not for ALL.
            if holds != is_all {
                return Ok(Some(holds));
            }
        }
        Ok((!is_unknown).then_some(is_all))
    };
    let rows = (0..call.n_rows).map(&mut of_row);
    Ok(Arc::new(rows.collect::<Result<BooleanArray>>()?))
}

/// Whether a text is LIKE each pattern.
fn alike(text: &str, patterns: &StringArray, flags: &str) -> Result<BooleanArray> {
    let text = StringArray::new_scalar(text);
    Ok(match flags {
        "i" => ilike(&text, patterns)?,
        _ => like(&text, patterns)?,
    })
}
