//! Many rows of an INSERT, read in pieces: the tokens of each are gone when the next is read, and each row has room for its own
//! values alone, so that tokens and tree together take half of what they would.
//!
//! In: the tokens of a statement; out: those without the rows of VALUES behind the first one, and these rows, which are then put
//! into the tree of the statement. The tree and the errors are those of the statement read at once.

use std::ops::{ControlFlow, Range};
use std::vec::IntoIter;

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Parens, Query, SetExpr, Values, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Span as SqlSpan, Token, TokenWithSpan};

use crate::error::ParseError;
use crate::googlesql::{normalize_types, settle};
use crate::lexer::{Grammar, closing, is_token, is_word, span_of};
use crate::parser::cursor::Cursor;
use crate::statement::Statement;

/// Rows of fewer tokens are read at once.
const MIN_TOKENS: usize = 32 << 10;

/// About how many tokens are read at once.
const PIECE_TOKENS: usize = 8 << 10;

type Row = Parens<Vec<Expr>>;

/// Rows that were taken out of a statement, comma by comma.
pub(super) struct RowPieces {
    /// The bracket that opens the row before them.
    first: SqlSpan,
    /// The place of the first of their tokens among those of the statement.
    start: usize,
    n_rows: usize,
    pieces: IntoIter<Vec<TokenWithSpan>>,
}

/// Where such rows are among the tokens of a statement.
struct Found {
    first: SqlSpan,
    tokens: Range<usize>,
    n_rows: usize,
}

/// How many tokens of a statement are such rows.
pub(super) fn n_tokens(tokens: &[TokenWithSpan]) -> usize {
    found(tokens).map_or(0, |found| found.tokens.len())
}

/// The tokens of a statement without such rows, and these.
pub(super) fn taken_out(mut tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, Option<RowPieces>) {
    let Some(found) = found(&tokens) else {
        return (tokens, None);
    };
    let tail = tokens.split_off(found.tokens.end);
    let mut tokens = tokens.into_iter();
    let mut kept: Vec<TokenWithSpan> = tokens.by_ref().take(found.tokens.start).collect();
    kept.extend(tail);
    let rows = RowPieces {
        first: found.first,
        start: found.tokens.start,
        n_rows: found.n_rows,
        pieces: pieces(tokens).into_iter(),
    };
    (kept, Some(rows))
}

/// Looks for rows behind the first of VALUES. What a WITH names may be read in them, which is settled in the whole tree.
fn found(tokens: &[TokenWithSpan]) -> Option<Found> {
    if tokens.len() < MIN_TOKENS || !is_word(tokens.first(), "INSERT") {
        return None;
    }
    for (at, token) in tokens.iter().enumerate() {
        if is_word(Some(token), "WITH") {
            return None;
        }
        if is_word(Some(token), "VALUES")
            && let Some(found) = rows_at(tokens, at + 1)
        {
            return Some(found);
        }
    }
    None
}

/// The rows behind the one that opens at a place, if they are many.
fn rows_at(tokens: &[TokenWithSpan], open: usize) -> Option<Found> {
    let start = closing(tokens, open)? + 1;
    let (mut end, mut n_rows) = (start, 0);
    while is_token(tokens, end, &Token::Comma) && is_token(tokens, end + 1, &Token::LParen) {
        end = closing(tokens, end + 1)? + 1;
        n_rows += 1;
    }
    let is_last = !is_token(tokens, end, &Token::Comma);
    (is_last && end - start >= MIN_TOKENS).then(|| Found {
        first: tokens[open].span,
        tokens: start..end,
        n_rows,
    })
}

/// Rows, each behind its comma, in pieces of whole rows.
fn pieces(tokens: impl Iterator<Item = TokenWithSpan>) -> Vec<Vec<TokenWithSpan>> {
    let mut pieces = Vec::new();
    let (mut piece, mut depth) = (Vec::new(), 0_usize);
    for token in tokens {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends_row = depth == 0 && token.token == Token::RParen;
        piece.push(token);
        if ends_row && piece.len() >= PIECE_TOKENS {
            piece.shrink_to_fit();
            pieces.push(std::mem::take(&mut piece));
        }
    }
    pieces.push(piece);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

impl RowPieces {
    /// Of an error in the rest of the statement and those in the rows the first one.
    pub(super) fn first_error(self, error: ParseError, cursor: &Cursor<'_>) -> ParseError {
        let is_before = |position: usize| position <= span_of(self.first).start;
        if error.position.is_some_and(is_before) {
            return error;
        }
        let read = self.read(cursor, |_| ());
        read.err().unwrap_or(error)
    }

    /// Whether a statement has the row that stands before these.
    pub(super) fn belong_in(&self, statement: &Statement) -> bool {
        match statement {
            Statement::Sql(statement) => match statement.as_ref() {
                SqlStatement::Statement(statement) => {
                    statement.visit(&mut Finder(self.first)).is_break()
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Puts the rows where they belong.
    pub(super) fn put_into(
        self,
        statement: &mut Statement,
        cursor: &Cursor<'_>,
    ) -> Result<(), ParseError> {
        let first = self.first;
        // One place for all rather than room for twice as many.
        let mut rows = Vec::with_capacity(self.n_rows + 1);
        self.read(cursor, |piece| rows.extend(piece))?;
        if let Statement::Sql(statement) = statement
            && let SqlStatement::Statement(statement) = statement.as_mut()
        {
            let _ = VisitMut::visit(statement, &mut Filler(first, rows));
        }
        Ok(())
    }

    /// The tokens of a statement with those of the rows.
    pub(super) fn put_back(self, others: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
        let (before, behind) = others.split_at(self.start.min(others.len()));
        let mut tokens = before.to_vec();
        tokens.extend(self.pieces.flatten());
        tokens.extend_from_slice(behind);
        tokens
    }

    /// Reads the rows piece by piece.
    fn read(self, cursor: &Cursor<'_>, mut each: impl FnMut(Vec<Row>)) -> Result<(), ParseError> {
        for mut tokens in self.pieces {
            // The comma before the first row.
            tokens.remove(0);
            let end = tokens.last().map_or(0, |token| span_of(token.span).end);
            let piece = Cursor::new(cursor.text, &tokens, cursor.grammar, end).until(&cursor.stop);
            let read = piece.parse_rest(|parser| parser.parse_values(false, false));
            let mut values = read.map_err(|error| piece.refine(error))?;
            if cursor.grammar == Grammar::GoogleSql {
                settle(&mut values);
            }
            normalize_types(&mut values);
            each(values.rows.into_iter().map(fitted).collect());
        }
        Ok(())
    }
}

/// A row without room for more values than it has: one of two values has room for four.
fn fitted(mut row: Row) -> Row {
    let mut content = Vec::with_capacity(row.content.len());
    content.append(&mut row.content);
    row.content = content;
    row
}

/// Whether the first of some rows opens with a bracket.
fn begins_with(values: &Values, bracket: SqlSpan) -> bool {
    let first = values.rows.first();
    first.is_some_and(|row| row.opening_token.0.span == bracket)
}

/// Breaks off at the rows of which the first opens with a bracket.
struct Finder(SqlSpan);

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        match query.body.as_ref() {
            SetExpr::Values(values) if begins_with(values, self.0) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Adds rows to them.
struct Filler(SqlSpan, Vec<Row>);

impl VisitorMut for Filler {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        match query.body.as_mut() {
            SetExpr::Values(values) if begins_with(values, self.0) => {
                if let Some(first) = values.rows.pop() {
                    self.1.insert(0, first);
                }
                values.rows = std::mem::take(&mut self.1);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
