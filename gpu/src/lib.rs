//! Devices and their kernels: the coarse numeric primitives that estimators are written against.
//!
//! Code map, in reading order: `device` has the [`Device`] trait and the views that it takes, `product` those of products of
//! matrices, of neighbours and of dense networks, `trees` those of decision trees;
//! `cpu` is the device that is always there and the reference of every other; `cuda` has NVIDIA's, where
//! a driver is found; `offload` puts the CPU behind them; `error` says what a device can decline. Knows nothing of SQL, features, models or files.

mod cpu;
mod cuda;
mod device;
mod error;
mod offload;
mod product;
mod trees;

pub use cpu::CpuDevice;
pub use cuda::{CudaDevice, CudaProbe, probe_cuda, probe_cuda_anew};
pub use device::{
    ClusterSums, Design, Device, DeviceInfo, Elements, Figures, GlmPartial, Gram, Loss, MatrixView,
    Nearest, RowsId,
};
pub use error::{Error, Result};
pub use offload::{Offload, OnFailure, Visit};
pub use product::{Activation, Factors, Layout, Neighbours, Network, Product, ProductElements};
pub use trees::{
    BINS, Bins, Forest, PairValues, Pairs, Parted, RowOrder, RowSets, RowSplit, Version,
};
