//! Forms of PostgreSQL and Delta Lake that sqlparser lacks, settled on the tokens: `int8 ARRAY`, `ABORT`,
//! `OPERATOR(pg_catalog.=) ANY`, `OVERRIDING SYSTEM VALUE`, `DROP IDENTITY`, the short actions of MERGE,
//! `substring(a SIMILAR b ESCAPE c)`, `UNSET TBLPROPERTIES`, `ROLLUP ((a)::text)`, `COMMENT ON … IS $$text$$`.
//!
//! In: tokens of one statement; out: tokens that read as the same. Rewritten tokens keep the place of what they replace.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::bracketed_queries;
use crate::definition_forms;
use crate::distinct_groups;
use crate::grouping_elements;
use crate::lexer::{are_words, closing, is_token, is_word};
use crate::reference::read_name;
use crate::row_tests;
use crate::table_queries;
use crate::token_edits::{Groups, with_put, without};

/// Settles the forms.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    quote_dollar_texts(&mut tokens);
    let tokens = merge_actions(definition_forms::settle(abort(operators(tokens))));
    let tokens = versions_first(unset_properties(tokens));
    let tokens = distinct_groups::settle(grouping_elements::settle(tokens));
    let tokens = row_tests::settle(similar_parts(tokens));
    trimmed(overriding(identity_options(array_types(
        bracketed_queries::settle(table_queries::settle(tokens)),
    ))))
}

/// What `OVERRIDING SYSTEM VALUE` and `OVERRIDING USER VALUE` become: the partition of an INSERT, which PostgreSQL does not
/// have. No client's text can bring these names into a statement.
pub const OVERRIDING_SYSTEM: &str = "\u{1e}system";
/// See [`OVERRIDING_SYSTEM`].
pub const OVERRIDING_USER: &str = "\u{1e}user";

/// `$$text$$` is `'text'`, which sqlparser takes where a statement wants a string: comments, labels of enums, files of COPY.
fn quote_dollar_texts(tokens: &mut [TokenWithSpan]) {
    for token in tokens {
        if let Token::DollarQuotedString(text) = &mut token.token {
            token.token = Token::SingleQuotedString(std::mem::take(&mut text.value));
        }
    }
}

/// `x OPERATOR(pg_catalog.=) ANY (…)`, as `pg_dump` writes it, is `x = ANY (…)`. Elsewhere sqlparser knows such operators.
fn operators(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_one = |at: &usize| {
        are_words(&tokens, *at, &["OPERATOR"])
            && is_token(&tokens, at + 1, &Token::LParen)
            && are_words(&tokens, at + 2, &["PG_CATALOG"])
            && is_token(&tokens, at + 3, &Token::Period)
            && is_token(&tokens, at + 5, &Token::RParen)
            && ["ANY", "ALL", "SOME"]
                .iter()
                .any(|word| is_word(tokens.get(at + 6), word))
    };
    let found = (0..tokens.len()).filter(is_one);
    let left_out = found.flat_map(|at| [at, at + 1, at + 2, at + 3, at + 5]);
    let left_out = left_out.collect();
    without(tokens, &left_out)
}

/// The first token and the end of each element of a list that ends before a token.
pub(crate) fn elements(tokens: &[TokenWithSpan], from: usize, end: usize) -> Vec<(usize, usize)> {
    let mut elements = Vec::new();
    let (mut first, mut depth) = (from, 0_usize);
    for (at, token) in tokens.iter().enumerate().take(end).skip(from) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => {
                elements.push((first, at));
                first = at + 1;
            }
            _ => {}
        }
    }
    elements.push((first, end));
    elements
}

/// `ABORT` as the `ROLLBACK` that it is.
fn abort(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_alone = ["WORK", "TRANSACTION", "AND"]
        .iter()
        .any(|word| is_word(tokens.get(1), word))
        || tokens.len() == 1;
    if is_alone && is_word(tokens.first(), "ABORT") {
        tokens[0] = made(Token::make_keyword("ROLLBACK"), &tokens[0]);
    }
    tokens
}

/// The options of `AS IDENTITY (START WITH 10 INCREMENT BY 5)`, which may come in any order, in the one that is read. The
/// name of the sequence is left out: it is always that of the table and the column.
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
    let opens: Vec<usize> = opens.collect();
    if opens.is_empty() {
        return tokens;
    }
    let groups = Groups::of(&tokens);
    let mut left_out = BTreeSet::new();
    for open in opens {
        let Some(close) = groups.closing(open) else {
            continue;
        };
        let named = (open + 1..close).find(|at| are_words(&tokens, *at, &["SEQUENCE", "NAME"]));
        let named = named.map_or(close..close, |at| {
            let n_tokens = match is_token(&tokens, at + 3, &Token::Period) {
                true => 5,
                false => 3,
            };
            at..(at + n_tokens).min(close)
        });
        let mut options: Vec<(usize, Vec<TokenWithSpan>)> = Vec::new();
        for at in (open + 1..close).filter(|at| !named.contains(at)) {
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
                None => return without(tokens, &left_out),
            }
        }
        options.sort_by_key(|(rank, _)| *rank);
        let sorted: Vec<TokenWithSpan> =
            options.into_iter().flat_map(|(_, option)| option).collect();
        left_out.extend(open + 1 + sorted.len()..close);
        tokens.splice(open + 1..open + 1 + sorted.len(), sorted);
    }
    without(tokens, &left_out)
}

/// `INSERT INTO t (c) OVERRIDING SYSTEM VALUE` is `INSERT INTO t (c) PARTITION (name)`. A table without a list of columns
/// gets its own name as an alias, since the word behind it would be one.
fn overriding(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let opens = |at: &usize| are_words(&tokens, *at, &["INSERT", "INTO"]);
    let inserts: Vec<usize> = (0..tokens.len()).filter(opens).collect();
    let nexts = inserts.iter().skip(1).copied().chain([tokens.len()]);
    let clauses = inserts.iter().zip(nexts);
    let clauses = clauses.filter_map(|(at, next)| override_one(&tokens, at + 2, next));
    let clauses: Vec<(usize, Vec<TokenWithSpan>)> = clauses.collect();
    if clauses.is_empty() {
        return tokens;
    }
    let mut rest = tokens.into_iter();
    let mut settled = Vec::with_capacity(rest.len() + 3 * clauses.len());
    let mut from = 0;
    for (at, clause) in clauses {
        settled.extend(rest.by_ref().take(at - from));
        settled.extend(clause);
        // The words that it stands for.
        rest.by_ref().take(3).for_each(drop);
        from = at + 3;
    }
    settled.extend(rest);
    settled
}

/// Where the clause of one INSERT stands, whose table is named at a token and which ends before another one, and what is in
/// its place.
fn override_one(
    tokens: &[TokenWithSpan],
    table: usize,
    next: usize,
) -> Option<(usize, Vec<TokenWithSpan>)> {
    let bare = read_name(tokens, table);
    let (at, name) = (table..next).find_map(|at| {
        let closes = is_token(tokens, at - 1, &Token::RParen);
        let is_bare = |at: usize| bare.as_ref().is_some_and(|(_, behind)| *behind == at);
        let is_aliased = is_word(tokens.get(at - 2), "AS") && is_bare(at - 2);
        let follows = closes || is_bare(at) || is_aliased;
        let name = match follows {
            true if are_words(tokens, at, &["OVERRIDING", "SYSTEM", "VALUE"]) => OVERRIDING_SYSTEM,
            true if are_words(tokens, at, &["OVERRIDING", "USER", "VALUE"]) => OVERRIDING_USER,
            _ => return None,
        };
        Some((at, name))
    })?;
    let alias = bare.filter(|(_, behind)| *behind == at);
    let alias = alias.and_then(|(mut table, _)| table.parts.pop());
    let alias = alias.map(|alias| {
        let alias = Token::make_word(&alias, Some('"'));
        [Token::make_keyword("AS"), alias]
    });
    let partition = [
        Token::make_keyword("PARTITION"),
        Token::LParen,
        Token::make_word(name, Some('"')),
        Token::RParen,
    ];
    let clause = alias.into_iter().flatten().chain(partition);
    let clause = clause.map(|token| made(token, &tokens[at]));
    Some((at, clause.collect()))
}

pub(crate) fn made(token: Token, at: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan {
        token,
        span: at.span,
    }
}

/// `substring(a SIMILAR b ESCAPE c)` is `substring(a FROM b FOR c)`.
fn similar_parts(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for at in 0..tokens.len() {
        if !is_word(tokens.get(at), "SUBSTRING") {
            continue;
        }
        let Some(close) = closing(&tokens, at + 1) else {
            continue;
        };
        let mut depth = 0_usize;
        let mut words = Vec::new();
        for (place, token) in tokens.iter().enumerate().take(close).skip(at + 2) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                _ if is_word(Some(token), "SIMILAR") || is_word(Some(token), "ESCAPE") => {
                    words.push(place);
                }
                _ => {}
            }
        }
        if let [similar, escape] = words.as_slice()
            && is_word(tokens.get(*similar), "SIMILAR")
            && !is_word(tokens.get(similar + 1), "TO")
        {
            tokens[*similar].token = Token::make_keyword("FROM");
            tokens[*escape].token = Token::make_keyword("FOR");
        }
    }
    tokens
}

/// A column of the type `int8 ARRAY` or `int8 ARRAY[3]` has the type `int8[]`.
fn array_types(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let defines = |token| ["CREATE", "ALTER"].iter().any(|word| is_word(token, word));
    if !defines(tokens.first()) {
        return tokens;
    }
    const BEHIND: [&str; 6] = ["NOT", "NULL", "DEFAULT", "PRIMARY", "UNIQUE", "CHECK"];
    let has_bounds = |at: usize| is_token(&tokens, at + 1, &Token::LBracket);
    let is_one = |at: &usize| {
        let next = tokens.get(at + 1);
        let ends = next.is_none_or(|next| match next.token {
            Token::Comma | Token::RParen | Token::SemiColon | Token::EOF => true,
            _ => BEHIND.iter().any(|word| is_word(Some(next), word)),
        });
        let is_type = matches!(tokens[at - 1].token, Token::Word(_) | Token::RParen)
            && !is_word(tokens.get(at - 1), "DEFAULT");
        is_type && is_word(tokens.get(*at), "ARRAY") && (ends || has_bounds(*at))
    };
    // A query behind AS may call a column so.
    let before_query = (2..tokens.len()).take_while(|at| !is_word(tokens.get(*at), "AS"));
    let found = before_query.filter(is_one);
    let found: BTreeMap<usize, bool> = found.map(|at| (at, has_bounds(at))).collect();
    if found.is_empty() {
        return tokens;
    }
    let mut settled = Vec::with_capacity(tokens.len() + found.len());
    for (at, token) in tokens.into_iter().enumerate() {
        match found.get(&at) {
            None => settled.push(token),
            // The bounds that follow are the brackets.
            Some(true) => {}
            Some(false) => {
                settled.extend([Token::LBracket, Token::RBracket].map(|new| made(new, &token)));
            }
        }
    }
    settled
}

/// `ALTER TABLE t UNSET TBLPROPERTIES [IF EXISTS] ('a', 'b')` sets them to NULL.
fn unset_properties(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let unset = ["UNSET", "TBLPROPERTIES"];
    let found = (2..tokens.len()).find(|at| are_words(&tokens, *at, &unset));
    let Some(at) = found.filter(|_| are_words(&tokens, 0, &["ALTER", "TABLE"])) else {
        return tokens;
    };
    tokens[at].token = Token::make_keyword("SET");
    if are_words(&tokens, at + 2, &["IF", "EXISTS"]) {
        tokens.drain(at + 2..at + 4);
    }
    let Some(close) = closing(&tokens, at + 2) else {
        return tokens;
    };
    let ends = (at + 3..=close).filter(|end| *end == close || tokens[*end].token == Token::Comma);
    let null = |end: usize| {
        let null = [Token::Eq, Token::make_keyword("NULL")];
        null.map(|token| (end, made(token, &tokens[end])))
    };
    let put = ends.flat_map(null).collect();
    with_put(tokens, put)
}

/// `t x VERSION AS OF 3`, as BigQuery has it and syntax trees are printed, is `t VERSION AS OF 3 x`.
fn versions_first(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 2;
    while at < tokens.len() {
        let first = match VERSIONS
            .iter()
            .any(|word| are_words(&tokens, at, &[word, "AS", "OF"]))
        {
            true if is_word(tokens.get(at - 1), "FOR") => at - 1,
            true => at,
            false => {
                at += 1;
                continue;
            }
        };
        let alias = alias_before(&tokens, first);
        let end = version_end(&tokens, at + 3);
        if let Some(alias) = alias {
            tokens[alias..end].rotate_left(first - alias);
        }
        at = end.max(at + 3);
    }
    tokens
}

const VERSIONS: [&str; 3] = ["VERSION", "TIMESTAMP", "SYSTEM_TIME"];

/// Where `x`, `AS x` or `x(a, b)` begins that stands between a table's name and an index.
fn alias_before(tokens: &[TokenWithSpan], end: usize) -> Option<usize> {
    let is_name = |at: usize| matches!(tokens[at].token, Token::Word(_));
    let begins = |at: usize| {
        const BEFORE: [&str; 10] = [
            "FROM", "JOIN", "USING", "INTO", "UPDATE", "TABLE", "ONLY", "LATERAL", "AND", "OF",
        ];
        BEFORE.iter().any(|word| is_word(tokens.get(at), word))
    };
    let end = column_names_before(tokens, end).unwrap_or(end);
    let alias = end.checked_sub(1).filter(|at| is_name(*at))?;
    if is_word(tokens.get(alias), "TO") {
        // RESTORE TABLE t TO VERSION AS OF 3.
        return None;
    }
    let before = alias.checked_sub(1)?;
    match is_word(tokens.get(before), "AS") {
        true => (before > 0 && is_name(before - 1)).then_some(before),
        false => (is_name(before) && !begins(before)).then_some(alias),
    }
}

/// Where the `(a, b)` begins that stands before an index.
fn column_names_before(tokens: &[TokenWithSpan], end: usize) -> Option<usize> {
    let close = end.checked_sub(1)?;
    if tokens[close].token != Token::RParen {
        return None;
    }
    let is_listed = |token: &TokenWithSpan| matches!(token.token, Token::Word(_) | Token::Comma);
    let names = tokens[..close]
        .iter()
        .rev()
        .take_while(|token| is_listed(token));
    let open = close.checked_sub(names.count() + 1)?;
    (tokens[open].token == Token::LParen).then_some(open)
}

/// Where the expression of a version ends.
fn version_end(tokens: &[TokenWithSpan], from: usize) -> usize {
    const BEHIND: [&str; 24] = [
        "WHERE",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "CROSS",
        "NATURAL",
        "ON",
        "USING",
        "GROUP",
        "HAVING",
        "WINDOW",
        "QUALIFY",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "FETCH",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "SET",
        "WHEN",
        "TABLESAMPLE",
    ];
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth > 0 => depth -= 1,
            Token::RParen | Token::RBracket | Token::SemiColon | Token::EOF => return at,
            Token::Comma if depth == 0 => return at,
            _ if depth == 0 && BEHIND.iter().any(|word| is_word(Some(token), word)) => return at,
            _ => {}
        }
    }
    tokens.len()
}

/// The column that stands in a WHEN of MERGE for all columns, each with the source's value of the same name.
pub const EVERY_COLUMN: &str = "__auspex_every";
/// The column that stands there for none, in a WHEN that does nothing.
pub const NO_COLUMN: &str = "__auspex_none";

/// `THEN UPDATE SET *`, `INSERT *`, `INSERT ROW`, `INSERT DEFAULT VALUES` and `DO NOTHING` with columns that mean it.
fn merge_actions(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !is_word(tokens.first(), "MERGE") {
        return tokens;
    }
    let word = |word: &str| Token::make_word(word, None);
    let assigned = |column: &str| {
        let parts = [
            word("UPDATE"),
            word("SET"),
            word(column),
            Token::Eq,
            word("NULL"),
        ];
        parts.to_vec()
    };
    let inserted = |column: Option<&str>, value: &str| {
        let mut parts = vec![word("INSERT")];
        if let Some(column) = column {
            parts.extend([Token::LParen, word(column), Token::RParen]);
        }
        parts.extend([word("VALUES"), Token::LParen, word(value), Token::RParen]);
        parts
    };
    let mut is_missing = false;
    let mut at = 0;
    while at < tokens.len() {
        if are_words(&tokens, at, &["WHEN"]) {
            // A WHEN of a CASE is followed by a condition.
            is_missing = match (are_words(&tokens, at + 1, &["NOT", "MATCHED"]), is_missing) {
                (true, _) => !are_words(&tokens, at + 3, &["BY", "SOURCE"]),
                (false, was) => was && !are_words(&tokens, at + 1, &["MATCHED"]),
            };
        }
        let is_star = |at: usize| {
            tokens
                .get(at)
                .is_some_and(|token| token.token == Token::Mul)
        };
        let short = match are_words(&tokens, at, &["THEN"]) {
            true if are_words(&tokens, at + 1, &["UPDATE", "SET"]) && is_star(at + 3) => {
                Some((3, assigned(EVERY_COLUMN)))
            }
            true if are_words(&tokens, at + 1, &["INSERT"]) && is_star(at + 2) => {
                Some((2, inserted(Some(EVERY_COLUMN), "NULL")))
            }
            true if are_words(&tokens, at + 1, &["INSERT", "ROW"]) => {
                Some((2, inserted(Some(EVERY_COLUMN), "NULL")))
            }
            true if are_words(&tokens, at + 1, &["INSERT", "DEFAULT", "VALUES"]) => {
                Some((3, inserted(None, "DEFAULT")))
            }
            true if are_words(&tokens, at + 1, &["DO", "NOTHING"]) => Some((
                2,
                match is_missing {
                    true => inserted(Some(NO_COLUMN), "NULL"),
                    false => assigned(NO_COLUMN),
                },
            )),
            _ => None,
        };
        if let Some((n_tokens, meaning)) = short {
            let place = tokens[at + 1].clone();
            let meaning = meaning.into_iter().map(|token| made(token, &place));
            tokens.splice(at + 1..=at + n_tokens, meaning);
        }
        at += 1;
    }
    tokens
}

/// `trim(LEADING FROM x)` and `trim(FROM x)`, which name no characters, without their `FROM`.
fn trimmed(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const SIDES: [&str; 3] = ["LEADING", "TRAILING", "BOTH"];
    let mut at = 0;
    while at < tokens.len() {
        if is_word(tokens.get(at), "TRIM") && is_token(&tokens, at + 1, &Token::LParen) {
            let has_side = SIDES.iter().any(|side| is_word(tokens.get(at + 2), side));
            let from = at + 2 + usize::from(has_side);
            if is_word(tokens.get(from), "FROM") {
                tokens.remove(from);
            }
        }
        at += 1;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use crate::tests::{ast, one};

    #[test]
    fn many_forms_are_settled_at_once() {
        let columns = ", a int ARRAY, b text ARRAY[3] NOT NULL".repeat(10_000);
        let written = ast(&one(&format!("CREATE TABLE t (c int{columns})"))).to_string();
        assert_eq!(written.matches("[]").count(), 10_000);
        assert_eq!(written.matches("[3] NOT NULL").count(), 10_000);
        let values = ", a OPERATOR(pg_catalog.=) ANY (b)".repeat(20_000);
        let written = ast(&one(&format!("SELECT 1{values}"))).to_string();
        assert_eq!(written.matches("a = ANY").count(), 20_000);
        let options = "a int GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME s START 3 INCREMENT 2), ";
        let columns = options.repeat(10_000);
        let written = ast(&one(&format!("CREATE TABLE t ({columns}z int)"))).to_string();
        assert_eq!(written.matches("INCREMENT").count(), 10_000);
        assert!(!written.contains("SEQUENCE NAME"), "the names are left out");
    }
}
