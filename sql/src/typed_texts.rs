//! `inet '10.0.0.1'`: texts with the name of a type before them that sqlparser takes for any name.
//!
//! In: sqlparser's parser where an expression begins; out: the typed text. It prints as it was written.

use datafusion::sql::sqlparser::ast::{Expr, TypedString};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The types of PostgreSQL that are no keywords to sqlparser.
const NAMES: [&str; 2] = ["inet", "cidr"];

/// Reads such a text; `None` if none stands here.
pub(crate) fn parse_typed_text(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let Token::Word(word) = &parser.peek_token_ref().token else {
        return None;
    };
    let is_type = word.quote_style.is_none()
        && NAMES
            .iter()
            .any(|name| word.value.eq_ignore_ascii_case(name));
    let is_text = |parser: &Parser| {
        matches!(
            parser.peek_nth_token_ref(1).token,
            Token::SingleQuotedString(_)
        )
    };
    (is_type && is_text(parser)).then(|| {
        Ok(Expr::TypedString(TypedString {
            data_type: parser.parse_data_type()?,
            value: parser.parse_value()?,
            uses_odbc_syntax: false,
        }))
    })
}
