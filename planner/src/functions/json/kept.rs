//! Functions whose result is of the type of their arguments, where that is `json`, `uuid`, an address or an enum, and arrays of these.
//!
//! In: the planner's own functions; out: the same with the mark kept. Clients decode `coalesce(json_agg(x), '[]')`, `ids[1]`
//! and `ARRAY[id]` by their types. Arrays that are NULL have no elements here, and no place before the first one is any.

use std::sync::Arc;

use auspex_storage::{AddressKind, BitKind, EnumType, JsonKind, is_uuid, marked_element, marks_of};
use datafusion::arrow::array::{ArrayRef, AsArray as _};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::functions_nested::extract::{array_element_udf, array_slice_udf};
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExprSchemable as _, GetFieldAccess, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, lit,
};

use super::{marked, member, read_as};
use crate::functions::null_arrays::without_hidden;
use crate::functions::{addresses, bits, enums, is_bytes, uuid};

/// The planner's function of an element, for which the place -1 is that of the last one.
const ELEMENT: &str = "array_element";

/// The planner's functions of arrays whose result is an array, or an element of one.
const OF_ARRAYS: [&str; 11] = [
    "array_append",
    "array_concat",
    "array_distinct",
    ELEMENT,
    "array_prepend",
    "array_remove_all",
    "array_replace_all",
    "array_reverse",
    "array_slice",
    "array_sort",
    "make_array",
];

/// The planner's functions whose result is one of their arguments, beside `coalesce`.
const OF_VALUES: [&str; 3] = ["greatest", "least", "nullif"];

/// The function whose result is of the type of its first argument.
const NULLIF: &str = "nullif";

/// The functions in the place of the planner's.
pub(in crate::functions) fn keeping(
    known: &dyn Fn(&str) -> Option<Arc<ScalarUDF>>,
) -> Vec<ScalarUDF> {
    let named = OF_ARRAYS.into_iter().chain(OF_VALUES).filter_map(known);
    let all = std::iter::once(datafusion::functions::core::coalesce()).chain(named);
    all.map(kept).collect()
}

/// A function in the place of the planner's.
pub(in crate::functions) fn kept(inner: Arc<ScalarUDF>) -> ScalarUDF {
    let signature = match inner.name() {
        NULLIF => {
            let planned = inner.signature();
            let kinds = vec![planned.type_signature.clone(), TypeSignature::UserDefined];
            Signature::one_of(kinds, planned.volatility)
        }
        _ => inner.signature().clone(),
    };
    ScalarUDF::from(Kept { inner, signature })
}

/// Whether a function stands in the place of the planner's own: where no argument has a mark, both do the same.
pub(crate) fn stands_for(function: &ScalarUDF, inner: &ScalarUDF) -> bool {
    let kept = function.inner().downcast_ref::<Kept>();
    kept.is_some_and(|kept| kept.inner.as_ref() == inner)
}

/// The field of a result with the mark of the first argument that has one, if its values are texts or arrays of them.
pub(in crate::functions) fn with_marks(args: &[FieldRef], field: FieldRef) -> FieldRef {
    let mut marks = args.iter().map(|arg| marks_of(arg));
    let Some(marks) = marks.find(|marks| !marks.is_empty()) else {
        return field;
    };
    let marked = field.as_ref().clone().with_metadata(marks);
    match marks_of(&marked).is_empty() {
        true => field,
        false => Arc::new(marked),
    }
}

/// `ARRAY[…]`, `x[1]`, `x[1:2]` and `doc['key']`, which the planner does not look up by name.
#[derive(Debug)]
pub(crate) struct MarkedArrays;

fn is_marked(expr: &Expr, schema: &DFSchema) -> bool {
    let field = expr.to_field(schema);
    field.is_ok_and(|(_, field)| !marks_of(&field).is_empty())
}

/// Whether it is `x[n]` of an array. An element of `array_agg` that is written as a number the planner finds without the others.
fn is_element(access: &RawFieldAccessExpr, schema: &DFSchema) -> bool {
    let GetFieldAccess::ListIndex { key } = &access.field_access else {
        return false;
    };
    let is_gathered = matches!(&access.expr, Expr::AggregateFunction(call) if call.func.name() == "array_agg")
        && matches!(
            key.as_ref(),
            Expr::Literal(
                ScalarValue::Int64(Some(1..)) | ScalarValue::Int32(Some(1..)),
                _
            )
        );
    let is_array = |found| matches!(found, DataType::List(_) | DataType::LargeList(_));
    !is_gathered && access.expr.get_type(schema).is_ok_and(is_array)
}

impl ExprPlanner for MarkedArrays {
    fn plan_array_literal(
        &self,
        exprs: Vec<Expr>,
        schema: &DFSchema,
    ) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(match exprs.iter().any(|expr| is_marked(expr, schema)) {
            true => PlannerResult::Planned(kept(make_array_udf()).call(exprs)),
            false => PlannerResult::Original(exprs),
        })
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if !is_element(&access, schema) && !is_marked(&access.expr, schema) {
            return Ok(PlannerResult::Original(access));
        }
        let RawFieldAccessExpr { expr, field_access } = access;
        let field = expr.to_field(schema).map(|(_, field)| field);
        let is_jsonb = field.is_ok_and(|field| {
            field.data_type().is_string() && JsonKind::of(&field) == Some(JsonKind::Jsonb)
        });
        Ok(match field_access {
            GetFieldAccess::NamedStructField { name } if is_jsonb => {
                PlannerResult::Planned(member(expr, lit(name)))
            }
            GetFieldAccess::ListIndex { key } if is_jsonb => {
                PlannerResult::Planned(member(expr, *key))
            }
            GetFieldAccess::ListIndex { key } => {
                PlannerResult::Planned(kept(array_element_udf()).call(vec![expr, *key]))
            }
            GetFieldAccess::ListRange {
                start,
                stop,
                stride,
            } => {
                let args = vec![expr, *start, *stop, *stride];
                PlannerResult::Planned(kept(array_slice_udf()).call(args))
            }
            field_access => PlannerResult::Original(RawFieldAccessExpr { expr, field_access }),
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kept {
    inner: Arc<ScalarUDF>,
    /// The planner's, of `nullif` also what `coerce_types` takes.
    signature: Signature,
}

/// Numbers of one kind and several lengths, which PostgreSQL compares as they are: `nullif(smallint, 1)` is a smallint.
fn are_alike(types: &[DataType]) -> bool {
    let is_whole = |found: &DataType| found.is_signed_integer();
    types.len() == 2 && (types.iter().all(is_whole) || types.iter().all(DataType::is_floating))
}

/// Such numbers in the longest type.
fn of_one_length(values: Vec<ColumnarValue>) -> Result<Vec<ColumnarValue>> {
    let types: Vec<DataType> = values.iter().map(ColumnarValue::data_type).collect();
    if !are_alike(&types) || types[0] == types[1] {
        return Ok(values);
    }
    let wide = match types[0].is_floating() {
        true => DataType::Float64,
        false => DataType::Int64,
    };
    let values = values.into_iter();
    values.map(|value| value.cast_to(&wide, None)).collect()
}

/// The place of an element: where it is before the first one, that of none.
fn place(value: ColumnarValue) -> ColumnarValue {
    let places: ArrayRef = match value {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(place))) => {
            return ColumnarValue::Scalar(ScalarValue::Int64(Some(place.max(0))));
        }
        ColumnarValue::Array(places) => places,
        value => return value,
    };
    ColumnarValue::Array(match places.as_primitive_opt::<Int64Type>() {
        Some(numbers) => Arc::new(numbers.unary::<_, Int64Type>(|place| place.max(0))),
        None => Arc::clone(&places),
    })
}

/// Functions whose texts are read as values of the type of the others.
const READING: [&str; 6] = [
    "array_concat",
    "coalesce",
    "greatest",
    "least",
    "make_array",
    NULLIF,
];

/// The type of values of one type beside which texts are read as such, and NULL is one beside bytes, where the planner would
/// find no common one:
/// `coalesce(day, '2026-01-01')`, `coalesce(tags, '{}')`, `array_cat(tags, '{a}')`, `greatest(length, '1 day')`, `ARRAY[day, '2026-01-01']`.
fn read_beside(types: &[DataType]) -> Option<DataType> {
    let is_text = |data_type: &&DataType| data_type.is_string();
    let mut others = types
        .iter()
        .filter(|data_type| !is_text(data_type) && !data_type.is_null());
    let wanted = others.next()?;
    let is_read = matches!(
        wanted,
        DataType::Boolean
            | DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::List(_)
    ) || is_bytes(wanted);
    let is_one = others.all(|other| other == wanted);
    let is_open = |found: &DataType| is_text(&found) || (found.is_null() && is_bytes(wanted));
    (is_read && is_one && types.iter().any(is_open)).then(|| wanted.clone())
}

/// Whether a function of arguments of these types reads texts among them as values of the others' type.
pub(crate) fn reads_texts(function: &str, types: &[DataType]) -> bool {
    READING.contains(&function) && read_beside(types).is_some()
}

/// A text without a type as a value of a type that is marked.
pub(crate) fn read_marked(field: &Field, expr: Expr) -> Expr {
    match JsonKind::of(field) {
        Some(kind) => read_as(kind, expr),
        None => remarked(field, expr),
    }
}

/// What an expression lost of its mark when it was simplified, or what CASE takes from its branches.
pub(crate) fn remarked(field: &Field, expr: Expr) -> Expr {
    let element = marked_element(field);
    let is_array = element.is_some();
    let element = element.as_ref().unwrap_or(field);
    match JsonKind::of(element) {
        Some(kind) if is_array => read_as(kind, expr),
        Some(kind) => marked(kind, expr),
        None if is_uuid(element) => uuid::read(expr),
        None => match EnumType::of(element) {
            Some(known) => enums::read(expr, &known),
            None => match BitKind::of(element).filter(|_| !is_array) {
                Some(kind) => bits::read(expr, kind),
                None => match AddressKind::of(element) {
                    Some(kind) => addresses::read(expr, kind),
                    None => expr,
                },
            },
        },
    }
}

impl ScalarUDFImpl for Kept {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let fields = args.arg_fields;
        Ok(with_marks(fields, self.inner.return_field_from_args(args)?))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let field = |arg: &Expr| Some(arg.to_field(info.schema().as_ref()).ok()?.1);
        let fields: Vec<FieldRef> = args.iter().filter_map(field).collect();
        Ok(match self.inner.simplify(args, info)? {
            ExprSimplifyResult::Simplified(expr) => {
                let (_, field) = expr.to_field(info.schema().as_ref())?;
                let wanted = with_marks(&fields, field);
                ExprSimplifyResult::Simplified(remarked(&wanted, expr))
            }
            result => result,
        })
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wanted = args.return_field.data_type().clone();
        let values = args.args.into_iter().map(without_hidden);
        args.args = values.collect::<Result<_>>()?;
        if self.name() == ELEMENT {
            args.args = args.args.into_iter().map(place).collect();
        }
        if self.name() == NULLIF {
            args.args = of_one_length(args.args)?;
        }
        // Joined arrays that are all NULL keep the name that a file gives its elements, which is part of their type; the
        // library's own check of a call's type would not let them pass.
        let value = self.inner.inner().invoke_with_args(args)?;
        match value.data_type() == wanted {
            true => Ok(value),
            false => value.cast_to(&wanted, None),
        }
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match read_beside(types).filter(|_| READING.contains(&self.name())) {
            Some(wanted) => Ok(vec![wanted; types.len()]),
            None if self.name() == NULLIF && are_alike(types) => Ok(types.to_vec()),
            None => self.inner.coerce_types(types),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
