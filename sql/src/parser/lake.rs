//! Credentials, external locations and catalogs: `CREATE`, `DROP` and `SHOW` of them.
//!
//! In: the statement's tokens; out: the statement of the same name. An error never quotes what may be a secret.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{are_words, is_word};
use crate::parser::cursor::Cursor;
use crate::parser::options;
use crate::statement::{CreateLakeObject, DropLakeObject, LakeObject, ModelOption, Statement};

/// The words that name each kind of object.
const KINDS: [(LakeObject, &[&str]); 3] = [
    (LakeObject::Credential, &["CREDENTIAL"]),
    (LakeObject::Location, &["EXTERNAL", "LOCATION"]),
    (LakeObject::Catalog, &["CATALOG"]),
];

fn kind_at(tokens: &[TokenWithSpan], at: usize) -> Option<(LakeObject, usize)> {
    let named = KINDS.iter().find(|(_, words)| are_words(tokens, at, words));
    named.map(|(object, words)| (*object, words.len()))
}

/// Whether the tokens open a `CREATE` of ours.
pub(super) fn is_create(tokens: &[TokenWithSpan]) -> bool {
    let at = if are_words(tokens, 0, &["CREATE", "OR", "REPLACE"]) {
        3
    } else {
        1
    };
    is_word(tokens.first(), "CREATE") && kind_at(tokens, at).is_some()
}

/// Whether the tokens open a `DROP` of ours.
pub(super) fn is_drop(tokens: &[TokenWithSpan]) -> bool {
    is_word(tokens.first(), "DROP") && kind_at(tokens, 1).is_some()
}

/// The kind that a `SHOW` of ours lists.
fn shown(tokens: &[TokenWithSpan]) -> Option<LakeObject> {
    let shows = |words: &[&str]| are_words(tokens, 0, words) && tokens.len() == words.len();
    if shows(&["SHOW", "CREDENTIALS"]) {
        Some(LakeObject::Credential)
    } else if shows(&["SHOW", "EXTERNAL", "LOCATIONS"]) {
        Some(LakeObject::Location)
    } else if shows(&["SHOW", "CATALOGS"]) {
        Some(LakeObject::Catalog)
    } else {
        None
    }
}

/// Whether the tokens are a `SHOW` of ours.
pub(super) fn is_show(tokens: &[TokenWithSpan]) -> bool {
    shown(tokens).is_some()
}

pub(super) fn parse_show(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let shown = shown(cursor.rest()).ok_or_else(|| cursor.unexpected("CREDENTIALS"))?;
    cursor.advance(cursor.rest().len());
    Ok(Statement::ShowLakeObjects(shown))
}

pub(super) fn parse_create(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["CREATE"])?;
    let or_replace = cursor.eat_words(&["OR", "REPLACE"]);
    let object = kind(cursor)?;
    let if_not_exists = cursor.eat_words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.word("a name")?;
    let mut create = CreateLakeObject {
        object,
        name,
        or_replace,
        if_not_exists,
        url: None,
        catalog_type: None,
        credential: None,
        options: Vec::new(),
    };
    while !cursor.is_empty() {
        clause(cursor, &mut create)?;
    }
    Ok(Statement::CreateLakeObject(Box::new(create)))
}

fn clause(cursor: &mut Cursor<'_>, create: &mut CreateLakeObject) -> Result<(), ParseError> {
    let start = cursor.start();
    let is_repeated = match create.object {
        LakeObject::Credential if cursor.eat_word("FOR") => create
            .url
            .replace(cursor.string("a URL in quotes")?)
            .is_some(),
        LakeObject::Location if cursor.eat_word("URL") => create
            .url
            .replace(cursor.string("a URL in quotes")?)
            .is_some(),
        LakeObject::Catalog if cursor.eat_word("TYPE") => {
            let named = cursor.any_word("the catalog's type")?;
            create.catalog_type.replace(named).is_some()
        }
        LakeObject::Location if cursor.eat_word("WITH") => {
            let mut inside = cursor.group("CREDENTIAL and a name")?;
            inside.expect_words(&["CREDENTIAL"])?;
            inside.eat_token(&Token::Eq);
            let credential = inside.word("a credential")?;
            inside.finish()?;
            create.credential.replace(credential).is_some()
        }
        LakeObject::Credential | LakeObject::Catalog
            if cursor.eat_word("WITH") || cursor.eat_word("OPTIONS") =>
        {
            let is_repeated = !create.options.is_empty();
            create.options = secret_options(cursor)?;
            is_repeated
        }
        LakeObject::Credential => return Err(cursor.unexpected("FOR 'url' or WITH (…)")),
        LakeObject::Location => return Err(cursor.unexpected("URL 'url' or WITH (CREDENTIAL …)")),
        LakeObject::Catalog => return Err(cursor.unexpected("TYPE iceberg or WITH (…)")),
    };
    if is_repeated {
        let kind = ParseErrorKind::Malformed("a clause is written more than once".to_owned());
        return Err(ParseError::new(kind, Some(start)));
    }
    Ok(())
}

/// `(name = value, …)`; an error tells where, not what is written there.
fn secret_options(cursor: &mut Cursor<'_>) -> Result<Vec<ModelOption>, ParseError> {
    let inside = cursor.group("options")?;
    options::options(inside).map_err(without_secret)
}

/// The same error without what the text says.
pub(super) fn without_secret(mut error: ParseError) -> ParseError {
    match &mut error.kind {
        ParseErrorKind::Unexpected { found, .. } if found.contains(['\'', '"', '$']) => {
            *found = "'***'".to_owned();
        }
        ParseErrorKind::Lexical { near, .. } => *near = "***".to_owned(),
        ParseErrorKind::OutOfRange { value, .. } => *value = "***".to_owned(),
        _ => {}
    }
    error
}

pub(super) fn parse_drop(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["DROP"])?;
    let object = kind(cursor)?;
    let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
    let mut names = vec![cursor.word("a name")?];
    while cursor.eat_token(&Token::Comma) {
        names.push(cursor.word("a name")?);
    }
    if !cursor.eat_word("RESTRICT") && cursor.at_words(&["CASCADE"]) {
        return Err(cursor.unsupported("CASCADE of this object"));
    }
    Ok(Statement::DropLakeObject(DropLakeObject {
        object,
        if_exists,
        names,
    }))
}

fn kind(cursor: &mut Cursor<'_>) -> Result<LakeObject, ParseError> {
    match kind_at(cursor.rest(), 0) {
        Some((object, length)) => {
            cursor.advance(length);
            Ok(object)
        }
        None => Err(cursor.unexpected("CREDENTIAL, EXTERNAL LOCATION or CATALOG")),
    }
}
