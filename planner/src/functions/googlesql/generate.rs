//! Arrays of steps: `GENERATE_ARRAY`, `GENERATE_DATE_ARRAY`, `GENERATE_TIMESTAMP_ARRAY`; and the length of an array.
//!
//! In: a first and a last value and a step; out: an array that holds both ends, if the steps meet them.

use std::sync::Arc;

use chrono::NaiveDateTime;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Builder, Int64Array, Int64Builder, ListArray, ListBuilder,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};

use super::super::call::{Call, Function, failure, function, function_of};
use super::calendar::{Unit, later};
use super::moments::{Kind, clocks, column};
use super::numbers::whole;

/// More elements than this are a mistake.
const MAX_ELEMENTS: usize = 10_000_000;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function_of(
            "generate_array",
            &[2, 3],
            |types| Ok(list_of(number_type(types))),
            numbers,
        ),
        function(
            "generate_date_array",
            &[2, 4],
            list_of(DataType::Date32),
            |call| moments(call, Kind::Date),
        ),
        function(
            "generate_timestamp_array",
            &[4],
            list_of(Kind::Timestamp.data_type()),
            |call| moments(call, Kind::Timestamp),
        ),
        function(
            "googlesql.array_length",
            &[1],
            DataType::Int64,
            array_length,
        ),
        function("googlesql.places", &[1], list_of(DataType::Int64), |call| {
            let lengths = whole(&array_length(call)?)?;
            let mut out = ListBuilder::new(Int64Builder::new());
            for length in &lengths {
                (0..length.unwrap_or(0)).for_each(|place| out.values().append_value(place));
                out.append(length.is_some());
            }
            Ok(Arc::new(out.finish()))
        }),
    ]
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn number_type(types: &[DataType]) -> DataType {
    match types.iter().all(|t| t.is_integer() || t.is_null()) {
        true => DataType::Int64,
        false => DataType::Float64,
    }
}

fn no_step() -> DataFusionError {
    failure("22023", "step size cannot equal zero")
}

fn too_many() -> DataFusionError {
    failure("54000", "a generated array has more than 10000000 elements")
}

fn numbers(call: &Call<'_>) -> Result<ArrayRef> {
    let types: Vec<DataType> = call
        .args
        .iter()
        .map(|arg| arg.data_type().clone())
        .collect();
    if number_type(&types) == DataType::Int64 {
        return whole_numbers(call);
    }
    let (from, to) = (call.floats(0)?, call.floats(1)?);
    let step = (call.args.len() == 3).then(|| call.floats(2)).transpose()?;
    let mut out = ListBuilder::new(Float64Builder::new());
    for row in 0..call.n_rows {
        let by = match &step {
            Some(step) => step.is_valid(row).then(|| step.value(row)),
            None => Some(1.0),
        };
        let (Some(by), true, true) = (by, from.is_valid(row), to.is_valid(row)) else {
            out.append(false);
            continue;
        };
        if by == 0.0 {
            return Err(no_step());
        }
        // Counted in steps, since repeated adding would drift; the slack keeps the end in.
        let n_steps = ((to.value(row) - from.value(row)) / by + 1e-9).floor();
        if n_steps >= MAX_ELEMENTS as f64 {
            return Err(too_many());
        }
        let mut idx = 0.0;
        while idx <= n_steps {
            out.values().append_value(from.value(row) + by * idx);
            idx += 1.0;
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

fn whole_numbers(call: &Call<'_>) -> Result<ArrayRef> {
    let (from, to) = (call.integers(0)?, call.integers(1)?);
    let step = (call.args.len() == 3)
        .then(|| call.integers(2))
        .transpose()?;
    let mut out = ListBuilder::new(Int64Builder::new());
    for row in 0..call.n_rows {
        let by = match &step {
            Some(step) => step.is_valid(row).then(|| step.value(row)),
            None => Some(1),
        };
        let (Some(by), true, true) = (by, from.is_valid(row), to.is_valid(row)) else {
            out.append(false);
            continue;
        };
        if by == 0 {
            return Err(no_step());
        }
        let (mut next, last) = (from.value(row), to.value(row));
        let mut n_elements = 0;
        while (by > 0 && next <= last) || (by < 0 && next >= last) {
            n_elements += 1;
            if n_elements > MAX_ELEMENTS {
                return Err(too_many());
            }
            out.values().append_value(next);
            match next.checked_add(by) {
                Some(further) => next = further,
                None => break,
            }
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// Dates or time stamps, each so many units behind the one before.
fn moments(call: &Call<'_>, kind: Kind) -> Result<ArrayRef> {
    let (from, to) = (clocks(call, 0)?, clocks(call, 1)?);
    let steps = (call.args.len() == 4)
        .then(|| Ok::<_, DataFusionError>((call.integers(2)?, call.texts(3)?)))
        .transpose()?;
    let mut values = Vec::new();
    let mut lengths = Vec::with_capacity(call.n_rows);
    let mut valid = Vec::with_capacity(call.n_rows);
    for row in 0..call.n_rows {
        let step = match &steps {
            Some((count, unit)) if count.is_valid(row) && unit.is_valid(row) => {
                Some((count.value(row), Unit::read(unit.value(row))?))
            }
            Some(_) => None,
            None => Some((1, Unit::Day)),
        };
        let before = values.len();
        let is_valid = match (from[row], to[row], step) {
            (Some(from), Some(to), Some(step)) => {
                steps_between(from, to, step, &mut values)?;
                true
            }
            _ => false,
        };
        lengths.push(values.len() - before);
        valid.push(is_valid);
    }
    let item = Arc::new(Field::new_list_field(kind.data_type(), true));
    let lists = ListArray::try_new(
        item,
        OffsetBuffer::from_lengths(lengths),
        column(kind, &values),
        Some(NullBuffer::from(valid)),
    )?;
    Ok(Arc::new(lists))
}

fn steps_between(
    from: NaiveDateTime,
    to: NaiveDateTime,
    (count, unit): (i64, Unit),
    out: &mut Vec<Option<NaiveDateTime>>,
) -> Result<()> {
    if count == 0 {
        return Err(no_step());
    }
    let start = out.len();
    let mut idx = 0_i64;
    // From the first moment each time, so that the ends of months do not drift.
    while let Some(next) = idx.checked_mul(count).and_then(|n| later(from, n, unit)) {
        if (count > 0 && next > to) || (count < 0 && next < to) {
            break;
        }
        if out.len() - start >= MAX_ELEMENTS {
            return Err(too_many());
        }
        out.push(Some(next));
        idx += 1;
    }
    Ok(())
}

/// How many elements an array has: 0 for one without, NULL for none.
fn array_length(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.arg(0)?;
    let lengths: Int64Array = match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let length = |row| {
                lists
                    .is_valid(row)
                    .then(|| i64::from(lists.value_length(row)))
            };
            (0..lists.len()).map(length).collect()
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            let length = |row| lists.is_valid(row).then(|| lists.value_length(row));
            (0..lists.len()).map(length).collect()
        }
        DataType::FixedSizeList(_, length) => {
            let length = |row| array.is_valid(row).then_some(i64::from(*length));
            (0..array.len()).map(length).collect()
        }
        DataType::Null => vec![None; array.len()].into_iter().collect(),
        _ => return Err(failure("42804", "ARRAY_LENGTH takes an array")),
    };
    Ok(Arc::new(lengths))
}
