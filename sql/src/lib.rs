//! auspex-sql: text → statements, with the place of everything in the text.
//!
//! In: a text and the session's dialect; out: [`ParsedStatement`]s, and the model functions inside ordinary SQL taken
//! apart ([`ml_function`], [`scalar_predict`]). Never resolves a name, reads a catalog or knows an option.
//!
//! Code map, in reading order:
//! - `statement`: the syntax tree of what Auspex adds to SQL; `access_statement`: that of roles and privileges; `do_statement`: that of blocks of code.
//! - `lexer`: tokens with byte offsets; the cut of a text into statements; `operator_comments`: comments that operators would swallow.
//! - `private_names`: the engine's own names, which clients' texts may not hold.
//! - `limits`: bounds on depth, stack and work; `long_texts`: chunks of long texts, and what reading them takes.
//! - `dialect`: what a session may ask for, and how sqlparser is told.
//! - `googlesql`: which statements are read as GoogleSQL, and the quotes, names and types that are rewritten.
//! - `model_forms`: `MODEL m`, `TABLE t`, `PREDICT(m USING …)`, `(PREDICT m ON t)` inside ordinary SQL.
//! - `adjacent_literals`, `postgres_forms`, `assigned_parts`, `between_symmetric`, `bracketed_queries`, `conflict_targets`, `distinct_groups`, `grouping_elements`, `rows_from`, `nested_joins`, `record_columns`, `row_tests`, `frame_forms`, `typed_texts`, `variadic`: forms that sqlparser lacks; `token_edits`: what they put in and leave out; `free_names`: words that it takes for more than names; `written`: a tree with them as text.
//! - `reference`: names of models and versions.
//! - `parser`: one module per family of statements; `parser::sql` hands the rest to DataFusion.
//! - `function`: calls of model functions in the parsed tree.
//! - `redact`, `redact_named`, `redact_urls`: a text as logs may keep it.
//! - `error`: what can go wrong.
//!
//! **Invariant:** every span in the tree, sqlparser's included, is a byte range of the parsed text ([`span_of`]).

mod access_statement;
mod adjacent_literals;
mod assigned_parts;
mod between_symmetric;
mod bracketed_queries;
mod conflict_targets;
mod copied_tables;
mod copy_forms;
mod definition_forms;
mod dialect;
mod distinct_groups;
mod do_statement;
mod domain_statement;
mod error;
mod fetch_forms;
mod frame_forms;
mod free_names;
mod function;
mod googlesql;
mod grouping_elements;
mod lexer;
mod limits;
mod long_texts;
mod materialized_statement;
mod model_forms;
mod named_columns;
mod nested_joins;
mod operator_comments;
mod parser;
mod postgres_forms;
mod private_names;
mod record_columns;
mod redact;
mod redact_named;
mod redact_urls;
mod reference;
mod row_tests;
mod rows_from;
mod sequence_statement;
mod statement;
mod table_queries;
#[cfg(test)]
mod tests;
mod token_edits;
mod typed_texts;
mod variadic;
mod view_options;
mod written;

pub use access_statement::{
    AlterOwner, DefaultPrivileges, Grant, PrivilegeKind, PrivilegeObjects, RoleName, RoleOptions,
    RoleStatement, Secret,
};
pub use assigned_parts::ASSIGNED_PART;
pub use conflict_targets::CONFLICT_TARGET;
pub use copied_tables::LIKE_PARTS;
pub use copy_forms::{COPY_CONDITION, EVERY_COPY_COLUMN, HEADER_MATCH};
pub use definition_forms::{DROP_IDENTITY, DROP_IDENTITY_IF_EXISTS, KEPT_ANYHOW};
pub use dialect::Dialect;
pub use distinct_groups::take_distinct_groups;
pub use do_statement::{DoBlock, ErrorCondition};
pub use domain_statement::{DomainAction, DomainRule, DomainStatement};
pub use error::{ParseError, ParseErrorKind};
pub use function::{PredictArgs, PredictKind, ScalarPredict, ml_function, scalar_predict};
pub use lexer::span_of;
pub use long_texts::{SHORT_TEXT_BYTES, Stop};
pub use materialized_statement::{CreateMaterializedView, RefreshMaterializedView};
pub use named_columns::NAMED_COLUMN;
pub use parser::{
    IdentityChanges, identity_changes, literal_option, parse, parse_long, parse_own, parse_query,
};
pub use postgres_forms::{EVERY_COLUMN, NO_COLUMN, OVERRIDING_SYSTEM, OVERRIDING_USER};
pub use private_names::PRIVATE;
pub use record_columns::{RECORD_COLUMNS, is_record_columns};
pub use redact::{redacted, redacted_start, redacted_unparsed};
pub use redact_urls::without_url_secrets;
pub use reference::parse_model_ref;
pub use rows_from::ROWS_FROM;
pub use sequence_statement::{SequenceAction, SequenceOptions, SequenceStatement};
pub use statement::{
    AlterAction, AlterModel, Apply, Connection, ConstraintComment, CreateLakeObject, CreateModel,
    CreateTable, DropLakeObject, DropModel, Evaluate, Explain, ExportModel, Fetch, FetchCount,
    Forecast, LakeObject, MlArg, MlFunction, ModelOption, ModelRef, Name, OptionValue,
    ParsedStatement, Restore, RestorePoint, SourceQuery, Span, Statement, Train, TrainRows,
    TrainingSource, TypedName, Vacuum, VersionRef, Word,
};
pub use variadic::variadic_array;
pub use written::written;
