//! Prediction as an expression: a scalar function that is bound to a loaded model.
//!
//! In: the feature columns in the model's order; out: one value or one struct a row. Counts the
//! categories that training never saw, so that the statement can warn of them.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use auspex_ml::compute::Compute;
use auspex_ml::features::FeatureBlock;
use auspex_ml::output::{self, ScalarOutput};
use auspex_ml::trained_model::TrainedModel;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::model_scope::BoundModel;

/// The counters of a statement; calls are added while it is planned.
pub(crate) type Counters = Arc<Mutex<Vec<Arc<PredictionCounter>>>>;

/// What the predictions of one call in a statement met.
#[derive(Debug)]
pub(crate) struct PredictionCounter {
    pub(crate) model: String,
    pub(crate) version: u64,
    features: Vec<(String, u32)>,
    unseen: Vec<AtomicU64>,
}

impl PredictionCounter {
    pub(crate) fn new(bound: &BoundModel) -> PredictionCounter {
        let features: Vec<(String, u32)> = bound
            .model
            .encoder
            .categorical()
            .map(|(name, codes)| (name.to_owned(), codes.null_code() as u32 + 1))
            .collect();
        let unseen = features.iter().map(|_| AtomicU64::new(0)).collect();
        PredictionCounter {
            model: bound.name.clone(),
            version: bound.version,
            features,
            unseen,
        }
    }

    pub(crate) fn count(&self, block: &FeatureBlock) {
        for ((codes, (_, unseen_code)), count) in
            block.codes.iter().zip(&self.features).zip(&self.unseen)
        {
            let n_unseen = codes.iter().filter(|code| *code == unseen_code).count();
            count.fetch_add(n_unseen as u64, Ordering::Relaxed);
        }
    }

    /// The features with values that training never saw, and how many rows had one; counts anew.
    pub(crate) fn take_unseen(&self) -> Vec<(&str, u64)> {
        self.features
            .iter()
            .zip(&self.unseen)
            .map(|((name, _), count)| (name.as_str(), count.swap(0, Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// What a prediction function returns for each row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PredictShape {
    /// One value.
    Scalar(ScalarOutput),
    /// BigQuery's output columns as a struct.
    Columns { threshold: Option<f64> },
    /// `prediction`, `probability`, `probabilities` as a struct.
    Flat,
    /// The columns of `ML.DETECT_ANOMALIES` as a struct.
    Anomalies { threshold: f64 },
    /// The columns of `ML.EXPLAIN_PREDICT` as a struct.
    Explanations {
        top_k: usize,
        threshold: Option<f64>,
    },
}

/// A prediction function bound to a model.
#[derive(Debug)]
pub(crate) struct PredictUdf {
    name: String,
    label: String,
    model: Arc<TrainedModel>,
    shape: PredictShape,
    return_type: DataType,
    counter: Arc<PredictionCounter>,
    compute: Compute,
    signature: Signature,
}

impl PredictUdf {
    /// A function that returns one value a row.
    pub(crate) fn scalar(
        name: String,
        bound: &BoundModel,
        output: ScalarOutput,
        counter: Arc<PredictionCounter>,
    ) -> crate::error::Result<ScalarUDF> {
        let return_type = output::scalar_type(&bound.model, &output)?;
        Ok(Self::build(
            name,
            bound,
            PredictShape::Scalar(output),
            return_type,
            counter,
        ))
    }

    /// A function that returns a struct a row.
    pub(crate) fn columns(
        bound: &BoundModel,
        shape: PredictShape,
        fields: Vec<Field>,
        counter: Arc<PredictionCounter>,
    ) -> ScalarUDF {
        let return_type = DataType::Struct(Fields::from(fields));
        Self::build("predict".to_owned(), bound, shape, return_type, counter)
    }

    fn build(
        name: String,
        bound: &BoundModel,
        shape: PredictShape,
        return_type: DataType,
        counter: Arc<PredictionCounter>,
    ) -> ScalarUDF {
        ScalarUDF::from(PredictUdf {
            name,
            label: format!("{}@{}", bound.name, bound.version),
            model: Arc::clone(&bound.model),
            shape,
            return_type,
            counter,
            compute: Compute::cpu(),
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    }

    fn predict(&self, arrays: Vec<ArrayRef>, n_rows: usize) -> auspex_ml::error::Result<ArrayRef> {
        let features = &self.model.encoder.schema.features;
        let fields: Vec<Field> = features
            .iter()
            .zip(&arrays)
            .map(|(feature, array)| Field::new(&feature.name, array.data_type().clone(), true))
            .collect();
        let batch = RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(n_rows)),
        )?;
        let block = self.model.encode(&batch, "rows to predict", false)?;
        self.counter.count(&block);
        let prediction = self.model.model.predict(&block, &self.compute)?;
        let (fields, arrays) = match &self.shape {
            PredictShape::Scalar(output) => {
                return output::scalar_array(&self.model, &prediction, output);
            }
            PredictShape::Columns { threshold } => (
                output::predict_fields(&self.model),
                output::predict_arrays(&self.model, &prediction, *threshold)?,
            ),
            PredictShape::Flat => (
                output::flat_fields(&self.model),
                output::flat_arrays(&self.model, &prediction)?,
            ),
            PredictShape::Explanations { top_k, threshold } => {
                let found =
                    self.model
                        .model
                        .attributions(&block, &self.model.context(), &self.compute)?;
                (
                    output::explain_fields(&self.model),
                    output::explain_arrays(&self.model, &prediction, &found, *top_k, *threshold)?,
                )
            }
            PredictShape::Anomalies { threshold } => (
                output::anomaly_fields(&self.model)?,
                output::anomaly_arrays(&self.model, &prediction, *threshold)?,
            ),
        };
        Ok(Arc::new(StructArray::try_new(
            Fields::from(fields),
            arrays,
            None,
        )?))
    }
}

impl PartialEq for PredictUdf {
    fn eq(&self, other: &PredictUdf) -> bool {
        self.name == other.name
            && Arc::ptr_eq(&self.model, &other.model)
            && self.shape == other.shape
    }
}

impl Eq for PredictUdf {}

impl Hash for PredictUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.label.hash(state);
    }
}

impl ScalarUDFImpl for PredictUdf {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, _args: &[datafusion::prelude::Expr]) -> Result<String> {
        // Two predictions in one query need different names; clients see PostgreSQL's name.
        let place = self.name.trim_start_matches("predict");
        Ok(format!("predict({}){place}", self.label))
    }

    fn display_name(&self, _args: &[datafusion::prelude::Expr]) -> Result<String> {
        Ok(format!("predict({})", self.label))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.return_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n_rows = args.number_rows;
        let arrays: Result<Vec<ArrayRef>> = args
            .args
            .iter()
            .map(|value| value.to_array(n_rows))
            .collect();
        let array = self
            .predict(arrays?, n_rows)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(ColumnarValue::Array(array))
    }
}
