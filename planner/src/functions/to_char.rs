//! `to_char`, `to_date` and `to_timestamp` by PostgreSQL's templates.
//!
//! In: moments, intervals, numbers, and a template a row; out: text, and back. A template with `%` is
//! one of the planner's own (chrono's), as before.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Date32Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Date32Type, Field, IntervalMonthDayNano};
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};

use super::call::{Call, Function, function, no_function};
use super::interval::is_interval;
use super::interval_template;
use super::moment::{Moment, in_zone, moments, timestamptz, zone};
use super::number_template::NumberTemplate;
use super::template::Template;
use super::template_letters::Letters;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("to_char", &[2], DataType::Utf8, to_char)
            .alias("date_format")
            .stable(),
        function("to_date", &[1, 2], DataType::Date32, to_date),
        function("to_timestamp", &[1, 2], timestamptz(), to_timestamp)
            .returning(|args| Ok(Field::new("to_timestamp", timestamp_type(args), true)))
            .stable(),
        function("to_number", &[2], DataType::Float64, to_number),
    ]
}

/// Templates that were read: most columns have one.
struct Templates {
    letters: Letters,
    read: HashMap<String, Template>,
}

impl Templates {
    fn of(letters: Letters) -> Templates {
        Templates {
            letters,
            read: HashMap::new(),
        }
    }

    fn get(&mut self, text: &str) -> &Template {
        if !self.read.contains_key(text) {
            let template = Template::read(text, self.letters);
            self.read.insert(text.to_owned(), template);
        }
        &self.read[text]
    }
}

fn is_chrono(templates: &StringArray) -> bool {
    templates.iter().flatten().any(|text| text.contains('%'))
}

/// The planner's function on the same arguments.
fn delegate(call: &Call<'_>, function: &ScalarUDF, returns: DataType) -> Result<ArrayRef> {
    let arg_fields = call
        .args
        .iter()
        .map(|arg| Arc::new(Field::new("argument", arg.data_type().clone(), true)));
    let args = ScalarFunctionArgs {
        arg_fields: arg_fields.collect(),
        args: call
            .args
            .iter()
            .cloned()
            .map(ColumnarValue::Array)
            .collect(),
        number_rows: call.n_rows,
        return_field: Arc::new(Field::new("value", returns, true)),
        config_options: Arc::new(ConfigOptions::clone(call.config)),
    };
    function.invoke_with_args(args)?.into_array(call.n_rows)
}

fn to_char(call: &Call<'_>) -> Result<ArrayRef> {
    let templates = call.texts(1)?;
    let data_type = call.arg(0)?.data_type().clone();
    if is_interval(&data_type) {
        return interval_to_char(call, &templates);
    }
    if data_type.is_numeric() {
        let numbers = call.texts(0)?;
        let pairs = numbers.iter().zip(templates.iter());
        let of = |(number, template): (Option<&str>, Option<&str>)| {
            Some(NumberTemplate::read(template?).format(number?))
        };
        return Ok(Arc::new(pairs.map(of).collect::<StringArray>()));
    }
    if is_chrono(&templates) {
        let inner = datafusion::functions::datetime::to_char();
        return delegate(call, &inner, DataType::Utf8);
    }
    if !(data_type.is_temporal() || data_type.is_string() || data_type.is_null()) {
        return Err(no_function("to_char", &[data_type, DataType::Utf8]));
    }
    let mut known = Templates::of(Letters::Alike);
    let of = |(moment, template): (Option<Moment>, Option<&str>)| {
        Some(known.get(template?).format(&moment?))
    };
    let texts: StringArray = moments(call, 0)?
        .into_iter()
        .zip(templates.iter())
        .map(of)
        .collect();
    Ok(Arc::new(texts))
}

fn interval_to_char(call: &Call<'_>, templates: &StringArray) -> Result<ArrayRef> {
    let mut known = Templates::of(Letters::Alike);
    let of = |(value, template): (Option<IntervalMonthDayNano>, Option<&str>)| {
        let pair = value.zip(template);
        pair.map(|(value, template)| interval_template::text_of(known.get(template), value))
            .transpose()
    };
    let values = call.intervals(0)?;
    let texts = values.iter().zip(templates.iter()).map(of);
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

fn to_date(call: &Call<'_>) -> Result<ArrayRef> {
    if call.args.len() < 2 || is_chrono(&call.texts(1)?) {
        let inner = datafusion::functions::datetime::to_date();
        return delegate(call, &inner, DataType::Date32);
    }
    let (texts, templates) = (call.texts(0)?, call.texts(1)?);
    let mut known = Templates::of(Letters::Any);
    let of = |(text, template): (Option<&str>, Option<&str>)| {
        let (Some(text), Some(template)) = (text, template) else {
            return Ok(None);
        };
        let local = known.get(template).parse(text)?.local(text)?;
        Ok(Some(Date32Type::from_naive_date(local.date())))
    };
    let dates: Result<Date32Array> = texts.iter().zip(templates.iter()).map(of).collect();
    Ok(Arc::new(dates?))
}

/// `to_timestamp(seconds)` and `to_timestamp(text, template)` have a zone; of a text alone, or by a
/// template of the planner's, it has none.
fn timestamp_type(args: &ReturnFieldArgs) -> DataType {
    let plain = DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Nanosecond, None);
    let template = args.scalar_arguments.get(1).copied().flatten();
    let is_chrono = match template {
        Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => {
            text.contains('%')
        }
        _ => false,
    };
    let is_number = args
        .arg_fields
        .first()
        .is_some_and(|field| field.data_type().is_numeric() || field.data_type().is_null());
    match args.arg_fields.len() {
        1 if !is_number => plain,
        2 if is_chrono => plain,
        _ => timestamptz(),
    }
}

fn to_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let first = call.arg(0)?.data_type().clone();
    if call.args.len() == 1 && (first.is_numeric() || first.is_null()) {
        let micros = |seconds: Option<f64>| seconds.map(|seconds| (seconds * 1e6).round() as i64);
        let values: TimestampMicrosecondArray = call.floats(0)?.iter().map(micros).collect();
        return Ok(Arc::new(values.with_timezone("UTC")));
    }
    if call.args.len() == 1 || is_chrono(&call.texts(1)?) {
        let inner = datafusion::functions::datetime::to_timestamp(call.config);
        let returns = DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Nanosecond, None);
        return delegate(call, &inner, returns);
    }
    let (texts, templates) = (call.texts(0)?, call.texts(1)?);
    let zone = zone(call.time_zone())?;
    let mut known = Templates::of(Letters::Any);
    let of = |(text, template): (Option<&str>, Option<&str>)| {
        let (Some(text), Some(template)) = (text, template) else {
            return Ok(None);
        };
        let read = known.get(template).parse(text)?;
        let local = read.local(text)?;
        Ok(Some(match read.offset {
            Some(offset) => local.and_utc().timestamp_micros() - offset * 1_000_000,
            None => in_zone(local, &zone)?.timestamp_micros(),
        }))
    };
    let values: Result<TimestampMicrosecondArray> =
        texts.iter().zip(templates.iter()).map(of).collect();
    Ok(Arc::new(values?.with_timezone("UTC")))
}

fn to_number(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, templates) = (call.texts(0)?, call.texts(1)?);
    let of = |(text, template): (Option<&str>, Option<&str>)| match (text, template) {
        (Some(text), Some(template)) => NumberTemplate::read(template).parse(text).map(Some),
        _ => Ok(None),
    };
    let numbers: Result<datafusion::arrow::array::Float64Array> =
        texts.iter().zip(templates.iter()).map(of).collect();
    Ok(Arc::new(numbers?))
}
