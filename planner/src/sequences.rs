//! The numbers of identity columns as PostgreSQL's sequences: `nextval`, `currval`, `lastval`.
//!
//! In: the name of a sequence, `schema.table_column_seq`; out: its next number, or the one that this session got last.
//! There are no other sequences.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use auspex_storage::{CatalogEntry, Definition, Identity};
use datafusion::arrow::array::{Array as _, AsArray as _, Int64Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::access::TableUse;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::session::Session;

/// The numbers that a session got last.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// By table and sequence.
    last: BTreeMap<(String, String), i64>,
    latest: Option<i64>,
}

impl Taken {
    /// Remembers a number of a table's sequence.
    pub(crate) fn note(&mut self, id: &str, sequence: &str, number: i64) {
        self.last
            .insert((id.to_owned(), sequence.to_owned()), number);
        self.latest = Some(number);
    }
}

/// The name of the sequence of a column.
pub(crate) fn sequence_name(table: &str, column: &str) -> String {
    format!("{table}_{column}_seq")
}

/// The table and the column of a sequence's name.
fn found(session: &Session, name: &str) -> Result<(Arc<CatalogEntry>, String)> {
    let undefined = || Error::invalid("42P01", format!("relation \"{name}\" does not exist"), None);
    let mut parts: Vec<String> = parts_of(name);
    let last = parts.pop().unwrap_or_default();
    let stem = last.strip_suffix("_seq").ok_or_else(undefined)?;
    for (at, _) in stem.match_indices('_') {
        let (table, column) = (&stem[..at], &stem[at + 1..]);
        let mut named = parts.clone();
        named.push(table.to_owned());
        let (schema, relation) = session.relation_parts(&named)?;
        if let Some(entry) = session.entry(&schema, &relation)
            && let Definition::Table(definition) = &entry.definition
            && definition.columns.iter().any(|known| known.name == column)
        {
            return Ok((entry, column.to_owned()));
        }
    }
    Err(undefined())
}

/// The parts of a name as SQL writes it.
fn parts_of(name: &str) -> Vec<String> {
    let parsed = auspex_sql::parse_query(&format!("TABLE {name}"), auspex_sql::Dialect::Postgres);
    let from = parsed.ok().and_then(|query| match *query.body {
        datafusion::sql::sqlparser::ast::SetExpr::Select(mut select) => select.from.pop(),
        _ => None,
    });
    match from.map(|from| from.relation) {
        Some(datafusion::sql::sqlparser::ast::TableFactor::Table { name, .. }) => {
            crate::commands::name_parts(&name)
        }
        _ => vec![name.to_owned()],
    }
}

/// The functions.
pub(crate) fn functions(session: &Arc<Session>) -> Vec<ScalarUDF> {
    let function = |kind, n_args| Sequence {
        session: Arc::downgrade(session),
        kind,
        signature: Signature::one_of(
            vec![match n_args {
                0 => TypeSignature::Nullary,
                n => TypeSignature::Any(n),
            }],
            Volatility::Volatile,
        ),
    };
    vec![
        AsyncScalarUDF::new(Arc::new(function(Kind::Next, 1))).into_scalar_udf(),
        ScalarUDF::from(function(Kind::Current, 1)),
        ScalarUDF::from(function(Kind::Last, 0)),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Next,
    Current,
    Last,
}

#[derive(Debug)]
struct Sequence {
    session: Weak<Session>,
    kind: Kind,
    signature: Signature,
}

// A session has one function of a name.
impl PartialEq for Sequence {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Sequence {}

impl std::hash::Hash for Sequence {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

impl Sequence {
    fn session(&self) -> Result<Arc<Session>> {
        let ended = || DataFusionError::Internal("the session has ended".to_owned());
        self.session.upgrade().ok_or_else(|| ended().into())
    }

    /// The number that the session got last.
    fn known(&self, name: Option<&str>) -> Result<i64> {
        let session = self.session()?;
        let Some(name) = name else {
            let message = "lastval is not yet defined in this session";
            let latest = lock(&session.taken).latest;
            return latest.ok_or_else(|| Error::invalid("55000", message, None));
        };
        let (table, column) = found(&session, name)?;
        let taken = lock(&session.taken);
        let number = taken.last.get(&(table.id.clone(), column));
        number.copied().ok_or_else(|| {
            let message =
                format!("currval of sequence \"{name}\" is not yet defined in this session");
            Error::invalid("55000", message, None)
        })
    }

    /// The next number of a sequence.
    async fn next(&self, name: &str) -> Result<i64> {
        let session = self.session()?;
        let (table, column) = found(&session, name)?;
        let table = session.managed_table(&table.schema, &table.name, TableUse::Insert)?;
        session.refuse_read_only("nextval")?;
        let tables = session.tables();
        let shape = tables.shape(&table.id).await?;
        let identity = shape.position(&column);
        let identity = identity.and_then(|idx| shape.identity_of(&shape.columns()[idx]));
        let Some(identity) = identity else {
            let message = format!("relation \"{name}\" does not exist");
            return Err(Error::invalid("42P01", message, None));
        };
        let numbers = tables
            .next_identities(&table.id, &identity.sequence, 1)
            .await?;
        let number = numbers.first().copied().unwrap_or_default();
        let number = identity.number(number)?;
        note(&session, &table.id, &identity, &column, number);
        Ok(number)
    }
}

/// Remembers a number that a session got, under the name that its column has now.
pub(crate) fn note(session: &Session, id: &str, _: &Identity, column: &str, number: i64) {
    lock(&session.taken).note(id, column, number);
}

impl ScalarUDFImpl for Sequence {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Next => "nextval",
            Kind::Current => "currval",
            Kind::Last => "lastval",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if self.kind == Kind::Next {
            let what = "nextval in this place";
            return Err(Error::unsupported(what).into());
        }
        let n_rows = args.number_rows;
        let names = names(args)?;
        let number = |row: usize| -> DfResult<Option<i64>> {
            match &names {
                Some(names) if names.is_null(row) => Ok(None),
                Some(names) => Ok(Some(self.known(Some(names.value(row)))?)),
                None => Ok(Some(self.known(None)?)),
            }
        };
        let numbers: DfResult<Int64Array> = (0..n_rows).map(number).collect();
        Ok(ColumnarValue::Array(Arc::new(numbers?)))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sequence {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let n_rows = args.number_rows;
        let names = names(args)?;
        let mut numbers = Vec::with_capacity(n_rows);
        for row in 0..n_rows {
            let name = names.as_ref().filter(|names| !names.is_null(row));
            numbers.push(match name {
                Some(names) => Some(self.next(names.value(row)).await?),
                None => None,
            });
        }
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from(numbers))))
    }
}

/// The names of sequences, a row each; `None` without arguments.
fn names(args: ScalarFunctionArgs) -> DfResult<Option<StringArray>> {
    let Some(name) = args.args.into_iter().next() else {
        return Ok(None);
    };
    let name = cast(&name.into_array(args.number_rows)?, &DataType::Utf8)?;
    Ok(Some(name.as_string::<i32>().clone()))
}
