//! How many rows a query gives or leaves out, where that is computed: `LIMIT (SELECT …)`, `OFFSET (SELECT …)`, `FETCH … WITH TIES`.
//!
//! In: a bigint and the clause that it is for; out: the number that the clause counts to, or PostgreSQL's error of the clause.

use std::sync::Arc;

use datafusion::arrow::array::Int64Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::call::{Function, failure, function};

/// The name of the function, which no client can call.
pub(super) const NAME: &str = "\u{1e}row count of";

/// Its second argument.
pub(super) const LIMIT: &str = "LIMIT";
pub(super) const OFFSET: &str = "OFFSET";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![function(NAME, &[2], DataType::Int64, |call| {
        let (numbers, clauses) = (call.integers(0)?, call.texts(1)?);
        let pairs = numbers.iter().zip(clauses.iter());
        let counts = pairs.map(|(number, clause)| count(number, clause.unwrap_or(LIMIT)));
        Ok(Arc::new(counts.collect::<Result<Int64Array>>()?))
    })]
}

fn count(number: Option<i64>, clause: &str) -> Result<i64> {
    match (number, clause) {
        (Some(number), _) if number >= 0 => Ok(number),
        (Some(_), OFFSET) => Err(failure("2201X", "OFFSET must not be negative")),
        (Some(_), _) => Err(failure("2201W", "LIMIT must not be negative")),
        (None, OFFSET) => Ok(0),
        (None, _) => Ok(i64::MAX),
    }
}
