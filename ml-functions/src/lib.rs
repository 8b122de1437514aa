//! Machine learning over partitions of Arrow record batches.
//!
//! Code map, in reading order: `estimator` is the contract; `options` checks what the user wrote;
//! `features` turns columns into blocks; `training_set` runs steps over the blocks of each partition;
//! `estimators` has one file an algorithm; `model`, `trained_model` and `model_file` hold and store
//! what was learned; `output` gives predictions their SQL shapes; `metrics` judges them, `surprises` counts what is odd in their rows, `explain` attributes them to features; `training`
//! walks one training from query to model; `checkpoint` is what a training keeps of itself; `registry` lists the estimators.
//! Knows nothing of SQL text, catalogs, object stores or the wire.

pub mod checkpoint;
pub mod compute;
pub mod error;
pub mod estimator;
pub mod estimators;
pub mod explain;
pub mod features;
pub mod metrics;
pub mod model;
mod model_file;
pub mod options;
pub mod output;
mod random;
pub mod registry;
pub mod run;
pub mod surprises;
pub mod trained_model;
pub mod training;
pub mod training_set;
