//! The dialects: what a session may ask for, and how sqlparser is told.
//!
//! In: settings, characters and tokens; out: sqlparser's `Dialect`, PostgreSQL's with GoogleSQL's forms where the two
//! do not conflict. Conflicts are settled on the tokens before parsing (`googlesql`, `model_forms`), never here.

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{
    BigQueryDialect, Dialect as SqlDialect, PostgreSqlDialect, Precedence,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, is_word};
use crate::long_texts::Stop;
use crate::model_forms::parse_marked;
use crate::typed_texts::parse_typed_text;

/// The value of `SET ml.dialect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Each statement by its own evidence.
    #[default]
    Auto,
    /// Plain PostgreSQL.
    Postgres,
    /// GoogleSQL's quoting everywhere.
    GoogleSql,
}

impl Dialect {
    /// Reads the setting's value, in any case.
    pub fn parse(value: &str) -> Option<Self> {
        match value.trim().to_ascii_lowercase().as_str() {
            "auto" => Some(Self::Auto),
            "postgres" | "postgresql" => Some(Self::Postgres),
            "googlesql" | "bigquery" => Some(Self::GoogleSql),
            _ => None,
        }
    }

    /// The setting's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Postgres => "postgres",
            Self::GoogleSql => "googlesql",
        }
    }
}

impl std::str::FromStr for Dialect {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        Self::parse(value).ok_or(())
    }
}

/// PostgreSQL's dialect with the forms of GoogleSQL that PostgreSQL leaves free.
#[derive(Debug)]
pub(crate) struct AuspexDialect {
    /// Also accept what a plain PostgreSQL statement should not: trailing commas, pipes.
    lenient: bool,
    /// How many more expressions may be started.
    ///
    /// sqlparser tries some forms twice, at each level of nesting: a short text could otherwise cost hours.
    work: Cell<usize>,
    /// Whether a table may be followed by the version that is meant: only where a text says so, since the words that
    /// introduce one are names elsewhere.
    versions: bool,
    /// Ends the reading where it is.
    stop: Stop,
}

/// After how many expressions it is asked again whether a text is still wanted.
const EXPRESSIONS_PER_LOOK: usize = 64;

impl AuspexDialect {
    /// For a text of these tokens; a valid text starts fewer than two expressions for each token.
    pub(crate) fn new(lenient: bool, tokens: &[TokenWithSpan]) -> Self {
        let at_version = |at: usize| {
            ["VERSION", "TIMESTAMP", "SYSTEM_TIME"]
                .iter()
                .any(|word| are_words(tokens, at, &[word, "AS", "OF"]))
        };
        Self {
            lenient,
            work: Cell::new(1_000 + 16 * tokens.len()),
            versions: (0..tokens.len()).any(at_version),
            stop: Stop::default(),
        }
    }

    /// The same, which reads nothing more once it is to stop.
    pub(crate) fn until(self, stop: &Stop) -> Self {
        Self {
            stop: stop.clone(),
            ..self
        }
    }

    /// Whether one more expression may be started.
    fn goes_on(&self) -> bool {
        let Some(left) = self.work.get().checked_sub(1) else {
            return false;
        };
        let is_stopped = left.is_multiple_of(EXPRESSIONS_PER_LOOK) && self.stop.is_asked();
        self.work.set(if is_stopped { 0 } else { left });
        !is_stopped
    }
}

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// Key words of other dialects, and of PostgreSQL in other places, that may name a column or a table without AS.
const FREE_WORDS: [Keyword; 12] = [
    Keyword::CLUSTER,
    Keyword::CONNECT,
    Keyword::DISTRIBUTE,
    Keyword::FORMAT,
    Keyword::GLOBAL,
    Keyword::OPEN,
    Keyword::SAMPLE,
    Keyword::SETTINGS,
    Keyword::SORT,
    Keyword::START,
    Keyword::TOP,
    Keyword::VIEW,
];

/// Words that name a table without AS where no clause can begin with them.
const CLAUSE_WORDS: [Keyword; 14] = [
    Keyword::ANTI,
    Keyword::ASOF,
    Keyword::EXPLAIN,
    Keyword::MATCH_CONDITION,
    Keyword::MATCH_RECOGNIZE,
    Keyword::MINUS,
    Keyword::OUTPUT,
    Keyword::PARTITION,
    Keyword::PIVOT,
    Keyword::PREWHERE,
    Keyword::QUALIFY,
    Keyword::SEMI,
    Keyword::SET,
    Keyword::UNPIVOT,
];

/// Words behind a relation, with which no expression begins.
const BEHIND_RELATIONS: [&str; 13] = [
    "CROSS",
    "EXCEPT",
    "FULL",
    "GROUP",
    "HAVING",
    "INNER",
    "INTERSECT",
    "NATURAL",
    "ON",
    "ORDER",
    "UNION",
    "USING",
    "WHERE",
];

impl SqlDialect for AuspexDialect {
    /// sqlparser asks in places for the type of the dialect: it must answer as PostgreSQL.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    /// `MODEL m` and `PREDICT(m USING …)`, which `model_forms` has marked with a quote that no text can carry, and
    /// `inet '10.0.0.1'`.
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.goes_on() {
            true => parse_marked(parser).or_else(|| parse_typed_text(parser)),
            // The one error that sqlparser passes on wherever it tries several forms.
            false => Some(Err(ParserError::RecursionLimitExceeded)),
        }
    }

    /// `a IS DISTINCT FROM b AND c`, of which sqlparser takes all that follows for the right side, lists that begin with
    /// a query, and collations behind an operation (`a::text COLLATE "C"`).
    fn parse_infix(
        &self,
        parser: &mut Parser,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if let Some(list) = parse_list(parser, left).transpose() {
            return Some(list);
        }
        if parser.parse_keyword(Keyword::COLLATE) {
            let collation = parser.parse_object_name(false);
            return Some(collation.map(|collation| Expr::Collate {
                expr: Box::new(left.clone()),
                collation,
            }));
        }
        let compared: fn(Box<Expr>, Box<Expr>) -> Expr =
            if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
                Expr::IsDistinctFrom
            } else if parser.parse_keywords(&[
                Keyword::IS,
                Keyword::NOT,
                Keyword::DISTINCT,
                Keyword::FROM,
            ]) {
                Expr::IsNotDistinctFrom
            } else {
                return None;
            };
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| compared(Box::new(left.clone()), Box::new(right))))
    }

    // What differs from PostgreSQL. A backtick quotes a name; the grammar decides later whether it may.
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }
    /// `SELECT 1 ON CONFLICT …`: the word is reserved in PostgreSQL.
    fn is_column_alias(&self, kw: &Keyword, parser: &mut Parser) -> bool {
        let is_alias = FREE_WORDS.contains(kw) || POSTGRES.is_column_alias(kw, parser);
        *kw != Keyword::ON && is_alias
    }
    /// `FROM t view`: of the words that sqlparser reserves, this one is none of PostgreSQL's. Others begin a clause of
    /// GoogleSQL, or one that PostgreSQL has elsewhere, unless the relation ends behind them.
    fn is_table_alias(&self, kw: &Keyword, parser: &mut Parser) -> bool {
        FREE_WORDS.contains(kw)
            || POSTGRES.is_table_alias(kw, parser)
            || (CLAUSE_WORDS.contains(kw) && ends_relation(*kw, parser))
    }
    fn is_custom_operator_part(&self, ch: char) -> bool {
        ch != '`' && POSTGRES.is_custom_operator_part(ch)
    }
    /// CASE, too: what it holds may be nested too deeply, which sqlparser forgets where it tries the word as a name.
    fn is_reserved_for_identifier(&self, kw: Keyword) -> bool {
        kw == Keyword::CASE || POSTGRES.is_reserved_for_identifier(kw)
    }
    /// PostgreSQL's `json_object('a' : b)` would have every argument read twice, nested calls twice at each level.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }
    fn supports_select_wildcard_except(&self) -> bool {
        true
    }
    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }
    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }
    fn supports_optimize_table(&self) -> bool {
        true
    }
    fn supports_table_versioning(&self) -> bool {
        self.versions
    }
    fn supports_struct_literal(&self) -> bool {
        true
    }
    /// The type `MAP<TEXT, INT>`.
    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }
    fn supports_select_expr_star(&self) -> bool {
        self.lenient
    }
    fn supports_projection_trailing_commas(&self) -> bool {
        self.lenient
    }
    fn supports_column_definition_trailing_commas(&self) -> bool {
        self.lenient
    }
    fn supports_window_function_null_treatment_arg(&self) -> bool {
        self.lenient
    }
    fn supports_window_clause_named_window_reference(&self) -> bool {
        self.lenient
    }
    fn supports_pipe_operator(&self) -> bool {
        self.lenient
    }

    // The rest is PostgreSQL's, method by method: sqlparser offers no other delegation outside its own crate.
    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRES.identifier_quote_style(identifier)
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }
    fn supports_unicode_string_literal(&self) -> bool {
        POSTGRES.supports_unicode_string_literal()
    }
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        POSTGRES.supports_filter_during_aggregation()
    }
    fn supports_group_by_expr(&self) -> bool {
        POSTGRES.supports_group_by_expr()
    }
    fn prec_value(&self, prec: Precedence) -> u8 {
        POSTGRES.prec_value(prec)
    }
    fn allow_extract_custom(&self) -> bool {
        POSTGRES.allow_extract_custom()
    }
    fn allow_extract_single_quotes(&self) -> bool {
        POSTGRES.allow_extract_single_quotes()
    }
    fn supports_create_index_with_clause(&self) -> bool {
        POSTGRES.supports_create_index_with_clause()
    }
    fn supports_explain_with_utility_options(&self) -> bool {
        POSTGRES.supports_explain_with_utility_options()
    }
    fn supports_listen_notify(&self) -> bool {
        POSTGRES.supports_listen_notify()
    }
    fn supports_factorial_operator(&self) -> bool {
        POSTGRES.supports_factorial_operator()
    }
    fn supports_bitwise_shift_operators(&self) -> bool {
        POSTGRES.supports_bitwise_shift_operators()
    }
    fn supports_comment_on(&self) -> bool {
        POSTGRES.supports_comment_on()
    }
    fn supports_load_extension(&self) -> bool {
        POSTGRES.supports_load_extension()
    }
    fn supports_named_fn_args_with_colon_operator(&self) -> bool {
        POSTGRES.supports_named_fn_args_with_colon_operator()
    }
    fn supports_empty_projections(&self) -> bool {
        POSTGRES.supports_empty_projections()
    }
    fn supports_nested_comments(&self) -> bool {
        POSTGRES.supports_nested_comments()
    }
    fn supports_string_escape_constant(&self) -> bool {
        POSTGRES.supports_string_escape_constant()
    }
    fn supports_numeric_literal_underscores(&self) -> bool {
        POSTGRES.supports_numeric_literal_underscores()
    }
    fn supports_array_typedef_with_brackets(&self) -> bool {
        POSTGRES.supports_array_typedef_with_brackets()
    }
    fn supports_geometric_types(&self) -> bool {
        POSTGRES.supports_geometric_types()
    }
    fn supports_set_names(&self) -> bool {
        POSTGRES.supports_set_names()
    }
    fn supports_alter_column_type_using(&self) -> bool {
        POSTGRES.supports_alter_column_type_using()
    }
    fn supports_notnull_operator(&self) -> bool {
        POSTGRES.supports_notnull_operator()
    }
    fn supports_interval_options(&self) -> bool {
        POSTGRES.supports_interval_options()
    }
    fn supports_insert_table_alias(&self) -> bool {
        POSTGRES.supports_insert_table_alias()
    }
    fn supports_create_table_like_parenthesized(&self) -> bool {
        POSTGRES.supports_create_table_like_parenthesized()
    }
    fn supports_select_wildcard_with_alias(&self) -> bool {
        POSTGRES.supports_select_wildcard_with_alias()
    }
    fn supports_comma_separated_trim(&self) -> bool {
        POSTGRES.supports_comma_separated_trim()
    }
    fn supports_xml_expressions(&self) -> bool {
        POSTGRES.supports_xml_expressions()
    }
}

/// Whether a relation ends behind a word, which is the last that was read. `ANTI JOIN` and its like are joins.
fn ends_relation(word: Keyword, parser: &Parser) -> bool {
    const KINDS_OF_JOINS: [Keyword; 3] = [Keyword::ANTI, Keyword::ASOF, Keyword::SEMI];
    let [next, behind] = parser.peek_tokens_ref::<2>();
    let is_behind = |words: &[&str]| words.iter().any(|word| is_word(Some(behind), word));
    let is_next = |words: &[&str]| words.iter().any(|word| is_word(Some(next), word));
    match &next.token {
        Token::EOF | Token::SemiColon | Token::Comma | Token::RParen => true,
        _ if is_next(&["LEFT", "RIGHT"]) => is_behind(&["JOIN", "OUTER"]),
        _ if is_next(&["JOIN"]) => !KINDS_OF_JOINS.contains(&word),
        _ if is_next(&["LIMIT", "OFFSET"]) => matches!(behind.token, Token::Number(..)),
        _ => is_next(&BEHIND_RELATIONS),
    }
}

/// `x IN ((SELECT 1), 2)`: sqlparser takes what begins with a bracket for one query.
fn parse_list(parser: &mut Parser, left: &Expr) -> Result<Option<Expr>, ParserError> {
    let negated = parser.peek_keyword(Keyword::NOT);
    let ahead = parser.peek_tokens_ref::<4>();
    let [word, first, second] = match negated {
        true => [ahead[1], ahead[2], ahead[3]],
        false => [ahead[0], ahead[1], ahead[2]],
    };
    let opens = first.token == Token::LParen && second.token == Token::LParen;
    if !opens || !is_word(Some(word), "IN") {
        return Ok(None);
    }
    parser.maybe_parse(|parser| {
        if negated {
            parser.expect_keyword_is(Keyword::NOT)?;
        }
        parser.expect_keyword_is(Keyword::IN)?;
        parser.expect_token(&Token::LParen)?;
        let list = parser.parse_comma_separated(Parser::parse_expr)?;
        parser.expect_token(&Token::RParen)?;
        match list.as_slice() {
            [only] if is_query(only) => Err(ParserError::ParserError("one query".to_owned())),
            _ => Ok(Expr::InList {
                expr: Box::new(left.clone()),
                list,
                negated,
            }),
        }
    })
}

fn is_query(expr: &Expr) -> bool {
    match expr {
        Expr::Subquery(_) => true,
        Expr::Nested(inner) => is_query(inner),
        _ => false,
    }
}

/// GoogleSQL's characters: backslash escapes, raw and triple-quoted strings, `#` comments. For the tokenizer only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoogleSqlLexis;

impl SqlDialect for GoogleSqlLexis {
    fn dialect(&self) -> TypeId {
        TypeId::of::<BigQueryDialect>()
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }
    /// Unlike BigQuery's, without `@`, which introduces a model's version here.
    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }
    fn supports_triple_quoted_string(&self) -> bool {
        BigQueryDialect.supports_triple_quoted_string()
    }
    fn supports_string_literal_backslash_escape(&self) -> bool {
        BigQueryDialect.supports_string_literal_backslash_escape()
    }
    fn supports_pipe_operator(&self) -> bool {
        BigQueryDialect.supports_pipe_operator()
    }
}
