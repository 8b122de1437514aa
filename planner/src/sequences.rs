//! Sequences and the numbers of identity columns: `nextval`, `currval`, `lastval`, `setval`.
//!
//! In: the name of a sequence, or `schema.table_column_seq`; out: its next number, or the one that this session got last.
//! What `CREATE SEQUENCE` makes is an entry of the catalog; numbers are claimed beside it as those of columns are.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use auspex_storage::{
    CatalogEntry, Change, Definition, Error as StorageError, Identity, SequenceDefinition,
    quoted_name,
};
use datafusion::arrow::array::{Array as _, AsArray as _, BooleanArray, Int64Array, StringArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::access::TableUse;
use crate::commands::kind_name;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::temporary::SCHEMA as TEMPORARY;

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

/// Where the numbers of a name come from.
pub(crate) enum Numbers {
    /// A sequence of its own.
    Own(Arc<CatalogEntry>, SequenceDefinition),
    /// A column of a table, which is an identity column if the table's log says so.
    Column(Arc<CatalogEntry>, String),
}

/// The name of a sequence as functions give it: with its schema.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted_name(schema), quoted_name(name))
}

/// The call by which the default of a column takes a sequence's numbers.
pub(crate) fn default_text(schema: &str, name: &str) -> String {
    let name = qualified(schema, name).replace('\'', "''");
    format!("nextval('{name}')")
}

/// What the name of a sequence means.
fn found(session: &Session, name: &str) -> Result<Numbers> {
    numbers_of_name(session, &parts_of(name))
}

fn undefined(name: &str) -> Error {
    Error::invalid("42P01", format!("relation \"{name}\" does not exist"), None)
}

/// What the parts of a sequence's name mean.
pub(crate) fn numbers_of_name(session: &Session, parts: &[String]) -> Result<Numbers> {
    let name = parts.join(".");
    let undefined = |name: &str| match session.sequence(parts) {
        Err(error @ Error::WrongKind { .. }) => error,
        _ => undefined(name),
    };
    if let Ok((entry, definition)) = session.sequence(parts) {
        return Ok(Numbers::Own(entry, definition));
    }
    let Some((last, schema)) = parts.split_last() else {
        return Err(undefined(&name));
    };
    let stem = last.strip_suffix("_seq").ok_or_else(|| undefined(&name))?;
    for (at, _) in stem.match_indices('_') {
        let (table, column) = (&stem[..at], &stem[at + 1..]);
        let mut named = schema.to_vec();
        named.push(table.to_owned());
        let (schema, relation) = session.relation_parts(&named)?;
        if let Some(entry) = session.entry(&schema, &relation)
            && let Definition::Table(definition) = &entry.definition
            && definition.columns.iter().any(|known| known.name == column)
        {
            return Ok(Numbers::Column(entry, column.to_owned()));
        }
    }
    Err(undefined(&name))
}

impl Session {
    /// Forgets the numbers that it got last.
    pub(crate) fn forget_numbers(&self) {
        *lock(&self.taken) = Taken::default();
    }

    /// A sequence of its own.
    pub(crate) fn sequence(
        &self,
        parts: &[String],
    ) -> Result<(Arc<CatalogEntry>, SequenceDefinition)> {
        let (schema, name) = self.relation_parts(parts)?;
        match self.entry(&schema, &name) {
            Some(entry) => match &entry.definition {
                Definition::Sequence(sequence) => {
                    let sequence = sequence.clone();
                    Ok((entry, sequence))
                }
                other => Err(Error::WrongKind {
                    name,
                    expected: "sequence",
                    found: kind_name(other),
                }),
            },
            None => Err(self.undefined_relation(&schema, &name)),
        }
    }
}

/// The parts of a name as SQL writes it.
pub(crate) fn parts_of(name: &str) -> Vec<String> {
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
    let function = |kind, arities: &[usize]| Sequence {
        session: Arc::downgrade(session),
        kind,
        signature: Signature::one_of(
            arities
                .iter()
                .map(|n_args| match n_args {
                    0 => TypeSignature::Nullary,
                    n => TypeSignature::Any(*n),
                })
                .collect(),
            Volatility::Volatile,
        ),
    };
    vec![
        AsyncScalarUDF::new(Arc::new(function(Kind::Next, &[1]))).into_scalar_udf(),
        AsyncScalarUDF::new(Arc::new(function(Kind::Set, &[2, 3]))).into_scalar_udf(),
        ScalarUDF::from(function(Kind::Current, &[1])),
        ScalarUDF::from(function(Kind::Last, &[0])),
        crate::serial_sequence::function(session),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Next,
    Set,
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
        let key = match found(&session, name)? {
            Numbers::Own(entry, _) => (entry.id.clone(), String::new()),
            Numbers::Column(table, column) => (table.id.clone(), column),
        };
        let taken = lock(&session.taken);
        let number = taken.last.get(&key);
        number.copied().ok_or_else(|| {
            let message =
                format!("currval of sequence \"{name}\" is not yet defined in this session");
            Error::invalid("55000", message, None)
        })
    }

    /// The next numbers of a sequence.
    async fn next(&self, name: &str, count: usize) -> Result<Vec<i64>> {
        let session = self.session()?;
        let (table, column) = match found(&session, name)? {
            Numbers::Own(entry, sequence) => {
                return next_of_own(&session, &entry, &sequence, count).await;
            }
            Numbers::Column(table, column) => (table, column),
        };
        let table = session.managed_table(&table.schema, &table.name, TableUse::Insert)?;
        session.refuse_read_only("nextval")?;
        let identity = identity_of(&session, &table, &column).await?;
        let tables = session.tables();
        let taken = tables.next_identities(&table.id, &identity.sequence, count);
        let numbers = taken.await?.into_iter().map(|n| identity.number(n));
        let numbers: Vec<i64> = numbers.collect::<auspex_storage::Result<_>>()?;
        if let Some(last) = numbers.last() {
            note(&session, &table.id, &identity, &column, *last);
        }
        Ok(numbers)
    }

    /// Sets the number of a sequence; `called`: it was given, and the next one is the one behind it.
    async fn set(&self, name: &str, number: i64, called: bool) -> Result<()> {
        let session = self.session()?;
        session.refuse_read_only("setval")?;
        match found(&session, name)? {
            Numbers::Own(entry, sequence) => {
                session.access().check(&entry, "UPDATE")?;
                let (min, max) = (sequence.min, sequence.max);
                if !(min..=max).contains(&number) {
                    return Err(out_of_bounds(number, &entry.name, (min, max)));
                }
                set_own(&session, &entry, number, called).await?;
                if called {
                    lock(&session.taken).note(&entry.id, "", number);
                }
                Ok(())
            }
            Numbers::Column(table, column) => {
                move_column(&session, (&table, &column), Some(number), called).await
            }
        }
    }
}

fn out_of_bounds(number: i64, name: &str, (min, max): (i64, i64)) -> Error {
    let message =
        format!("setval: value {number} is out of bounds for sequence \"{name}\" ({min}..{max})");
    Error::invalid("22003", message, None)
}

/// The numbers of an identity column.
pub(crate) async fn identity_of(
    session: &Session,
    table: &CatalogEntry,
    column: &str,
) -> Result<Identity> {
    let shape = session.tables().shape(&table.id).await?;
    let idx = shape.position(column);
    let identity = idx.and_then(|idx| shape.identity_of(&shape.columns()[idx]));
    identity.ok_or_else(|| undefined(&sequence_name(&table.name, column)))
}

async fn next_of_own(
    session: &Session,
    entry: &CatalogEntry,
    sequence: &SequenceDefinition,
    count: usize,
) -> Result<Vec<i64>> {
    let access = session.access();
    if !access.has(entry, "UPDATE") {
        access.check(entry, "USAGE")?;
    }
    session.refuse_read_only("nextval")?;
    let tables = session.tables();
    let taken = tables.next_identities(&entry.id, &sequence.run, count);
    let number = |n: i64| {
        sequence.number(n).ok_or_else(|| {
            let which = if sequence.increment > 0 {
                "maximum"
            } else {
                "minimum"
            };
            let message = format!(
                "nextval: reached {which} value of sequence \"{}\" ({})",
                entry.name,
                sequence.end()
            );
            Error::invalid("2200H", message, None)
        })
    };
    let numbers: Vec<i64> = taken
        .await?
        .into_iter()
        .map(number)
        .collect::<Result<_>>()?;
    if let Some(last) = numbers.last() {
        lock(&session.taken).note(&entry.id, "", *last);
    }
    Ok(numbers)
}

/// Lets a sequence of its own go on elsewhere.
async fn set_own(session: &Session, entry: &CatalogEntry, number: i64, called: bool) -> Result<()> {
    if entry.schema == TEMPORARY {
        let mut changed = entry.clone();
        if let Definition::Sequence(sequence) = &mut changed.definition {
            *sequence = sequence.restarted(number, called);
        }
        session.temporary.replace(&entry.name, changed);
        return Ok(());
    }
    let text = format!("SELECT setval('{}', {number}, {called})", entry.name);
    let commit = session.engine.catalog.commit(&text, |state| {
        let gone = || StorageError::TableGone {
            id: entry.id.clone(),
        };
        let mut entry = state.by_id(&entry.id).ok_or_else(gone)?.as_ref().clone();
        if let Definition::Sequence(sequence) = &mut entry.definition {
            *sequence = sequence.restarted(number, called);
        }
        Ok(vec![Change::Put(entry)])
    });
    commit.await?;
    Ok(())
}

/// Lets the numbers of an identity column go on at a number, or behind it; `None`: at their first one.
pub(crate) async fn move_column(
    session: &Session,
    (table, column): (&CatalogEntry, &str),
    number: Option<i64>,
    called: bool,
) -> Result<()> {
    let table = session.managed_table(&table.schema, &table.name, TableUse::Define)?;
    let identity = identity_of(session, &table, column).await?;
    let number = number.unwrap_or(identity.start);
    let far = number.checked_sub(identity.origin);
    let steps = far.filter(|far| far % identity.increment == 0);
    let Some(steps) = steps.map(|far| far / identity.increment) else {
        return Err(Error::Unsupported {
            what: format!(
                "number {number} for identity column \"{column}\", which its steps do not reach,"
            ),
            hint: Some(format!(
                "Its numbers are {} and on in steps of {}.",
                identity.origin, identity.increment
            )),
        });
    };
    let next = steps.saturating_add(1 + i64::from(called));
    let tables = session.tables();
    tables
        .move_identity(&table.id, &identity.sequence, next)
        .await?;
    if called {
        note(session, &table.id, &identity, column, number);
    }
    Ok(())
}

/// Remembers a number that a session got, under the name that its column has now.
pub(crate) fn note(session: &Session, id: &str, _: &Identity, column: &str, number: i64) {
    lock(&session.taken).note(id, column, number);
}

impl ScalarUDFImpl for Sequence {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Next => "nextval",
            Kind::Set => "setval",
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
        if matches!(self.kind, Kind::Next | Kind::Set) {
            let what = format!("{} in this place", self.name());
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
        if self.kind == Kind::Set {
            return Ok(ColumnarValue::Array(Arc::new(self.set_all(args).await?)));
        }
        let names = names(args)?;
        let name_of = |row: usize| {
            let names = names.as_ref().filter(|names| !names.is_null(row))?;
            Some(names.value(row))
        };
        let mut numbers: Vec<Option<i64>> = Vec::with_capacity(n_rows);
        while numbers.len() < n_rows {
            // Rows that ask for the same sequence ask once.
            let (first, name) = (numbers.len(), name_of(numbers.len()));
            let same = (first..n_rows).take_while(|row| name_of(*row) == name);
            let count = same.count();
            match name {
                Some(name) => {
                    let taken = self.next(name, count).await?;
                    numbers.extend(taken.into_iter().map(Some));
                }
                None => numbers.extend(std::iter::repeat_n(None, count)),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from(numbers))))
    }
}

impl Sequence {
    /// `setval(name, number[, called])` of each row.
    async fn set_all(&self, args: ScalarFunctionArgs) -> DfResult<Int64Array> {
        let n_rows = args.number_rows;
        let column = |idx: usize, data_type: &DataType| -> DfResult<_> {
            let array = args.args[idx].to_array(n_rows)?;
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            Ok(cast_with_options(&array, data_type, &options)?)
        };
        let names = column(0, &DataType::Utf8)?;
        let numbers = column(1, &DataType::Int64)?;
        let called = match args.args.len() {
            3 => column(2, &DataType::Boolean)?,
            _ => Arc::new(BooleanArray::from(vec![true; n_rows])),
        };
        let (names, called) = (names.as_string::<i32>(), called.as_boolean());
        let numbers = numbers.as_primitive::<Int64Type>();
        let mut set = Vec::with_capacity(n_rows);
        for row in 0..n_rows {
            if names.is_null(row) || numbers.is_null(row) || called.is_null(row) {
                set.push(None);
                continue;
            }
            let number = numbers.value(row);
            self.set(names.value(row), number, called.value(row))
                .await?;
            set.push(Some(number));
        }
        Ok(Int64Array::from(set))
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
