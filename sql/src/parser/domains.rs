//! `CREATE DOMAIN`, `ALTER DOMAIN`, `DROP DOMAIN`, of whose rules the parser's own statement knows few.
//!
//! In: the statement's tokens; out: `DomainStatement`. Whether the rules go together is the planner's question.

use datafusion::sql::sqlparser::ast::{ColumnOption, Ident};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::domain_statement::{DomainAction, DomainRule, DomainStatement};
use crate::error::ParseError;
use crate::lexer::are_words;
use crate::parser::cursor::Cursor;
use crate::parser::roles::eat_behavior;
use crate::statement::Statement;

const NAME: &str = "a domain's name";

/// Whether the tokens open such a statement.
pub(super) fn opens(tokens: &[TokenWithSpan]) -> bool {
    let verbs = ["CREATE", "ALTER", "DROP"];
    verbs
        .iter()
        .any(|verb| are_words(tokens, 0, &[verb, "DOMAIN"]))
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let statement = if cursor.eat_words(&["CREATE", "DOMAIN"]) {
        create(cursor)?
    } else if cursor.eat_words(&["ALTER", "DOMAIN"]) {
        let name = cursor.name(NAME)?;
        let action = Box::new(action(cursor)?);
        DomainStatement::Alter { name, action }
    } else {
        cursor.expect_words(&["DROP", "DOMAIN"])?;
        drop(cursor)?
    };
    Ok(Statement::Domain(Box::new(statement)))
}

fn create(cursor: &mut Cursor<'_>) -> Result<DomainStatement, ParseError> {
    let name = cursor.name(NAME)?;
    cursor.eat_word("AS");
    let (data_type, rules) = read_rest(cursor, |parser| {
        let data_type = parser.parse_data_type()?;
        let mut rules = Vec::new();
        while parser.peek_token_ref().token != Token::EOF {
            rules.push(rule(parser)?);
        }
        Ok((data_type, rules))
    })?;
    Ok(DomainStatement::Create {
        name,
        data_type,
        rules,
    })
}

fn drop(cursor: &mut Cursor<'_>) -> Result<DomainStatement, ParseError> {
    let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
    let mut names = vec![cursor.name(NAME)?];
    while cursor.eat_token(&Token::Comma) {
        names.push(cursor.name(NAME)?);
    }
    let cascade = eat_behavior(cursor);
    Ok(DomainStatement::Drop {
        names,
        if_exists,
        cascade,
    })
}

fn action(cursor: &mut Cursor<'_>) -> Result<DomainAction, ParseError> {
    const CONSTRAINT: &str = "a constraint's name";
    Ok(if cursor.eat_words(&["SET", "DEFAULT"]) {
        let default = read_rest(cursor, |parser| parser.parse_expr())?;
        DomainAction::SetDefault(Some(default))
    } else if cursor.eat_words(&["DROP", "DEFAULT"]) {
        DomainAction::SetDefault(None)
    } else if cursor.eat_words(&["SET", "NOT", "NULL"]) {
        DomainAction::SetNotNull(true)
    } else if cursor.eat_words(&["DROP", "NOT", "NULL"]) {
        DomainAction::SetNotNull(false)
    } else if cursor.eat_word("ADD") {
        read_rest(cursor, |parser| {
            let rule = rule(parser)?;
            let not_valid = parser.parse_keywords(&[Keyword::NOT, Keyword::VALID]);
            Ok(DomainAction::Add { rule, not_valid })
        })?
    } else if cursor.eat_words(&["DROP", "CONSTRAINT"]) {
        let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
        let name = cursor.word(CONSTRAINT)?;
        eat_behavior(cursor);
        DomainAction::DropConstraint { name, if_exists }
    } else if cursor.eat_words(&["RENAME", "CONSTRAINT"]) {
        let from = cursor.word(CONSTRAINT)?;
        cursor.expect_words(&["TO"])?;
        let to = cursor.word(CONSTRAINT)?;
        DomainAction::RenameConstraint { from, to }
    } else if cursor.eat_words(&["VALIDATE", "CONSTRAINT"]) {
        DomainAction::Validate(cursor.word(CONSTRAINT)?)
    } else if cursor.eat_words(&["RENAME", "TO"]) {
        DomainAction::Rename(cursor.word(NAME)?)
    } else if cursor.eat_words(&["SET", "SCHEMA"]) {
        DomainAction::SetSchema(cursor.word("a schema")?)
    } else {
        return Err(cursor.unexpected("what to change"));
    })
}

/// One rule, as columns have them.
fn rule(parser: &mut Parser<'_>) -> Result<DomainRule, ParserError> {
    let name = match parser.parse_keyword(Keyword::CONSTRAINT) {
        true => Some(folded(&parser.parse_identifier()?)),
        false => None,
    };
    let found = parser.get_current_token().clone();
    Ok(match parser.parse_optional_column_option()? {
        Some(ColumnOption::Null) => DomainRule::Null,
        Some(ColumnOption::NotNull) => DomainRule::NotNull,
        Some(ColumnOption::Default(expr)) => DomainRule::Default(expr),
        Some(ColumnOption::Collation(collation)) => DomainRule::Collate(collation.to_string()),
        Some(ColumnOption::Check(check)) => DomainRule::Check {
            name,
            condition: *check.expr,
        },
        Some(_) => return parser.expected("a rule of a domain", found),
        None => return parser.expected_ref("a rule of a domain", parser.peek_token_ref()),
    })
}

fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// Reads all that is left, and goes behind it.
fn read_rest<T>(
    cursor: &mut Cursor<'_>,
    read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, ParseError> {
    let value = cursor.parse_rest(read)?;
    cursor.advance(cursor.rest().len());
    Ok(value)
}
