//! Columns whose values stand in the names of folders: `lake/year=2024/month=2/a.parquet`.
//!
//! Listed files flow in; the columns, their types and each file with its values flow out.

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use object_store::path::Path;

use crate::catalog::ExternalTableDefinition;
use crate::error::{Error, Result};
use crate::tables::footers::marked;
use crate::tables::listing::{ListedFile, Listing, shown};

/// The folder that Hive writes for a NULL.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

impl Listing {
    /// The columns that the folders' names hold, with their types, and the files with their values.
    pub(crate) fn partitions(
        &self,
        definition: &ExternalTableDefinition,
        declared: Option<&Schema>,
    ) -> Result<Partitions> {
        let mut columns: Vec<String> = definition.partition_columns.clone();
        // For each column, whether all its values are whole numbers.
        let mut are_numbers: Vec<bool> = Vec::new();
        let mut rows: Vec<Vec<Option<String>>> = Vec::new();
        // Who declares the columns of one partition declares those of its files.
        let base = match definition.schema.is_none() && definition.partition_columns.is_empty() {
            true => self.base_pairs(),
            false => Vec::new(),
        };
        let folder_pairs = |file: &ListedFile| all_pairs(&base, file);
        if columns.is_empty() {
            let mut all = self.files.iter().map(folder_pairs);
            let first = all.find(|pairs| !pairs.is_empty());
            columns.extend(first.into_iter().flatten().map(|(column, _)| column));
        }
        for file in &self.files {
            let pairs = folder_pairs(file);
            are_numbers.resize(columns.len(), true);
            // Below a partition, every folder must name one.
            let same = pairs.len() == columns.len()
                && (columns.is_empty() || !ends_outside(file))
                && pairs
                    .iter()
                    .zip(&columns)
                    .all(|((found, _), column)| found == column);
            if !same {
                return Err(Error::MixedPartitions {
                    location: shown(&self.base),
                    file: file.names.join("/"),
                    expected: columns,
                });
            }
            let values: Vec<Option<String>> = pairs.into_iter().map(|(_, value)| value).collect();
            for (is_number, value) in are_numbers.iter_mut().zip(&values) {
                *is_number &= value.as_deref().is_none_or(is_number_as_written);
            }
            rows.push(values);
        }
        let typed = columns
            .into_iter()
            .zip(are_numbers)
            .map(|(column, is_number)| {
                let declared = declared.and_then(|schema| schema.field_with_name(&column).ok());
                let data_type = match declared {
                    Some(field) => field.data_type().clone(),
                    None if is_number => DataType::Int64,
                    None => DataType::Utf8,
                };
                (column, data_type)
            });
        Partitions::new(typed.collect(), &self.files, rows)
    }

    /// The columns and values that the last folders above all files name.
    fn base_pairs(&self) -> Vec<(String, Option<String>)> {
        // A single file is read as it is.
        let folder = self.base.path().strip_suffix('/');
        let folder = folder.and_then(|path| Path::from_url_path(path).ok());
        let folders = folder.iter().flat_map(Path::parts);
        let mut pairs = Vec::new();
        for folder in folders {
            match folder.as_ref().split_once('=') {
                Some(named) => pairs.push(pair(named)),
                None => pairs.clear(),
            }
        }
        pairs
    }
}

/// The columns that folders name, and the files with their values in them.
pub(crate) struct Partitions {
    pub(crate) columns: Vec<(String, DataType)>,
    pub(crate) files: Vec<PartitionedFile>,
}

impl Partitions {
    fn new(
        columns: Vec<(String, DataType)>,
        files: &[ListedFile],
        rows: Vec<Vec<Option<String>>>,
    ) -> Result<Self> {
        let mut partitioned = Vec::with_capacity(files.len());
        for (file, values) in files.iter().zip(rows) {
            // A file without a byte has no rows, whatever its format.
            if file.meta.size == 0 {
                continue;
            }
            let mut with_values: PartitionedFile = marked(&file.meta).into();
            for (value, (column, data_type)) in values.into_iter().zip(&columns) {
                let value =
                    match value {
                        None => ScalarValue::try_from(data_type)?,
                        Some(text) => ScalarValue::try_from_string(text.clone(), data_type)
                            .map_err(|_| Error::PartitionValue {
                                column: column.clone(),
                                value: text,
                                data_type: data_type.to_string(),
                                file: file.names.join("/"),
                            })?,
                    };
                with_values.partition_values.push(value);
            }
            partitioned.push(with_values);
        }
        Ok(Self {
            columns,
            files: partitioned,
        })
    }
}

/// The columns and values that the folders of a file name, with those above if nothing stands between.
fn all_pairs(
    base: &[(String, Option<String>)],
    file: &ListedFile,
) -> Vec<(String, Option<String>)> {
    let folders = folders_of(file);
    let is_pair = |folder: &&String| folder.contains('=');
    let base = match folders.first().is_none_or(|folder| is_pair(&folder)) {
        true => base,
        false => &[],
    };
    let own = folders.iter().skip_while(|folder| !is_pair(folder));
    let own = own.map_while(|folder| folder.split_once('=')).map(pair);
    base.iter().cloned().chain(own).collect()
}

/// Whether a folder that names no column lies below one that does.
fn ends_outside(file: &ListedFile) -> bool {
    let mut folders = folders_of(file).iter();
    let _ = folders.find(|folder| folder.contains('='));
    folders.any(|folder| !folder.contains('='))
}

fn folders_of(file: &ListedFile) -> &[String] {
    &file.names[..file.names.len().saturating_sub(1)]
}

fn pair((column, value): (&str, &str)) -> (String, Option<String>) {
    let value = (value != NULL_PARTITION).then(|| percent_decoded(value));
    (column.to_owned(), value)
}

/// Whether a whole number is written as numbers are; zeros before it are part of a code.
fn is_number_as_written(text: &str) -> bool {
    text.parse::<i64>()
        .is_ok_and(|number| number.to_string() == text)
}

/// Writers encode what a folder's name cannot hold.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let code = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
