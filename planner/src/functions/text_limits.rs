//! What a column of at most so many characters keeps of a text that is assigned to it.
//!
//! In: texts and the column's limit; out: the texts without the blanks that are too many. A text that is too long without
//! them stays whole, so that the table refuses it where it is stored.

use std::sync::Arc;

use auspex_storage::TextLimit;
use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, lit};

use super::call::{Function, function};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![cutter()]
}

/// A text as a column with a limit takes it.
pub(super) fn within(text: Expr, limit: TextLimit) -> Expr {
    match limit.length.and_then(|length| i64::try_from(length).ok()) {
        Some(length) => cutter().build().call(vec![text, lit(length)]),
        None => text,
    }
}

fn cutter() -> Function {
    function("without_excess_blanks", &[2], DataType::Utf8, |call| {
        let texts = call.texts(0)?;
        let length = call.integers(1)?.iter().flatten().next();
        let limit = TextLimit {
            is_fixed: false,
            length: length.and_then(|length| usize::try_from(length).ok()),
        };
        let is_cut = |text: &str| limit.kept(text).len() < text.len();
        if !texts.iter().flatten().any(is_cut) {
            return Ok(Arc::new(texts));
        }
        let kept = texts.iter().map(|text| text.map(|text| limit.kept(text)));
        Ok(Arc::new(kept.collect::<StringArray>()))
    })
}
