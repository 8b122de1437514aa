//! The syntax tree of the statements that Auspex adds to SQL, and the wrapper around everything else.
//!
//! In: nothing; out: plain values with the place in the text where they were read.
//! Never resolves a name, never knows which options or functions exist.

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, CreateTable as SqlCreateTable, Expr, Query, SelectItem, With,
};

use crate::access_statement::{AlterOwner, DefaultPrivileges, Grant, RoleStatement};
use crate::do_statement::DoBlock;
use crate::domain_statement::DomainStatement;
use crate::materialized_statement::{CreateMaterializedView, RefreshMaterializedView};
use crate::sequence_statement::SequenceStatement;

/// A half-open range of byte offsets in the text that was parsed; within a statement, in the statement's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

/// One statement of a text, with the part of the text it was read from.
#[derive(Debug, Clone)]
pub struct ParsedStatement {
    /// What the text says.
    pub statement: Statement,
    /// The statement's own text, without the separating semicolon.
    pub text: String,
    /// Where `text` lies in the whole text.
    pub span: Span,
    /// Whether it says that transactions are `DEFERRABLE` or not, for which the parser's tree has no place.
    pub deferrable: Option<bool>,
    /// The WITH before a change of rows, which those of its queries have that read one of its names: of the others, it alone
    /// tells the parameters.
    pub with: Option<Box<With>>,
}

impl ParsedStatement {
    /// The parser's own tree; `None`: it is a statement of ours, or one about another, such as EXPLAIN.
    pub fn sql(&self) -> Option<&ast::Statement> {
        match &self.statement {
            Statement::Sql(statement) => match statement.as_ref() {
                SqlStatement::Statement(statement) => Some(statement),
                _ => None,
            },
            _ => None,
        }
    }

    /// The same, to change it.
    pub fn sql_mut(&mut self) -> Option<&mut ast::Statement> {
        match &mut self.statement {
            Statement::Sql(statement) => match statement.as_mut() {
                SqlStatement::Statement(statement) => Some(statement),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A statement: a model statement, or any other SQL in the parser's own tree.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `CREATE MODEL`.
    CreateModel(Box<CreateModel>),
    /// `TRAIN [MODEL]`.
    Train(Box<Train>),
    /// `EVALUATE [MODEL]`.
    Evaluate(Box<Evaluate>),
    /// `PREDICT [MODEL] … ON …`.
    Predict(Box<Apply>),
    /// `EXPLAIN_PREDICT [MODEL] … ON …`.
    ExplainPredict(Box<Apply>),
    /// `FORECAST [MODEL]`.
    Forecast(Box<Forecast>),
    /// `ALTER MODEL`.
    AlterModel(Box<AlterModel>),
    /// `DROP MODEL`.
    DropModel(DropModel),
    /// `EXPORT MODEL`.
    ExportModel(Box<ExportModel>),
    /// `SHOW MODELS`, `SHOW MODEL ALL`.
    ShowModels,
    /// `SHOW MODEL m`, `DESCRIBE MODEL m`, `DESCRIBE MODEL m.part`.
    ///
    /// A part is the name's last part, also of `m@3.part`: whether `a.b` is a model or a part only the catalog knows.
    DescribeModel(ModelRef),
    /// `SHOW DEVICES`.
    ShowDevices,
    /// `SHOW WORKERS`.
    ShowWorkers,
    /// `EXPLAIN [ANALYZE] [(options)]` of a model statement.
    Explain(Box<Explain>),
    /// `GRANT` or `REVOKE` of privileges on objects.
    Grant(Box<Grant>),
    /// `ALTER DEFAULT PRIVILEGES`.
    DefaultPrivileges(Box<DefaultPrivileges>),
    /// `ALTER … OWNER TO`.
    AlterOwner(Box<AlterOwner>),
    /// A statement about roles.
    Role(Box<RoleStatement>),
    /// `CREATE TABLE` with partitions or properties.
    CreateTable(Box<CreateTable>),
    /// `DESCRIBE HISTORY t`.
    TableHistory(Name),
    /// `DESCRIBE DETAIL t`.
    TableDetail(Name),
    /// `RESTORE TABLE t TO …`.
    Restore(Restore),
    /// `VACUUM`.
    Vacuum(Vacuum),
    /// `CREATE CREDENTIAL`, `CREATE EXTERNAL LOCATION`, `CREATE CATALOG`.
    CreateLakeObject(Box<CreateLakeObject>),
    /// `DROP CREDENTIAL`, `DROP EXTERNAL LOCATION`, `DROP CATALOG`.
    DropLakeObject(DropLakeObject),
    /// `SHOW CREDENTIALS`, `SHOW EXTERNAL LOCATIONS`, `SHOW CATALOGS`.
    ShowLakeObjects(LakeObject),
    /// `SET CONSTRAINTS`: each statement looks at keys, and none at references, so that it changes nothing.
    SetConstraints,
    /// `CREATE SEQUENCE`, `ALTER SEQUENCE`.
    Sequence(Box<SequenceStatement>),
    /// `COMMENT ON CONSTRAINT`.
    ConstraintComment(Box<ConstraintComment>),
    /// `CREATE DOMAIN`, `ALTER DOMAIN`, `DROP DOMAIN`.
    Domain(Box<DomainStatement>),
    /// `CREATE MATERIALIZED VIEW`.
    CreateMaterializedView(Box<CreateMaterializedView>),
    /// `REFRESH MATERIALIZED VIEW`.
    RefreshMaterializedView(RefreshMaterializedView),
    /// `FETCH`, `MOVE`.
    Fetch(Fetch),
    /// `DO`.
    Do(Box<DoBlock>),
    /// Any other SQL.
    Sql(Box<SqlStatement>),
}

/// `COMMENT ON CONSTRAINT name ON [DOMAIN] owner IS 'text' | NULL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintComment {
    /// The constraint.
    pub constraint: Word,
    /// `DOMAIN` was written.
    pub is_of_domain: bool,
    /// The table or domain that it is of.
    pub owner: Name,
    /// The text; `None` for NULL, which takes the comment away.
    pub comment: Option<String>,
}

/// `FETCH [n] FROM cursor`, `MOVE [n] IN cursor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The cursor.
    pub cursor: String,
    /// How many rows.
    pub count: FetchCount,
    /// Whether the rows are passed over.
    pub moves: bool,
}

/// Which rows of a cursor are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchCount {
    /// The next ones, at least one.
    Forward(u64),
    /// All that are left.
    ForwardAll,
    /// The ones before, at least one, the nearest first.
    Backward(u64),
    /// All before, the nearest first.
    BackwardAll,
    /// The one at a place from the start, or, below 0, from the end; 0 is before the first.
    Absolute(i64),
    /// The one at a distance; 0 is the same again.
    Relative(i64),
}

/// `CREATE TABLE … PARTITIONED BY (…) TBLPROPERTIES (…)`.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// The statement without those clauses.
    pub table: SqlCreateTable,
    /// The columns that divide the table's files.
    pub partition_columns: Vec<Word>,
    /// Names and values.
    pub properties: Vec<(Word, String)>,
}

/// `RESTORE TABLE t TO VERSION AS OF 3`, `… TO TIMESTAMP AS OF '…'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The table.
    pub table: Name,
    /// What it shall be again.
    pub to: RestorePoint,
}

/// An earlier state of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestorePoint {
    /// The version of this number.
    Version(u64),
    /// The newest version of a time.
    Time(String),
}

/// `VACUUM [t, …] [RETAIN n HOURS] [DRY RUN]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vacuum {
    /// The tables; none: all.
    pub tables: Vec<Name>,
    /// How old files must be that no version of the table needs.
    pub retain_hours: Option<u64>,
    /// Only tell which files would go.
    pub dry_run: bool,
}

/// A possibly qualified name. Unquoted parts are folded to lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The parts, outermost first; never empty.
    pub parts: Vec<String>,
    /// Where it stands.
    pub span: Span,
}

/// A model, optionally at a version: `m`, `m@3`, `s.m@champion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The model's name.
    pub name: Name,
    /// The version asked for; `None` is the current one.
    pub version: Option<VersionRef>,
}

/// What stands behind `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRef {
    /// A version's number.
    Number(u64),
    /// A version's alias.
    Alias(String),
}

/// `CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name clauses… [AS source | FROM 'file'] [WITH NO TRAIN]`.
#[derive(Debug, Clone)]
pub struct CreateModel {
    /// The model's name.
    pub name: Name,
    /// `OR REPLACE` was written.
    pub or_replace: bool,
    /// `IF NOT EXISTS` was written.
    pub if_not_exists: bool,
    /// `TRANSFORM (…)`.
    pub transform: Option<Vec<SelectItem>>,
    /// `INPUT (…)`.
    pub input: Vec<TypedName>,
    /// `OUTPUT (…)`.
    pub output: Vec<TypedName>,
    /// `REMOTE WITH CONNECTION …`.
    pub connection: Option<Connection>,
    /// `PREDICT a, b` or `TARGET a, b`.
    pub labels: Vec<Word>,
    /// `USING type` or `OF TYPE type`.
    pub model_type: Option<Word>,
    /// `FEATURES …`.
    pub features: Option<Vec<SelectItem>>,
    /// `ORDER BY column`.
    pub order_by: Option<Word>,
    /// `PARTITION BY a, b`.
    pub partition_by: Vec<Word>,
    /// `HORIZON n`.
    pub horizon: Option<u64>,
    /// `OPTIONS (…)` or `WITH (…)`.
    pub options: Vec<ModelOption>,
    /// Where the training rows come from.
    pub source: Option<TrainingSource>,
    /// `WITH NO TRAIN` was written.
    pub no_train: bool,
}

/// A single identifier with its place; unquoted ones are folded to lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The identifier.
    pub value: String,
    /// Where it stands.
    pub span: Span,
}

/// `name type`, as in `INPUT (x FLOAT64)`.
#[derive(Debug, Clone)]
pub struct TypedName {
    /// The column.
    pub name: Word,
    /// Its type's text.
    pub data_type: String,
}

/// `REMOTE WITH CONNECTION …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// `DEFAULT`.
    Default,
    /// A named connection.
    Named(Name),
}

/// What stands behind `AS` or `FROM` in `CREATE MODEL`.
#[derive(Debug, Clone)]
pub enum TrainingSource {
    /// One query (`TABLE t` is the query `SELECT * FROM t`).
    Query(SourceQuery),
    /// `(name AS (query), …)`.
    Named(Vec<(Word, SourceQuery)>),
    /// `FROM 'file'`.
    File(String),
}

/// A query with its own text, so that it can be stored and run again.
#[derive(Debug, Clone)]
pub struct SourceQuery {
    /// The parsed query.
    pub query: Box<Query>,
    /// Its text as written (for `TABLE t` and a bare name: `SELECT * FROM t`).
    ///
    /// Reads back by `parse_query` under `Auto`; where the text alone would not mean the same, it is the query printed.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// `name = value` of `OPTIONS` or `WITH`.
#[derive(Debug, Clone)]
pub struct ModelOption {
    /// The option's name, in lower case.
    pub name: Word,
    /// Its value.
    pub value: OptionValue,
    /// Where the value stands.
    pub value_span: Span,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// `NULL`.
    Null,
    /// `TRUE`, `FALSE`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string in single quotes, or in double quotes.
    String(String),
    /// A bare name.
    Name(String),
    /// `[a, b]`.
    Array(Vec<OptionValue>),
    /// `STRUCT(a AS x, b)` or `(a, b)`: values with the names that were given.
    Struct(Vec<(Option<String>, OptionValue)>),
    /// `INTERVAL …` as one text with its unit: `'1' DAY`, `1 DAY` and `'1 day'` are all `1 day`.
    Interval(String),
    /// `HPARAM_RANGE(lo, hi)`.
    Range(f64, f64),
    /// `HPARAM_CANDIDATES([…])`.
    Candidates(Vec<OptionValue>),
    /// `DEFAULT`.
    Default,
}

/// `TRAIN [MODEL] name …`.
#[derive(Debug, Clone)]
pub struct Train {
    /// The model's name.
    pub name: Name,
    /// What to train on.
    pub rows: TrainRows,
    /// `WITH (…)`.
    pub options: Vec<ModelOption>,
    /// `IN BACKGROUND` was written.
    pub in_background: bool,
}

/// The rows of a `TRAIN`.
#[derive(Debug, Clone)]
pub enum TrainRows {
    /// The model's own query, today's rows.
    Own,
    /// `ON source`.
    On(SourceQuery),
    /// `ON SNAPSHOT OF m@3`.
    Snapshot(ModelRef),
    /// `RESUME`.
    Resume,
}

/// `EVALUATE [MODEL] m [ON source] [WITH (…)]`.
#[derive(Debug, Clone)]
pub struct Evaluate {
    /// The model.
    pub model: ModelRef,
    /// The rows; `None` answers from what training stored.
    pub rows: Option<SourceQuery>,
    /// `WITH (…)`.
    pub options: Vec<ModelOption>,
}

/// `PREDICT` or `EXPLAIN_PREDICT [MODEL] m ON source [WITH (…)]`.
#[derive(Debug, Clone)]
pub struct Apply {
    /// The model.
    pub model: ModelRef,
    /// The rows.
    pub rows: SourceQuery,
    /// `WITH (…)`.
    pub options: Vec<ModelOption>,
}

/// `FORECAST [MODEL] m [HORIZON n] [ON source] [WITH (…)]`.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// The model.
    pub model: ModelRef,
    /// `HORIZON n`.
    pub horizon: Option<u64>,
    /// The rows.
    pub rows: Option<SourceQuery>,
    /// `WITH (…)`.
    pub options: Vec<ModelOption>,
}

/// `ALTER MODEL [IF EXISTS] m action`.
#[derive(Debug, Clone)]
pub struct AlterModel {
    /// `IF EXISTS` was written.
    pub if_exists: bool,
    /// The model's name.
    pub name: Name,
    /// What to change.
    pub action: AlterAction,
}

/// The change that an `ALTER MODEL` asks for.
#[derive(Debug, Clone)]
pub enum AlterAction {
    /// `RENAME TO name`.
    Rename(Word),
    /// `SET [OPTIONS] (…)`.
    SetOptions(Vec<ModelOption>),
    /// `OWNER TO role`.
    Owner(Word),
    /// `SET ALIAS name TO n`.
    SetAlias(Word, u64),
    /// `DROP ALIAS name`.
    DropAlias(Word),
    /// `DROP VERSION n`.
    DropVersion(u64),
    /// `SET RETRAIN EVERY interval` (its text, as in `OptionValue::Interval`).
    RetrainEvery(String),
    /// `SET RETRAIN WHEN (query)`.
    RetrainWhen(SourceQuery),
    /// `SET RETRAIN OFF`.
    RetrainOff,
    /// `COMMENT ON MODEL name IS 'text'`; `None` for NULL, which takes the comment away.
    Comment(Option<String>),
}

/// `DROP MODEL [IF EXISTS] m, … [CASCADE | RESTRICT]`.
#[derive(Debug, Clone)]
pub struct DropModel {
    /// `IF EXISTS` was written.
    pub if_exists: bool,
    /// The models; with a version, only that version is dropped.
    pub models: Vec<ModelRef>,
    /// `CASCADE` was written.
    pub cascade: bool,
}

/// `EXPORT MODEL m (OPTIONS (…) | TO 'file' [WITH (…)])`.
#[derive(Debug, Clone)]
pub struct ExportModel {
    /// The model.
    pub model: ModelRef,
    /// The file.
    pub target: Option<String>,
    /// `OPTIONS (…)` or `WITH (…)`.
    pub options: Vec<ModelOption>,
}

/// `EXPLAIN [ANALYZE] [(options)] statement`.
#[derive(Debug, Clone)]
pub struct Explain {
    /// `ANALYZE` was written.
    pub analyze: bool,
    /// The options in parentheses.
    pub options: Vec<ModelOption>,
    /// The statement to explain.
    pub statement: Statement,
}

/// An object about files of others, which lies in no schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LakeObject {
    /// `CREDENTIAL`.
    Credential,
    /// `EXTERNAL LOCATION`.
    Location,
    /// `CATALOG`.
    Catalog,
}

impl LakeObject {
    /// The words that statements name it by.
    pub fn words(self) -> &'static str {
        match self {
            Self::Credential => "CREDENTIAL",
            Self::Location => "EXTERNAL LOCATION",
            Self::Catalog => "CATALOG",
        }
    }
}

/// `CREATE [OR REPLACE] object [IF NOT EXISTS] name clauses…`.
#[derive(Debug, Clone)]
pub struct CreateLakeObject {
    /// What to create.
    pub object: LakeObject,
    /// Its name.
    pub name: Word,
    /// `OR REPLACE` was written.
    pub or_replace: bool,
    /// `IF NOT EXISTS` was written.
    pub if_not_exists: bool,
    /// `FOR 'url'` of a credential, `URL 'url'` of a location.
    pub url: Option<String>,
    /// `TYPE iceberg` of a catalog.
    pub catalog_type: Option<Word>,
    /// `WITH (CREDENTIAL c)` of a location.
    pub credential: Option<Word>,
    /// `WITH (…)` of a credential or catalog; may hold secrets.
    pub options: Vec<ModelOption>,
}

/// `DROP object [IF EXISTS] name, …`.
#[derive(Debug, Clone)]
pub struct DropLakeObject {
    /// What to drop.
    pub object: LakeObject,
    /// `IF EXISTS` was written.
    pub if_exists: bool,
    /// The names.
    pub names: Vec<Word>,
}

/// One argument of an `ML.` table function, as it stands in the expression tree (see `ml_function`).
#[derive(Debug, Clone)]
pub enum MlArg {
    /// `MODEL m@3`.
    Model(ModelRef),
    /// `(query)` or `TABLE t`.
    Query(Box<Query>),
    /// `STRUCT(0.5 AS threshold)`: names in lower case.
    Struct(Vec<(Option<String>, Expr)>),
    /// `name => expr`.
    Named(String, Expr),
    /// Any other expression.
    Expr(Expr),
}

/// A call of `ML.name(…)` or `AI.name(…)` in `FROM`, taken apart.
#[derive(Debug, Clone)]
pub struct MlFunction {
    /// The full name in lower case: `ml.predict`.
    pub name: String,
    /// The arguments in order.
    pub args: Vec<MlArg>,
}
