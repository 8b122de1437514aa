//! The CPU: always there, complete, and the reference that other devices are tested against.
//!
//! In: one block; out: partials in f64. Each kernel walks tiles of rows that fit the cache, with the
//! instructions of the machine chosen at run time by `pulp`.

mod block;
mod curvature;
mod distances;
mod elementary;
mod glm;
mod gram;
mod linear;
mod link;
mod nearest;
mod neighbours;
mod network;
mod panel;
mod product;
mod tile;
mod trees;
mod wide;

pub(crate) use curvature::check as check_hessian_product;
pub(crate) use distances::{check as check_centroids, code_distances};
pub(crate) use neighbours::check as check_neighbours;
pub(crate) use network::check as check_network_pass;
pub(crate) use tile::{check_design, check_length};

use std::sync::Arc;

use crate::device::{ClusterSums, Design, Device, DeviceInfo, GlmPartial, Gram, Loss, Nearest};
use crate::error::Result;
use crate::product::{Neighbours, Network, Product, ProductElements};
use crate::trees::{Bins, Forest, Pairs, Parted, RowOrder, RowSets, RowSplit, Version};

/// The CPU of this machine, one thread a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuDevice;

impl Device for CpuDevice {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            kind: "cpu",
            name: "CPU".to_owned(),
            memory_bytes: None,
            driver: None,
            memory_bytes_per_s: None,
            is_simulated: false,
        }
    }

    fn another_run(&self) -> Arc<dyn Device> {
        Arc::new(*self)
    }

    fn gram(
        &self,
        design: &Design<'_>,
        response: Option<&[f64]>,
        weights: Option<&[f64]>,
    ) -> Result<Gram> {
        gram::gram(design, response, weights)
    }

    fn linear(
        &self,
        design: &Design<'_>,
        coefficients: &[f64],
        n_outputs: usize,
    ) -> Result<Vec<f64>> {
        linear::linear(design, coefficients, n_outputs)
    }

    fn glm(
        &self,
        design: &Design<'_>,
        response: &[f64],
        weights: Option<&[f64]>,
        coefficients: &[f64],
        n_outputs: usize,
        loss: Loss,
        with_hessian: bool,
    ) -> Result<GlmPartial> {
        glm::glm(
            design,
            response,
            weights,
            coefficients,
            n_outputs,
            loss,
            with_hessian,
        )
    }

    fn hessian_product(
        &self,
        design: &Design<'_>,
        weights: Option<&[f64]>,
        coefficients: &[f64],
        direction: &[f64],
        n_outputs: usize,
        loss: Loss,
    ) -> Result<Vec<f64>> {
        curvature::hessian_product(design, weights, coefficients, direction, n_outputs, loss)
    }

    fn gemm(&self, product: &Product<'_>) -> Result<ProductElements> {
        product::gemm(product)
    }

    fn network(
        &self,
        design: &Design<'_>,
        response: &[f64],
        weights: Option<&[f64]>,
        network: &Network<'_>,
        loss: Loss,
    ) -> Result<GlmPartial> {
        network::network(design, response, weights, network, loss)
    }

    fn network_outputs(&self, design: &Design<'_>, network: &Network<'_>) -> Result<Vec<f64>> {
        network::network_outputs(design, network)
    }

    fn nearest(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Nearest> {
        nearest::nearest(design, centroids, weights)
    }

    fn cluster_sums(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<ClusterSums> {
        nearest::cluster_sums(design, centroids, weights)
    }

    fn squared_distances(&self, design: &Design<'_>, centroids: &[f64]) -> Result<Vec<f64>> {
        distances::squared_distances(design, centroids)
    }

    fn neighbours(
        &self,
        design: &Design<'_>,
        points: &[f64],
        n_neighbours: usize,
    ) -> Result<Neighbours> {
        neighbours::neighbours(design, points, n_neighbours)
    }

    fn histogram(
        &self,
        bins: &Bins<'_>,
        pairs: &Pairs<'_>,
        sets: &RowSets<'_>,
        columns: &[u32],
    ) -> Result<Vec<[i64; 2]>> {
        trees::histogram(bins, pairs, sets, columns)
    }

    fn partition(
        &self,
        bins: &Bins<'_>,
        order: &RowOrder<'_>,
        splits: &[RowSplit],
        _next: Version,
    ) -> Result<Parted> {
        trees::partition(bins, order, splits)
    }

    fn forest(&self, design: &Design<'_>, forest: &Forest<'_>) -> Result<Vec<f64>> {
        trees::forest(design, forest)
    }
}
