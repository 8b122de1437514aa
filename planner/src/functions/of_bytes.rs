//! Functions of texts that PostgreSQL has of `bytea`, too: `substr`, `position`, `overlay`, `btrim` and their like.
//!
//! In: the planner's function of that name; out: the same, which counts bytes where its first argument is made of them. `bytes`
//! has those that are of `bytea` alone.

use std::sync::Arc;

use auspex_storage::BitKind;
use datafusion::arrow::array::{Array as _, ArrayRef, BinaryArray, Int32Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use super::bytes::bytes_of;
use super::call::{Call, Function, failure, function, function_of, no_function};

/// What the functions do to bytes, under the planner's names.
fn own() -> Vec<Function> {
    vec![
        function("substr", &[2, 3], DataType::Binary, substr),
        function("strpos", &[2], DataType::Int32, strpos),
        function("overlay", &[3, 4], DataType::Binary, overlay),
        function("ltrim", &[2], DataType::Binary, |call| {
            trimmed(call, behind)
        }),
        function("rtrim", &[2], DataType::Binary, |call| {
            trimmed(call, before)
        }),
        function("btrim", &[2], DataType::Binary, |call| {
            trimmed(call, |bytes, set| before(behind(bytes, set), set))
        }),
        function("octet_length", &[1], DataType::Int32, octet_length),
    ]
}

/// The functions in the place of the planner's.
pub(super) fn functions(known: &dyn Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<Arc<ScalarUDF>> {
    let own = own().into_iter().map(Function::build);
    let both = own.filter_map(|own| Some(of_both(known(own.name())?, own)));
    both.collect()
}

/// `substring(x FROM $1)` and `substring(x FROM $1 FOR $2)`: patterns of a text, places of bytes, as the plan alone tells.
pub(super) fn part_of(
    name: &'static str,
    arities: &'static [usize],
    of_text: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    let returns = |types: &[DataType]| {
        Ok(match types.first().is_some_and(is_binary) {
            true => DataType::Binary,
            false => DataType::Utf8,
        })
    };
    function_of(name, arities, returns, move |call| {
        if !is_binary(call.arg(0)?.data_type()) {
            return of_text(call);
        }
        for idx in 1..call.args.len() {
            check_numbers(call, idx)?;
        }
        substr(call)
    })
}

/// Fails where a literal is no number.
fn check_numbers(call: &Call<'_>, idx: usize) -> Result<()> {
    if !call.arg(idx)?.data_type().is_string() {
        return Ok(());
    }
    let texts = call.texts(idx)?;
    let is_other = |text: &&str| text.trim().parse::<i64>().is_err();
    match texts.iter().flatten().find(is_other) {
        Some(text) => {
            let message = format!("invalid input syntax for type integer: \"{text}\"");
            Err(failure("22P02", message))
        }
        None => Ok(()),
    }
}

fn of_both(inner: Arc<ScalarUDF>, own: ScalarUDF) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(inner.signature().volatility);
    Arc::new(ScalarUDF::from(OfBytes {
        inner,
        own: Arc::new(own),
        signature,
    }))
}

/// `SUBSTRING(x FROM …)`, `POSITION(x IN y)` and `OVERLAY(x PLACING …)`, which the planner does not look up by name.
#[derive(Debug)]
pub(super) struct Parts;

impl Parts {
    fn planned(inner: &Arc<ScalarUDF>, args: Vec<Expr>) -> PlannerResult<Vec<Expr>> {
        let known = |name: &str| (name == inner.name()).then(|| Arc::clone(inner));
        match functions(&known).first() {
            Some(function) => PlannerResult::Planned(function.call(args)),
            None => PlannerResult::Original(args),
        }
    }
}

impl ExprPlanner for Parts {
    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(Parts::planned(
            &datafusion::functions::unicode::strpos(),
            args,
        ))
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(Parts::planned(
            &datafusion::functions::unicode::substr(),
            args,
        ))
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(Parts::planned(
            &datafusion::functions::core::overlay(),
            args,
        ))
    }
}

/// A function of texts and of bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfBytes {
    /// Of texts.
    inner: Arc<ScalarUDF>,
    /// Of bytes.
    own: Arc<ScalarUDF>,
    signature: Signature,
}

impl OfBytes {
    /// The function for a first argument of this type.
    fn of(&self, first: Option<&DataType>) -> &ScalarUDF {
        match first.is_some_and(is_binary) {
            true => &self.own,
            false => &self.inner,
        }
    }

    /// The numbers of arguments that the function of bytes has, and from which one on they are numbers.
    fn shape(&self) -> (&'static [usize], usize) {
        match self.name() {
            "substr" => (&[2, 3], 1),
            "overlay" => (&[3, 4], 2),
            "octet_length" => (&[1], 1),
            _ => (&[2], 2),
        }
    }
}

impl ScalarUDFImpl for OfBytes {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !types.first().is_some_and(is_binary) {
            let field = |data_type: &DataType| -> FieldRef {
                Arc::new(Field::new("argument", data_type.clone(), true))
            };
            let fields: Vec<FieldRef> = types.iter().map(field).collect();
            let fields = fields_with_udf(&fields, self.inner.as_ref())?;
            return Ok(fields
                .iter()
                .map(|field| field.data_type().clone())
                .collect());
        }
        let (arities, n_bytes) = self.shape();
        // A text is a literal, which is read as what it stands for.
        let taken = |(idx, found): (usize, &DataType)| {
            let may = found.is_null() || found.is_string();
            match idx < n_bytes {
                true => (may || is_binary(found)).then_some(DataType::Binary),
                false => (may || found.is_integer()).then_some(DataType::Int64),
            }
        };
        let taken: Option<Vec<DataType>> = types.iter().enumerate().map(taken).collect();
        taken
            .filter(|taken| arities.contains(&taken.len()))
            .ok_or_else(|| no_function(self.name(), types))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of(types.first()).return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let first = args.arg_fields.first();
        let bits = first.and_then(|field| BitKind::of(field));
        let first = first.map(|field| field.data_type());
        let field = self.of(first).return_field_from_args(args)?;
        let keeps_bits = ["overlay", "substr"].contains(&self.name());
        Ok(match bits.filter(|_| keeps_bits) {
            Some(bits) => Arc::new(field.as_ref().clone().with_metadata(bits.marks())),
            None => field,
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let first = args.args.first().map(ColumnarValue::data_type);
        self.of(first.as_ref()).invoke_with_args(args)
    }
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

/// The bytes from a place on, counted from 1, to before another one; places outside are passed over.
fn cut(bytes: &[u8], from: i64, to: i64) -> &[u8] {
    let n_bytes = bytes.len() as i64;
    let from = (from.max(1) - 1).min(n_bytes);
    let to = (to.max(1) - 1).clamp(from, n_bytes);
    &bytes[from as usize..to as usize]
}

fn negative_length() -> datafusion::error::DataFusionError {
    failure("22011", "negative substring length not allowed")
}

fn substr(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, starts) = (bytes_of(call, 0)?, call.integers(1)?);
    let lengths = match call.args.len() {
        2 => None,
        _ => Some(call.integers(2)?),
    };
    let of_row = |row: usize| {
        let is_unknown = lengths.as_ref().is_some_and(|lengths| lengths.is_null(row));
        if bytes.is_null(row) || starts.is_null(row) || is_unknown {
            return Ok(None);
        }
        let start = starts.value(row);
        let end = match lengths.as_ref().map(|lengths| lengths.value(row)) {
            Some(length) if length < 0 => return Err(negative_length()),
            Some(length) => start.saturating_add(length),
            None => i64::MAX,
        };
        Ok(Some(cut(bytes.value(row), start, end).to_vec()))
    };
    let parts: Result<BinaryArray> = (0..call.n_rows).map(of_row).collect();
    Ok(Arc::new(parts?))
}

fn strpos(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, sought) = (bytes_of(call, 0)?, bytes_of(call, 1)?);
    let place = |(bytes, sought): (Option<&[u8]>, Option<&[u8]>)| {
        let (bytes, sought) = (bytes?, sought?);
        if sought.is_empty() {
            return Some(1);
        }
        let at = bytes.windows(sought.len()).position(|part| part == sought);
        Some(at.map_or(0, |at| at as i32 + 1))
    };
    let places: Int32Array = bytes.iter().zip(sought.iter()).map(place).collect();
    Ok(Arc::new(places))
}

fn overlay(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, new, starts) = (bytes_of(call, 0)?, bytes_of(call, 1)?, call.integers(2)?);
    let counts = match call.args.len() {
        3 => None,
        _ => Some(call.integers(3)?),
    };
    let of_row = |row: usize| {
        let is_unknown = counts.as_ref().is_some_and(|counts| counts.is_null(row));
        if bytes.is_null(row) || new.is_null(row) || starts.is_null(row) || is_unknown {
            return Ok(None);
        }
        let (bytes, new, start) = (bytes.value(row), new.value(row), starts.value(row));
        if start < 1 {
            return Err(negative_length());
        }
        let count = counts.as_ref().map(|counts| counts.value(row));
        let rest = start.saturating_add(count.unwrap_or(new.len() as i64));
        let parts = [cut(bytes, 1, start), new, cut(bytes, rest, i64::MAX)];
        Ok(Some(parts.concat()))
    };
    let changed: Result<BinaryArray> = (0..call.n_rows).map(of_row).collect();
    Ok(Arc::new(changed?))
}

/// The bytes behind those at their beginning that are in a set.
fn behind<'a>(bytes: &'a [u8], set: &[u8]) -> &'a [u8] {
    let first = bytes.iter().position(|byte| !set.contains(byte));
    &bytes[first.unwrap_or(bytes.len())..]
}

/// The bytes before those at their end that are in a set.
fn before<'a>(bytes: &'a [u8], set: &[u8]) -> &'a [u8] {
    let last = bytes.iter().rposition(|byte| !set.contains(byte));
    &bytes[..last.map_or(0, |last| last + 1)]
}

fn trimmed(
    call: &Call<'_>,
    trim: impl for<'a> Fn(&'a [u8], &[u8]) -> &'a [u8],
) -> Result<ArrayRef> {
    let (bytes, sets) = (bytes_of(call, 0)?, bytes_of(call, 1)?);
    let both = bytes.iter().zip(sets.iter());
    let kept: BinaryArray = both.map(|(bytes, set)| Some(trim(bytes?, set?))).collect();
    Ok(Arc::new(kept))
}

fn octet_length(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = bytes_of(call, 0)?;
    let lengths = bytes
        .iter()
        .map(|bytes| bytes.map(|bytes| bytes.len() as i32));
    Ok(Arc::new(lengths.collect::<Int32Array>()))
}
