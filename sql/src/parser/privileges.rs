//! `GRANT` and `REVOKE` of privileges on objects, `ALTER DEFAULT PRIVILEGES`, and `ALTER … OWNER TO`.
//!
//! In: the statement's tokens; out: `Grant`, `DefaultPrivileges`, `AlterOwner`. Knows which privileges each kind of object
//! has, not which objects exist.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::access_statement::{
    AlterOwner, DefaultPrivileges, Grant, PrivilegeKind, PrivilegeObjects, RoleName,
};
use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{are_words, is_word};
use crate::parser::cursor::Cursor;
use crate::parser::roles::{eat_behavior, role_names};
use crate::reference::read_word;
use crate::statement::{Statement, Word};

/// The words behind `ON`, and behind `ALTER`, that name a kind of object.
const KINDS: &[(PrivilegeKind, &[&str])] = &[
    (PrivilegeKind::Table, &["EXTERNAL", "TABLE"]),
    (PrivilegeKind::Table, &["TABLE"]),
    (PrivilegeKind::Table, &["VIEW"]),
    (PrivilegeKind::Table, &["MATERIALIZED", "VIEW"]),
    (PrivilegeKind::Sequence, &["SEQUENCE"]),
    (PrivilegeKind::Type, &["TYPE"]),
    (PrivilegeKind::Type, &["DOMAIN"]),
    (PrivilegeKind::Schema, &["SCHEMA"]),
    (PrivilegeKind::Model, &["MODEL"]),
    (PrivilegeKind::Location, &["EXTERNAL", "LOCATION"]),
    (PrivilegeKind::Location, &["LOCATION"]),
    (PrivilegeKind::Credential, &["CREDENTIAL"]),
    (PrivilegeKind::Catalog, &["CATALOG"]),
    (PrivilegeKind::Database, &["DATABASE"]),
];
/// Kinds of PostgreSQL's objects that there are none of, or no privileges on.
const ABSENT: [&str; 8] = [
    "FUNCTION",
    "PROCEDURE",
    "ROUTINE",
    "DOMAIN",
    "LANGUAGE",
    "LARGE",
    "TABLESPACE",
    "TYPE",
];

/// Whether the tokens are a `GRANT` or `REVOKE` on an object.
pub(super) fn is_grant(tokens: &[TokenWithSpan]) -> bool {
    let is_grant = is_word(tokens.first(), "GRANT") || is_word(tokens.first(), "REVOKE");
    is_grant && tokens.iter().any(|token| is_word(Some(token), "ON"))
}

/// Whether the tokens are `ALTER DEFAULT PRIVILEGES`.
pub(super) fn is_default(tokens: &[TokenWithSpan]) -> bool {
    are_words(tokens, 0, &["ALTER", "DEFAULT", "PRIVILEGES"])
}

/// Whether the tokens are `ALTER kind name OWNER TO role`.
pub(super) fn is_owner(tokens: &[TokenWithSpan]) -> bool {
    let alters = is_word(tokens.first(), "ALTER") && kind_at(tokens, 1).is_some();
    // Models have a statement of their own, which also changes owners.
    let is_model = are_words(tokens, 0, &["ALTER", "MODEL"]);
    alters && !is_model && (2..tokens.len()).any(|at| are_words(tokens, at, &["OWNER", "TO"]))
}

/// The kind that is named at a place, its words, and how many there are.
fn kind_at(
    tokens: &[TokenWithSpan],
    at: usize,
) -> Option<(PrivilegeKind, &'static [&'static str])> {
    let found = KINDS.iter().find(|(_, words)| are_words(tokens, at, words));
    // `ON model TO bob` is about a table named model.
    found
        .filter(|(_, words)| {
            let next = tokens.get(at + words.len());
            read_word(next).is_some() && !is_word(next, "TO") && !is_word(next, "FROM")
        })
        .map(|(kind, words)| (*kind, *words))
}

pub(super) fn parse_grant(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    Ok(Statement::Grant(Box::new(grant(cursor, false)?)))
}

pub(super) fn parse_default(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["ALTER", "DEFAULT", "PRIVILEGES"])?;
    let mut roles = Vec::new();
    let mut schemas = Vec::new();
    loop {
        if cursor.eat_words(&["FOR", "ROLE"]) || cursor.eat_words(&["FOR", "USER"]) {
            roles.extend(role_names(cursor)?);
        } else if cursor.eat_words(&["IN", "SCHEMA"]) {
            schemas.extend(cursor.words("a schema")?);
        } else {
            break;
        }
    }
    let grant = grant(cursor, true)?;
    Ok(Statement::DefaultPrivileges(Box::new(DefaultPrivileges {
        roles,
        schemas,
        grant,
    })))
}

fn grant(cursor: &mut Cursor<'_>, is_default: bool) -> Result<Grant, ParseError> {
    let grant = cursor.eat_word("GRANT");
    let mut grant_option = false;
    if !grant {
        cursor.expect_words(&["REVOKE"])?;
        grant_option = cursor.eat_words(&["GRANT", "OPTION", "FOR"]);
    }
    let written = privileges(cursor)?;
    cursor.expect_words(&["ON"])?;
    let (kind, objects) = match is_default {
        true => (future_kind(cursor)?, PrivilegeObjects::Named(Vec::new())),
        false => objects(cursor)?,
    };
    let privileges = checked(written, kind)?;
    cursor.expect_words(&[if grant { "TO" } else { "FROM" }])?;
    cursor.eat_word("ROLE");
    let roles = role_names(cursor)?;
    if grant && cursor.eat_word("WITH") {
        cursor.expect_words(&["GRANT", "OPTION"])?;
        grant_option = true;
    }
    if cursor.at_words(&["GRANTED", "BY"]) {
        return Err(cursor.unsupported("GRANTED BY"));
    }
    if !grant {
        eat_behavior(cursor);
    }
    let everybody =
        |role: &RoleName| matches!(role, RoleName::Named(name) if name.value == "public");
    if grant && grant_option && roles.iter().any(everybody) {
        let message = "grant options can only be granted to roles".to_owned();
        let position = Some(cursor.last_end());
        return Err(ParseError::new(
            ParseErrorKind::Malformed(message),
            position,
        ));
    }
    Ok(Grant {
        grant,
        grant_option,
        privileges,
        kind,
        objects,
        roles,
    })
}

/// `SELECT, CREATE MODEL, ALL PRIVILEGES`, in upper case.
fn privileges(cursor: &mut Cursor<'_>) -> Result<Vec<Word>, ParseError> {
    let mut privileges = Vec::new();
    loop {
        if cursor.at_words(&["ON"]) {
            return Err(cursor.unexpected("a privilege"));
        }
        let mut word = cursor.any_word("a privilege")?;
        word.value.make_ascii_uppercase();
        match word.value.as_str() {
            "CREATE" if cursor.eat_word("MODEL") => word.value.push_str(" MODEL"),
            "ALL" => {
                cursor.eat_word("PRIVILEGES");
            }
            "TEMP" => "TEMPORARY".clone_into(&mut word.value),
            _ => {}
        }
        if cursor.at_token(0, &Token::LParen) {
            return Err(cursor
                .unsupported("a privilege on columns")
                .with_hint("Make a view of these columns and grant SELECT on it."));
        }
        privileges.push(word);
        if !cursor.eat_token(&Token::Comma) {
            return Ok(privileges);
        }
    }
}

/// The privileges, each one that the kind has.
fn checked(written: Vec<Word>, kind: PrivilegeKind) -> Result<Vec<String>, ParseError> {
    // What PostgreSQL has besides; there is nothing here that it would allow.
    let accepted =
        |word: &str| kind == PrivilegeKind::Table && ["REFERENCES", "TRIGGER"].contains(&word);
    let mut privileges = Vec::new();
    for Word { value, span } in written {
        if accepted(&value) {
            continue;
        }
        if value != "ALL" && !kind.privileges().contains(&value.as_str()) {
            let message = format!("invalid privilege type {value} for {}", kind.words());
            let hint = format!(
                "Its privileges are {} and ALL.",
                kind.privileges().join(", ")
            );
            let kind = ParseErrorKind::Malformed(message);
            return Err(ParseError::new(kind, Some(span.start)).with_hint(hint));
        }
        privileges.push(value);
    }
    Ok(privileges)
}

fn objects(cursor: &mut Cursor<'_>) -> Result<(PrivilegeKind, PrivilegeObjects), ParseError> {
    if cursor.at_words(&["ALL"]) && is_word(cursor.peek(2), "IN") {
        cursor.advance(1);
        let kind = future_kind(cursor)?;
        cursor.expect_words(&["IN", "SCHEMA"])?;
        return Ok((kind, PrivilegeObjects::AllIn(cursor.words("a schema")?)));
    }
    let absent = ABSENT.iter().find(|word| is_word(cursor.peek(0), word));
    if let Some(word) = absent.filter(|_| read_word(cursor.peek(1)).is_some()) {
        return Err(cursor.unsupported(&format!("a privilege on a {}", word.to_lowercase())));
    }
    let kind = match kind_at(cursor.rest(), 0) {
        Some((kind, words)) => {
            cursor.advance(words.len());
            kind
        }
        None => PrivilegeKind::Table,
    };
    let mut names = vec![cursor.name("an object's name")?];
    while cursor.eat_token(&Token::Comma) {
        names.push(cursor.name("an object's name")?);
    }
    Ok((kind, PrivilegeObjects::Named(names)))
}

/// `TABLES`, `MODELS`, `SCHEMAS`, `SEQUENCES`.
fn future_kind(cursor: &mut Cursor<'_>) -> Result<PrivilegeKind, ParseError> {
    let kinds = [
        ("TABLES", PrivilegeKind::Table),
        ("MODELS", PrivilegeKind::Model),
        ("SCHEMAS", PrivilegeKind::Schema),
        ("SEQUENCES", PrivilegeKind::Sequence),
    ];
    for (word, kind) in kinds {
        if cursor.eat_word(word) {
            return Ok(kind);
        }
    }
    for word in ["FUNCTIONS", "ROUTINES", "TYPES"] {
        if cursor.at_words(&[word]) {
            return Err(cursor.unsupported(&format!("privileges on {}", word.to_lowercase())));
        }
    }
    Err(cursor.unexpected("TABLES, SEQUENCES, MODELS or SCHEMAS"))
}

pub(super) fn parse_owner(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["ALTER"])?;
    let Some((kind, words)) = kind_at(cursor.rest(), 0) else {
        return Err(cursor.unexpected("what to alter"));
    };
    cursor.advance(words.len());
    let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
    let name = cursor.name("an object's name")?;
    cursor.expect_words(&["OWNER", "TO"])?;
    let owner = crate::parser::roles::role_name(cursor)?;
    Ok(Statement::AlterOwner(Box::new(AlterOwner {
        kind,
        words: match words {
            ["VIEW"] => "VIEW",
            ["MATERIALIZED", "VIEW"] => "MATERIALIZED VIEW",
            _ => kind.words(),
        },
        if_exists,
        name,
        owner,
    })))
}
