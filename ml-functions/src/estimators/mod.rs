//! The estimators, one file an algorithm, one folder a family.
//!
//! Each family has a list `ESTIMATORS`; the registry reads the lists, and nothing else in the crate
//! names an algorithm.

pub mod cluster;
pub mod decomposition;
pub mod ensemble;
mod feature_space;
#[cfg(test)]
mod in_memory;
pub mod linear_model;
pub mod tree;
