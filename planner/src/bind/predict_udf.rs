//! Prediction as an expression: a scalar function that is bound to a loaded model.
//!
//! In: the feature columns in the model's order; out: one value or one struct a row. Counts what is
//! surprising in them, so that the statement can warn of it.

use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use auspex_ml::compute::Compute;
use auspex_ml::features::FeatureBlock;
use auspex_ml::output::{self, ScalarOutput};
use auspex_ml::surprises::Surprises;
use auspex_ml::trained_model::TrainedModel;
use datafusion::arrow::array::{ArrayRef, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use serde::{Deserialize, Serialize};

use super::model_scope::BoundModel;
use crate::engine::lock;
use crate::observe::Counter;

/// What a prediction function returns for each row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone)]
pub(crate) struct PredictUdf {
    name: String,
    label: String,
    model: Arc<TrainedModel>,
    shape: PredictShape,
    return_type: DataType,
    surprises: Arc<Mutex<Surprises>>,
    predicted: Counter,
    compute: Compute,
    signature: Signature,
}

impl PredictUdf {
    /// A function that returns one value a row.
    pub(crate) fn scalar(
        name: String,
        bound: &BoundModel,
        output: ScalarOutput,
        surprises: Arc<Mutex<Surprises>>,
    ) -> crate::error::Result<ScalarUDF> {
        let return_type = output::scalar_type(&bound.model, &output)?;
        Ok(Self::build(
            name,
            bound,
            PredictShape::Scalar(output),
            return_type,
            surprises,
        ))
    }

    /// The function of a shape under a name, as another machine called it.
    pub(crate) fn of_shape(
        name: &str,
        bound: &BoundModel,
        shape: PredictShape,
        surprises: Arc<Mutex<Surprises>>,
    ) -> crate::error::Result<ScalarUDF> {
        let model = &bound.model;
        let row = |fields: Vec<Field>| DataType::Struct(Fields::from(fields));
        let return_type = match &shape {
            PredictShape::Scalar(output) => output::scalar_type(model, output)?,
            PredictShape::Columns { .. } => row(output::predict_fields(model)),
            PredictShape::Flat => row(output::flat_fields(model)),
            PredictShape::Anomalies { .. } => row(output::anomaly_fields(model)?),
            PredictShape::Explanations { .. } => row(output::explain_fields(model)),
        };
        let name = name.to_owned();
        Ok(Self::build(name, bound, shape, return_type, surprises))
    }

    /// The model.
    pub(crate) fn model(&self) -> &Arc<TrainedModel> {
        &self.model
    }

    /// Where it predicts.
    pub(crate) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The same with figures of a device of its own.
    pub(crate) fn for_part(&self) -> PredictUdf {
        PredictUdf {
            compute: self.compute.for_part(),
            ..self.clone()
        }
    }

    /// The model's name in the catalog.
    pub(crate) fn model_name(&self) -> &str {
        self.label.split('@').next().unwrap_or_default()
    }

    /// What it returns.
    pub(crate) fn shape(&self) -> &PredictShape {
        &self.shape
    }

    /// Where it counts what is surprising, and the rows that it predicts.
    pub(crate) fn counts(&self) -> (Arc<Mutex<Surprises>>, Counter) {
        (Arc::clone(&self.surprises), Arc::clone(&self.predicted))
    }

    /// A function that returns a struct a row.
    pub(crate) fn columns(
        name: String,
        bound: &BoundModel,
        shape: PredictShape,
        fields: Vec<Field>,
        surprises: Arc<Mutex<Surprises>>,
    ) -> ScalarUDF {
        let return_type = DataType::Struct(Fields::from(fields));
        Self::build(name, bound, shape, return_type, surprises)
    }

    fn build(
        name: String,
        bound: &BoundModel,
        shape: PredictShape,
        return_type: DataType,
        surprises: Arc<Mutex<Surprises>>,
    ) -> ScalarUDF {
        ScalarUDF::from(PredictUdf {
            name,
            label: format!("{}@{}", bound.name, bound.version),
            model: Arc::clone(&bound.model),
            shape,
            return_type,
            surprises,
            predicted: Arc::clone(&bound.predicted),
            compute: bound.compute.clone(),
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    }

    /// Predicts rows of single values, the features in the model's order; `None` if they must be arrays.
    pub(crate) fn predict_values(
        &self,
        rows: &[Vec<&ScalarValue>],
    ) -> Option<auspex_ml::error::Result<ArrayRef>> {
        let mut surprises = Surprises::default();
        match self.model.encode_values(rows, &mut surprises) {
            Ok(None) => None,
            Ok(Some(block)) => Some(self.answer(&block, &surprises)),
            Err(error) => Some(Err(error)),
        }
    }

    fn predict(&self, arrays: &[ArrayRef], n_rows: usize) -> auspex_ml::error::Result<ArrayRef> {
        let mut surprises = Surprises::default();
        let block = self.model.encode_features(arrays, n_rows, &mut surprises)?;
        self.answer(&block, &surprises)
    }

    /// What the function returns for encoded rows.
    fn answer(
        &self,
        block: &FeatureBlock,
        surprises: &Surprises,
    ) -> auspex_ml::error::Result<ArrayRef> {
        lock(&self.surprises).merge(surprises);
        let prediction = self.model.model.predict(block, &self.compute)?;
        self.predicted
            .fetch_add(block.n_samples as u64, Ordering::Relaxed);
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
                        .attributions(block, &self.model.context(), &self.compute)?;
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

    fn schema_name(&self, args: &[datafusion::prelude::Expr]) -> Result<String> {
        // Other predictions in one query need other names; clients see PostgreSQL's name.
        let place = self.name.trim_start_matches("predict");
        let args = args.iter().map(|arg| arg.schema_name().to_string());
        let args: Vec<String> = args.collect();
        Ok(format!(
            "predict({}; {}){place}",
            self.label,
            args.join(", ")
        ))
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
            .predict(&arrays?, n_rows)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(ColumnarValue::Array(array))
    }
}
