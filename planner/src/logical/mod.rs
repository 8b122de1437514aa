//! The logical operators that SQL lacks. Each stands opposite its physical twin in `physical`.

mod barrier;
mod fit_model;

pub(crate) use barrier::BarrierNode;
pub(crate) use fit_model::{FitMode, FitModelNode, FitTask, output_schema};
