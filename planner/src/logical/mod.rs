//! The logical operators that SQL lacks. Each stands opposite its physical twin in `physical`.

mod fit_model;

pub(crate) use fit_model::{FitMode, FitModelNode, FitTask, output_schema};
