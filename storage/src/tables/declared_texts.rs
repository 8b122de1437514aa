//! Texts of files that hold columns by type, where a statement declares such a column as what its texts say.
//!
//! A column of texts of a Parquet, Avro or Arrow file and the declared column flow in; an expression flows out that makes
//! values of the texts as the engine reads them (see `text_input`), as it is with the texts of CSV and JSON files: uuids and
//! json in their one form, and intervals, which are written as texts here.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, Schema};
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::PhysicalExpr;

use crate::error::{Error, ValueFailure};
use crate::tables::address_mark::AddressKind;
use crate::tables::json_mark::JsonKind;
use crate::tables::one_column::of_column;
use crate::tables::text_input::TextInput;
use crate::tables::uuid_mark::is_uuid;

/// The files that errors name; none, where whoever reads a file knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) format: &'static str,
}

/// Whether a declared column is more than the texts that a file may have of it.
pub(crate) fn says_more(wanted: &Field) -> bool {
    match wanted.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => true,
        // Other texts, also of a greatest length, are what they are, and so are their bounds.
        _ => is_uuid(wanted) || JsonKind::of(wanted).is_some() || AddressKind::of(wanted).is_some(),
    }
}

/// Whether values of a declared column are made of the texts of a file's.
pub(crate) fn is_made(found: &DataType, wanted: &Field) -> bool {
    let is_text = match found {
        DataType::Dictionary(_, values) => values.is_string(),
        found => found.is_string(),
    };
    is_text && says_more(wanted)
}

/// What is known of a file's rows but the bounds of columns whose values are made: the texts have others.
pub(crate) fn without_bounds(mut statistics: Statistics, declared: &Schema) -> Statistics {
    let columns = statistics.column_statistics.iter_mut();
    for (column, field) in columns.zip(declared.fields()) {
        if says_more(field) {
            column.min_value = Precision::Absent;
            column.max_value = Precision::Absent;
            column.distinct_count = Precision::Absent;
        }
    }
    statistics
}

/// An expression over columns of a file, with the library's casts around them, as one in which values are made of texts.
pub(crate) fn with_values(
    expr: Arc<dyn PhysicalExpr>,
    (file, declared): (&Schema, &Schema),
    input: &TextInput,
    source: &Source,
) -> Result<Arc<dyn PhysicalExpr>> {
    let made = expr.transform_down(|expr| {
        let cast = expr.downcast_ref::<CastExpr>();
        let inner = cast.map_or(&expr, |cast| cast.expr());
        let Some(column) = inner.downcast_ref::<Column>() else {
            return Ok(Transformed::no(expr));
        };
        let (Ok(found), Ok(wanted)) = (
            file.field_with_name(column.name()),
            declared.field_with_name(column.name()),
        ) else {
            return Ok(Transformed::no(expr));
        };
        // Another cast is the statement's own, and takes the value.
        let is_ours = cast.is_none_or(|cast| cast.target_field().as_ref() == wanted);
        if !is_ours || !is_made(found.data_type(), wanted) {
            return Ok(Transformed::no(expr));
        }
        let function = ScalarUDF::from(OfTexts {
            signature: Signature::any(1, Volatility::Immutable),
            wanted: wanted.clone(),
            input: input.clone(),
            source: source.clone(),
        });
        let values: Arc<dyn PhysicalExpr> = Arc::new(ScalarFunctionExpr::new(
            OF_TEXTS,
            Arc::new(function),
            vec![Arc::clone(inner)],
            Arc::new(wanted.clone()),
            Arc::new(ConfigOptions::default()),
        ));
        Ok(Transformed::new(values, true, TreeNodeRecursion::Jump))
    })?;
    Ok(made.data)
}

/// The name of the function in plans.
const OF_TEXTS: &str = "values_of_texts";

/// Makes values of a declared column of texts.
#[derive(Debug)]
struct OfTexts {
    signature: Signature,
    wanted: Field,
    input: TextInput,
    source: Source,
}

impl PartialEq for OfTexts {
    fn eq(&self, other: &Self) -> bool {
        // There is one reader in an engine.
        self.wanted == other.wanted && self.input.zone() == other.input.zone()
    }
}

impl Eq for OfTexts {}

impl Hash for OfTexts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wanted.hash(state);
        self.input.zone().hash(state);
    }
}

impl OfTexts {
    fn values(&self, texts: &ArrayRef) -> Result<ArrayRef> {
        let texts = cast(texts, &DataType::Utf8)?;
        let values = self.input.values(texts.as_string::<i32>(), &self.wanted);
        values.map_err(|(_, said)| {
            let reason = format!("column \"{}\": {}", self.wanted.name(), said.message);
            let failure = ValueFailure {
                file: self.source.file.clone(),
                format: self.source.format,
                reason,
                sqlstate: said.sqlstate,
            };
            Error::BadValue(failure).into()
        })
    }
}

impl ScalarUDFImpl for OfTexts {
    fn name(&self) -> &str {
        OF_TEXTS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.wanted.data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        of_column(&args, |texts| self.values(texts))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{RecordBatch, StringArray};
    use datafusion::physical_expr::expressions::cast as cast_expr;

    use super::*;
    use crate::tables::text_input::{TextFault, TextReader};
    use crate::tables::uuid_mark::uuid_marks;

    fn input() -> TextInput {
        let reader = TextReader {
            read: |texts, _, _| match texts.iter().flatten().all(|text| text != "bad") {
                true => {
                    let lower = texts.iter().map(|text| text.map(str::to_lowercase));
                    Ok(Arc::new(lower.collect::<StringArray>()))
                }
                false => Err(TextFault {
                    sqlstate: "22P02",
                    message: "invalid".to_owned(),
                }),
            },
        };
        TextInput::new(reader, "UTC")
    }

    fn read(texts: Vec<Option<&str>>, is_cast: bool) -> Result<ArrayRef> {
        let file = Schema::new(vec![Field::new("u", DataType::Utf8, true)]);
        let marked = file.field(0).clone().with_metadata(uuid_marks());
        let declared = Schema::new(vec![marked]);
        let mut expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new("u", 0));
        if is_cast {
            expr = cast_expr(expr, &file, DataType::LargeUtf8)?;
        }
        let expr = with_values(expr, (&file, &declared), &input(), &Source::default())?;
        let n_rows = texts.len();
        let rows: ArrayRef = Arc::new(StringArray::from(texts));
        let batch = RecordBatch::try_new(Arc::new(file), vec![rows])?;
        expr.evaluate(&batch)?.into_array(n_rows)
    }

    #[test]
    fn texts_are_values_also_within_casts() {
        let found = read(vec![Some("AB"), None], false).unwrap();
        let expected = StringArray::from(vec![Some("ab"), None]);
        assert_eq!(found.as_string::<i32>(), &expected);
        let found = read(vec![Some("AB")], true).unwrap();
        assert_eq!(found.as_string::<i64>().value(0), "ab");
        let error = read(vec![Some("bad")], false).unwrap_err();
        let error = Error::found_in(&error).unwrap();
        assert_eq!(error.sqlstate(), "22P02");
    }

    #[test]
    fn plain_texts_and_numbers_are_what_they_are() {
        let text = Field::new("u", DataType::Utf8, true);
        assert!(!is_made(&DataType::Utf8View, &text));
        let uuid = text.with_metadata(uuid_marks());
        assert!(is_made(&DataType::Utf8View, &uuid));
        assert!(!is_made(&DataType::Binary, &uuid));
    }
}
