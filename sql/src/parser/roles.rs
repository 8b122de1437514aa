//! `CREATE`, `ALTER` and `DROP ROLE`, memberships, `SET ROLE` and `SET SESSION AUTHORIZATION`.
//!
//! In: the statement's tokens; out: `RoleStatement`. An error never quotes what may be a password.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::access_statement::{RoleName, RoleOptions, RoleStatement, Secret};
use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{are_words, is_word, string_value};
use crate::parser::cursor::Cursor;
use crate::parser::lake::without_secret;
use crate::statement::{Statement, Word};

/// The words that a role goes by; a user is one that may log in.
const NOUNS: [&str; 3] = ["ROLE", "USER", "GROUP"];

/// Whether the tokens open a statement about roles.
pub(super) fn opens(tokens: &[TokenWithSpan]) -> bool {
    let starts = |words: &[&str]| are_words(tokens, 0, words);
    let of_role = |verb: &str| NOUNS.iter().any(|noun| starts(&[verb, noun]));
    ["CREATE", "ALTER", "DROP"].into_iter().any(of_role)
        || set_length(tokens).is_some()
        || starts(&["ALTER", "DATABASE"])
        || starts(&["REASSIGN", "OWNED"])
        || starts(&["DROP", "OWNED"])
        || is_membership(tokens)
}

/// `GRANT role TO role`: without `ON`.
fn is_membership(tokens: &[TokenWithSpan]) -> bool {
    let is_grant = is_word(tokens.first(), "GRANT") || is_word(tokens.first(), "REVOKE");
    is_grant && !tokens.iter().any(|token| is_word(Some(token), "ON"))
}

/// How many words stand before the role in `SET ROLE`, `SET SESSION AUTHORIZATION` and their `RESET`.
fn set_length(tokens: &[TokenWithSpan]) -> Option<usize> {
    const FORMS: [&[&str]; 8] = [
        &["SET", "ROLE"],
        &["SET", "SESSION", "ROLE"],
        &["SET", "LOCAL", "ROLE"],
        &["SET", "SESSION", "AUTHORIZATION"],
        &["SET", "SESSION", "SESSION", "AUTHORIZATION"],
        &["SET", "LOCAL", "SESSION", "AUTHORIZATION"],
        &["RESET", "ROLE"],
        &["RESET", "SESSION", "AUTHORIZATION"],
    ];
    let form = FORMS.iter().find(|form| are_words(tokens, 0, form));
    form.map(|form| form.len())
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let statement = read(cursor).map_err(without_secret)?;
    Ok(Statement::Role(Box::new(statement)))
}

fn read(cursor: &mut Cursor<'_>) -> Result<RoleStatement, ParseError> {
    if let Some(length) = set_length(cursor.rest()) {
        return set(cursor, length);
    }
    if cursor.eat_words(&["REASSIGN", "OWNED"]) {
        return reassign(cursor);
    }
    if cursor.eat_words(&["DROP", "OWNED"]) {
        cursor.expect_words(&["BY"])?;
        let roles = role_names(cursor)?;
        let cascade = eat_behavior(cursor);
        return Ok(RoleStatement::DropOwned { roles, cascade });
    }
    if cursor.at_words(&["GRANT"]) || cursor.at_words(&["REVOKE"]) {
        return membership(cursor);
    }
    if cursor.eat_word("CREATE") {
        return create(cursor);
    }
    if cursor.eat_word("DROP") {
        eat_noun(cursor)?;
        let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
        let names = cursor.words("a role")?;
        return Ok(RoleStatement::Drop { if_exists, names });
    }
    cursor.expect_words(&["ALTER"])?;
    if cursor.eat_word("DATABASE") {
        let database = cursor.word("a database")?;
        refuse_of_database(cursor)?;
        return configure_all(cursor, Some(database), false);
    }
    let is_group = eat_noun(cursor)? == "GROUP";
    alter(cursor, is_group)
}

/// Fails where `ALTER DATABASE name` goes on with what there is not: nobody moves or closes the one database.
fn refuse_of_database(cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
    const REFUSED: [&[&str]; 7] = [
        &["RENAME", "TO"],
        &["SET", "TABLESPACE"],
        &["TABLESPACE"],
        &["CONNECTION", "LIMIT"],
        &["ALLOW_CONNECTIONS"],
        &["IS_TEMPLATE"],
        &["REFRESH", "COLLATION", "VERSION"],
    ];
    let has_options = cursor.eat_word("WITH");
    let words = REFUSED.iter().find(|words| cursor.at_words(words));
    let is_setting = |words: &[&str]| {
        let next = cursor.peek(words.len());
        let is_assigned = next.is_some_and(|next| next.token == Token::Eq) || is_word(next, "TO");
        words[0] == "SET" && is_assigned
    };
    match words {
        // It may also be meant as the name of a setting.
        Some(words) if !is_setting(words) => {
            let what = format!("ALTER DATABASE ... {}", words.join(" "));
            Err(cursor.unsupported(&what))
        }
        None if has_options => Err(cursor.unexpected("an option of the database")),
        _ => Ok(()),
    }
}

/// What follows `ALTER ROLE ALL` or `ALTER DATABASE name`.
fn configure_all(
    cursor: &mut Cursor<'_>,
    database: Option<Word>,
    of_roles: bool,
) -> Result<RoleStatement, ParseError> {
    let Some((setting, value)) = changed_setting(cursor)? else {
        return Err(cursor.unexpected("SET or RESET"));
    };
    Ok(RoleStatement::ConfigureAll {
        database,
        of_roles,
        setting,
        value,
    })
}

fn eat_noun(cursor: &mut Cursor<'_>) -> Result<&'static str, ParseError> {
    let noun = NOUNS.into_iter().find(|noun| cursor.eat_word(noun));
    noun.ok_or_else(|| cursor.unexpected("ROLE or USER"))
}

fn create(cursor: &mut Cursor<'_>) -> Result<RoleStatement, ParseError> {
    let is_user = eat_noun(cursor)? == "USER";
    let if_not_exists = cursor.eat_words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.word("a name")?;
    let mut options = role_options(cursor)?;
    options.login = options.login.or(is_user.then_some(true));
    Ok(RoleStatement::Create {
        name,
        if_not_exists,
        options,
    })
}

fn alter(cursor: &mut Cursor<'_>, is_group: bool) -> Result<RoleStatement, ParseError> {
    if cursor.eat_word("ALL") {
        let database = eat_database(cursor)?;
        return configure_all(cursor, database, true);
    }
    let name = role_name(cursor)?;
    if is_group {
        let adds = cursor.eat_words(&["ADD", "USER"]);
        if adds || cursor.eat_words(&["DROP", "USER"]) {
            return alter_group(cursor, name, adds);
        }
    }
    if cursor.at_words(&["RENAME"]) {
        let RoleName::Named(name) = name else {
            return Err(cursor.unexpected("SET or options of the role"));
        };
        cursor.expect_words(&["RENAME", "TO"])?;
        let to = cursor.word("the new name")?;
        return Ok(RoleStatement::Rename { name, to });
    }
    let database = eat_database(cursor)?;
    if let Some((setting, value)) = changed_setting(cursor)? {
        return Ok(RoleStatement::Configure {
            name,
            database,
            setting,
            value,
        });
    }
    if database.is_some() {
        return Err(cursor.unexpected("SET or RESET"));
    }
    if cursor.is_empty() {
        return Err(cursor.unexpected("options of the role, SET, RESET or RENAME TO"));
    }
    let options = role_options(cursor)?;
    Ok(RoleStatement::Alter { name, options })
}

/// `ALTER GROUP name ADD USER a, b`, with `DROP` for `ADD`.
fn alter_group(
    cursor: &mut Cursor<'_>,
    name: RoleName,
    adds: bool,
) -> Result<RoleStatement, ParseError> {
    let RoleName::Named(group) = name else {
        return Err(cursor.unexpected("the name of a group before it"));
    };
    Ok(RoleStatement::Membership {
        grant: adds,
        alters_group: true,
        admin_option: false,
        roles: vec![group],
        members: role_names(cursor)?,
        grantor: None,
    })
}

/// `IN DATABASE name`.
fn eat_database(cursor: &mut Cursor<'_>) -> Result<Option<Word>, ParseError> {
    match cursor.eat_words(&["IN", "DATABASE"]) {
        true => cursor.word("a database").map(Some),
        false => Ok(None),
    }
}

/// A setting, `None` for all of them, and its value, `None` where it has one no more.
type ChangedSetting = (Option<String>, Option<String>);

/// `SET setting = value`, `RESET setting | ALL`; `None` if the statement says something else.
fn changed_setting(cursor: &mut Cursor<'_>) -> Result<Option<ChangedSetting>, ParseError> {
    if cursor.eat_word("SET") {
        let setting = setting_name(cursor)?;
        if !cursor.eat_word("TO") && !cursor.eat_token(&Token::Eq) {
            return Err(cursor.unexpected("TO or ="));
        }
        let value = match cursor.eat_word("DEFAULT") {
            true => None,
            false => Some(setting_value(cursor)?),
        };
        return Ok(Some((Some(setting), value)));
    }
    if cursor.eat_word("RESET") {
        let setting = match cursor.eat_word("ALL") {
            true => None,
            false => Some(setting_name(cursor)?),
        };
        return Ok(Some((setting, None)));
    }
    Ok(None)
}

/// `a` or `a.b`.
fn setting_name(cursor: &mut Cursor<'_>) -> Result<String, ParseError> {
    let mut name = cursor.any_word("a setting")?.value;
    while cursor.eat_token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.any_word("a setting")?.value);
    }
    Ok(name)
}

/// Words, strings and numbers, with commas between them.
fn setting_value(cursor: &mut Cursor<'_>) -> Result<String, ParseError> {
    let mut parts = Vec::new();
    loop {
        let sign = if cursor.eat_token(&Token::Minus) {
            "-"
        } else {
            ""
        };
        let part = match cursor.peek(0).map(|token| &token.token) {
            Some(Token::Number(digits, _)) => digits.clone(),
            Some(Token::Word(word)) => word.value.clone(),
            Some(token) => match string_value(token) {
                Some(text) => text.to_owned(),
                None => return Err(cursor.unexpected("a value")),
            },
            None => return Err(cursor.unexpected("a value")),
        };
        cursor.advance(1);
        parts.push(format!("{sign}{part}"));
        if !cursor.eat_token(&Token::Comma) {
            return Ok(parts.join(", "));
        }
    }
}

fn role_options(cursor: &mut Cursor<'_>) -> Result<RoleOptions, ParseError> {
    let mut options = RoleOptions::default();
    cursor.eat_word("WITH");
    // Dumps say of superusers that they may do this, too, which follows from their being superusers.
    let mut of_superusers = None;
    while !cursor.is_empty() {
        let word = ["REPLICATION", "BYPASSRLS"]
            .into_iter()
            .find(|word| cursor.at_words(&[word]));
        match word {
            Some(word) => {
                let refused = cursor.unsupported(&format!("a role with {word}"));
                of_superusers.get_or_insert(refused);
                cursor.advance(1);
            }
            None => role_option(cursor, &mut options)?,
        }
    }
    match of_superusers {
        Some(refused) if options.superuser != Some(true) => Err(refused),
        _ => Ok(options),
    }
}

fn role_option(cursor: &mut Cursor<'_>, options: &mut RoleOptions) -> Result<(), ParseError> {
    let start = cursor.start();
    // What nobody has is easily taken away.
    if cursor.eat_word("NOREPLICATION") || cursor.eat_word("NOBYPASSRLS") {
        return Ok(());
    }
    let repeated = if let Some((flag, value)) = flag(cursor, options) {
        flag.replace(value).is_some()
    } else if cursor.eat_word("ENCRYPTED") || cursor.at_words(&["PASSWORD"]) {
        cursor.expect_words(&["PASSWORD"])?;
        let password = match cursor.eat_word("NULL") {
            true => None,
            false => Some(Secret(cursor.string("a password in quotes")?)),
        };
        options.password.replace(password).is_some()
    } else if cursor.eat_words(&["CONNECTION", "LIMIT"]) {
        let limit = connection_limit(cursor)?;
        options.connection_limit.replace(limit).is_some()
    } else if cursor.eat_words(&["VALID", "UNTIL"]) {
        let time = cursor.string("a time in quotes")?;
        options.valid_until.replace(time).is_some()
    } else if cursor.eat_words(&["IN", "ROLE"]) || cursor.eat_words(&["IN", "GROUP"]) {
        options.in_roles.extend(cursor.words("a role")?);
        false
    } else if cursor.eat_word("ROLE") || cursor.eat_word("USER") {
        options.members.extend(cursor.words("a role")?);
        false
    } else if cursor.eat_word("ADMIN") {
        options.admins.extend(cursor.words("a role")?);
        false
    } else {
        return Err(cursor.unexpected("an option of a role").with_hint(
            "Options are LOGIN, SUPERUSER, CREATEROLE, CREATEDB, INHERIT and each with NO before \
             it, PASSWORD 'text', CONNECTION LIMIT n, VALID UNTIL 'time', IN ROLE, ROLE and ADMIN.",
        ));
    };
    match repeated {
        true => {
            let kind = ParseErrorKind::Malformed("conflicting or redundant options".to_owned());
            Err(ParseError::new(kind, Some(start)))
        }
        false => Ok(()),
    }
}

/// A switch of a role and whether it is turned on.
fn flag<'a>(
    cursor: &mut Cursor<'_>,
    options: &'a mut RoleOptions,
) -> Option<(&'a mut Option<bool>, bool)> {
    let mut eat = |word: &str| match cursor.eat_word(word) {
        true => Some(true),
        false => cursor.eat_word(&format!("NO{word}")).then_some(false),
    };
    if let Some(value) = eat("SUPERUSER") {
        Some((&mut options.superuser, value))
    } else if let Some(value) = eat("LOGIN") {
        Some((&mut options.login, value))
    } else if let Some(value) = eat("INHERIT") {
        Some((&mut options.inherit, value))
    } else if let Some(value) = eat("CREATEROLE") {
        Some((&mut options.create_role, value))
    } else {
        eat("CREATEDB").map(|value| (&mut options.create_db, value))
    }
}

fn connection_limit(cursor: &mut Cursor<'_>) -> Result<i64, ParseError> {
    if cursor.eat_token(&Token::Minus) {
        return match cursor.integer("-1 or a number of connections")? {
            1 => Ok(-1),
            _ => Err(cursor.unexpected("-1 or a number of connections")),
        };
    }
    let number = cursor.integer("-1 or a number of connections")?;
    i64::try_from(number)
        .ok()
        .filter(|number| *number <= i64::from(u32::MAX))
        .ok_or_else(|| cursor.out_of_range(&number.to_string(), "a number of connections"))
}

/// A role: a name, or a word for one of the session's own.
pub(super) fn role_name(cursor: &mut Cursor<'_>) -> Result<RoleName, ParseError> {
    cursor.eat_word("GROUP");
    if cursor.eat_word("CURRENT_USER") || cursor.eat_word("CURRENT_ROLE") {
        return Ok(RoleName::Current);
    }
    if cursor.eat_word("SESSION_USER") {
        return Ok(RoleName::Session);
    }
    cursor.word("a role").map(RoleName::Named)
}

pub(super) fn role_names(cursor: &mut Cursor<'_>) -> Result<Vec<RoleName>, ParseError> {
    let mut names = vec![role_name(cursor)?];
    while cursor.eat_token(&Token::Comma) {
        names.push(role_name(cursor)?);
    }
    Ok(names)
}

/// `CASCADE` or `RESTRICT`; whether it is the first.
pub(super) fn eat_behavior(cursor: &mut Cursor<'_>) -> bool {
    let cascade = cursor.eat_word("CASCADE");
    if !cascade {
        cursor.eat_word("RESTRICT");
    }
    cascade
}

/// `GRANT a, b TO c WITH ADMIN OPTION GRANTED BY d`, `REVOKE ADMIN OPTION FOR a FROM c`.
fn membership(cursor: &mut Cursor<'_>) -> Result<RoleStatement, ParseError> {
    let grant = cursor.eat_word("GRANT");
    let mut admin_option = false;
    if !grant {
        cursor.expect_words(&["REVOKE"])?;
        admin_option = cursor.eat_words(&["ADMIN", "OPTION", "FOR"]);
    }
    let roles = cursor.words("a role")?;
    if cursor.peek(0).is_some() && !cursor.at_words(&["TO"]) && !cursor.at_words(&["FROM"]) {
        return Err(cursor.unexpected("TO a role, or ON an object"));
    }
    cursor.expect_words(&[if grant { "TO" } else { "FROM" }])?;
    let members = role_names(cursor)?;
    if grant && cursor.eat_word("WITH") {
        cursor.expect_words(&["ADMIN", "OPTION"])?;
        admin_option = true;
    }
    let grantor = match cursor.eat_words(&["GRANTED", "BY"]) {
        true => Some(role_name(cursor)?),
        false => None,
    };
    eat_behavior(cursor);
    Ok(RoleStatement::Membership {
        grant,
        alters_group: false,
        admin_option,
        roles,
        members,
        grantor,
    })
}

fn reassign(cursor: &mut Cursor<'_>) -> Result<RoleStatement, ParseError> {
    cursor.expect_words(&["BY"])?;
    let from = role_names(cursor)?;
    cursor.expect_words(&["TO"])?;
    let to = role_name(cursor)?;
    Ok(RoleStatement::ReassignOwned { from, to })
}

/// `SET ROLE a | 'a' | NONE`, `SET SESSION AUTHORIZATION a | DEFAULT`, and `RESET` of both.
fn set(cursor: &mut Cursor<'_>, length: usize) -> Result<RoleStatement, ParseError> {
    let is_reset = cursor.at_words(&["RESET"]);
    let rest = cursor.rest();
    let is_session = is_word(rest.get(length - 1), "AUTHORIZATION");
    let is_local = is_word(rest.get(1), "LOCAL");
    cursor.advance(length);
    // Drivers write the setting's form: SET ROLE = a, SET ROLE TO a.
    if !is_reset && !cursor.eat_token(&Token::Eq) {
        cursor.eat_word("TO");
    }
    let none = if is_session { "DEFAULT" } else { "NONE" };
    let role = if is_reset || cursor.eat_word(none) {
        None
    } else if let Some(text) = cursor.peek(0).and_then(|token| string_value(&token.token)) {
        let value = text.to_owned();
        let span = cursor.rest_span();
        cursor.advance(1);
        Some(Word { value, span })
    } else {
        Some(cursor.word("a role")?)
    };
    Ok(match is_session {
        true => RoleStatement::SetSession { role, is_local },
        false => RoleStatement::SetRole { role, is_local },
    })
}
