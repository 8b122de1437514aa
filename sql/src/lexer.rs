//! Tokens with their byte offsets, and the cut of a text into statements.
//!
//! In: a text and the session's dialect; out: one `Piece` per statement, its tokens free of white space and comments.
//! Every token's span is (line 1, column = byte offset + 1), so that any span in sqlparser's tree, and any location
//! in its errors, is a byte offset of the text that was parsed. Never looks at what a statement means.

use std::borrow::Cow;
use std::iter::Peekable;
use std::ops::Range;
use std::vec::IntoIter;

use datafusion::sql::sqlparser::tokenizer::{
    Location, Span as SqlSpan, Token, TokenWithSpan, Tokenizer, Whitespace, Word as SqlWord,
};

use crate::adjacent_literals;
use crate::dialect::{AuspexDialect, Dialect, GoogleSqlLexis};
use crate::error::ParseError;
use crate::googlesql::evidence;
use crate::limits::too_deep;
use crate::long_texts::{Chunk, Cuts, Room, SHORT_TEXT_BYTES};
use crate::operator_comments;
use crate::statement::Span;

/// The byte range that a span of sqlparser's tree stands for, in the text that was parsed.
pub fn span_of(span: SqlSpan) -> Span {
    let byte = |location: Location| {
        usize::try_from(location.column)
            .unwrap_or(usize::MAX)
            .saturating_sub(1)
    };
    Span {
        start: byte(span.start),
        end: byte(span.end),
    }
}

/// The reverse of [`span_of`].
pub(crate) fn sql_span(span: Span) -> SqlSpan {
    let location = |byte: usize| Location {
        line: 1,
        column: byte as u64 + 1,
    };
    SqlSpan {
        start: location(span.start),
        end: location(span.end),
    }
}

/// Tokens of one statement, whose spans count from its first byte.
pub(crate) fn counted_from(start: usize, mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for token in &mut tokens {
        let span = span_of(token.span);
        token.span = sql_span(Span {
            start: span.start.saturating_sub(start),
            end: span.end.saturating_sub(start),
        });
    }
    tokens
}

/// How a statement is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// Plain PostgreSQL.
    Postgres,
    /// The union; `"x"` is a string in `OPTIONS` and `STRUCT` only.
    Lenient,
    /// The union; `"x"` is a string everywhere.
    GoogleSql,
}

/// The tokens of one statement, and how to read them.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) tokens: Vec<TokenWithSpan>,
    pub(crate) grammar: Grammar,
    pub(crate) span: Span,
}

/// Cuts a text at its semicolons. Statements without a token are left out.
pub(crate) fn split(text: &str, dialect: Dialect) -> Result<Vec<Piece>, ParseError> {
    split_within(text, dialect, &mut Room::new(&mut |_| true))
}

/// The same; of a long text, room is asked for what is made of it.
pub(crate) fn split_within(
    text: &str,
    dialect: Dialect,
    room: &mut Room<'_>,
) -> Result<Vec<Piece>, ParseError> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut from = 0;
    // One round reads the whole rest; another follows only where GoogleSQL's quoting moved a statement's end.
    loop {
        room.n_tokens = n_tokens(&pieces);
        let (tokens, failure) = lex(text, from, dialect == Dialect::GoogleSql, room);
        room.n_tokens += tokens.len();
        let mut resume = None;
        let mut before = from;
        let mut tokens = tokens.into_iter().peekable();
        while tokens.peek().is_some() {
            let statement = up_to_semicolon(&mut tokens);
            let semicolon = tokens.next().map(|token| span_of(token.span).end);
            let broken = semicolon.is_none() && failure.is_some();
            if !statement.is_empty() || broken {
                let start = statement
                    .first()
                    .map_or(before, |token| span_of(token.span).start);
                let piece = Piece::new(statement, dialect, start);
                if dialect == Dialect::Auto && needs_googlesql(text, &piece, broken) {
                    let (piece, next) = googlesql_piece(text, start, room)?;
                    let agreed = !broken && next == semicolon;
                    pieces.push(piece);
                    if !agreed {
                        resume = Some(next.unwrap_or(text.len()));
                        break;
                    }
                } else if !broken {
                    pieces.push(piece);
                }
            }
            before = semicolon.unwrap_or(before);
        }
        match (resume, failure) {
            (Some(next), _) => from = next,
            (None, Some(failure)) => return Err(failure),
            (None, None) => break,
        }
    }
    pieces.retain(|piece| !piece.tokens.is_empty());
    Ok(pieces)
}

/// Takes the tokens of one statement. They are moved: copies of those of a long one would take as much again.
fn up_to_semicolon(tokens: &mut Peekable<IntoIter<TokenWithSpan>>) -> Vec<TokenWithSpan> {
    let mut statement = Vec::new();
    while let Some(token) = tokens.next_if(|token| token.token != Token::SemiColon) {
        statement.push(token);
    }
    statement
}

/// The tokens of all pieces.
pub(crate) fn n_tokens(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.tokens.len()).sum()
}

impl Piece {
    fn new(tokens: Vec<TokenWithSpan>, dialect: Dialect, start: usize) -> Self {
        let end = tokens.last().map_or(start, |token| span_of(token.span).end);
        let grammar = evidence(&tokens, dialect);
        Self {
            tokens,
            grammar,
            span: Span { start, end },
        }
    }
}

/// Whether a statement with backticks holds text that GoogleSQL cuts into tokens otherwise than PostgreSQL.
fn needs_googlesql(text: &str, piece: &Piece, broken: bool) -> bool {
    if broken {
        return text[piece.span.start..].contains('`');
    }
    let statement = &text[piece.span.start..piece.span.end];
    piece.grammar == Grammar::GoogleSql
        && ["\\", "#", "'''", "\"\"", "r'", "R'", "r\"", "R\""]
            .iter()
            .any(|mark| statement.contains(mark))
}

/// Reads one statement from `start` by GoogleSQL's quoting; also gives the offset behind its semicolon.
fn googlesql_piece(
    text: &str,
    start: usize,
    room: &mut Room<'_>,
) -> Result<(Piece, Option<usize>), ParseError> {
    let (mut tokens, failure) = lex(text, start, true, room);
    let semicolon = tokens
        .iter()
        .position(|token| token.token == Token::SemiColon);
    if let (None, Some(failure)) = (semicolon, failure) {
        return Err(failure);
    }
    let next = semicolon.map(|at| span_of(tokens[at].span).end);
    tokens.truncate(semicolon.unwrap_or(tokens.len()));
    Ok((Piece::new(tokens, Dialect::GoogleSql, start), next))
}

/// Reads tokens from `base` on, as far as possible: a long text chunk by chunk, which gives what reading it whole would.
fn lex(
    text: &str,
    base: usize,
    googlesql: bool,
    room: &mut Room<'_>,
) -> (Vec<TokenWithSpan>, Option<ParseError>) {
    // Each blank would be a token.
    let is_blank = |c: char| c.is_ascii_whitespace();
    let rest = text[base..].trim_end_matches(is_blank);
    let read = &text[..base + rest.len()];
    let mut from = read.len() - rest.trim_start_matches(is_blank).len();
    let lexical = |(at, message): (usize, String)| ParseError::lexical(text, at, &message);
    let mut tokens = Vec::new();
    if read.len() - from <= SHORT_TEXT_BYTES {
        let (_, failure) = lex_chunk(read, from..read.len(), googlesql, &mut tokens);
        return (tokens, failure.map(lexical));
    }
    let mut cuts = Some(Cuts::default());
    while from < read.len() {
        let chunk = match &mut cuts {
            Some(cuts) => cuts.next(read, from, googlesql),
            None => Chunk::rest(read, from),
        };
        if let Some(place) = chunk.too_deep {
            return (tokens, Some(too_deep(place)));
        }
        if let Err(stopped) = room.lex(tokens.len(), chunk.n_tokens) {
            return (tokens, Some(stopped));
        }
        let (read_to, failure) = lex_chunk(read, from..chunk.end, googlesql, &mut tokens);
        if chunk.end == read.len() {
            return (tokens, failure.map(lexical));
        }
        if read_to < chunk.end {
            // The cut was in a quote or a comment.
            cuts = None;
        }
        from = read_to;
    }
    (tokens, None)
}

/// Adds the tokens of a part of a text; tells the byte from which on it is not read, and where and why it cannot be.
fn lex_chunk(
    text: &str,
    chunk: Range<usize>,
    googlesql: bool,
    tokens: &mut Vec<TokenWithSpan>,
) -> (usize, Option<(usize, String)>) {
    let part = &text[chunk.clone()];
    let part = match googlesql {
        true => Cow::Borrowed(part),
        false => adjacent_literals::with_escapes(part),
    };
    let mut buffer = Vec::new();
    let outcome = if googlesql {
        Tokenizer::new(&GoogleSqlLexis, &part).tokenize_with_location_into_buf(&mut buffer)
    } else {
        let part = operator_comments::blanked(&part);
        Tokenizer::new(&AuspexDialect::new(false, &[]), &part)
            .tokenize_with_location_into_buf(&mut buffer)
    };
    let mut walker = Walker {
        text: &part,
        base: chunk.start,
        byte: 0,
        line: 1,
        column: 1,
    };
    // A comment up to the end of its line may go on behind the chunk.
    let behind = &text[chunk.end..];
    let goes_on = !behind.is_empty() && !behind.starts_with(['\n', '\r']);
    let is_cut_off = goes_on && outcome.is_ok() && ends_in_comment(&buffer);
    let n_whole = buffer.len() - usize::from(is_cut_off);
    tokens.reserve(n_whole / 2 + 1);
    for TokenWithSpan { token, span } in buffer.into_iter().take(n_whole) {
        let start = walker.seek(span.start);
        let end = walker.seek(span.end);
        match token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::CustomBinaryOperator(symbol) => operator(&symbol, start, tokens),
            token => tokens.push(TokenWithSpan {
                token,
                span: sql_span(Span { start, end }),
            }),
        }
    }
    // What cannot be read starts behind the last token.
    let behind = walker.base + walker.byte;
    match outcome {
        Ok(()) if is_cut_off => (behind, None),
        Ok(()) => (chunk.end, None),
        Err(error) => {
            // The tokenizer may report the end of the text.
            let reported = walker.seek(error.location);
            let at = match reported >= chunk.end {
                true => behind,
                false => reported,
            };
            (behind, Some((at, error.message)))
        }
    }
}

/// Whether the last token is a comment that the end of a line would end.
fn ends_in_comment(tokens: &[TokenWithSpan]) -> bool {
    let last = tokens.last().map(|token| &token.token);
    let Some(Token::Whitespace(Whitespace::SingleLineComment { comment, .. })) = last else {
        return false;
    };
    !comment.ends_with('\n')
}

/// Adds an operator of several characters, without the signs at its end: as in PostgreSQL `a>-1` is `a > -1`, and only an
/// operator with a character that those of arithmetic lack may end in a sign.
fn operator(symbol: &str, start: usize, tokens: &mut Vec<TokenWithSpan>) {
    const OF_OTHERS: [char; 10] = ['~', '!', '@', '#', '%', '^', '&', '|', '`', '?'];
    let first = symbol.chars().next().map_or(0, char::len_utf8);
    let n_kept = match symbol.contains(OF_OTHERS) {
        true => symbol.len(),
        false => symbol.trim_end_matches(['+', '-']).len().max(first),
    };
    let (kept, signs) = symbol.split_at(n_kept);
    let mut push = |token, start, length| {
        let end = start + length;
        let span = sql_span(Span { start, end });
        tokens.push(TokenWithSpan { token, span });
    };
    let known = Tokenizer::new(&AuspexDialect::new(false, &[]), kept).tokenize();
    let token = match known.map(<[Token; 1]>::try_from) {
        Ok(Ok([token])) => token,
        _ => Token::CustomBinaryOperator(kept.to_owned()),
    };
    push(token, start, n_kept);
    for (idx, sign) in signs.chars().enumerate() {
        let token = match sign {
            '+' => Token::Plus,
            _ => Token::Minus,
        };
        push(token, start + n_kept + idx, 1);
    }
}

/// Turns ascending (line, column in characters) into byte offsets in one walk.
struct Walker<'a> {
    text: &'a str,
    base: usize,
    byte: usize,
    line: u64,
    column: u64,
}

impl Walker<'_> {
    fn seek(&mut self, to: Location) -> usize {
        for c in self.text[self.byte..].chars() {
            if (self.line, self.column) >= (to.line, to.column) {
                break;
            }
            self.byte += c.len_utf8();
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.base + self.byte
    }
}

/// The unquoted word at a token, as written.
pub(crate) fn bare_word(token: Option<&TokenWithSpan>) -> Option<&SqlWord> {
    match token.map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word),
        _ => None,
    }
}

/// Whether the token is the unquoted word `keyword`, in any case.
pub(crate) fn is_word(token: Option<&TokenWithSpan>, keyword: &str) -> bool {
    bare_word(token).is_some_and(|word| word.value.eq_ignore_ascii_case(keyword))
}

/// Whether the tokens from `at` on are these unquoted words.
pub(crate) fn are_words(tokens: &[TokenWithSpan], at: usize, keywords: &[&str]) -> bool {
    keywords
        .iter()
        .enumerate()
        .all(|(n, keyword)| is_word(tokens.get(at + n), keyword))
}

/// Whether the token at `at` is `wanted`.
pub(crate) fn is_token(tokens: &[TokenWithSpan], at: usize, wanted: &Token) -> bool {
    tokens.get(at).is_some_and(|token| token.token == *wanted)
}

/// The `)` that closes the `(` at `open`; `None` if no `(` stands there, or it is never closed.
pub(crate) fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    if !is_token(tokens, open, &Token::LParen) {
        return None;
    }
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The `(` of the group that the last token closes.
pub(crate) fn last_group(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().rev() {
        match token.token {
            Token::RParen => depth += 1,
            Token::LParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The value of a string token of any quoting that is a string in every grammar.
pub(crate) fn string_value(token: &Token) -> Option<&str> {
    match token {
        Token::SingleQuotedString(value)
        | Token::EscapedStringLiteral(value)
        | Token::NationalStringLiteral(value)
        | Token::UnicodeStringLiteral(value) => Some(value),
        Token::DollarQuotedString(value) => Some(&value.value),
        _ => None,
    }
}
