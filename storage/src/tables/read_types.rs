//! Which types of files are read as which types of a table's columns, and how.
//!
//! A file's columns and a table's flow in; expressions over the file's flow out, or an error that names column, file and
//! both types. Files give what they hold: a value stays what it is, or becomes what PostgreSQL makes of it when it is
//! assigned. A number is no date, and no text a number; a value that the column's type cannot hold is an error. Declared
//! columns are found without regard to case (see `other_case`), and their texts are what the statement says (see
//! `declared_texts`).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, BooleanArray};
use datafusion::arrow::compute::kernels::cmp::distinct;
use datafusion::arrow::compute::{CastOptions, and, cast_with_options, is_not_null, is_null};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, IntervalUnit, Schema, SchemaRef, TimeUnit,
};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use datafusion::physical_plan::PhysicalExpr;

use crate::error::{ColumnFailure, Error};
use crate::tables::declared_texts::{Source, is_made, with_values};
use crate::tables::interval_bytes::{over_file, read_columns};
use crate::tables::one_column::of_column;
use crate::tables::other_case::renamed;
use crate::tables::text_input::TextInput;
use crate::tables::time_columns::holds;
use crate::tables::type_names::type_name;

/// How the values of a type become those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reading {
    /// Every value has one.
    All,
    /// Those that the other type holds; the library tells which it does not.
    Fitting,
    /// The same, with digits rounded off, which the library takes for no change when it compares.
    Rounded,
    /// The same, but the library would cut values: fractions, times of day, and what is beyond a real.
    Whole,
    /// None is, or only as something else.
    Never,
}

/// How values of files are read as those of a column.
pub(crate) fn reading(found: &DataType, wanted: &DataType) -> Reading {
    use DataType as T;
    if found == wanted {
        return Reading::All;
    }
    match (found, wanted) {
        (T::Null, _) => Reading::All,
        (T::Dictionary(_, values), wanted) => reading(values, wanted),
        (T::RunEndEncoded(_, values), wanted) => reading(values.data_type(), wanted),
        (found, T::Dictionary(_, values)) => reading(found, values),
        (found, wanted) if found.is_nested() || wanted.is_nested() => nested(found, wanted),
        (found, wanted) if is_text(wanted) => match found {
            found if is_text(found) => Reading::All,
            // Writers that do not say what is a text have bytes.
            found if found.is_binary() => Reading::Fitting,
            // There is one way to write these.
            T::Boolean | T::Date32 => Reading::All,
            found if found.is_integer() || is_decimal(found) => Reading::All,
            _ => Reading::Never,
        },
        (found, wanted) if wanted.is_binary() => {
            let has_bytes = is_text(found) || found.is_binary();
            if has_bytes {
                Reading::All
            } else {
                Reading::Never
            }
        }
        (found, wanted) if found.is_numeric() && wanted.is_numeric() => numbers(found, wanted),
        (T::Date32 | T::Date64, T::Date32 | T::Date64) => Reading::All,
        // A moment with a time of day is no date.
        (T::Timestamp(..), T::Date32 | T::Date64) => Reading::Whole,
        (T::Date32 | T::Date64, T::Timestamp(unit, _)) => finer(TimeUnit::Microsecond, *unit),
        (T::Timestamp(found, _), T::Timestamp(wanted, _)) => finer(*found, *wanted),
        (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_)) => Reading::All,
        (T::Interval(_), T::Interval(IntervalUnit::MonthDayNano)) => Reading::All,
        _ => Reading::Never,
    }
}

/// Times in smaller units reach less far.
fn finer(found: TimeUnit, wanted: TimeUnit) -> Reading {
    match wanted > found {
        true => Reading::Fitting,
        false => Reading::All,
    }
}

fn numbers(found: &DataType, wanted: &DataType) -> Reading {
    use DataType as T;
    let has_fractions = found.is_floating()
        || matches!(found, T::Decimal32(_, scale) | T::Decimal64(_, scale)
            | T::Decimal128(_, scale) | T::Decimal256(_, scale) if *scale > 0);
    match (found, wanted) {
        (_, T::Float64) => Reading::All,
        (T::Float64, T::Float32 | T::Float16) | (T::Float32, T::Float16) => Reading::Whole,
        (_, wanted) if wanted.is_floating() => Reading::All,
        (_, wanted) if wanted.is_integer() && has_fractions => Reading::Whole,
        (T::Decimal128(_, scale), T::Decimal128(_, kept)) if kept < scale => Reading::Rounded,
        (found, wanted) if found.is_integer() && wanted.is_integer() => {
            let is_signed = |t: &DataType| t.is_signed_integer();
            let is_wider = found.primitive_width() < wanted.primitive_width();
            match (is_signed(found) == is_signed(wanted) || is_signed(wanted)) && is_wider {
                true => Reading::All,
                false => Reading::Fitting,
            }
        }
        _ => Reading::Fitting,
    }
}

/// Lists and maps are read as their elements are; of records, those fields that the file has.
fn nested(found: &DataType, wanted: &DataType) -> Reading {
    use DataType as T;
    let elements = |found: &FieldRef, wanted: &FieldRef| {
        // Within values the library alone converts.
        match reading(found.data_type(), wanted.data_type()) {
            Reading::Whole => Reading::Never,
            reading => reading,
        }
    };
    match (found, wanted) {
        (
            T::List(found) | T::LargeList(found) | T::FixedSizeList(found, _),
            T::List(wanted) | T::LargeList(wanted) | T::FixedSizeList(wanted, _),
        ) => elements(found, wanted),
        (T::Map(found, _), T::Map(wanted, _)) => match (found.data_type(), wanted.data_type()) {
            // Key and value have other names with other writers.
            (T::Struct(found), T::Struct(wanted)) if found.len() == wanted.len() => {
                let pairs = found.iter().zip(wanted);
                let readings = pairs.map(|(found, wanted)| elements(found, wanted));
                readings.max().unwrap_or(Reading::All)
            }
            _ => Reading::Never,
        },
        (T::Struct(found), T::Struct(wanted)) => {
            let common = wanted
                .iter()
                .filter_map(|wanted| Some((found.find(wanted.name())?.1, wanted)));
            let readings = common.map(|(found, wanted)| elements(found, wanted));
            readings.max().unwrap_or(Reading::All)
        }
        _ => Reading::Never,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_decimal(data_type: &DataType) -> bool {
    data_type.is_numeric() && !data_type.is_integer() && !data_type.is_floating()
}

/// Error: the column of a file is not read as that of a table. The file is not named yet. `reads_texts`: values are made of
/// texts.
fn check(
    found: &Field,
    wanted: &Field,
    reads_texts: bool,
) -> std::result::Result<Reading, ColumnFailure> {
    match reading(found.data_type(), wanted.data_type()) {
        _ if reads_texts && is_made(found.data_type(), wanted) => Ok(Reading::All),
        Reading::Never if holds(wanted, found.data_type()) => Ok(Reading::All),
        Reading::Never => Err(ColumnFailure::Type {
            column: wanted.name().clone(),
            file: String::new(),
            found: type_name(found.data_type()),
            wanted: type_name(wanted.data_type()),
        }),
        reading => Ok(reading),
    }
}

/// What a scan of Parquet files reads columns of other types than the table's by. `is_declared`: a statement names the
/// columns, and neither the files nor their table's log; `input` then makes values of texts.
pub(crate) fn read_types(
    is_declared: bool,
    input: Option<TextInput>,
) -> Arc<dyn PhysicalExprAdapterFactory> {
    Arc::new(ReadTypes {
        source: Source::default(),
        is_declared,
        input: input.filter(|_| is_declared),
    })
}

/// Reads columns of files as those of their table.
#[derive(Debug)]
pub(crate) struct ReadTypes {
    source: Source,
    is_declared: bool,
    input: Option<TextInput>,
}

impl ReadTypes {
    /// `source` is what errors name; `input` makes values of texts, if a statement declares the columns.
    pub(crate) fn of_file(source: Source, input: Option<TextInput>) -> Self {
        Self {
            source,
            is_declared: true,
            input,
        }
    }
}

impl PhysicalExprAdapterFactory for ReadTypes {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let in_file = file;
        let mut read = read_columns(&in_file);
        let mut failures = Vec::new();
        if self.is_declared {
            let held = read.as_ref().unwrap_or(&in_file);
            if let Some(renamed) = renamed(table.fields(), held.fields()) {
                let notes = held.metadata().clone();
                read = Some(Schema::new_with_metadata(renamed.fields, notes));
                failures = renamed.failures;
            }
        }
        let read = read.map(Arc::new);
        let file = read.clone().unwrap_or_else(|| Arc::clone(&in_file));
        let casts = DefaultPhysicalExprAdapterFactory;
        let casts = casts.create(Arc::clone(&table), Arc::clone(&file))?;
        Ok(Arc::new(Adapter {
            casts,
            table,
            file,
            in_file: read.map(|_| in_file),
            failures,
            source: self.source.clone(),
            input: self.input.clone(),
        }))
    }
}

#[derive(Debug)]
struct Adapter {
    /// Puts the library's casts around the columns of the file.
    casts: Arc<dyn PhysicalExprAdapter>,
    table: SchemaRef,
    file: SchemaRef,
    /// The columns of the file, where these are not read as they are.
    in_file: Option<SchemaRef>,
    /// What is wrong with columns of the table, if they are asked for.
    failures: Vec<ColumnFailure>,
    source: Source,
    /// What makes values of texts.
    input: Option<TextInput>,
}

impl Adapter {
    /// The greatest care that a column of an expression needs.
    fn check(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Reading> {
        let mut greatest = Reading::All;
        let failed = |failure: ColumnFailure| failure.in_file(self.source.file.clone());
        expr.apply(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let mut failures = self.failures.iter();
            let is_it =
                |failure: &&ColumnFailure| failure.ambiguous_column() == Some(column.name());
            if let Some(failure) = failures.find(is_it) {
                return Err(Error::from(failed(failure.clone())).into());
            }
            if let Ok(wanted) = self.table.field_with_name(column.name())
                && let Ok(found) = self.file.field_with_name(column.name())
            {
                let reading = check(found, wanted, self.input.is_some());
                let reading = reading.map_err(|failure| Error::from(failed(failure)))?;
                greatest = greatest.max(reading);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(greatest)
    }

    /// A cast of a column as one that names it where a value does not fit.
    fn named(
        &self,
        expr: Arc<dyn PhysicalExpr>,
        least: Reading,
    ) -> Transformed<Arc<dyn PhysicalExpr>> {
        if let Some(cast) = expr.downcast_ref::<CastExpr>()
            && let Some(column) = cast.expr().downcast_ref::<Column>()
            && let Ok(found) = self.file.field_with_name(column.name())
            && let Ok(wanted) = self.table.field_with_name(column.name())
            && !found.data_type().is_nested()
            && cast.cast_type() == wanted.data_type()
            && reading(found.data_type(), wanted.data_type()) >= least
        {
            let function = ScalarUDF::from(ReadAs {
                signature: Signature::any(1, Volatility::Immutable),
                column: column.name().to_owned(),
                file: self.source.file.clone(),
                wanted: wanted.data_type().clone(),
            });
            let read = ScalarFunctionExpr::new(
                READ_AS,
                Arc::new(function),
                vec![Arc::clone(cast.expr())],
                Arc::new(wanted.clone()),
                Arc::new(ConfigOptions::default()),
            );
            return Transformed::yes(Arc::new(read));
        }
        Transformed::no(expr)
    }
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let care = self.check(&expr)?;
        // In conditions the library knows its own casts, and leaves row groups out by them.
        let is_condition = expr.downcast_ref::<Column>().is_none()
            && matches!(expr.data_type(&self.table), Ok(DataType::Boolean));
        let least = match is_condition {
            true => Reading::Rounded,
            false => Reading::Fitting,
        };
        let mut cast = self.casts.rewrite(expr)?;
        if let Some(input) = &self.input {
            cast = with_values(cast, (&self.file, &self.table), input, &self.source)?;
        }
        if care >= least {
            cast = cast.transform_up(|expr| Ok(self.named(expr, least)))?.data;
        }
        match &self.in_file {
            Some(in_file) => over_file(cast, &self.file, in_file),
            None => Ok(cast),
        }
    }
}

/// The name of the function in plans.
const READ_AS: &str = "read_as";

/// Makes a column of a file one of another type, and names the value that it does not hold.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ReadAs {
    signature: Signature,
    column: String,
    file: String,
    wanted: DataType,
}

impl ReadAs {
    fn read(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let nulls = CastOptions {
            safe: true,
            ..CastOptions::default()
        };
        let cast = cast_with_options(array, &self.wanted, &nulls)?;
        let lost = match reading(array.data_type(), &self.wanted) {
            Reading::Whole if !self.wanted.is_floating() => {
                let back = cast_with_options(&cast, array.data_type(), &nulls)?;
                first(&distinct(&back, array)?)
            }
            Reading::Whole => beyond_real(array, &cast)?,
            _ if cast.null_count() == array.null_count() => None,
            _ => first(&and(&is_null(&cast)?, &is_not_null(array)?)?),
        };
        let Some(row) = lost else {
            return Ok(cast);
        };
        let failure = ColumnFailure::Value {
            column: self.column.clone(),
            file: self.file.clone(),
            value: ScalarValue::try_from_array(array, row)?.to_string(),
            wanted: type_name(&self.wanted),
        };
        Err(Error::from(failure).into())
    }
}

fn first(found: &BooleanArray) -> Option<usize> {
    (0..found.len()).find(|row| found.is_valid(*row) && found.value(*row))
}

/// The first value that is finite and became infinite.
fn beyond_real(array: &ArrayRef, cast: &ArrayRef) -> Result<Option<usize>> {
    let options = CastOptions::default();
    let before = cast_with_options(array, &DataType::Float64, &options)?;
    let after = cast_with_options(cast, &DataType::Float64, &options)?;
    let before = before.as_primitive::<Float64Type>();
    let after = after.as_primitive::<Float64Type>();
    let is_lost = |row: &usize| {
        before.is_valid(*row) && before.value(*row).is_finite() && after.value(*row).is_infinite()
    };
    Ok((0..before.len()).find(is_lost))
}

impl ScalarUDFImpl for ReadAs {
    fn name(&self) -> &str {
        READ_AS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.wanted.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        of_column(&args, |array| self.read(array))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int32Array, Int64Array};
    use datafusion::arrow::datatypes::Schema;
    use datafusion::arrow::record_batch::RecordBatch;

    use super::*;

    fn list(element: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", element, true)))
    }

    fn record(fields: &[(&str, DataType)]) -> DataType {
        let field =
            |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
        DataType::Struct(fields.iter().map(field).collect())
    }

    #[test]
    fn numbers_are_numbers_and_days_are_days() {
        use DataType as T;
        let micros = T::Timestamp(TimeUnit::Microsecond, None);
        let utc = T::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (found, wanted, expected) in [
            (T::Int32, T::Int64, Reading::All),
            (T::UInt32, T::Int64, Reading::All),
            (T::Int32, T::UInt64, Reading::Fitting),
            (T::Int64, T::Int32, Reading::Fitting),
            (T::Int64, T::Decimal128(10, 2), Reading::Fitting),
            (T::Float64, T::Int32, Reading::Whole),
            (T::Decimal128(10, 2), T::Int32, Reading::Whole),
            (T::Decimal128(10, 0), T::Int32, Reading::Fitting),
            (T::Decimal128(10, 2), T::Decimal128(10, 1), Reading::Rounded),
            (T::Decimal128(10, 2), T::Decimal128(12, 3), Reading::Fitting),
            (T::Float64, T::Float32, Reading::Whole),
            (T::Float32, T::Float64, Reading::All),
            (T::Int32, T::Date32, Reading::Never),
            (T::Int64, micros.clone(), Reading::Never),
            (T::Date32, T::Int32, Reading::Never),
            (T::Boolean, T::Int32, Reading::Never),
            (T::Int32, T::Boolean, Reading::Never),
            (T::Utf8View, T::Int32, Reading::Never),
            (T::Utf8View, T::Date32, Reading::Never),
            (T::Int32, T::Utf8, Reading::All),
            (T::Float64, T::Utf8, Reading::Never),
            (micros.clone(), T::Utf8, Reading::Never),
            (T::Date32, micros.clone(), Reading::All),
            (micros.clone(), T::Date32, Reading::Whole),
            (utc, micros.clone(), Reading::All),
            (
                micros.clone(),
                T::Timestamp(TimeUnit::Nanosecond, None),
                Reading::Fitting,
            ),
            (T::Binary, T::Utf8, Reading::Fitting),
            (list(T::Int32), list(T::Int64), Reading::All),
            (list(T::Int32), list(T::Date32), Reading::Never),
            (list(T::Float64), list(T::Int64), Reading::Never),
            (list(T::Int32), T::Int32, Reading::Never),
            (
                record(&[("a", T::Int32), ("b", T::Int32)]),
                record(&[("a", T::Int64), ("c", T::Date32)]),
                Reading::All,
            ),
            (
                record(&[("a", T::Int32)]),
                record(&[("a", T::Date32)]),
                Reading::Never,
            ),
        ] {
            assert_eq!(reading(&found, &wanted), expected, "{found} as {wanted}");
        }
    }

    fn read(found: ArrayRef, wanted: DataType) -> Result<ArrayRef> {
        let file = Schema::new(vec![Field::new("x", found.data_type().clone(), true)]);
        let table = Arc::new(Schema::new(vec![Field::new("x", wanted, true)]));
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("x", 0));
        let adapter =
            ReadTypes::of_file(Source::default(), None).create(table, Arc::new(file.clone()))?;
        let batch = RecordBatch::try_new(Arc::new(file), vec![found])?;
        let n_rows = batch.num_rows();
        adapter
            .rewrite(column)?
            .evaluate(&batch)?
            .into_array(n_rows)
    }

    fn failure(read: Result<ArrayRef>) -> Error {
        let error = read.unwrap_err();
        match Error::found_in(&error) {
            Some(Error::Column(failure)) => failure.in_file("a.parquet".to_owned()).into(),
            _ => panic!("{error}"),
        }
    }

    #[test]
    fn values_stay_what_they_are_or_are_named() {
        let whole: ArrayRef = Arc::new(Float64Array::from(vec![Some(2.0), None]));
        let expected: ArrayRef = Arc::new(Int32Array::from(vec![Some(2), None]));
        assert_eq!(&read(whole, DataType::Int32).unwrap(), &expected);
        for fraction in [2.5, f64::NAN, 3e9] {
            let found: ArrayRef = Arc::new(Float64Array::from(vec![1.0, fraction]));
            let error = failure(read(found, DataType::Int32));
            let expected = format!(
                "value {fraction} of column \"x\" in \"a.parquet\" is out of range for type integer"
            );
            assert_eq!((error.sqlstate(), error.to_string()), ("22003", expected));
        }
        let large: ArrayRef = Arc::new(Float64Array::from(vec![1e300]));
        assert_eq!(failure(read(large, DataType::Float32)).sqlstate(), "22003");
        let large: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(1 << 40)]));
        assert_eq!(failure(read(large, DataType::Int32)).sqlstate(), "22003");
        let days: ArrayRef = Arc::new(Int32Array::from(vec![5]));
        let error = failure(read(days, DataType::Date32));
        let expected = "column \"x\" is of type date but of type integer in \"a.parquet\"";
        assert_eq!(
            (error.sqlstate(), error.to_string().as_str()),
            ("42804", expected)
        );
    }
}
