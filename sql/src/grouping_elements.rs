//! Elements of `ROLLUP`, `CUBE` and `GROUPING SETS` that begin with brackets and do not end with them, or are queries.
//!
//! In: tokens of one statement; out: tokens with brackets around such elements.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, is_word};
use crate::postgres_forms::made;
use crate::token_edits::{Groups, with_put};

/// `ROLLUP ((a)::text, (SELECT 1))`: an element that goes on behind its brackets, or is a query, has others around it, since
/// sqlparser takes the first for those of a list.
pub(crate) fn settle(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let opens = |at: usize| {
        ["ROLLUP", "CUBE"]
            .iter()
            .any(|word| is_word(tokens.get(at), word))
            || at > 0 && are_words(&tokens, at - 1, &["GROUPING", "SETS"])
    };
    let lists: Vec<usize> = (0..tokens.len()).filter(|at| opens(*at)).collect();
    if lists.is_empty() {
        return tokens;
    }
    let groups = Groups::of(&tokens);
    let mut put = Vec::new();
    for list in lists {
        let Some(close) = groups.closing(list + 1) else {
            continue;
        };
        for (first, end) in grouped_elements(&tokens, &groups, (list + 2, close)) {
            let is_query = ["SELECT", "WITH"]
                .iter()
                .any(|word| is_word(tokens.get(first + 1), word));
            let closes = groups.closing(first);
            if closes.is_some_and(|close| close + 1 < end || is_query) {
                put.push((first, made(Token::LParen, &tokens[first])));
                put.push((end, made(Token::RParen, &tokens[end - 1])));
            }
        }
    }
    with_put(tokens, put)
}

/// The first token and the end of each element of a list. What stands in brackets is passed over, so that lists within are looked
/// at once.
fn grouped_elements(
    tokens: &[TokenWithSpan],
    groups: &Groups,
    (from, end): (usize, usize),
) -> Vec<(usize, usize)> {
    let mut elements = Vec::new();
    let (mut first, mut at, mut depth) = (from, from, 0_usize);
    while at < end {
        match tokens[at].token {
            Token::LParen => at = groups.closing(at).unwrap_or(at),
            Token::LBracket => depth += 1,
            Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => {
                elements.push((first, at));
                first = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    elements.push((first, end));
    elements
}

#[cfg(test)]
mod tests {
    use crate::tests::{ast, one};

    #[test]
    fn many_elements_are_settled_at_once() {
        let elements = ", (a)::text".repeat(20_000);
        let text = format!("SELECT 1 FROM t GROUP BY ROLLUP (b{elements})");
        let written = ast(&one(&text)).to_string();
        assert_eq!(written.matches("::TEXT").count(), 20_000);
        let lists = ", ROLLUP ((a)::text)".repeat(10_000);
        let text = format!("SELECT 1 FROM t GROUP BY b{lists}");
        let written = ast(&one(&text)).to_string();
        assert_eq!(written.matches("ROLLUP").count(), 10_000);
    }
}
