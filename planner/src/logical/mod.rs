//! The logical operators that SQL lacks. Each stands opposite its physical twin in `physical`, but for rows that are there, which
//! DataFusion reads.

mod barrier;
mod fit_model;
mod given_rows;

pub(crate) use barrier::BarrierNode;
pub(crate) use fit_model::{FitMode, FitModelNode, FitTask, output_schema};
pub(crate) use given_rows::{GivenCell, GivenRowsNode};
