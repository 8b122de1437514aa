//! Forms of PostgreSQL that sqlparser lacks, settled on the tokens: `TABLE t`, `BETWEEN SYMMETRIC`, `int8 ARRAY`,
//! `OVERRIDING SYSTEM VALUE`.
//!
//! In: tokens of one statement; out: tokens that read as the same. Rewritten tokens keep the place of what they replace.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_token, is_word};
use crate::reference::read_name;

/// The call around the lower bound of `BETWEEN SYMMETRIC`, which the planner takes away.
const SYMMETRIC: &str = "between_symmetric";

/// Settles the forms.
pub(crate) fn settle(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    symmetric(overriding(identity_options(array_types(table(tokens)))))
}

/// What `OVERRIDING SYSTEM VALUE` and `OVERRIDING USER VALUE` become: the partition of an INSERT, which PostgreSQL does not
/// have. No text can bring these names into a statement.
pub const OVERRIDING_SYSTEM: &str = "\u{1e}system";
/// See [`OVERRIDING_SYSTEM`].
pub const OVERRIDING_USER: &str = "\u{1e}user";

/// The options of `AS IDENTITY (START WITH 10 INCREMENT BY 5)`, which may come in any order, in the one that is read.
fn identity_options(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const ORDER: [&str; 6] = [
        "INCREMENT",
        "MINVALUE",
        "MAXVALUE",
        "START",
        "CACHE",
        "CYCLE",
    ];
    let opens = (2..tokens.len()).filter(|at| {
        are_words(&tokens, at - 2, &["AS", "IDENTITY"]) && is_token(&tokens, *at, &Token::LParen)
    });
    for open in opens.collect::<Vec<_>>() {
        let Some(close) = closing(&tokens, open) else {
            continue;
        };
        let mut options: Vec<(usize, Vec<TokenWithSpan>)> = Vec::new();
        for at in open + 1..close {
            let rank = |at| ORDER.iter().position(|word| is_word(tokens.get(at), word));
            // `NO CYCLE` begins with the word before.
            let begins = match is_word(tokens.get(at), "NO") {
                true => rank(at + 1),
                false => rank(at).filter(|_| !is_word(tokens.get(at - 1), "NO")),
            };
            if let Some(rank) = begins {
                options.push((rank, Vec::new()));
            }
            match options.last_mut() {
                Some((_, option)) => option.push(tokens[at].clone()),
                None => return tokens,
            }
        }
        options.sort_by_key(|(rank, _)| *rank);
        let sorted = options.into_iter().flat_map(|(_, option)| option);
        tokens.splice(open + 1..close, sorted.collect::<Vec<_>>());
    }
    tokens
}

/// `INSERT INTO t (c) OVERRIDING SYSTEM VALUE` is `INSERT INTO t (c) PARTITION (name)`.
fn overriding(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !is_word(tokens.first(), "INSERT") {
        return tokens;
    }
    let closes = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        before.is_some_and(|token| token.token == Token::RParen)
    };
    for (words, name) in [
        (["OVERRIDING", "SYSTEM", "VALUE"], OVERRIDING_SYSTEM),
        (["OVERRIDING", "USER", "VALUE"], OVERRIDING_USER),
    ] {
        let at = (1..tokens.len()).find(|at| are_words(&tokens, *at, &words) && closes(*at));
        if let Some(at) = at {
            let partition = [
                Token::make_keyword("PARTITION"),
                Token::LParen,
                Token::make_word(name, Some('"')),
                Token::RParen,
            ];
            let partition = partition.map(|token| made(token, &tokens[at]));
            tokens.splice(at..at + 3, partition);
            break;
        }
    }
    tokens
}

fn made(token: Token, at: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan {
        token,
        span: at.span,
    }
}

/// `TABLE t` is `SELECT * FROM t`.
fn table(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !is_word(tokens.first(), "TABLE") || read_name(&tokens, 1).is_none() {
        return tokens;
    }
    let select = [
        Token::make_word("SELECT", None),
        Token::Mul,
        Token::make_word("FROM", None),
    ];
    let select = select.map(|token| made(token, &tokens[0]));
    tokens.splice(0..1, select);
    tokens
}

/// A column of the type `int8 ARRAY` or `int8 ARRAY[3]` has the type `int8[]`.
fn array_types(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let defines = |token| ["CREATE", "ALTER"].iter().any(|word| is_word(token, word));
    if !defines(tokens.first()) {
        return tokens;
    }
    const BEHIND: [&str; 6] = ["NOT", "NULL", "DEFAULT", "PRIMARY", "UNIQUE", "CHECK"];
    let mut at = 2;
    // A query behind AS may call a column so.
    while at < tokens.len() && !is_word(tokens.get(at), "AS") {
        let next = tokens.get(at + 1);
        let has_bounds = next.is_some_and(|next| next.token == Token::LBracket);
        let ends = next.is_none_or(|next| match next.token {
            Token::Comma | Token::RParen | Token::SemiColon | Token::EOF => true,
            _ => BEHIND.iter().any(|word| is_word(Some(next), word)),
        });
        let is_type = matches!(tokens[at - 1].token, Token::Word(_) | Token::RParen)
            && !is_word(tokens.get(at - 1), "DEFAULT");
        if is_type && is_word(tokens.get(at), "ARRAY") && (ends || has_bounds) {
            let close = made(Token::RBracket, &tokens[at]);
            let open = made(Token::LBracket, &tokens[at]);
            let brackets = if has_bounds {
                vec![]
            } else {
                vec![open, close]
            };
            tokens.splice(at..=at, brackets);
        }
        at += 1;
    }
    tokens
}

/// `x BETWEEN SYMMETRIC a AND b` is `x BETWEEN between_symmetric(a) AND b`.
fn symmetric(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        if are_words(&tokens, at, &["BETWEEN", "SYMMETRIC"])
            && let Some(end) = bound_end(&tokens, at + 2)
        {
            let close = made(Token::RParen, &tokens[end]);
            tokens.insert(end, close);
            let open = made(Token::LParen, &tokens[at + 1]);
            tokens[at + 1].token = Token::make_word(SYMMETRIC, None);
            tokens.insert(at + 2, open);
        }
        at += 1;
    }
    tokens
}

/// The `AND` behind the lower bound, in which none can stand outside of brackets.
fn bound_end(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.checked_sub(1)?,
            _ if depth == 0 && is_word(Some(token), "AND") => return (at > from).then_some(at),
            _ => {}
        }
    }
    None
}
