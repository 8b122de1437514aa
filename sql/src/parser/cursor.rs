//! A position in the tokens of one statement, or of one bracketed group in it.
//!
//! In: tokens that are already rewritten; out: words, names, literals, sub-queries, and errors at the right byte.
//! Never decides what a statement means.

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::dialect::AuspexDialect;
use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{
    Grammar, are_words, closing, is_token, is_word, last_group, span_of, string_value,
};
use crate::limits::RECURSION_LIMIT;
use crate::long_texts::Stop;
use crate::reference::{any_word, read_model_ref, read_name, read_word};
use crate::statement::{ModelRef, Name, Span, Word};

/// A position in a run of tokens.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) text: &'a str,
    pub(crate) grammar: Grammar,
    tokens: &'a [TokenWithSpan],
    at: usize,
    /// The token behind the run, if any; for errors at its end.
    behind: Option<&'a TokenWithSpan>,
    /// The byte where the statement ends.
    end: usize,
    /// Ends the reading where it is.
    pub(crate) stop: Stop,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        text: &'a str,
        tokens: &'a [TokenWithSpan],
        grammar: Grammar,
        end: usize,
    ) -> Self {
        Self {
            text,
            grammar,
            tokens,
            at: 0,
            behind: None,
            end,
            stop: Stop::default(),
        }
    }

    /// The same, which reads nothing more once it is to stop.
    pub(crate) fn until(self, stop: &Stop) -> Self {
        Self {
            stop: stop.clone(),
            ..self
        }
    }

    /// The tokens that are left.
    pub(crate) fn rest(&self) -> &'a [TokenWithSpan] {
        &self.tokens[self.at.min(self.tokens.len())..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    pub(crate) fn peek(&self, n: usize) -> Option<&'a TokenWithSpan> {
        self.rest().get(n)
    }

    /// Whether the next tokens are these unquoted words.
    pub(crate) fn at_words(&self, keywords: &[&str]) -> bool {
        are_words(self.rest(), 0, keywords)
    }

    pub(crate) fn at_token(&self, n: usize, token: &Token) -> bool {
        is_token(self.rest(), n, token)
    }

    pub(crate) fn advance(&mut self, n: usize) {
        self.at += n;
    }

    pub(crate) fn eat_words(&mut self, keywords: &[&str]) -> bool {
        let found = self.at_words(keywords);
        if found {
            self.at += keywords.len();
        }
        found
    }

    pub(crate) fn eat_word(&mut self, keyword: &str) -> bool {
        self.eat_words(&[keyword])
    }

    pub(crate) fn eat_token(&mut self, token: &Token) -> bool {
        let found = self.at_token(0, token);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes the next words, or says that the first missing one was expected.
    pub(crate) fn expect_words(&mut self, keywords: &[&str]) -> Result<(), ParseError> {
        for keyword in keywords {
            if !self.eat_word(keyword) {
                return Err(self.unexpected(keyword));
            }
        }
        Ok(())
    }

    pub(crate) fn expect_token(&mut self, token: &Token, what: &str) -> Result<(), ParseError> {
        if self.eat_token(token) {
            Ok(())
        } else {
            Err(self.unexpected(what))
        }
    }

    /// The error that something else was expected at this position.
    pub(crate) fn unexpected(&self, expected: &str) -> ParseError {
        match self.peek(0) {
            Some(token) => ParseError::at_token(self.text, token, expected),
            None => self.unexpected_end(expected),
        }
    }

    fn unexpected_end(&self, expected: &str) -> ParseError {
        match self.behind {
            Some(token) => ParseError::at_token(self.text, token, expected),
            None => ParseError::at_end(self.end, expected),
        }
    }

    /// The error that something recognised is not supported, at this position.
    pub(crate) fn unsupported(&self, what: &str) -> ParseError {
        let position = self
            .peek(0)
            .map_or(self.end, |token| span_of(token.span).start);
        ParseError::new(ParseErrorKind::Unsupported(what.to_owned()), Some(position))
    }

    /// Nothing may be left.
    pub(crate) fn finish(&self) -> Result<(), ParseError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.unexpected("end of statement"))
        }
    }

    /// The place of the next token.
    pub(crate) fn start(&self) -> usize {
        self.peek(0)
            .or(self.behind)
            .map_or(self.end, |token| span_of(token.span).start)
    }

    /// The place behind the last token that was taken.
    pub(crate) fn last_end(&self) -> usize {
        let last = self
            .at
            .checked_sub(1)
            .and_then(|last| self.tokens.get(last));
        last.map_or(self.end, |token| span_of(token.span).end)
    }

    /// The place behind all tokens that are left.
    pub(crate) fn last_of_rest(&self) -> usize {
        self.rest_span().end
    }

    /// The place of all tokens that are left.
    pub(crate) fn rest_span(&self) -> Span {
        let start = self.start();
        let end = self
            .rest()
            .last()
            .map_or(start, |token| span_of(token.span).end);
        Span { start, end }
    }

    /// Cuts the tokens that are left at `length`: gives the first ones and keeps the others.
    pub(crate) fn take(&mut self, length: usize) -> Cursor<'a> {
        let from = self.at.min(self.tokens.len());
        let to = (from + length).min(self.tokens.len());
        self.at = to;
        Cursor {
            tokens: &self.tokens[from..to],
            at: 0,
            behind: self.tokens.get(to).or(self.behind),
            ..self.clone()
        }
    }

    /// Cuts `length` tokens off the end and gives them.
    pub(crate) fn cut_tail(&mut self, length: usize) -> Cursor<'a> {
        let from = self.tokens.len().saturating_sub(length).max(self.at);
        let tail = Cursor {
            tokens: &self.tokens[from..],
            at: 0,
            ..self.clone()
        };
        self.behind = self.tokens.get(from).or(self.behind);
        self.tokens = &self.tokens[..from];
        tail
    }

    /// Takes `( … )` and gives what stands inside.
    pub(crate) fn group(&mut self, what: &str) -> Result<Cursor<'a>, ParseError> {
        if !self.at_token(0, &Token::LParen) {
            return Err(self.unexpected(&format!("( and {what}")));
        }
        let Some(length) = closing(self.rest(), 0) else {
            return Err(self.unexpected_end(")"));
        };
        self.at += 1;
        let inside = self.take(length - 1);
        self.at += 1;
        Ok(inside)
    }

    /// Whether the tokens that are left are one `( … )`.
    pub(crate) fn is_one_group(&self) -> bool {
        let rest = self.rest();
        closing(rest, 0).is_some_and(|close| close + 1 == rest.len())
    }

    /// Cuts `keyword ( … )` off the end and gives what stands inside.
    pub(crate) fn cut_trailing_group(&mut self, keyword: &str) -> Option<Cursor<'a>> {
        let rest = self.rest();
        let before = last_group(rest)?.checked_sub(1)?;
        if !is_word(rest.get(before), keyword) {
            return None;
        }
        let mut tail = self.cut_tail(rest.len() - before);
        tail.advance(1);
        tail.group("").ok()
    }

    pub(crate) fn word(&mut self, what: &str) -> Result<Word, ParseError> {
        match read_word(self.peek(0)) {
            Some(word) => {
                self.at += 1;
                Ok(word)
            }
            None => Err(self.no_name(what)),
        }
    }

    /// A word that follows a keyword closely enough that even a reserved one is a name.
    pub(crate) fn any_word(&mut self, what: &str) -> Result<Word, ParseError> {
        match self.peek(0).and_then(any_word) {
            Some(word) => {
                self.at += 1;
                Ok(word)
            }
            None => Err(self.no_name(what)),
        }
    }

    /// `a, b, c`
    pub(crate) fn words(&mut self, what: &str) -> Result<Vec<Word>, ParseError> {
        let mut words = vec![self.word(what)?];
        while self.eat_token(&Token::Comma) {
            words.push(self.word(what)?);
        }
        Ok(words)
    }

    pub(crate) fn name(&mut self, what: &str) -> Result<Name, ParseError> {
        match read_name(self.rest(), 0) {
            Some((name, length)) => {
                self.at += length;
                Ok(name)
            }
            None => Err(self.no_name(what)),
        }
    }

    pub(crate) fn model_name(&mut self) -> Result<Name, ParseError> {
        let name = self.name("a model's name")?;
        if self.at_token(0, &Token::AtSign) {
            return Err(self
                .unexpected("a model's name without a version")
                .with_hint("This statement applies to the whole model, not to one version."));
        }
        Ok(name)
    }

    pub(crate) fn model_ref(&mut self) -> Result<ModelRef, ParseError> {
        match read_model_ref(self.rest(), 0) {
            Some((reference, length)) => {
                self.at += length;
                Ok(reference)
            }
            None => {
                let at = read_name(self.rest(), 0).map(|(_, length)| length + 1);
                self.at += at.unwrap_or(0);
                let what = at.map_or("a model's name", |_| "a version's number or alias");
                Err(self.no_name(what))
            }
        }
    }

    fn no_name(&self, what: &str) -> ParseError {
        let error = self.unexpected(what);
        match self.peek(0).map(|token| &token.token) {
            Some(Token::SingleQuotedString(value)) if self.grammar == Grammar::GoogleSql => error
                .with_hint(format!(
                    "In GoogleSQL, and in a statement with backticks, quotes of both kinds make a \
                     string; a name is written `{value}`."
                )),
            _ => error,
        }
    }

    /// `[MODEL]` before a model's name; `MODEL` is itself a name where no name follows.
    pub(crate) fn eat_optional_model(&mut self) {
        const FOLLOW: [&str; 6] = ["ON", "WITH", "IN", "RESUME", "HORIZON", "OPTIONS"];
        let named = read_word(self.peek(1)).is_some()
            && !FOLLOW.iter().any(|keyword| is_word(self.peek(1), keyword));
        if self.at_words(&["MODEL"]) && named {
            self.at += 1;
        }
    }

    pub(crate) fn string(&mut self, what: &str) -> Result<String, ParseError> {
        match self.peek(0).and_then(|token| string_value(&token.token)) {
            Some(value) => {
                self.at += 1;
                Ok(value.to_owned())
            }
            None => Err(self.unexpected(what)),
        }
    }

    /// A whole number without a sign.
    pub(crate) fn integer(&mut self, what: &'static str) -> Result<u64, ParseError> {
        let Some(Token::Number(digits, _)) = self.peek(0).map(|token| &token.token) else {
            return Err(self.unexpected(what));
        };
        match digits.replace('_', "").parse() {
            Ok(number) => {
                self.at += 1;
                Ok(number)
            }
            Err(_) => Err(self.out_of_range(digits, what)),
        }
    }

    pub(crate) fn out_of_range(&self, value: &str, expected: &'static str) -> ParseError {
        let kind = ParseErrorKind::OutOfRange {
            value: value.to_owned(),
            expected,
        };
        ParseError::new(kind, Some(self.start()))
    }

    /// Reads all that is left with sqlparser.
    pub(crate) fn parse_rest<T>(
        &self,
        read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<T, ParseError> {
        let lenient = self.grammar != Grammar::Postgres;
        let dialect = AuspexDialect::new(lenient, self.rest()).until(&self.stop);
        let mut parser = Parser::new(&dialect)
            .with_tokens_with_locations(self.rest().to_vec())
            .with_recursion_limit(RECURSION_LIMIT);
        let outcome = read(&mut parser);
        self.stop.check()?;
        let value = outcome.map_err(|error| self.reword(error))?;
        match parser.peek_token_ref() {
            token if token.token == Token::EOF => Ok(value),
            token => Err(ParseError::at_token(self.text, token, "")),
        }
    }

    /// sqlparser's error about the tokens that are left.
    pub(crate) fn reword(&self, error: ParserError) -> ParseError {
        ParseError::from_sqlparser(error, self.text, self.rest(), |expected| {
            self.unexpected_end(expected)
        })
    }

    /// Replaces an error by a more exact one from within a sub-query.
    ///
    /// sqlparser tries `FROM (SELECT …)` first as a query and then as a join, and reports the second failure. So the
    /// bracketed query around the reported place is read again on its own, and so on inwards.
    pub(crate) fn refine(&self, mut error: ParseError) -> ParseError {
        let mut from = 0;
        while let Some(position) = error.position {
            let Some((open, close)) = innermost_query(self.rest(), from, position) else {
                break;
            };
            let mut inside = Cursor {
                at: self.at + open + 1,
                ..self.clone()
            };
            let inside = inside.take(close - open - 1);
            match inside.parse_rest(|parser| parser.parse_query()) {
                Err(inner) => {
                    error = ParseError {
                        hint: error.hint,
                        ..inner
                    }
                }
                Ok(_) => break,
            }
            from = open + 1;
        }
        error
    }
}

/// The innermost `(SELECT …)` or `(WITH …)` from `from` on that holds the byte `position`.
fn innermost_query(
    tokens: &[TokenWithSpan],
    from: usize,
    position: usize,
) -> Option<(usize, usize)> {
    let last = tokens
        .iter()
        .rposition(|token| span_of(token.span).start <= position)?;
    (from..last).rev().find_map(|open| {
        let is_query = is_token(tokens, open, &Token::LParen)
            && (is_word(tokens.get(open + 1), "SELECT") || is_word(tokens.get(open + 1), "WITH"));
        let close = is_query.then(|| closing(tokens, open)).flatten()?;
        (close > last).then_some((open, close))
    })
}
