//! Which values of a key the files of a table may hold, so that new rows are seldom compared with files.
//!
//! Files of a version flow in with values of new rows; the values that a row of the files may have flow out. A file never
//! changes, so that what was read of it holds for every version, also for those of transaction blocks. Of files that are
//! gone values stay behind: what the filter knows is a reason to look, and what it does not know is in no file.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::catalog::Session;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt as _;

use crate::error::Result;
use crate::tables::delta_scan::DeltaScan;
use crate::tables::key_checks::rows;
use crate::tables::key_values::{KeyEncoder, KeyValue, KeyValues, full_name};
use crate::tables::keys::Key;
use crate::tables::shape::TableShape;

/// Rows of larger tables are not remembered: looking into files that their bounds leave is quicker than reading all.
const MOST_ROWS: usize = 256 << 10;
/// What the filters of all tables may remember, of some 16 bytes each.
const MOST_HASHES: usize = 2 << 20;
/// Names of files that are gone are forgotten beyond so many.
const SPARE_NAMES: usize = 256;
const READ: &str = "read_rows";

/// How much is remembered of all tables.
static N_HASHES: AtomicUsize = AtomicUsize::new(0);

/// The filters of the keys of one table.
#[derive(Debug, Default)]
pub(crate) struct KeyFilters(tokio::sync::Mutex<BTreeMap<String, KeyFilter>>);

#[derive(Debug, Default)]
struct KeyFilter {
    /// Of each value, no more is kept than this.
    hashes: HashSet<u64>,
    state: RandomState,
    /// The names of the files whose rows are known.
    files: HashSet<String>,
}

impl KeyFilters {
    /// The places of those values that a row of the files may have; `None`: the files have too many rows, or some that
    /// are not known where no `reader` is to read them.
    pub(crate) async fn possible(
        &self,
        (scan, files): (&DeltaScan, &[usize]),
        (name, encoder): (String, &KeyEncoder<'_>),
        values: &[Option<KeyValue>],
        reader: Option<&dyn Session>,
    ) -> Result<Option<Vec<usize>>> {
        let mut filters = self.0.lock().await;
        let filter = filters.entry(name).or_default();
        let mut unknown = filter.unknown(scan, files);
        if reader.is_none() && !unknown.is_empty() {
            return Ok(None);
        }
        let Some(mut n_rows) = n_rows(scan, &unknown) else {
            return Ok(None);
        };
        if filter.hashes.len() + n_rows > MOST_ROWS {
            // Most of it may be of files that are gone.
            filter.clear();
            unknown = files.to_vec();
            n_rows = self::n_rows(scan, &unknown).unwrap_or(usize::MAX);
        }
        if n_rows > MOST_ROWS || N_HASHES.load(Ordering::Relaxed) + n_rows > MOST_HASHES {
            return Ok(None);
        }
        if let (Some(session), false) = (reader, unknown.is_empty()) {
            filter.read(scan, unknown, encoder, session).await?;
        }
        let known = |place: &usize| {
            let value = values[*place].as_ref();
            value.is_some_and(|value| filter.hashes.contains(&filter.state.hash_one(value)))
        };
        Ok(Some((0..values.len()).filter(known).collect()))
    }

    /// Learns the rows of files that were just written: those of the files that they replace, and rows of these values.
    pub(crate) async fn learn(
        &self,
        (replaced, files): (&[String], &[String]),
        (keys, shape): (&[Key], &TableShape),
        values: &KeyValues,
    ) {
        let mut filters = self.0.lock().await;
        for key in keys {
            let filter = filters.entry(full_name(key, shape)).or_default();
            let n_values = values.of(&key.name).count();
            if filter.hashes.len() + n_values > MOST_ROWS
                || N_HASHES.load(Ordering::Relaxed) + n_values > MOST_HASHES
                || !replaced.iter().all(|name| filter.files.contains(name))
            {
                continue;
            }
            filter.remember(values.of(&key.name));
            for name in replaced {
                filter.files.remove(name);
            }
            filter.files.extend(files.iter().cloned());
        }
    }
}

/// How many rows files have, if the log tells.
fn n_rows(scan: &DeltaScan, files: &[usize]) -> Option<usize> {
    files.iter().map(|file| scan.n_rows(*file)).sum()
}

impl KeyFilter {
    fn unknown(&self, scan: &DeltaScan, files: &[usize]) -> Vec<usize> {
        let files = files.iter().copied();
        files
            .filter(|file| !self.files.contains(scan.name(*file)))
            .collect()
    }

    fn remember<'a>(&mut self, values: impl Iterator<Item = &'a KeyValue>) {
        let before = self.hashes.len();
        let state = &self.state;
        self.hashes
            .extend(values.map(|value| state.hash_one(value)));
        N_HASHES.fetch_add(self.hashes.len() - before, Ordering::Relaxed);
    }

    fn clear(&mut self) {
        N_HASHES.fetch_sub(self.hashes.len(), Ordering::Relaxed);
        self.hashes = HashSet::new();
        self.files.clear();
    }

    /// Reads the values of files.
    async fn read(
        &mut self,
        scan: &DeltaScan,
        files: Vec<usize>,
        encoder: &KeyEncoder<'_>,
        session: &dyn Session,
    ) -> Result<()> {
        let names = files.iter().map(|file| scan.name(*file).to_owned());
        let names: Vec<String> = names.collect();
        let key = (encoder.key, encoder.form);
        let plan = rows(&scan.clone().of_files(files), READ, key, vec![])?.build()?;
        let plan = session.create_physical_plan(&plan).await?;
        let mut batches = execute_stream(plan, session.task_ctx())?;
        while let Some(batch) = batches.next().await {
            let values = encoder.values(&encoder.columns_of(&batch?)?)?;
            self.remember(values.iter().flatten());
        }
        if self.files.len() > 2 * scan.n_files() + SPARE_NAMES {
            let here: HashSet<&str> = (0..scan.n_files()).map(|file| scan.name(file)).collect();
            self.files.retain(|name| here.contains(name.as_str()));
        }
        self.files.extend(names);
        Ok(())
    }
}

impl Drop for KeyFilter {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[tokio::test]
    async fn a_file_is_known_if_those_that_it_replaces_are() {
        let shape = TableShape::new(&Schema::new(vec![Field::new("i", DataType::Int64, true)]));
        let key = Key {
            name: "k".to_owned(),
            is_primary: false,
            columns: vec!["i".to_owned()],
            ..Key::default()
        };
        let name = full_name(&key, &shape);
        let keys = [key];
        let values = |value: u8| {
            let mut values = KeyValues::default();
            values.insert("k", [value].into());
            values
        };
        let names =
            |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
        let filters = KeyFilters::default();
        for (replaced, files, value) in [
            (vec![], vec!["a", "b"], 1),
            (vec!["a"], vec!["c"], 2),
            (vec!["x"], vec!["d"], 3),
            (vec!["a", "b"], vec!["e"], 4),
        ] {
            let (replaced, files) = (names(&replaced), names(&files));
            filters
                .learn((&replaced, &files), (&keys, &shape), &values(value))
                .await;
        }
        let filters = filters.0.lock().await;
        let filter = &filters[&name];
        let mut known: Vec<&str> = filter.files.iter().map(String::as_str).collect();
        known.sort_unstable();
        assert_eq!((known, filter.hashes.len()), (vec!["b", "c"], 2));
    }
}
