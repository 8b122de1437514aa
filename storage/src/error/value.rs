//! A value of a file that a statement's types do not admit.

/// Where it stands, and why it is none of its column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueFailure {
    /// The file; empty while its name is not known.
    pub file: String,
    /// Its format.
    pub format: &'static str,
    /// Where the value stands, and what is wrong with it.
    pub reason: String,
    /// The condition, as PostgreSQL names it.
    pub sqlstate: &'static str,
}
