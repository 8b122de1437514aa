//! Marked forms as expressions: `MODEL m`, `PREDICT(m USING …)`.
//!
//! In: sqlparser's parser at a marked token, or an expression made there; out: the expression, or what it says. The
//! expressions print as the text they were read from, so that a printed view reads back.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::lexer::span_of;
use crate::reference::parse_model_ref;
use crate::statement::ModelRef;

/// Reads a marked form; `None` if none stands here.
pub(crate) fn parse_marked(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let first = parser.peek_token_ref();
    let (Token::Word(word), span) = (&first.token, first.span) else {
        return None;
    };
    if word.quote_style != Some('`') {
        return None;
    }
    let name = word.value.clone();
    parser.next_token();
    Some(if name == "MODEL" {
        marked_word(parser).map(|value| Expr::Prefixed {
            prefix: Ident::with_span(span, name),
            value: Box::new(Expr::Identifier(value)),
        })
    } else {
        parse_predict(parser, Ident::with_span(span, name))
    })
}

fn marked_word(parser: &mut Parser) -> Result<Ident, ParserError> {
    let token = parser.next_token();
    match token.token {
        Token::Word(word) => Ok(Ident::with_span(token.span, word.value)),
        _ => parser.expected("a model", token),
    }
}

/// `PREDICT(m USING a, b + 1 AS c)`: a call whose first argument carries `m USING` as its prefix.
fn parse_predict(parser: &mut Parser, function: Ident) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let mut head = marked_word(parser)?;
    parser.expect_keyword(Keyword::USING)?;
    let args = if parser.consume_token(&Token::Mul) {
        head.value.push_str(" USING *");
        vec![Expr::Identifier(head)]
    } else {
        head.value.push_str(" USING");
        let mut args = parser.parse_comma_separated(|parser| {
            let item = parser.parse_expr_with_alias()?;
            Ok(match item.alias {
                Some(name) => Expr::Named {
                    expr: Box::new(item.expr),
                    name,
                },
                None => item.expr,
            })
        })?;
        if let Some(first) = args.first_mut() {
            let value = std::mem::replace(first, Expr::Identifier(Ident::new("")));
            *first = Expr::Prefixed {
                prefix: head,
                value: Box::new(value),
            };
        }
        args
    };
    parser.expect_token(&Token::RParen)?;
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Ok(Expr::Function(Function {
        name: ObjectName::from(vec![function]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }))
}

/// What a marked call's head says: the model, the class, and whether `*` stands behind `USING`.
pub(crate) struct PredictHead {
    pub(crate) model: ModelRef,
    pub(crate) label: Option<String>,
    pub(crate) all: bool,
}

/// Takes a head apart again; `None` if the identifier is not one.
pub(crate) fn predict_head(ident: &Ident) -> Option<PredictHead> {
    if ident.quote_style.is_some() {
        return None;
    }
    let (rest, all) = match ident.value.strip_suffix(" USING *") {
        Some(rest) => (rest, true),
        None => (ident.value.strip_suffix(" USING")?, false),
    };
    let (model, label) = match rest
        .strip_suffix('\'')
        .and_then(|rest| rest.split_once(", '"))
    {
        Some((model, label)) => (model, Some(label.replace("''", "'"))),
        None => (rest, None),
    };
    let model = located(model, ident)?;
    Some(PredictHead { model, label, all })
}

/// The model that a marked identifier names, with the place of the identifier.
pub(crate) fn located(text: &str, ident: &Ident) -> Option<ModelRef> {
    let mut model = parse_model_ref(text).ok()?;
    model.name.span = span_of(ident.span);
    Some(model)
}
