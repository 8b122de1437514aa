//! Uuids of Parquet, Avro and Iceberg, which are sixteen bytes there and texts with a mark here (see `uuid_mark`).
//!
//! The columns of files flow in, and the same with texts in place of such bytes flow out; the plan that scans them flows
//! in, and one that shows texts flows out. Filters reach the scan as bytes, which are in the order of their texts, so that
//! bounds of files leave rows out as before; what a scan knows of its rows is about the bytes, and stays below.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::parquet::basic::LogicalType;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use uuid::Uuid;

use crate::tables::extension_name::EXTENSION_KEY;
use crate::tables::one_column::of_column;
use crate::tables::shown_within::{leaves, shown_within, texts_within, with_uuids};
use crate::tables::union_texts::{is_union, json_of_union, shown_union};
use crate::tables::uuid_mark::uuid_marks;

/// Arrow's name of uuids.
const UUID_NAME: &str = "arrow.uuid";
/// What a uuid is in files.
pub(crate) const BYTES: DataType = DataType::FixedSizeBinary(16);

/// Whether a column of files holds uuids as bytes.
fn holds_bytes(field: &Field) -> bool {
    *field.data_type() == BYTES && field.extension_type_name() == Some(UUID_NAME)
}

/// A column of files with the note that its bytes are uuids.
pub(crate) fn noted(field: &FieldRef) -> FieldRef {
    let mut notes = field.metadata().clone();
    notes.insert(EXTENSION_KEY.to_owned(), UUID_NAME.to_owned());
    Arc::new(field.as_ref().clone().with_metadata(notes))
}

/// The columns of a Parquet file, of which the file's own schema tells those that are uuids.
pub(crate) fn of_parquet(schema: SchemaRef, footer: &ParquetMetaData) -> SchemaRef {
    let held = footer.file_metadata().schema_descr();
    let mut place = 0;
    with_notes(schema, |_, field| {
        let column = (place < held.num_columns()).then(|| held.column(place));
        place += 1;
        *field.data_type() == BYTES
            && column.is_some_and(|column| column.logical_type_ref() == Some(&LogicalType::Uuid))
    })
}

/// Whether a column of files may hold uuids, also within lists, maps and records.
pub(crate) fn may_hold(schema: &Schema) -> bool {
    let mut found = false;
    for field in schema.fields() {
        leaves(field, &mut Vec::new(), &mut |_, leaf| {
            found |= *leaf.data_type() == BYTES
        });
    }
    found
}

/// The columns of a file with a note of those that it says are uuids, or have such within them: `is_uuid` is told the names
/// that lead to each value.
pub(crate) fn with_notes(
    schema: SchemaRef,
    mut is_uuid: impl FnMut(&[&str], &Field) -> bool,
) -> SchemaRef {
    if !may_hold(&schema) {
        return schema;
    }
    let note = |field: &FieldRef| {
        let mut uuids: Vec<Vec<&str>> = Vec::new();
        leaves(field, &mut Vec::new(), &mut |path, leaf| {
            if is_uuid(path, leaf) {
                uuids.push(path.to_vec());
            }
        });
        match uuids.is_empty() {
            true => Arc::clone(field),
            false if *field.data_type() == BYTES => noted(field),
            false => Arc::new(with_uuids(field, &uuids)),
        }
    };
    let fields: Vec<FieldRef> = schema.fields().iter().map(note).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Whether a column of files is shown as something else: uuids, and unions, too (see `union_texts`).
fn is_shown_otherwise(field: &Field) -> bool {
    holds_bytes(field) || is_union(field) || shown_within(field).is_some()
}

/// A column of files as it is shown.
fn shown_field(field: &FieldRef) -> FieldRef {
    match holds_bytes(field) {
        true => {
            let shown = Field::new(field.name(), DataType::Utf8, field.is_nullable());
            Arc::new(shown.with_metadata(uuid_marks()))
        }
        false if is_union(field) => Arc::new(shown_union(field.name())),
        false => shown_within(field).map_or_else(|| Arc::clone(field), Arc::new),
    }
}

/// The columns of files as they are shown: texts in place of bytes.
pub(crate) fn shown_columns(schema: &SchemaRef) -> SchemaRef {
    if !schema
        .fields()
        .iter()
        .any(|field| is_shown_otherwise(field))
    {
        return Arc::clone(schema);
    }
    let fields: Vec<FieldRef> = schema.fields().iter().map(shown_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The rows of a scan as they are shown.
pub(crate) fn shown_rows(
    plan: Arc<dyn ExecutionPlan>,
    session: &dyn Session,
    filters: &[Expr],
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    if !schema
        .fields()
        .iter()
        .any(|field| is_shown_otherwise(field))
    {
        return Ok(plan);
    }
    let filters = filters
        .iter()
        .filter_map(|filter| of_bytes(filter, &schema));
    let plan: Arc<dyn ExecutionPlan> = match conjunction(filters) {
        Some(filter) => {
            let columns = DFSchema::try_from(Arc::clone(&schema))?;
            let filter = session.create_physical_expr(filter, &columns)?;
            Arc::new(FilterExec::try_new(filter, plan)?)
        }
        None => plan,
    };
    let (uuids, unions) = (Arc::new(uuid_of_bytes()), Arc::new(json_of_union()));
    let within = Arc::new(texts_within());
    let shown = |(idx, field): (usize, &FieldRef)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), idx));
        let reader = match field.data_type() {
            DataType::Union(..) => &unions,
            held if held.is_nested() => &within,
            _ => &uuids,
        };
        let expr = match is_shown_otherwise(field) {
            true => Arc::new(ScalarFunctionExpr::new(
                reader.name(),
                Arc::clone(reader),
                vec![column],
                shown_field(field),
                Arc::clone(session.config().options()),
            )),
            false => column,
        };
        ProjectionExpr {
            expr,
            alias: field.name().clone(),
        }
    };
    let columns: Vec<ProjectionExpr> = schema.fields().iter().enumerate().map(shown).collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
}

/// What a filter says about the bytes of uuids; `None`: nothing, or nothing that follows from it alone.
fn of_bytes(filter: &Expr, schema: &Schema) -> Option<Expr> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            // One side of a conjunction is implied by the whole.
            Operator::And => match (of_bytes(left, schema), of_bytes(right, schema)) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (one, other) => one.or(other),
            },
            Operator::Or => Some(of_bytes(left, schema)?.or(of_bytes(right, schema)?)),
            op => compared(left, *op, right, schema)
                .or_else(|| compared(right, op.swap()?, left, schema)),
        },
        Expr::InList(list) if !list.negated => {
            let column = column(&list.expr, schema)?;
            let values: Option<Vec<Expr>> = list.list.iter().map(bytes).collect();
            Some(column.in_list(values?, false))
        }
        Expr::Between(between) if !between.negated => {
            let column = column(&between.expr, schema)?;
            Some(column.between(bytes(&between.low)?, bytes(&between.high)?))
        }
        _ => None,
    }
}

fn compared(left: &Expr, op: Operator, right: &Expr, schema: &Schema) -> Option<Expr> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq};
    if !matches!(op, Eq | Lt | LtEq | Gt | GtEq) {
        return None;
    }
    let (left, right) = (Box::new(column(left, schema)?), Box::new(bytes(right)?));
    Some(Expr::BinaryExpr(BinaryExpr { left, op, right }))
}

/// A column of uuids, as the scan has it.
fn column(expr: &Expr, schema: &Schema) -> Option<Expr> {
    let Expr::Column(column) = expr else {
        return None;
    };
    let (_, field) = schema.column_with_name(&column.name)?;
    let name = datafusion::common::Column::from_name(&column.name);
    holds_bytes(field).then_some(Expr::Column(name))
}

/// The bytes of a uuid in its one form; other texts are in another order than bytes.
fn bytes(expr: &Expr) -> Option<Expr> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    let text = value.try_as_str().flatten()?;
    let found = Uuid::parse_str(text).ok()?;
    let is_its_form = found.hyphenated().to_string() == text;
    is_its_form.then(|| {
        let bytes = found.into_bytes().to_vec();
        lit(ScalarValue::FixedSizeBinary(16, Some(bytes)))
    })
}

/// The function that makes the text of a uuid of its bytes.
pub fn uuid_of_bytes() -> ScalarUDF {
    ScalarUDF::from(OfBytes {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfBytes {
    signature: Signature,
}

impl ScalarUDFImpl for OfBytes {
    fn name(&self) -> &str {
        "uuid_of_bytes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let field = Field::new(self.name(), DataType::Utf8, is_nullable);
        Ok(Arc::new(field.with_metadata(uuid_marks())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        of_column(&args, texts_of_bytes)
    }
}

/// The texts of uuids.
pub(crate) fn texts_of_bytes(array: &ArrayRef) -> Result<ArrayRef> {
    let values = cast(array, &DataType::Binary)?;
    let values = values.as_binary::<i32>();
    let mut text = [0_u8; uuid::fmt::Hyphenated::LENGTH];
    let text_of = |value: Option<&[u8]>| {
        let Some(value) = value else {
            return Ok(None);
        };
        let found = Uuid::from_slice(value).map_err(|_| {
            let message = format!("a uuid has 16 bytes, got {}", value.len());
            DataFusionError::Execution(message)
        })?;
        Ok(Some(found.hyphenated().encode_lower(&mut text).to_owned()))
    };
    let texts: Result<StringArray> = values.iter().map(text_of).collect();
    Ok(Arc::new(texts?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::FixedSizeBinaryArray;
    use datafusion::logical_expr::col;

    use super::*;

    const ONE: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

    fn columns() -> SchemaRef {
        let id: FieldRef = Arc::new(Field::new("id", BYTES, true));
        let hash: FieldRef = Arc::new(Field::new("hash", BYTES, true));
        Arc::new(Schema::new(vec![noted(&id), hash]))
    }

    #[test]
    fn columns_with_a_note_are_shown_as_texts() {
        let shown = shown_columns(&columns());
        assert_eq!(shown.field(0).data_type(), &DataType::Utf8);
        assert_eq!(shown.field(0).metadata(), &uuid_marks());
        assert_eq!(shown.field(1).data_type(), &BYTES);
        let noted = with_notes(columns(), |path, _| path == ["hash"]);
        assert!(holds_bytes(noted.field(1)));
    }

    #[test]
    fn bytes_become_the_text_of_their_uuid() {
        let bytes = Uuid::parse_str(ONE).unwrap().into_bytes();
        let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
            [Some(bytes), None].into_iter(),
            16,
        );
        let array: ArrayRef = Arc::new(array.unwrap());
        let found = texts_of_bytes(&array).unwrap();
        assert_eq!(
            found.as_string::<i32>(),
            &StringArray::from(vec![Some(ONE), None])
        );
        let short: ArrayRef = Arc::new(datafusion::arrow::array::BinaryArray::from(vec![
            b"a".as_ref(),
        ]));
        assert!(texts_of_bytes(&short).is_err());
    }

    #[test]
    fn filters_of_texts_are_filters_of_bytes_where_they_say_the_same() {
        let schema = columns();
        let of = |filter: Expr| of_bytes(&filter, &schema);
        let value = bytes(&lit(ONE)).unwrap();
        assert_eq!(
            of(col("t.id").eq(lit(ONE))),
            Some(col("id").eq(value.clone()))
        );
        assert_eq!(
            of(lit(ONE).gt(col("id"))),
            Some(col("id").lt(value.clone()))
        );
        let half = col("id").eq(lit(ONE)).and(col("other").eq(lit(1)));
        assert_eq!(of(half), Some(col("id").eq(value)));
        assert!(of(col("id").in_list(vec![lit(ONE)], false)).is_some());
        for filter in [
            col("id").not_eq(lit(ONE)),
            col("id").eq(lit(ONE.to_uppercase())),
            col("id").lt(lit("b")),
            col("hash").eq(lit(ONE)),
            col("id").eq(lit(ONE)).or(col("other").eq(lit(1))),
        ] {
            assert_eq!(of(filter.clone()), None, "{filter}");
        }
    }
}
