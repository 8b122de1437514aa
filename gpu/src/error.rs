//! What a device can decline or fail at.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shapes of a call do not belong together: a defect of the caller.
    #[error("kernel \"{kernel}\" was given {found} elements, expected {expected}")]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements found.
        found: usize,
    },
}
