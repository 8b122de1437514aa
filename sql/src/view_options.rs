//! Options of views as PostgreSQL spells them, settled on the tokens: `WITH (security_barrier)`, `ALTER VIEW … SET (…)`
//! and `RESET (…)`; `WITH LOCAL CHECK OPTION` at the end is the option `check_option` before the query.
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
    let Some(head) = head_end(&tokens, view) else {
        return tokens;
    };
    let (tokens, has_options) = checked(tokens, head);
    match has_options {
        true => valued(tokens, head + 1, "true"),
        false => tokens,
    }
}

/// Where the options of a view that is being made stand or would stand: at their WITH, or at the AS before the query, which
/// may begin with WITH.
fn head_end(tokens: &[TokenWithSpan], view: usize) -> Option<usize> {
    let ends = |at: &usize| is_word(tokens.get(*at), "AS") || is_word(tokens.get(*at), "WITH");
    (view + 2..tokens.len()).find(ends)
}

/// Makes `WITH [LOCAL | CASCADED] CHECK OPTION` at the end an option; the second value: whether the view has options.
fn checked(mut tokens: Vec<TokenWithSpan>, head: usize) -> (Vec<TokenWithSpan>, bool) {
    let has_options = is_word(tokens.get(head), "WITH");
    let forms: [(&[&str], &str); 3] = [
        (&["WITH", "CHECK", "OPTION"], "cascaded"),
        (&["WITH", "CASCADED", "CHECK", "OPTION"], "cascaded"),
        (&["WITH", "LOCAL", "CHECK", "OPTION"], "local"),
    ];
    let found = forms.into_iter().find_map(|(words, value)| {
        let at = tokens.len().checked_sub(words.len())?;
        (at > head && are_words(&tokens, at, words)).then_some((at, value))
    });
    let Some((at, value)) = found else {
        return (tokens, has_options);
    };
    let span = tokens[at].span;
    tokens.truncate(at);
    let option = [
        Token::make_word("check_option", None),
        Token::Eq,
        Token::make_word(value, None),
    ];
    let (place, added) = match closing(&tokens, head + 1).filter(|_| has_options) {
        Some(close) => {
            let comma = std::iter::once(Token::Comma);
            (close, comma.chain(option).collect::<Vec<_>>())
        }
        None => {
            let open = [Token::make_keyword("WITH"), Token::LParen].into_iter();
            (head, open.chain(option).chain([Token::RParen]).collect())
        }
    };
    let added = added.into_iter();
    let added = added.map(|token| TokenWithSpan { token, span });
    tokens.splice(place..place, added);
    (tokens, true)
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
                "CREATE VIEW v AS SELECT 1 WITH CHECK OPTION",
                "CREATE VIEW v WITH (check_option = cascaded) AS SELECT 1",
            ),
            (
                "CREATE VIEW v WITH (security_barrier) AS SELECT 1 WITH LOCAL CHECK OPTION",
                "CREATE VIEW v WITH (security_barrier = true, check_option = local) AS SELECT 1",
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
