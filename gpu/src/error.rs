//! What a device can decline or fail at.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// The machine has no CUDA driver.
    #[error("there is no CUDA driver on this machine")]
    NoDriver,
    /// The file that was named as the driver's cannot be loaded, or is no driver.
    #[error("the CUDA driver \"{path}\" of AUSPEX_CUDA_LIBRARY cannot be used: {reason}")]
    Library {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The driver cannot run the kernels.
    #[error("the CUDA driver supports CUDA {found}, but {needed} is needed")]
    DriverTooOld {
        /// What it supports.
        found: String,
        /// What is needed.
        needed: &'static str,
    },
    /// The driver's library lacks a function that is called.
    #[error("the CUDA driver lacks entry point \"{name}\"")]
    NoEntryPoint {
        /// The function.
        name: String,
    },
    /// The driver has no device.
    #[error("the CUDA driver has no device")]
    NoDevice,
    /// There are fewer devices.
    #[error("there is no CUDA device {ordinal}, but {n_devices} from number 0 on")]
    NoSuchDevice {
        /// The number that was asked for.
        ordinal: usize,
        /// How many there are.
        n_devices: usize,
    },
    /// A kernel with a known answer gave another.
    #[error("device \"{device}\" computes wrong results")]
    WrongAnswer {
        /// The device.
        device: String,
    },
    /// The device has too little free memory for the computation with a known answer.
    #[error("device \"{device}\" has too little free memory to be tried")]
    NoRoom {
        /// The device.
        device: String,
    },
    /// The device has too little memory for a call.
    #[error("device \"{device}\" has too little memory for kernel \"{kernel}\"")]
    OutOfMemory {
        /// The device.
        device: String,
        /// The kernel.
        kernel: &'static str,
    },
    /// The device does not do this shape; the CPU does.
    #[error("kernel \"{kernel}\" does not run on a device: {reason}")]
    Declined {
        /// The kernel.
        kernel: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A kernel failed, and with it all that the device held; the next call begins anew.
    #[error("kernel \"{kernel}\" failed on device \"{device}\": {code}")]
    Fault {
        /// The device.
        device: String,
        /// The kernel.
        kernel: &'static str,
        /// The driver's word for it.
        code: String,
    },
    /// A call of the driver failed.
    #[error("the CUDA driver failed: {code}")]
    Driver {
        /// The driver's word for it.
        code: String,
    },
}
