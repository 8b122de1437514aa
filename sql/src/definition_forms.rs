//! What PostgreSQL says to change a definition, and sqlparser does not read: identity columns, how values are kept, indexes
//! that go.
//!
//! In: the tokens of a statement; out: tokens that say the same in its words. Never looks at what there is.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, is_token, is_word};
use crate::parser::identity_changes_as_defaults;
use crate::postgres_forms::made;

/// What `ALTER COLUMN c DROP IDENTITY` becomes: a default of a name that no client's text can bring into a
/// statement.
pub const DROP_IDENTITY: &str = "\u{1e}no identity";
/// See [`DROP_IDENTITY`]: with `IF EXISTS`.
pub const DROP_IDENTITY_IF_EXISTS: &str = "\u{1e}no identity if there is one";

/// What `ALTER COLUMN c SET STORAGE …` and `SET STATISTICS …` become: the same with a name that says that nothing changes.
pub const KEPT_ANYHOW: &str = "\u{1e}kept anyhow";

/// Settles the forms.
pub(crate) fn settle(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    dropped_identities(identity_changes_as_defaults(concurrent_drops(tokens)))
}

/// `DROP INDEX CONCURRENTLY …` as `DROP INDEX … PURGE`, a word that means nothing else there.
fn concurrent_drops(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if are_words(&tokens, 0, &["DROP", "INDEX", "CONCURRENTLY"]) {
        let word = tokens.remove(2);
        if tokens.len() > 2 {
            tokens.push(made(Token::make_keyword("PURGE"), &word));
        }
    }
    tokens
}

/// `ALTER TABLE … ALTER [COLUMN] c DROP IDENTITY [IF EXISTS]` as a `SET DEFAULT` that means it, and so what says how values of
/// a column are kept.
fn dropped_identities(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !are_words(&tokens, 0, &["ALTER", "TABLE"]) {
        return tokens;
    }
    let mut settled = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(2).and_then(|before| tokens.get(before));
        let is_column = is_word(before, "ALTER") || is_word(before, "COLUMN");
        match meaning_of(&tokens, at).filter(|_| is_column) {
            Some((n_tokens, name)) => {
                let meaning = [
                    Token::make_keyword("SET"),
                    Token::make_keyword("DEFAULT"),
                    Token::make_word(name, Some('"')),
                ];
                settled.extend(meaning.map(|token| made(token, &tokens[at])));
                at += n_tokens;
            }
            None => {
                settled.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    settled
}

/// How many tokens drop an identity or say how values are kept, and the name that means it.
fn meaning_of(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, &'static str)> {
    match are_words(tokens, at, &["DROP", "IDENTITY"]) {
        true => Some(match are_words(tokens, at + 2, &["IF", "EXISTS"]) {
            true => (4, DROP_IDENTITY_IF_EXISTS),
            false => (2, DROP_IDENTITY),
        }),
        false => kept_anyhow(tokens, at).map(|n_tokens| (n_tokens, KEPT_ANYHOW)),
    }
}

/// How many tokens say how a column's values are kept or counted, as dumps do: `SET STORAGE EXTERNAL`, `SET STATISTICS 100`.
fn kept_anyhow(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    const STORAGE: [&str; 4] = ["PLAIN", "EXTERNAL", "EXTENDED", "MAIN"];
    const COMPRESSION: [&str; 3] = ["PGLZ", "LZ4", "DEFAULT"];
    let is_one_of = |words: &[&str]| words.iter().any(|word| is_word(tokens.get(at + 2), word));
    let is_number = |at: usize| {
        let token = tokens.get(at).map(|token| &token.token);
        matches!(token, Some(Token::Number(..)))
    };
    let sets = |what: &str| are_words(tokens, at, &["SET", what]);
    if sets("STORAGE") && is_one_of(&STORAGE) || sets("COMPRESSION") && is_one_of(&COMPRESSION) {
        return Some(3);
    }
    if !sets("STATISTICS") {
        return None;
    }
    let is_negative = is_token(tokens, at + 2, &Token::Minus) && is_number(at + 3);
    match is_negative {
        true => Some(4),
        false => is_number(at + 2).then_some(3),
    }
}
