//! New rows of a table with keys: which of them may be added.
//!
//! A few rows flow in with the version that they would follow and the keys of rows that lie in no file yet; the rows that
//! stay flow out with their keys, or the first violation. What was found holds for this version alone: the rows must
//! follow it at once.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, take};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::{MemTable, Session};
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::physical_plan::execute_stream;
use futures::StreamExt as _;
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::tables::delta_log::DeltaVersion;
use crate::tables::delta_scan::DeltaScan;
use crate::tables::key_checks::{joined, rows, shown};
use crate::tables::key_form::KeyForm;
use crate::tables::key_values::{KeyEncoder, KeyValue, KeyValues, full_name};
use crate::tables::keys::Key;
use crate::tables::row_checks::RowChecks;
use crate::tables::row_marks::{Marks, unmarked};

const NEW: &str = "new_rows";
const KEPT: &str = "kept_rows";

/// What an INSERT does with a row whose key another row has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnConflict {
    /// It fails.
    Fail,
    /// It leaves the row out: if it meets the key of this name, or any.
    LeaveOut(Option<String>),
    /// It does nothing at all, so that the caller can change the row that is there.
    GiveUp,
}

impl OnConflict {
    fn leaves_out(&self, key: &Key) -> bool {
        match self {
            OnConflict::LeaveOut(name) => name.as_ref().is_none_or(|name| *name == key.name),
            OnConflict::Fail | OnConflict::GiveUp => false,
        }
    }
}

/// What is told of the rows that an INSERT is about to add; told again with others if it begins anew.
pub type Accept<'a> = dyn Fn(&[RecordBatch]) -> Result<(), DataFusionError> + Send + Sync + 'a;

/// Gives rows the numbers of identity columns that their statement left out.
pub type Number<'a> = dyn Fn(RecordBatch) -> BoxFuture<'static, Result<RecordBatch, DataFusionError>>
    + Send
    + Sync
    + 'a;

/// How an INSERT adds rows.
#[derive(Clone, Copy)]
pub struct InsertRules<'a> {
    /// What rows must fulfil.
    pub checks: &'a Arc<RowChecks>,
    /// What to do about keys that are taken.
    pub on_conflict: &'a OnConflict,
    /// What numbers the rows that are not left out; `None`: they have their numbers.
    pub number: Option<&'a Number<'a>>,
    /// Who is told of the rows before they are added; an error of theirs is one of the statement.
    pub accept: Option<&'a Accept<'a>>,
}

impl InsertRules<'_> {
    pub(crate) fn tell(&self, rows: &[RecordBatch]) -> Result<()> {
        match self.accept {
            Some(accept) => Ok(accept(rows)?),
            None => Ok(()),
        }
    }
}

/// Rows that may be added, and the values of their keys.
#[derive(Debug, Default)]
pub(crate) struct NewRows {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) keys: KeyValues,
}

impl NewRows {
    /// Rows of a table without keys.
    pub(crate) fn without_keys(batches: Vec<RecordBatch>) -> Self {
        Self {
            batches,
            keys: KeyValues::default(),
        }
    }

    pub(crate) fn n_rows(&self) -> u64 {
        self.batches.iter().map(|rows| rows.num_rows() as u64).sum()
    }
}

/// The rows that may follow a version; `None`: some are taken, and the rules say to give up.
///
/// `pending` has the keys of rows that follow the version already. Errors: `KeyViolation`, `NotPlainTable`, those of
/// reading.
pub(crate) async fn new_rows(
    version: &DeltaVersion,
    (keys, pending): (&[Key], &KeyValues),
    batches: Vec<RecordBatch>,
    rules: &InsertRules<'_>,
) -> Result<Option<NewRows>> {
    let Some(first) = batches.first() else {
        return Ok(Some(NewRows::default()));
    };
    if keys.is_empty() {
        return Ok(Some(NewRows::without_keys(batches)));
    }
    let all = concat_batches(&first.schema(), &batches)?;
    let mut tests = Vec::with_capacity(keys.len());
    for key in keys {
        let known = (rules.checks.form(key)?, rules.checks.session()?);
        let test = KeyTest::new(version, key, &all, None, known);
        tests.push(Box::pin(test).await?);
    }
    let mut own = KeyValues::default();
    let mut stays = Vec::with_capacity(all.num_rows());
    for row in 0..all.num_rows() {
        let mut taken = tests
            .iter()
            .filter(|test| test.is_taken(row, &[pending, &own]));
        let first = taken.next();
        let is_left_out = |test: &KeyTest<'_>| rules.on_conflict.leaves_out(test.key);
        match first {
            Some(test) if is_left_out(test) || taken.any(is_left_out) => {
                stays.push(false);
                continue;
            }
            Some(_) if *rules.on_conflict == OnConflict::GiveUp => return Ok(None),
            Some(test) => return Err(test.violation(row, rules.checks)),
            None => stays.push(true),
        }
        for test in &mut tests {
            if let Some(value) = test.values[row].take() {
                own.insert(&test.key.name, value);
            }
        }
    }
    let rows = match stays.iter().all(|stays| *stays) {
        true => all,
        false => filter_record_batch(&all, &BooleanArray::from(stays))?,
    };
    let batches = (rows.num_rows() > 0).then_some(rows);
    Ok(Some(NewRows {
        batches: batches.into_iter().collect(),
        keys: own,
    }))
}

/// The keys of rows that a statement adds or changes, if neither two of them share one, nor one of them and a row of the
/// version that stays; `gone` has those that do not. Errors: as `new_rows`.
pub(crate) async fn changed_keys(
    version: &DeltaVersion,
    (keys, gone): (&[Key], &Arc<Marks>),
    rows: &RecordBatch,
    checks: &RowChecks,
    session: &dyn Session,
) -> Result<KeyValues> {
    let mut own = KeyValues::default();
    for key in keys {
        let known = (checks.form(key)?, session);
        let test = KeyTest::new(version, key, rows, Some(gone), known);
        let mut test = Box::pin(test).await?;
        for row in 0..rows.num_rows() {
            if test.is_taken(row, &[&own]) {
                return Err(test.violation(row, checks));
            }
            if let Some(value) = test.values[row].take() {
                own.insert(&key.name, value);
            }
        }
    }
    Ok(own)
}

/// One key of new rows.
struct KeyTest<'a> {
    key: &'a Key,
    columns: RecordBatch,
    values: Vec<Option<KeyValue>>,
    /// The rows of the version that the new ones replace; `None`: they replace none.
    gone: Option<&'a Arc<Marks>>,
    /// Those of the values that other rows of the version have.
    met: HashSet<KeyValue>,
}

impl<'a> KeyTest<'a> {
    async fn new(
        version: &DeltaVersion,
        key: &'a Key,
        new: &RecordBatch,
        gone: Option<&'a Arc<Marks>>,
        (form, session): (Option<&KeyForm>, &dyn Session),
    ) -> Result<Self> {
        let scan = version.scan()?.ok_or(Error::NotPlainTable)?;
        let shape = version.shape()?;
        let encoder = KeyEncoder::new(key, &shape, form)?;
        let found = encoder.key_of(new)?;
        let values = encoder.values_of(&found)?;
        let mut test = Self {
            key,
            columns: named(key, found.columns)?,
            values,
            gone,
            met: HashSet::new(),
        };
        let given = test.places_given();
        let conditions = bounds(key, &test.columns, &given)?;
        let files = scan.surviving(session, &conditions)?;
        if given.is_empty() || files.is_empty() {
            return Ok(test);
        }
        // To read all rows of a file pays off where many INSERTs follow each other, not for a change.
        let reader = gone.is_none().then_some(session);
        let filters = version.filters();
        let wanted = (full_name(key, &shape), &encoder);
        let possible = filters.possible((&scan, &files), wanted, &test.values, reader);
        let places = possible.await?.unwrap_or(given);
        if !places.is_empty() {
            let values = test.look_up((scan, files), &places, &encoder, session);
            test.met = values.await?;
        }
        Ok(test)
    }

    /// The rows that have all columns of the key.
    fn places_given(&self) -> Vec<usize> {
        let places = 0..self.values.len();
        places.filter(|row| self.values[*row].is_some()).collect()
    }

    fn is_taken(&self, row: usize, others: &[&KeyValues]) -> bool {
        self.values[row].as_ref().is_some_and(|value| {
            self.met.contains(value)
                || others
                    .iter()
                    .any(|others| others.contains(&self.key.name, value))
        })
    }

    fn violation(&self, row: usize, place: &RowChecks) -> Error {
        Error::KeyViolation {
            schema: place.schema.clone(),
            relation: place.relation.clone(),
            constraint: self.key.name.clone(),
            key: shown(self.key, &self.columns.slice(row, 1)),
        }
    }

    /// Those of the values at some places that rows of files have, without the rows that go.
    async fn look_up(
        &self,
        (scan, files): (DeltaScan, Vec<usize>),
        places: &[usize],
        encoder: &KeyEncoder<'_>,
        session: &dyn Session,
    ) -> Result<HashSet<KeyValue>> {
        let conditions = bounds(self.key, &self.columns, places)?;
        let indices: UInt64Array = places.iter().map(|place| *place as u64).collect();
        let columns = self.columns.columns().iter();
        let columns: Vec<ArrayRef> = columns
            .map(|column| take(column, &indices, None))
            .collect::<Result<_, _>>()?;
        let new = RecordBatch::try_new(self.columns.schema(), columns)?;
        let new = MemTable::try_new(new.schema(), vec![vec![new]])?;
        let scan = match self.gone {
            Some(_) => scan.with_addresses(),
            None => scan,
        };
        let key = (self.key, encoder.form);
        let kept = rows(&scan.of_files(files), KEPT, key, conditions)?.build()?;
        let new = LogicalPlanBuilder::scan(NEW, provider_as_source(Arc::new(new)), None)?;
        let plan = joined(new, (kept, JoinType::RightSemi), self.key, (NEW, KEPT))?.build()?;
        let plan = session.create_physical_plan(&plan).await?;
        let mut batches = execute_stream(plan, session.task_ctx())?;
        if let Some(gone) = self.gone {
            batches = unmarked(batches, Arc::clone(gone), self.key.columns.len());
        }
        let mut met = HashSet::new();
        while let Some(batch) = batches.next().await {
            let values = encoder.values(&encoder.columns_of(&batch?)?)?;
            met.extend(values.into_iter().flatten());
        }
        Ok(met)
    }
}

/// The columns of a key under their names.
fn named(key: &Key, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields = key.columns.iter().zip(&columns);
    let fields: Vec<FieldRef> = fields
        .map(|(name, column)| {
            let data_type = column.data_type().clone();
            Arc::new(datafusion::arrow::datatypes::Field::new(
                name, data_type, true,
            ))
        })
        .collect();
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// Between which values the rows at some places lie: files of other values hold none of them.
fn bounds(key: &Key, columns: &RecordBatch, places: &[usize]) -> Result<Vec<Expr>> {
    let mut conditions = Vec::new();
    let schema = columns.schema();
    let pairs = schema.fields().iter().zip(columns.columns());
    for (place, (field, column)) in pairs.enumerate() {
        // NaN has no place in an order that files know, nor has NULL, and files do not know what is computed of them.
        if field.data_type().is_floating()
            || key.is_expression(place)
            || places.iter().any(|place| column.is_null(*place))
        {
            continue;
        }
        let mut least_and_greatest: Option<(ScalarValue, ScalarValue)> = None;
        for place in places {
            let value = ScalarValue::try_from_array(column, *place)?;
            least_and_greatest = Some(match least_and_greatest {
                None => (value.clone(), value),
                Some((least, greatest)) if value < least => (value, greatest),
                Some((least, greatest)) if value > greatest => (least, value),
                Some(bounds) => bounds,
            });
        }
        if let Some((least, greatest)) = least_and_greatest {
            let column = Expr::Column(Column::from_name(field.name()));
            conditions.push(column.clone().gt_eq(lit(least)));
            conditions.push(column.lt_eq(lit(greatest)));
        }
    }
    Ok(conditions)
}
