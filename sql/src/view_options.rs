//! Options of views as PostgreSQL spells them, settled on the tokens: `WITH (security_barrier)`, `ALTER VIEW … SET (…)`
//! and `RESET (…)`.
//!
//! In: tokens of one statement; out: tokens that sqlparser reads, in which each option has a value. Rewritten tokens keep
//! the place of what they replace.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_token, is_word};

/// Settles the options.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if are_words(&tokens, 0, &["ALTER", "VIEW"]) {
        let sets = |at: &usize| {
            let is_action = ["SET", "RESET"]
                .iter()
                .any(|word| is_word(tokens.get(*at), word));
            is_action && is_token(&tokens, at + 1, &Token::LParen)
        };
        let Some(at) = (3..tokens.len()).find(sets) else {
            return tokens;
        };
        // What an option is set back to.
        let default = match is_word(tokens.get(at), "RESET") {
            true => "false",
            false => "true",
        };
        // The parser knows options of tables, which it reads alike.
        tokens[1].token = Token::make_keyword("TABLE");
        tokens[at].token = Token::make_keyword("SET");
        return valued(tokens, at + 1, default);
    }
    let is_view = |at: &usize| is_word(tokens.get(*at), "VIEW");
    let Some(view) = (1..tokens.len().min(5)).find(is_view) else {
        return tokens;
    };
    if !is_word(tokens.first(), "CREATE") {
        return tokens;
    }
    // Behind AS stands the query, which may begin with WITH.
    let ends = |at: &usize| is_word(tokens.get(*at), "AS") || is_word(tokens.get(*at), "WITH");
    match (view + 2..tokens.len()).find(ends) {
        Some(at) if is_word(tokens.get(at), "WITH") => valued(tokens, at + 1, "true"),
        _ => tokens,
    }
}

/// Options in brackets, of which those that have no value are given one.
fn valued(mut tokens: Vec<TokenWithSpan>, open: usize, value: &str) -> Vec<TokenWithSpan> {
    let Some(close) = closing(&tokens, open) else {
        return tokens;
    };
    for end in (open + 2..=close).rev() {
        let is_end = end == close || tokens[end].token == Token::Comma;
        let begins = end - 2 == open || tokens[end - 2].token == Token::Comma;
        if is_end && begins && matches!(tokens[end - 1].token, Token::Word(_)) {
            let span = tokens[end].span;
            let given = [Token::Eq, Token::make_keyword(value)];
            let given = given.map(|token| TokenWithSpan { token, span });
            tokens.splice(end..end, given);
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use crate::tests::{ast, one};

    #[test]
    fn every_option_has_a_value() {
        for (text, read) in [
            (
                "CREATE VIEW v WITH (security_barrier) AS SELECT 1",
                "CREATE VIEW v WITH (security_barrier = true) AS SELECT 1",
            ),
            (
                "CREATE OR REPLACE VIEW s.v (a) WITH (x = on, security_barrier) AS SELECT 1",
                "CREATE OR REPLACE VIEW s.v (a) WITH (x = on, security_barrier = true) AS SELECT 1",
            ),
            (
                "ALTER VIEW s.v SET (security_barrier, x = 1)",
                "ALTER TABLE s.v SET (security_barrier = true, x = 1)",
            ),
            (
                "ALTER VIEW v RESET (security_barrier)",
                "ALTER TABLE v SET (security_barrier = false)",
            ),
            (
                "CREATE VIEW v AS WITH x AS (SELECT 1) SELECT * FROM x",
                "CREATE VIEW v AS WITH x AS (SELECT 1) SELECT * FROM x",
            ),
        ] {
            assert_eq!(ast(&one(text)).to_string(), read);
        }
    }
}
