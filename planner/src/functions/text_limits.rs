//! What a column of at most so many characters keeps of a text that is assigned to it, and what a cast to its type does.
//!
//! In: texts and the limit; out: the texts without the blanks that are too many. A text that is too long without them stays
//! whole, so that the table refuses it where it is stored; a cast cuts it off, and has a name of its own, since clients are
//! told its type.

use std::sync::Arc;

use auspex_storage::TextLimit;
use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, lit};
use datafusion::sql::sqlparser::ast;

use super::call::{Function, failure, function};
use super::syntax;

/// `x::varchar(3)`.
pub(crate) const AS_VARCHAR: &str = "as_varchar";
/// `x::char(3)`.
pub(crate) const AS_BPCHAR: &str = "as_bpchar";
/// `without_excess_blanks(text, length)`; with the name of a column's type behind them, the error that a text is too long for it.
const FITTING: &str = "without_excess_blanks";

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

/// The same in a syntax tree, where nothing stores the text: one that is too long is an error at once.
pub(crate) fn spelt_within(text: ast::Expr, limit: TextLimit) -> ast::Expr {
    let Some(length) = limit.length else {
        return text;
    };
    let length = ast::Value::Number(length.to_string(), false);
    let data_type = ast::Value::SingleQuotedString(limit.to_string());
    let told = [length, data_type].map(|value| ast::Expr::Value(value.with_empty_span()));
    let args = std::iter::once(text).chain(told);
    syntax::call(FITTING, args.collect())
}

fn cutter() -> Function {
    function(FITTING, &[2, 3], DataType::Utf8, |call| {
        let texts = call.texts(0)?;
        let length = call.integers(1)?.iter().flatten().next();
        let limit = TextLimit {
            is_fixed: false,
            length: length.and_then(|length| usize::try_from(length).ok()),
        };
        if call.args.len() > 2 {
            refuse_longer(&texts, limit, &call.texts(2)?)?;
        }
        let is_cut = |text: &str| limit.kept(text).len() < text.len();
        if !texts.iter().flatten().any(is_cut) {
            return Ok(Arc::new(texts));
        }
        let kept = texts.iter().map(|text| text.map(|text| limit.kept(text)));
        Ok(Arc::new(kept.collect::<StringArray>()))
    })
}

/// Fails for a text that is too long for the type that `names` tells.
fn refuse_longer(texts: &StringArray, limit: TextLimit, names: &StringArray) -> Result<()> {
    let mut known = texts.iter().flatten();
    if !known.any(|text| limit.is_exceeded_by(text)) {
        return Ok(());
    }
    let data_type = names.iter().flatten().next().unwrap_or_default();
    let message = format!("value too long for type {data_type}");
    Err(failure("22001", message))
}

fn cast(name: &'static str) -> Function {
    function(name, &[2], DataType::Utf8, move |call| {
        let texts = call.texts(0)?;
        let length = call.integers(1)?.iter().flatten().next();
        let length = length.and_then(|length| usize::try_from(length).ok());
        let Some(length) = length else {
            return Ok(Arc::new(texts));
        };
        let kept = |text| match name {
            // To PostgreSQL blanks at the end of such a text are no part of it.
            AS_BPCHAR => first(text, length).trim_end_matches(' '),
            _ => first(text, length),
        };
        let kept = texts.iter().map(|text| text.map(kept));
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
