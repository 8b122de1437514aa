//! What a column of at most so many characters keeps of a text that is assigned to it, and what a cast to its type does.
//!
//! In: texts and the limit; out: the texts without the blanks that are too many. A text that is too long without them stays
//! whole, so that the table refuses it where it is stored; a cast cuts it off, and has a name of its own, since clients are
//! told its type.

use std::sync::Arc;

use auspex_storage::TextLimit;
use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, lit};

use super::call::{Function, function};

/// `x::varchar(3)`.
pub(crate) const AS_VARCHAR: &str = "as_varchar";
/// `x::char(3)`.
pub(crate) const AS_BPCHAR: &str = "as_bpchar";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![cutter(), cast(AS_VARCHAR), cast(AS_BPCHAR)]
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

fn cast(name: &'static str) -> Function {
    function(name, &[2], DataType::Utf8, |call| {
        let texts = call.texts(0)?;
        let length = call.integers(1)?.iter().flatten().next();
        let length = length.and_then(|length| usize::try_from(length).ok());
        let Some(length) = length else {
            return Ok(Arc::new(texts));
        };
        let kept = texts
            .iter()
            .map(|text| text.map(|text| first(text, length)));
        Ok(Arc::new(kept.collect::<StringArray>()))
    })
}

/// The first so many characters of a text.
fn first(text: &str, length: usize) -> &str {
    let end = text.char_indices().nth(length);
    end.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_count_characters() {
        for (text, length, kept) in [
            ("äöü", 2, "äö"),
            ("äö", 2, "äö"),
            ("a b ", 3, "a b"),
            ("", 1, ""),
        ] {
            assert_eq!(first(text, length), kept);
        }
    }
}
