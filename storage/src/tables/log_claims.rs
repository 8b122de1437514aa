//! Whether the files of a Delta table of others are what its log says of them.
//!
//! The files of a version flow in; an error flows out that names a file whose own footer tells other numbers of rows and
//! NULLs, or values beyond the log's bounds. Counts and pruned files would be wrong without a word otherwise.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::file::statistics::Statistics as ParquetStatistics;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;

use crate::error::{Error, Result};
use crate::tables::delta_files::DeltaFiles;
use crate::tables::footers::footer;
use crate::tables::located::Place;

/// Tables of more files are taken at their word: a log is there so that not every file need be asked.
const MAX_FILES: usize = 64;

/// Error: `BadFile`. A footer that cannot be read is left to the scan, which may not need the file.
pub(crate) async fn check(
    files: &DeltaFiles,
    place: &Place,
    store: &Arc<dyn ObjectStore>,
    session: &dyn Session,
) -> Result<()> {
    if files.files.len() > MAX_FILES {
        return Ok(());
    }
    let check = |file: &PartitionedFile| {
        let file = file.clone();
        async move {
            let Ok(footer) = footer(session, store.as_ref(), &file.object_meta).await else {
                return Ok(());
            };
            let schema = &files.file_schema;
            let found = DFParquetMetadata::statistics_from_parquet_metadata(&footer, schema)?;
            match lie(file.statistics.as_deref(), &found, schema, &footer) {
                None => Ok(()),
                Some(reason) => Err(Error::BadFile {
                    file: place.url(file.object_meta.location.as_ref()),
                    format: place.format,
                    reason,
                }),
            }
        }
    };
    let options = &session.config_options().execution;
    let parallel = options.meta_fetch_concurrency.get();
    let checks: Vec<_> = files.files.iter().map(|file| check(&file.file)).collect();
    futures::stream::iter(checks)
        .buffered(parallel)
        .try_collect()
        .await
}

/// What the log says of a file that its footer does not bear out.
fn lie(
    told: Option<&Statistics>,
    found: &Statistics,
    schema: &SchemaRef,
    footer: &ParquetMetaData,
) -> Option<String> {
    let told = told?;
    if let (Precision::Exact(told), Precision::Exact(found)) = (told.num_rows, found.num_rows)
        && told != found
    {
        return Some(format!(
            "it has {found} rows, and {told} by the log of its table"
        ));
    }
    let columns = told.column_statistics.iter().zip(&found.column_statistics);
    let mut columns = columns.zip(schema.fields());
    columns.find_map(|((told, found), field)| {
        let column = field.name();
        if let (Precision::Exact(told), Precision::Exact(found)) =
            (told.null_count, found.null_count)
            && told != found
            && !field.data_type().is_nested()
            && every_group(footer, column, |group| group.null_count_opt().is_some())
        {
            return Some(format!(
                "column \"{column}\" is NULL in {found} rows, and in {told} by the log of its table"
            ));
        }
        let is_beyond = misses(&told.min_value, &found.min_value, Side::Least)
            || misses(&told.max_value, &found.max_value, Side::Greatest);
        // Bounds of old writers are in an order that is none of texts.
        let is_ordered = !field.data_type().is_string()
            || every_group(footer, column, |group| !group.is_min_max_deprecated());
        (is_beyond && is_ordered).then(|| {
            format!("column \"{column}\" has values beyond the bounds in the log of its table")
        })
    })
}

/// Whether all row groups tell something of a column; a column that the file lacks has none to ask.
fn every_group(
    footer: &ParquetMetaData,
    column: &str,
    tells: impl Fn(&ParquetStatistics) -> bool,
) -> bool {
    let columns = footer.file_metadata().schema_descr().columns().iter();
    let mut columns = columns.map(|column| column.path().parts());
    let Some(place) = columns.position(|path| matches!(path, [only] if only == column)) else {
        return true;
    };
    let mut groups = footer.row_groups().iter();
    groups.all(|group| group.column(place).statistics().is_some_and(&tells))
}

/// Which bound of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Least,
    Greatest,
}

/// Whether a value lies beyond the log's bound, beyond what writers cut and round.
fn misses(told: &Precision<ScalarValue>, found: &Precision<ScalarValue>, side: Side) -> bool {
    use ScalarValue as V;
    let (Some(told), Some(value)) = (told.get_value(), found.get_value()) else {
        return false;
    };
    let outside = |told: f64, found: f64, slack: f64| match side {
        Side::Least => found < told - told.abs() * slack,
        Side::Greatest => found > told + told.abs() * slack,
    };
    // Logs have the milliseconds of moments alone.
    let later = |told: i64, found: i64, slack: i64| match side {
        Side::Least => found < told.saturating_sub(slack),
        Side::Greatest => found > told.saturating_add(slack),
    };
    match (told, value) {
        (V::Float64(Some(told)), V::Float64(Some(found))) => outside(*told, *found, 1e-12),
        (V::Float32(Some(told)), V::Float32(Some(found))) => {
            outside((*told).into(), (*found).into(), 1e-6)
        }
        (V::TimestampMillisecond(Some(told), _), V::TimestampMillisecond(Some(found), _)) => {
            later(*told, *found, 0)
        }
        (V::TimestampMicrosecond(Some(told), _), V::TimestampMicrosecond(Some(found), _)) => {
            later(*told, *found, 999)
        }
        (V::TimestampNanosecond(Some(told), _), V::TimestampNanosecond(Some(found), _)) => {
            later(*told, *found, 999_999)
        }
        (told, value) => match (told.try_as_str(), value.try_as_str()) {
            (Some(Some(told)), Some(Some(value))) => {
                let is_whole = found.is_exact() == Some(true) || value.len() < CUT_BYTES;
                is_whole && misses_text(told, value, side)
            }
            _ => is_exact(told) && is_exact(value) && misses_exactly(told, value, side),
        },
    }
}

/// Footers hold shorter texts whole.
const CUT_BYTES: usize = 32;
/// Logs hold shorter texts whole.
const CUT_CHARACTERS: usize = 32;

fn misses_text(told: &str, found: &str, side: Side) -> bool {
    match side {
        Side::Least => found < told,
        // A bound that was cut should be greater than what it was cut from; not all writers take care.
        Side::Greatest => {
            let is_cut = told.chars().nth(CUT_CHARACTERS - 1).is_some();
            found > told && !(is_cut && found.starts_with(told))
        }
    }
}

fn misses_exactly(told: &ScalarValue, found: &ScalarValue, side: Side) -> bool {
    match side {
        Side::Least => found < told,
        Side::Greatest => found > told,
    }
}

/// Whether writers neither cut nor round a bound.
fn is_exact(bound: &ScalarValue) -> bool {
    let data_type = bound.data_type();
    !bound.is_null() && (data_type.is_integer() || data_type == DataType::Date32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> ScalarValue {
        ScalarValue::Utf8(Some(value.to_owned()))
    }

    #[test]
    fn bounds_are_compared_as_far_as_writers_keep_them() {
        use Side::{Greatest, Least};
        let long = "x".repeat(40);
        let at = |micros| ScalarValue::TimestampMicrosecond(Some(micros), None);
        let double = |value| ScalarValue::Float64(Some(value));
        let number = |value| ScalarValue::Int64(Some(value));
        for (told, found, side, expected) in [
            (text("b"), text("a"), Least, true),
            (text("a"), text("ab"), Least, false),
            (text("b"), text("ba"), Greatest, true),
            (text("b"), text("b"), Greatest, false),
            (text(&long[..32]), text(&long), Greatest, false),
            (text("w"), text(&long), Greatest, true),
            (at(5_000), at(5_999), Greatest, false),
            (at(5_000), at(6_000), Greatest, true),
            (at(5_000), at(4_000), Least, true),
            (double(0.1), double(0.1 + 1e-16), Greatest, false),
            (double(0.1), double(0.2), Greatest, true),
            (double(f64::NAN), double(0.2), Greatest, false),
            (double(-1.0), double(-2.0), Least, true),
            (number(3), number(2), Least, true),
            (number(3), ScalarValue::Int64(None), Least, false),
        ] {
            let case = format!("{told} {found} {side:?}");
            let (told, found) = (Precision::Inexact(told), Precision::Exact(found));
            assert_eq!(misses(&told, &found, side), expected, "{case}");
        }
        // A footer may have cut it.
        let cut = Precision::Inexact(text(&long));
        assert!(!misses(&Precision::Exact(text("w")), &cut, Greatest));
    }
}
