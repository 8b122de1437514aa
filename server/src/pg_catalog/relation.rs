//! A relation as the catalogs tell it: its names and numbers, its columns and their rules.
//!
//! In: what `objects` found of it; out: answers about its columns. Opens nothing.

use std::sync::Arc;

pub(super) use auspex_planner::{ColumnNumbers, Key, ReferenceFacts};
use auspex_planner::{
    DeclaredType, DomainType, ModelFacts, TableRules, TextLimit, is_temporary_schema,
};
use datafusion::arrow::datatypes::{Schema, SchemaRef};

use super::roles;
use super::{INFORMATION_SCHEMA, PG_CATALOG};

/// A table, view or model.
pub(super) struct Relation {
    pub(super) oid: i32,
    pub(super) schema: String,
    pub(super) name: String,
    /// `r`, `v`, `m`, `S` or `f`, as in `pg_class.relkind`.
    pub(super) kind: &'static str,
    pub(super) owner: String,
    pub(super) comment: Option<String>,
    pub(super) columns: SchemaRef,
    /// Whether it has rows: a materialized view gets them by a refresh.
    pub(super) is_populated: bool,
    pub(super) rules: TableRules,
    /// Its options, as `pg_class.reloptions` has them.
    pub(super) options: Vec<String>,
    /// Which columns of a view take values; `None`: nothing can be written through it.
    pub(super) written: Option<Vec<bool>>,
    /// What is known of a model.
    pub(super) model: Option<ModelFacts>,
    /// Rows, where the files tell it.
    pub(super) n_rows: Option<usize>,
    /// Bytes of its files, where the files tell it.
    pub(super) n_bytes: Option<usize>,
}

impl Relation {
    /// The keys that are constraints, not mere indexes.
    pub(super) fn key_constraints(&self) -> impl Iterator<Item = &Key> {
        self.rules.keys.iter().filter(|key| key.index.is_none())
    }

    /// Whether a column holds no NULL; one of an identity column gets a number before it is stored. Those of views have no
    /// such rule, whatever their queries give.
    pub(super) fn forbids_null(&self, idx: usize) -> bool {
        let has_rules = !matches!(self.kind, "v" | "m");
        has_rules && (!self.columns.field(idx).is_nullable() || self.numbers(idx).is_some())
    }

    /// How a column's numbers are given, if it is an identity column or declared as `SERIAL`.
    pub(super) fn numbers(&self, idx: usize) -> Option<&ColumnNumbers> {
        self.rules.identities.get(idx)?.as_ref()
    }

    /// The same where clients are to see an identity column.
    pub(super) fn identity(&self, idx: usize) -> Option<&ColumnNumbers> {
        self.numbers(idx).filter(|numbers| !numbers.is_serial())
    }

    /// How long a column's texts may be.
    pub(super) fn text_limit(&self, idx: usize) -> Option<TextLimit> {
        self.rules.text_limits.get(idx).copied().flatten()
    }

    /// The digits that a column's seconds have.
    pub(super) fn clock_digits(&self, idx: usize) -> Option<u8> {
        self.rules.clock_digits.get(idx).copied().flatten()
    }

    /// What a column was declared with beside the type of its values.
    pub(super) fn declared(&self, idx: usize) -> Option<DeclaredType> {
        let text = self.text_limit(idx).map(DeclaredType::Text);
        text.or_else(|| self.clock_digits(idx).map(DeclaredType::Clock))
    }

    /// The domain that a column is of.
    pub(super) fn domain(&self, idx: usize) -> Option<&DomainType> {
        self.rules.domains.get(idx)?.as_ref()
    }

    /// Whether the standard's views of tables show it: they know no sequences and no materialized views.
    pub(super) fn is_of_standard(&self) -> bool {
        !matches!(self.kind, "S" | "m")
    }

    /// Whether it has files of its own: a table, a materialized view.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self.kind, "r" | "m")
    }

    /// Whether a column takes values.
    pub(super) fn takes_values(&self, idx: usize) -> bool {
        let written = self.written.as_ref().and_then(|written| written.get(idx));
        self.is_users_table() || written == Some(&true)
    }

    /// Whether rows can be added, by the way of a view, too.
    pub(super) fn takes_rows(&self) -> bool {
        let mut written = self.written.iter().flatten();
        self.is_users_table() || written.any(|is_written| *is_written)
    }

    /// Whether it is a table of the users with rows of its own.
    pub(super) fn is_users_table(&self) -> bool {
        self.kind == "r" && !self.is_system()
    }

    /// Whether it is the session's alone.
    pub(super) fn is_temporary(&self) -> bool {
        is_temporary_schema(&self.schema)
    }

    /// Whether it belongs to the server and not to the users.
    pub(super) fn is_system(&self) -> bool {
        [PG_CATALOG, INFORMATION_SCHEMA].contains(&self.schema.as_str())
    }

    pub(super) fn new(oid: i32, schema: &str, name: &str, kind: &'static str) -> Relation {
        Relation {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind,
            owner: roles::SUPERUSER.to_owned(),
            comment: None,
            columns: Arc::new(Schema::empty()),
            is_populated: true,
            rules: TableRules::default(),
            options: Vec::new(),
            written: None,
            model: None,
            n_rows: None,
            n_bytes: None,
        }
    }
}
