//! Joins that stand in a join without brackets, `a LEFT JOIN b JOIN c ON b.id = c.id ON a.id = b.id`, with the brackets
//! that sqlparser needs.
//!
//! In: tokens of one statement; out: the same with brackets. An ON belongs to the last JOIN that has none; what was joined
//! between the two is what is joined.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::is_word;

/// A JOIN that has no ON yet.
struct Open {
    /// The brackets around it.
    depth: usize,
    /// What is joined begins here.
    operand: usize,
    /// Whether another JOIN follows what is joined.
    is_joined: bool,
}

/// Puts the brackets.
pub(crate) fn settle(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let brackets = brackets(&tokens);
    if brackets.is_empty() {
        return tokens;
    }
    let mut settled = Vec::with_capacity(tokens.len() + brackets.len());
    let mut brackets = brackets.into_iter().peekable();
    for (at, token) in tokens.into_iter().enumerate() {
        while let Some((_, bracket)) = brackets.next_if(|(place, _)| *place == at) {
            let span = token.span;
            settled.push(TokenWithSpan {
                token: bracket,
                span,
            });
        }
        settled.push(token);
    }
    settled
}

/// The brackets that are missing, each with the token before which it belongs, in order.
fn brackets(tokens: &[TokenWithSpan]) -> Vec<(usize, Token)> {
    let (mut brackets, mut open, mut depth) = (Vec::new(), Vec::<Open>::new(), 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                open.retain(|join| join.depth < depth);
                depth = depth.saturating_sub(1);
            }
            _ if is_word(Some(token), "JOIN") => {
                if let Some(around) = open.last_mut().filter(|join| join.depth == depth) {
                    around.is_joined = true;
                }
                if has_condition(&tokens[..at]) {
                    open.push(Open {
                        depth,
                        operand: at + 1,
                        is_joined: false,
                    });
                }
            }
            _ if is_word(Some(token), "ON") || is_word(Some(token), "USING") => {
                if let Some(join) = open.pop_if(|join| join.depth == depth)
                    && join.is_joined
                {
                    brackets.push((join.operand, Token::LParen));
                    brackets.push((at, Token::RParen));
                }
            }
            _ => {}
        }
    }
    brackets.sort_by_key(|(place, _)| *place);
    brackets
}

/// Whether the JOIN behind these tokens wants an ON or USING.
fn has_condition(before: &[TokenWithSpan]) -> bool {
    let kinds = ["INNER", "LEFT", "RIGHT", "FULL", "OUTER"];
    let mut words = before.iter().rev();
    let first = words.find(|token| !kinds.iter().any(|kind| is_word(Some(token), kind)));
    !is_word(first, "CROSS") && !is_word(first, "NATURAL")
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, parse_query};

    fn read(from: &str) -> String {
        let query = parse_query(&format!("SELECT * FROM {from}"), Dialect::Postgres);
        query.unwrap().to_string().split_off("SELECT * FROM ".len())
    }

    #[test]
    fn an_on_belongs_to_the_last_join_that_has_none() {
        for (written, meant) in [
            (
                "a LEFT JOIN b JOIN c ON b.id = c.id ON a.id = b.id WHERE a.id > 1",
                "a LEFT JOIN (b JOIN c ON b.id = c.id) ON a.id = b.id WHERE a.id > 1",
            ),
            (
                "a JOIN b AS x LEFT JOIN c JOIN d ON c.i = d.i ON x.i = c.i JOIN e USING (i) ON a.i = e.i",
                "a JOIN (b AS x LEFT JOIN (c JOIN d ON c.i = d.i) ON x.i = c.i JOIN e USING(i)) ON a.i = e.i",
            ),
            (
                "a LEFT JOIN b CROSS JOIN c ON a.id = b.id",
                "a LEFT JOIN (b CROSS JOIN c) ON a.id = b.id",
            ),
            (
                "a LEFT JOIN b NATURAL LEFT JOIN c USING (id)",
                "a LEFT JOIN (b NATURAL LEFT JOIN c) USING(id)",
            ),
            (
                "(SELECT a.x FROM a JOIN b JOIN c ON b.x = c.x ON a.x = b.x) AS y JOIN d ON d.x = y.x",
                "(SELECT a.x FROM a JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x) AS y JOIN d ON d.x = y.x",
            ),
        ] {
            assert_eq!(read(written), meant);
        }
    }

    #[test]
    fn joins_in_their_order_stay() {
        for text in [
            "a JOIN b ON a.i = b.i LEFT JOIN c ON b.i = c.i",
            "a NATURAL JOIN b JOIN c ON b.i = c.i",
            "a CROSS JOIN b JOIN c USING(i)",
            "a JOIN (SELECT DISTINCT ON (i) i FROM b JOIN c USING(i)) AS d ON a.i = d.i",
        ] {
            assert_eq!(read(text), text);
        }
    }
}
