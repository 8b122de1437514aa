//! Long texts: what they are read in, and what reading them takes.
//!
//! In: a text; out: the ends of its chunks, and numbers of bytes that whoever keeps account of memory is asked for before they
//! are taken. Whoever no longer wants the text is asked all along. Knows quotes and comments well enough to cut between them; where it errs, `lexer` reads on without cuts.

use std::fmt;
use std::sync::Arc;

use crate::adjacent_literals::escaped_end;
use crate::error::{ParseError, ParseErrorKind};
use crate::limits::RECURSION_LIMIT;
use crate::operator_comments::{has_escapes, passed};

/// Texts of so many bytes are read at once, and nobody asks what that takes: a tenth of a second and 30 MB at most.
pub const SHORT_TEXT_BYTES: usize = 64 << 10;
/// Longer ones are read in chunks of about so many, so that blanks and comments of one are gone when the next is read.
const CHUNK_BYTES: usize = 16 << 10;
/// What sqlparser makes of a byte that is a token, as a blank is: 10 MB of blanks took 1.6 to 2.1 GB.
const LEXED_BYTES: usize = 200;
/// What a token takes while forms of them are made of one another: 88 bytes in either, and those of its text.
const TOKEN_BYTES: usize = 200;
/// What a token takes until its statement is read, all forms of the tokens and the syntax tree together: an INSERT of 500,000
/// rows `(1,2)`, which are 3,000,000 tokens, took 1,380 MB when it was read at once.
const READ_BYTES: usize = 480;
/// The same of rows that are read in pieces: the tokens of a piece are gone when the next is read, and each row has room for its
/// own values alone. Every third token of `(-1,-2)` is two expressions of 328 bytes.
const ROW_BYTES: usize = 250;
/// What is left of that in the syntax tree, where every second token is a value of some 330 bytes.
const KEPT_BYTES: usize = 180;

/// Who is told of all bytes that the reading of a text takes, before it takes them; `false` ends it.
pub(crate) type Asked<'a> = &'a mut dyn FnMut(usize) -> bool;

/// Tells whether a text that is being read is still wanted; asked often, from any thread.
#[derive(Clone, Default)]
pub struct Stop(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Stop {
    /// The reading ends once this is `true`.
    pub fn when(is_stopped: impl Fn() -> bool + Send + Sync + 'static) -> Stop {
        Stop(Some(Arc::new(is_stopped)))
    }

    /// Whether nobody wants the text any more.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.as_ref().is_some_and(|is_stopped| is_stopped())
    }

    /// Error: `Stopped`.
    pub(crate) fn check(&self) -> Result<(), ParseError> {
        match self.is_asked() {
            true => Err(ParseError::new(ParseErrorKind::Stopped, None)),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.0.is_some()).finish()
    }
}

/// The account of what one text takes.
pub(crate) struct Room<'a> {
    asked: Asked<'a>,
    /// The tokens that are there beside those that are being made.
    pub(crate) n_tokens: usize,
}

impl<'a> Room<'a> {
    pub(crate) fn new(asked: Asked<'a>) -> Room<'a> {
        Room { asked, n_tokens: 0 }
    }

    /// So many tokens have been made, and a chunk is read that may be so many more, blanks among them.
    pub(crate) fn lex(&mut self, n_made: usize, n_more: usize) -> Result<(), ParseError> {
        let n_made = self.n_tokens.saturating_add(n_made);
        let lexed_bytes = n_more.saturating_mul(LEXED_BYTES);
        let token_bytes = n_made.saturating_mul(TOKEN_BYTES);
        self.ask(token_bytes.saturating_add(lexed_bytes))
    }

    /// The statements of so many tokens are read, and so many others are rows that are read in pieces.
    pub(crate) fn parse(&mut self, n_tokens: usize, n_of_rows: usize) -> Result<(), ParseError> {
        let row_bytes = n_of_rows.saturating_mul(ROW_BYTES);
        self.ask(
            n_tokens
                .saturating_mul(READ_BYTES)
                .saturating_add(row_bytes),
        )
    }

    /// Nothing is left but the statements of so many tokens.
    pub(crate) fn keep(&mut self, n_tokens: usize) -> Result<(), ParseError> {
        self.ask(n_tokens.saturating_mul(KEPT_BYTES))
    }

    fn ask(&mut self, n_bytes: usize) -> Result<(), ParseError> {
        match (self.asked)(n_bytes) {
            true => Ok(()),
            false => Err(ParseError::new(ParseErrorKind::Stopped, None)),
        }
    }
}

/// What a long text is cut by, from its start to its end.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// Brackets that are open.
    depth: usize,
}

/// A part of a text that no quote and no comment reaches over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The byte behind it.
    pub(crate) end: usize,
    /// No more tokens can be in it, blanks counted.
    pub(crate) n_tokens: usize,
    /// Where brackets become too many.
    pub(crate) too_deep: Option<usize>,
}

impl Cuts {
    /// The chunk of a text that begins at a byte, by the quoting of PostgreSQL or GoogleSQL.
    pub(crate) fn next(&mut self, text: &str, from: usize, googlesql: bool) -> Chunk {
        let bytes = text.as_bytes();
        let mut chunk = Chunk {
            end: from,
            n_tokens: 0,
            too_deep: None,
        };
        while let Some(&byte) = bytes.get(chunk.end) {
            let may_cut = matches!(byte, b'(' | b')' | b'[' | b']' | b',' | b';')
                || byte.is_ascii_whitespace();
            if may_cut && chunk.end - from >= CHUNK_BYTES {
                break;
            }
            match byte {
                b'(' | b'[' => self.depth += 1,
                b')' | b']' => self.depth = self.depth.saturating_sub(1),
                b';' => self.depth = 0,
                _ => {}
            }
            // Of what GoogleSQL quotes too little is known here to refuse it.
            if self.depth > RECURSION_LIMIT && !googlesql {
                chunk.too_deep = Some(chunk.end);
                break;
            }
            // `E'…'` is passed with what goes on it, whose quotes are escaped too.
            let mut between = Vec::new();
            let is_escaped = !googlesql && byte == b'\'' && has_escapes(bytes, chunk.end);
            let end = match is_escaped {
                true => escaped_end(bytes, chunk.end, &mut between),
                false => passed(bytes, chunk.end, googlesql).map(|(end, _)| end),
            };
            let Some(end) = end else {
                // It never ends, so that it is one token; but that is for the tokenizer to say.
                return Chunk::rest(text, from);
            };
            let n_blanks: usize = between.iter().map(|blanks| blanks.len()).sum();
            chunk.n_tokens += 1 + between.len() + n_blanks;
            chunk.end = end;
        }
        chunk
    }
}

impl Chunk {
    /// All that is left of a text.
    pub(crate) fn rest(text: &str, from: usize) -> Chunk {
        Chunk {
            end: text.len(),
            n_tokens: text.len() - from,
            too_deep: None,
        }
    }
}
