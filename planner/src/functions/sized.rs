//! Functions whose values may be far larger than what they are made of: `repeat`, `lpad`, `generate_series`.
//!
//! In: the planner's function of that name; out: the same, which looks how much memory its values will take before it makes them. What is
//! larger than any value may be is 54000, what finds no room 53200; without that, a number in a query would end the server.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::length::length;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use super::call::failure;
use crate::memory::{array_bytes, ask_for};

/// What PostgreSQL allows a value: one byte less than 1 GB.
const MAX_VALUE_BYTES: usize = (1 << 30) - 1;
/// What PostgreSQL allows an array.
const MAX_ELEMENTS: usize = (1 << 27) - 1;
/// Offsets in a column of texts have 31 bits.
const MAX_COLUMN_BYTES: usize = i32::MAX as usize;
/// The shortest month.
const MIN_DAYS_OF_MONTH: i128 = 28;
const NANOSECONDS_OF_DAY: i128 = 86_400_000_000_000;

/// Functions that make values of any length of a number.
const UNBOUNDED: [&str; 9] = [
    "array_fill",
    "array_repeat",
    "array_resize",
    "generate_series",
    "lpad",
    "range",
    "repeat",
    "rpad",
    super::series::SERIES,
];
/// Functions that make values as long as several of theirs together.
const GROWING: [&str; 7] = [
    "array_concat",
    "array_join",
    super::joined_arrays::ARRAY_JOINED,
    "concat",
    "concat_ws",
    "regexp_replace",
    "replace",
];

/// How much longer the values of a function may be than what they are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// No more than a little.
    Bounded,
    /// As long as several of them together.
    Joined,
    /// Any length.
    Unbounded,
}

/// How much a function of this name makes of little.
pub(crate) fn growth(function: &ScalarUDF) -> Growth {
    let name = function.name();
    let name = name.strip_prefix("safe.").unwrap_or(name);
    let name = name.strip_prefix("googlesql.").unwrap_or(name);
    match () {
        () if UNBOUNDED.contains(&name) => Growth::Unbounded,
        () if GROWING.contains(&name) || super::checked::is_chain_of_texts(function) => {
            Growth::Joined
        }
        () => Growth::Bounded,
    }
}

/// What a function makes of the arguments of one row.
enum Made {
    /// A text of so many bytes.
    Text(usize),
    /// So many elements of so many bytes.
    Elements(usize, usize),
}

type MadeOf = fn(&Operands, usize) -> Made;

/// The planner's functions that ask for room, in the place of those that do not.
pub(super) fn functions(known: &dyn Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let padded: MadeOf = |args, row| Made::Text(args.count(1, row));
    let series: MadeOf = |args, row| Made::Elements(args.steps(row), 8);
    let asking: [(&str, MadeOf); 8] = [
        ("repeat", |args, row| {
            Made::Text(args.length(0, row).saturating_mul(args.count(1, row)))
        }),
        ("lpad", padded),
        ("rpad", padded),
        ("replace", |args, row| Made::Text(args.replaced(row))),
        ("array_repeat", |args, row| {
            Made::Elements(args.count(1, row), args.width(0))
        }),
        ("array_resize", |args, row| {
            Made::Elements(args.count(1, row), args.width(2))
        }),
        ("range", series),
        ("generate_series", series),
    ];
    let sized = |(name, made): (&str, MadeOf)| {
        let inner = known(name)?;
        Some(ScalarUDF::from(AsksForRoom { inner, made }))
    };
    asking.into_iter().filter_map(sized).collect()
}

/// Asks for the room of texts that are joined.
pub(super) fn ask_for_joined(texts: &[ColumnarValue], n_rows: usize) -> Result<()> {
    let n_bytes = |text: &ColumnarValue| match text {
        ColumnarValue::Array(texts) => array_bytes(texts),
        ColumnarValue::Scalar(text) => text.size().saturating_mul(n_rows),
    };
    let total = texts.iter().map(n_bytes).fold(0, usize::saturating_add);
    fits_a_column(total)?;
    ask_for(total)
}

fn fits_a_column(n_bytes: usize) -> Result<()> {
    if n_bytes <= MAX_COLUMN_BYTES {
        return Ok(());
    }
    Err(DataFusionError::ResourcesExhausted(format!(
        "out of memory: a column of a batch of rows would take {n_bytes} bytes, and {MAX_COLUMN_BYTES} are possible"
    )))
}

/// The arguments of a call, as far as they tell the size of its values.
struct Operands {
    /// Each with whether it is the same for all rows.
    arrays: Vec<(ArrayRef, bool)>,
    /// Numbers, and the lengths of texts.
    numbers: Vec<Option<Int64Array>>,
    n_rows: usize,
}

impl Operands {
    fn of(args: &ScalarFunctionArgs) -> Result<Operands> {
        let is_one = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let mut arrays = Vec::with_capacity(args.args.len());
        let mut numbers = Vec::with_capacity(args.args.len());
        for value in &args.args {
            let array = match value {
                ColumnarValue::Scalar(value) => value.to_array_of_size(1)?,
                ColumnarValue::Array(array) => Arc::clone(array),
            };
            let number = match array.data_type() {
                data_type if data_type.is_string() => Some(length(array.as_ref())?),
                data_type if data_type.is_integer() => Some(Arc::clone(&array)),
                DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
                    let instant = DataType::Timestamp(TimeUnit::Nanosecond, None);
                    cast(&array, &instant).ok()
                }
                _ => None,
            };
            let number = number.and_then(|number| cast(&number, &DataType::Int64).ok());
            numbers.push(number.map(|number| number.as_primitive::<Int64Type>().clone()));
            arrays.push((array, is_one(value)));
        }
        let is_constant = arrays.iter().all(|(_, is_one)| *is_one);
        Ok(Operands {
            arrays,
            numbers,
            n_rows: if is_constant { 1 } else { args.number_rows },
        })
    }

    fn place(&self, idx: usize, row: usize) -> usize {
        match self.arrays.get(idx) {
            Some((_, true)) | None => 0,
            Some((_, false)) => row,
        }
    }

    /// A number, unless it is NULL.
    fn number(&self, idx: usize, row: usize) -> Option<i64> {
        let numbers = self.numbers.get(idx)?.as_ref()?;
        let row = self.place(idx, row);
        (row < numbers.len() && numbers.is_valid(row)).then(|| numbers.value(row))
    }

    /// A number of things, of which there are no fewer than none.
    fn count(&self, idx: usize, row: usize) -> usize {
        let number = self.number(idx, row).unwrap_or(0);
        usize::try_from(number).unwrap_or(0)
    }

    /// The bytes of a text.
    fn length(&self, idx: usize, row: usize) -> usize {
        self.count(idx, row)
    }

    /// The bytes of one element like this argument, and of its place.
    fn width(&self, idx: usize) -> usize {
        let values = self.arrays.get(idx);
        8 + values.map_or(8, |(values, _)| array_bytes(values) / values.len().max(1))
    }

    /// The text of a row.
    fn text(&self, idx: usize, row: usize) -> Option<&str> {
        let (array, _) = self.arrays.get(idx)?;
        let texts = array.as_string_opt::<i32>()?;
        let row = self.place(idx, row);
        (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row))
    }

    /// The bytes of the first text with each occurrence of the second one replaced by the third.
    fn replaced(&self, row: usize) -> usize {
        let (text, from, to) = (
            self.length(0, row),
            self.length(1, row),
            self.length(2, row),
        );
        if to <= from || from == 0 {
            return text;
        }
        let most = (text / from).saturating_mul(to).saturating_add(text);
        // Few texts are so long that counting matters.
        let (Some(whole), Some(part)) = (self.text(0, row), self.text(1, row)) else {
            return most;
        };
        match most <= 4096 {
            true => most,
            false => text + whole.matches(part).count().saturating_mul(to - from),
        }
    }

    /// How many steps there are from the first number, or time, to the second one.
    fn steps(&self, row: usize) -> usize {
        let number = |idx| self.number(idx, row).map(i128::from);
        let (start, stop) = match self.arrays.len() {
            1 => (Some(0), number(0)),
            _ => (number(0), number(1)),
        };
        let (Some(start), Some(stop)) = (start, stop) else {
            return 0;
        };
        let step = match self.arrays.get(2) {
            Some((steps, _)) if *steps.data_type() == INTERVALS => {
                let row = self.place(2, row);
                let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
                (row < steps.len() && steps.is_valid(row)).then(|| nanoseconds(steps.value(row)))
            }
            Some(_) => number(2),
            None => Some(1),
        };
        match step {
            None | Some(0) => 0,
            Some(step) => usize::try_from(((stop - start) / step + 1).max(0)).unwrap_or(usize::MAX),
        }
    }
}

const INTERVALS: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The least that an interval may be.
fn nanoseconds(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * MIN_DAYS_OF_MONTH + i128::from(interval.days);
    days * NANOSECONDS_OF_DAY + i128::from(interval.nanoseconds)
}

/// A function that looks for room before it is called.
struct AsksForRoom {
    inner: Arc<ScalarUDF>,
    made: MadeOf,
}

impl AsksForRoom {
    /// Fails where the values would be too large.
    fn ask(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let operands = Operands::of(args)?;
        let mut total = 0_usize;
        for row in 0..operands.n_rows {
            let n_bytes = match (self.made)(&operands, row) {
                Made::Text(n_bytes) if n_bytes > MAX_VALUE_BYTES => {
                    return Err(failure("54000", "requested length too large"));
                }
                Made::Text(n_bytes) => n_bytes,
                Made::Elements(n, _) if n > MAX_ELEMENTS => {
                    let message =
                        format!("array size exceeds the maximum allowed ({MAX_ELEMENTS})");
                    return Err(failure("54000", message));
                }
                Made::Elements(n, width) => n.saturating_mul(width),
            };
            total = total.saturating_add(n_bytes);
        }
        fits_a_column(total)?;
        ask_for(total)
    }
}

impl Debug for AsksForRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

// There is one function of a name.
impl PartialEq for AsksForRoom {
    fn eq(&self, other: &Self) -> bool {
        self.inner.name() == other.inner.name()
    }
}

impl Eq for AsksForRoom {}

impl Hash for AsksForRoom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.name().hash(state);
    }
}

impl ScalarUDFImpl for AsksForRoom {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.ask(&args)?;
        self.inner.invoke_with_args(args)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;
    use datafusion::common::ScalarValue;
    use datafusion::config::ConfigOptions;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    use super::*;
    use crate::error::report_of;
    use crate::memory::Room;

    fn asked(name: &str, args: Vec<ScalarValue>) -> Result<()> {
        let known = |name: &str| {
            let mut all = datafusion::functions::all_default_functions();
            all.extend(datafusion::functions_nested::all_default_nested_functions());
            all.into_iter().find(|function| function.name() == name)
        };
        let functions = functions(&known);
        let function = functions.iter().find(|function| function.name() == name);
        let sized = function.unwrap().inner().downcast_ref::<AsksForRoom>();
        sized.unwrap().ask(&ScalarFunctionArgs {
            args: args.into_iter().map(ColumnarValue::Scalar).collect(),
            arg_fields: Vec::new(),
            number_rows: 8192,
            return_field: Arc::new(Field::new("x", DataType::Utf8, true)),
            config_options: Arc::new(ConfigOptions::default()),
        })
    }

    fn sqlstate(name: &str, args: Vec<ScalarValue>) -> &'static str {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let asked = Room::new(&pool).within(|| asked(name, args));
        asked.map_or_else(|error| report_of(&error).sqlstate, |()| "00000")
    }

    #[test]
    fn the_size_of_a_value_is_known_before_it_is_made() {
        let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
        let number = |n: i64| ScalarValue::Int64(Some(n));
        for (n, expected) in [
            (-5, "00000"),
            (1000, "00000"),
            (100 << 20, "53200"),
            (1 << 30, "54000"),
            (i64::MAX, "54000"),
        ] {
            assert_eq!(sqlstate("repeat", vec![text("x"), number(n)]), expected);
            assert_eq!(sqlstate("lpad", vec![text("x"), number(n)]), expected);
        }
        let long = text(&"a".repeat(10_000));
        let args = |to: &str| vec![long.clone(), text("a"), text(to)];
        assert_eq!(sqlstate("replace", args("bb")), "00000");
        assert_eq!(sqlstate("replace", args(&"b".repeat(10_000))), "53200");
        let args = vec![long, text("c"), text(&"b".repeat(100_000))];
        assert_eq!(sqlstate("replace", args), "00000");
        for name in ["range", "generate_series"] {
            for (args, expected) in [
                (vec![number(1), number(1000)], "00000"),
                (vec![number(1), number(10_000_000)], "53200"),
                (vec![number(10_000_000), number(1), number(-1)], "53200"),
                (vec![number(10_000_000), number(1)], "00000"),
                (vec![number(i64::MIN), number(i64::MAX)], "54000"),
            ] {
                assert_eq!(sqlstate(name, args.clone()), expected, "{name} {args:?}");
            }
        }
        let day = |n| ScalarValue::Date32(Some(n));
        let every = |nanoseconds| {
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, nanoseconds)))
        };
        let times = |step| vec![day(0), day(1), every(step)];
        assert_eq!(sqlstate("range", times(3_600_000_000_000)), "00000");
        assert_eq!(sqlstate("range", times(1)), "54000");
        assert_eq!(
            sqlstate("array_repeat", vec![number(1), number(100_000_000)]),
            "53200"
        );
    }
}
