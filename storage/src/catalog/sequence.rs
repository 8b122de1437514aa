//! A sequence of its own: what `CREATE SEQUENCE` said, and where its numbers begin.
//!
//! In: how many numbers were taken; out: the number. Which have been taken is not here but in claims beside the object
//! (`tables::identity`), so that a number is no commit of the catalog.

use serde::{Deserialize, Serialize};

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceDefinition {
    /// The type of its numbers as PostgreSQL names it: `smallint`, `integer`, `bigint`.
    pub data_type: String,
    /// The number that it was declared to start with.
    pub start: i64,
    /// From each number to the next; never 0.
    pub increment: i64,
    /// The least number.
    pub min: i64,
    /// The greatest number.
    pub max: i64,
    /// Whether it begins anew behind its last number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cycle: bool,
    /// The numbers that a session was to take at a time; shown, and otherwise without meaning.
    pub cache: i64,
    /// The column with which it is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<SequenceOwner>,
    /// The name under which numbers are claimed: another one after each restart.
    pub run: String,
    /// The number that the run begins at.
    pub origin: i64,
    /// Whether the first number of the run is the one behind `origin`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub called: bool,
}

/// The column that a sequence belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceOwner {
    /// The id of the table.
    pub table: String,
    /// The column's name.
    pub column: String,
}

impl SequenceDefinition {
    /// The number that is taken as the `count`th of the run, from 1; `None`: there are no more.
    pub fn number(&self, count: i64) -> Option<i64> {
        // Wide, so that no step leaves the type.
        let (min, max) = (i128::from(self.min), i128::from(self.max));
        let increment = i128::from(self.increment);
        let steps = i128::from(count) - 1 + i128::from(self.called);
        let number = i128::from(self.origin) + steps * increment;
        if (min..=max).contains(&number) {
            return i64::try_from(number).ok();
        }
        if !self.cycle {
            return None;
        }
        let (first, room) = match increment > 0 {
            true => (min, max - i128::from(self.origin)),
            false => (max, i128::from(self.origin) - min),
        };
        let size = increment.abs();
        let behind = steps - room / size - 1;
        let in_round = (max - min) / size + 1;
        i64::try_from(first + behind % in_round * increment).ok()
    }

    /// The last number when so many of the run were taken, and whether it was given; before the first one that at which
    /// the run begins.
    pub fn last(&self, taken: i64) -> (i64, bool) {
        match taken > 0 {
            true => (self.number(taken).unwrap_or(self.end()), true),
            false => (self.origin, self.called),
        }
    }

    /// The number behind which there is none.
    pub fn end(&self) -> i64 {
        match self.increment > 0 {
            true => self.max,
            false => self.min,
        }
    }

    /// The same sequence with numbers that begin at another one, or behind it.
    #[must_use]
    pub fn restarted(&self, origin: i64, called: bool) -> Self {
        Self {
            run: uuid::Uuid::new_v4().to_string(),
            origin,
            called,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(increment: i64, (min, max): (i64, i64), origin: i64) -> SequenceDefinition {
        SequenceDefinition {
            data_type: "bigint".into(),
            start: origin,
            increment,
            min,
            max,
            cycle: false,
            cache: 1,
            owned_by: None,
            run: "r".into(),
            origin,
            called: false,
        }
    }

    fn numbers(sequence: &SequenceDefinition, count: i64) -> Vec<Option<i64>> {
        (1..=count).map(|n| sequence.number(n)).collect()
    }

    #[test]
    fn numbers_go_to_the_end_and_round() {
        let mut up = sequence(2, (1, 6), 3);
        assert_eq!(numbers(&up, 3), [Some(3), Some(5), None]);
        up.cycle = true;
        assert_eq!(
            numbers(&up, 6),
            [Some(3), Some(5), Some(1), Some(3), Some(5), Some(1)]
        );
        let mut down = sequence(-1, (-2, -1), -1);
        assert_eq!(numbers(&down, 3), [Some(-1), Some(-2), None]);
        down.cycle = true;
        assert_eq!(numbers(&down, 4)[2..], [Some(-1), Some(-2)]);
        let called = sequence(1, (1, i64::MAX), 5).restarted(9, true);
        assert_eq!(called.number(1), Some(10));
        assert_eq!(sequence(1, (1, i64::MAX), i64::MAX).number(2), None);
    }
}
