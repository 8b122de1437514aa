//! Filters of a query as predicates of the Iceberg library, for finding the files that can hold rows.
//!
//! DataFusion's expressions flow in; what the library can compare flows out, the rest is left out: a predicate only has
//! to hold for every row that the filters admit.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, PrimitiveType, Schema, Type};

/// What the filters say about the columns of a table, if anything.
pub(super) fn of_filters(filters: &[Expr], schema: &Schema) -> Option<Predicate> {
    let parts = filters
        .iter()
        .filter_map(|filter| predicate(filter, schema));
    parts.reduce(Predicate::and)
}

fn predicate(expr: &Expr, schema: &Schema) -> Option<Predicate> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            // One side of a conjunction is implied by the whole.
            Operator::And => match (predicate(left, schema), predicate(right, schema)) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (one, other) => one.or(other),
            },
            Operator::Or => Some(predicate(left, schema)?.or(predicate(right, schema)?)),
            op => comparison(left, *op, right, schema)
                .or_else(|| comparison(right, op.swap()?, left, schema)),
        },
        // Of columns with fields of their own the library knows nothing.
        Expr::IsNull(inner) => type_of(inner, schema).and(Some(reference(inner)?.is_null())),
        Expr::IsNotNull(inner) => type_of(inner, schema).and(Some(reference(inner)?.is_not_null())),
        Expr::InList(list) if !list.negated => {
            let column = reference(&list.expr)?;
            let values: Option<Vec<Datum>> = list
                .list
                .iter()
                .map(|value| datum(value, type_of(&list.expr, schema)?))
                .collect();
            Some(column.is_in(values?))
        }
        Expr::Between(between) if !between.negated => {
            let data_type = type_of(&between.expr, schema)?;
            let low = datum(&between.low, data_type.clone())?;
            let high = datum(&between.high, data_type)?;
            let column = reference(&between.expr)?;
            let at_least = column.clone().greater_than_or_equal_to(low);
            Some(at_least.and(column.less_than_or_equal_to(high)))
        }
        _ => None,
    }
}

fn comparison(left: &Expr, op: Operator, right: &Expr, schema: &Schema) -> Option<Predicate> {
    let data_type = type_of(left, schema)?;
    let is_float = matches!(data_type, PrimitiveType::Float | PrimitiveType::Double);
    if is_float && !matches!(op, Operator::Lt | Operator::LtEq | Operator::Eq) {
        // Bounds say nothing of NaN, which is greater than every number.
        return None;
    }
    let value = datum(right, data_type).filter(|value| !value.is_nan())?;
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

fn type_of(expr: &Expr, schema: &Schema) -> Option<PrimitiveType> {
    let Expr::Column(column) = expr else {
        return None;
    };
    match schema.field_by_name(&column.name)?.field_type.as_ref() {
        Type::Primitive(data_type) => Some(data_type.clone()),
        _ => None,
    }
}

/// A literal as a value of a column's type; `None` where the two are not the same kind of value.
fn datum(expr: &Expr, data_type: PrimitiveType) -> Option<Datum> {
    use ScalarValue as V;
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    Some(match (data_type, value) {
        (PrimitiveType::Boolean, V::Boolean(Some(v))) => Datum::bool(*v),
        (PrimitiveType::Int, V::Int32(Some(v))) => Datum::int(*v),
        (PrimitiveType::Int, V::Int64(Some(v))) => Datum::int(i32::try_from(*v).ok()?),
        (PrimitiveType::Long, V::Int64(Some(v))) => Datum::long(*v),
        (PrimitiveType::Long, V::Int32(Some(v))) => Datum::long(i64::from(*v)),
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
    use datafusion::logical_expr::{col, lit};
    use iceberg::spec::{NestedField, StructType};

    use super::*;

    fn schema() -> Schema {
        let field = |id, name, data_type| {
            NestedField::optional(id, name, Type::Primitive(data_type)).into()
        };
        Schema::builder()
            .with_fields(vec![
                field(1, "i", PrimitiveType::Long),
                field(2, "s", PrimitiveType::String),
                field(3, "x", PrimitiveType::Double),
                NestedField::optional(4, "inner", Type::Struct(StructType::new(vec![]))).into(),
            ])
            .build()
            .unwrap()
    }

    fn shown(filter: Expr) -> Option<String> {
        of_filters(&[filter], &schema()).map(|predicate| predicate.to_string())
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
