//! Filters of a query as predicates of the Iceberg library, for finding the files that can hold rows.
//!
//! DataFusion's expressions flow in; what the library can compare flows out, the rest is left out: a predicate only has
//! to hold for every row that the filters admit.

use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, PrimitiveType, Schema, TableMetadata, Transform, Type};

/// The columns that the library compares with values, and their types.
///
/// Of a column that was widened the older files' bounds are of another type, which the library takes for bounds that no
/// value of the new type lies in.
pub(super) struct Columns(BTreeMap<String, Compared>);

/// A column that the library compares with values.
struct Compared {
    data_type: PrimitiveType,
    /// The greatest width of a partition that its values are truncated to; the library truncates the filter's, too,
    /// which goes beyond the type if the value is nearer to the type's end.
    width: u32,
}

impl Compared {
    /// Whether partitions may have the greatest numbers for the least ones: below the least one that a type has, writers
    /// go on from its other end.
    fn may_wrap(&self) -> bool {
        let is_whole = matches!(self.data_type, PrimitiveType::Int | PrimitiveType::Long);
        is_whole && self.width > 0
    }
}

impl Columns {
    /// Those of a schema that each schema of the table has with the same type, if it has them.
    pub(super) fn of(schema: &Schema, metadata: &TableMetadata) -> Self {
        let is_kept = |id: i32, data_type: &Type| {
            let mut all = metadata.schemas_iter();
            all.all(|schema| {
                let known = schema.field_by_id(id);
                known.is_none_or(|known| known.field_type.as_ref() == data_type)
            })
        };
        let fields = schema.as_struct().fields().iter();
        let compared = fields.filter_map(|field| match field.field_type.as_ref() {
            Type::Primitive(data_type) if is_kept(field.id, &field.field_type) => {
                let compared = Compared {
                    data_type: data_type.clone(),
                    width: width_of(field.id, metadata),
                };
                Some((field.name.clone(), compared))
            }
            // Of columns with fields of their own the library knows nothing.
            _ => None,
        });
        Self(compared.collect())
    }
}

fn width_of(id: i32, metadata: &TableMetadata) -> u32 {
    let specs = metadata.partition_specs_iter();
    let fields = specs.flat_map(|spec| spec.fields());
    let widths = fields.filter_map(|field| match field.transform {
        Transform::Truncate(width) if field.source_id == id => Some(width),
        _ => None,
    });
    widths.max().unwrap_or(0)
}

/// What the filters say about the columns of a table, if anything.
pub(super) fn of_filters(filters: &[Expr], columns: &Columns) -> Option<Predicate> {
    let parts = filters
        .iter()
        .filter_map(|filter| predicate(filter, columns));
    parts.reduce(Predicate::and)
}

fn predicate(expr: &Expr, columns: &Columns) -> Option<Predicate> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            // One side of a conjunction is implied by the whole.
            Operator::And => match (predicate(left, columns), predicate(right, columns)) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (one, other) => one.or(other),
            },
            Operator::Or => Some(predicate(left, columns)?.or(predicate(right, columns)?)),
            op => comparison(left, *op, right, columns)
                .or_else(|| comparison(right, op.swap()?, left, columns)),
        },
        Expr::IsNull(inner) => compared(inner, columns).and(Some(reference(inner)?.is_null())),
        Expr::IsNotNull(inner) => {
            compared(inner, columns).and(Some(reference(inner)?.is_not_null()))
        }
        Expr::InList(list) if !list.negated => {
            let column = reference(&list.expr)?;
            let values: Option<Vec<Datum>> = list
                .list
                .iter()
                .map(|value| datum(value, compared(&list.expr, columns)?))
                .collect();
            Some(column.is_in(values?))
        }
        Expr::Between(between) if !between.negated => {
            let known = compared(&between.expr, columns)?;
            let low = datum(&between.low, known)?;
            let high = datum(&between.high, known)?;
            let column = reference(&between.expr)?;
            let at_least = column.clone().greater_than_or_equal_to(low);
            Some(match known.may_wrap() {
                true => at_least,
                false => at_least.and(column.less_than_or_equal_to(high)),
            })
        }
        _ => None,
    }
}

fn comparison(left: &Expr, op: Operator, right: &Expr, columns: &Columns) -> Option<Predicate> {
    let known = compared(left, columns)?;
    let is_float = matches!(
        known.data_type,
        PrimitiveType::Float | PrimitiveType::Double
    );
    if is_float && !matches!(op, Operator::Lt | Operator::LtEq | Operator::Eq) {
        // Bounds say nothing of NaN, which is greater than every number.
        return None;
    }
    if known.may_wrap() && matches!(op, Operator::Lt | Operator::LtEq) {
        return None;
    }
    let value = datum(right, known).filter(|value| !value.is_nan())?;
    let column = reference(left)?;
    Some(match op {
        Operator::Eq => column.equal_to(value),
        Operator::NotEq => column.not_equal_to(value),
        Operator::Lt => column.less_than(value),
        Operator::LtEq => column.less_than_or_equal_to(value),
        Operator::Gt => column.greater_than(value),
        Operator::GtEq => column.greater_than_or_equal_to(value),
        _ => return None,
    })
}

fn reference(expr: &Expr) -> Option<Reference> {
    match expr {
        Expr::Column(column) => Some(Reference::new(column.name.clone())),
        _ => None,
    }
}

fn compared<'a>(expr: &Expr, columns: &'a Columns) -> Option<&'a Compared> {
    match expr {
        Expr::Column(column) => columns.0.get(&column.name),
        _ => None,
    }
}

/// A literal as a value of a column's type; `None` where the two are not the same kind of value.
fn datum(expr: &Expr, column: &Compared) -> Option<Datum> {
    use ScalarValue as V;
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    let int = |value: i64| {
        let value = i32::try_from(value).ok()?;
        let room = value.abs_diff(i32::MIN).min(value.abs_diff(i32::MAX));
        (column.width == 0 || room > column.width).then(|| Datum::int(value))
    };
    let long = |value: i64| {
        let room = value.abs_diff(i64::MIN).min(value.abs_diff(i64::MAX));
        (column.width == 0 || room > u64::from(column.width)).then(|| Datum::long(value))
    };
    Some(match (&column.data_type, value) {
        (PrimitiveType::Boolean, V::Boolean(Some(v))) => Datum::bool(*v),
        (PrimitiveType::Int, V::Int32(Some(v))) => int(i64::from(*v))?,
        (PrimitiveType::Int, V::Int64(Some(v))) => int(*v)?,
        (PrimitiveType::Long, V::Int64(Some(v))) => long(*v)?,
        (PrimitiveType::Long, V::Int32(Some(v))) => long(i64::from(*v))?,
        // To the library the two zeros are different numbers, and NaN is within no bounds.
        (PrimitiveType::Float, V::Float32(Some(v))) if *v != 0.0 && !v.is_nan() => Datum::float(*v),
        (PrimitiveType::Double, V::Float64(Some(v))) if *v != 0.0 && !v.is_nan() => {
            Datum::double(*v)
        }
        (
            PrimitiveType::String,
            V::Utf8(Some(v)) | V::LargeUtf8(Some(v)) | V::Utf8View(Some(v)),
        ) => Datum::string(v),
        (PrimitiveType::Date, V::Date32(Some(v))) => Datum::date(*v),
        (PrimitiveType::Timestamp, V::TimestampMicrosecond(Some(v), None)) => {
            Datum::timestamp_micros(*v)
        }
        (PrimitiveType::Timestamptz, V::TimestampMicrosecond(Some(v), Some(_))) => {
            Datum::timestamptz_micros(*v)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use datafusion::logical_expr::{col, lit};
    use iceberg::spec::{
        FormatVersion, NestedField, SortOrder, StructType, TableMetadataBuilder,
        UnboundPartitionSpec,
    };

    use super::*;

    fn schema(i: PrimitiveType) -> Schema {
        let field = |id, name, data_type| {
            NestedField::optional(id, name, Type::Primitive(data_type)).into()
        };
        Schema::builder()
            .with_fields(vec![
                field(1, "i", i),
                field(2, "s", PrimitiveType::String),
                field(3, "x", PrimitiveType::Double),
                NestedField::optional(4, "inner", Type::Struct(StructType::new(vec![]))).into(),
            ])
            .build()
            .unwrap()
    }

    /// The predicate of a table that had these schemas, the last one now.
    fn shown_of(schemas: &[Schema], filter: Expr) -> Option<String> {
        shown_of_parts(schemas, UnboundPartitionSpec::default(), filter)
    }

    /// The same of a table that is partitioned.
    fn shown_of_parts(
        schemas: &[Schema],
        parts: UnboundPartitionSpec,
        filter: Expr,
    ) -> Option<String> {
        let (first, later) = schemas.split_first().unwrap();
        let mut metadata = TableMetadataBuilder::new(
            first.clone(),
            parts,
            SortOrder::unsorted_order(),
            "file:///t".to_owned(),
            FormatVersion::V2,
            HashMap::new(),
        )
        .unwrap();
        for schema in later {
            metadata = metadata.add_current_schema(schema.clone()).unwrap();
        }
        let metadata = metadata.build().unwrap().metadata;
        let columns = Columns::of(metadata.current_schema(), &metadata);
        of_filters(&[filter], &columns).map(|predicate| predicate.to_string())
    }

    fn shown(filter: Expr) -> Option<String> {
        shown_of(&[schema(PrimitiveType::Long)], filter)
    }

    #[test]
    fn widened_columns_are_left_out() {
        let schemas = [schema(PrimitiveType::Int), schema(PrimitiveType::Long)];
        assert_eq!(shown_of(&schemas, col("i").gt(lit(3_i64))), None);
        let other = col("i").gt(lit(3_i64)).and(col("s").eq(lit("a")));
        assert_eq!(shown_of(&schemas, other).unwrap(), "s = \"a\"");
    }

    #[test]
    fn values_at_the_end_of_a_truncated_type_are_left_out() {
        let shown = |data_type, filter| {
            let parts = UnboundPartitionSpec::builder()
                .add_partition_field(1, "i_trunc", Transform::Truncate(3))
                .unwrap();
            shown_of_parts(&[schema(data_type)], parts.build(), filter)
        };
        for value in [i64::MIN, i64::MIN + 3, i64::MAX] {
            assert_eq!(shown(PrimitiveType::Long, col("i").gt_eq(lit(value))), None);
        }
        let near = shown(PrimitiveType::Long, col("i").gt_eq(lit(i64::MIN + 4)));
        assert!(near.is_some());
        // The partition of the least numbers may be that of the greatest ones.
        assert_eq!(shown(PrimitiveType::Long, col("i").lt_eq(lit(1_i64))), None);
        assert_eq!(
            shown(
                PrimitiveType::Long,
                col("i").between(lit(0_i64), lit(1_i64))
            )
            .unwrap(),
            "i >= 0"
        );
        for value in [i32::MIN, i32::MAX] {
            assert_eq!(shown(PrimitiveType::Int, col("i").gt_eq(lit(value))), None);
            let long = shown(PrimitiveType::Long, col("i").gt_eq(lit(value)));
            assert_eq!(long.unwrap(), format!("i >= {value}"));
        }
        assert_eq!(
            shown_of(&[schema(PrimitiveType::Int)], col("i").gt_eq(lit(i32::MIN))).unwrap(),
            format!("i >= {}", i32::MIN)
        );
    }

    #[test]
    fn what_can_be_compared_is_and_the_rest_is_left_out() {
        assert_eq!(shown(col("i").gt(lit(3_i64))).unwrap(), "i > 3");
        assert_eq!(shown(lit(3_i64).gt(col("i"))).unwrap(), "i < 3");
        assert_eq!(shown(col("s").is_null()).unwrap(), "s IS NULL");
        let half = col("i").gt(lit(3_i64)).and(col("i").eq(col("s")));
        assert_eq!(shown(half).unwrap(), "i > 3");
        // The other side of a disjunction may hold where the known one does not.
        let either = col("i").gt(lit(3_i64)).or(col("i").eq(col("s")));
        assert_eq!(shown(either), None);
        assert_eq!(shown(col("i").eq(lit("x"))), None);
        assert_eq!(shown(col("none").eq(lit(1_i64))), None);
        assert!(shown(col("i").in_list(vec![lit(1_i64), lit(2_i64)], false)).is_some());
        assert_eq!(shown(col("i").in_list(vec![lit(1_i64)], true)), None);
        let between = col("i").between(lit(1_i64), lit(2_i64));
        assert_eq!(shown(between).unwrap(), "(i >= 1) AND (i <= 2)");
    }

    #[test]
    fn zeros_and_not_a_numbers_are_left_out() {
        assert_eq!(shown(col("x").eq(lit(3.5))).unwrap(), "x = 3.5");
        assert_eq!(shown(col("x").eq(lit(-0.0))), None);
        assert_eq!(shown(col("x").lt_eq(lit(0.0))), None);
        assert_eq!(shown(col("x").between(lit(0.0), lit(1.0))), None);
        let listed = col("x").in_list(vec![lit(1.0), lit(f64::NAN)], false);
        assert_eq!(shown(listed), None);
    }

    #[test]
    fn columns_with_fields_of_their_own_are_left_out() {
        assert_eq!(shown(col("inner").is_null()), None);
        assert_eq!(shown(col("inner").is_not_null()), None);
    }
}
