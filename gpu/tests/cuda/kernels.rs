//! Each kernel against the CPU: sums over rows to rounding, everything about one row to the bit.

use std::sync::Arc;

use auspex_gpu::{
    CpuDevice, CudaDevice, Design, Device, Elements, Loss, MatrixView, Offload, OnFailure,
};

use crate::driver::Driver;

/// A block with random values.
pub(crate) struct Samples {
    pub(crate) n_rows: usize,
    n_dense: usize,
    is_f32: bool,
    f32s: Vec<f32>,
    pub(crate) f64s: Vec<f64>,
    shift: Vec<f64>,
    scale: Vec<f64>,
    codes: Vec<Vec<u32>>,
    widths: Vec<usize>,
    pub(crate) response: Vec<f64>,
    pub(crate) weights: Vec<f64>,
    pub(crate) random: Random,
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (((self.0 >> 33) * limit as u64) >> 31) as usize
    }

    pub(crate) fn numbers(&mut self, n: usize) -> Vec<f64> {
        (0..n)
            .map(|_| self.below(1 << 20) as f64 / 262_144.0 - 2.0)
            .collect()
    }
}

impl Samples {
    pub(crate) fn new(n_rows: usize, n_dense: usize, widths: &[usize], is_f32: bool) -> Samples {
        let mut random = Random((n_rows * 31 + n_dense) as u64 + 12_345);
        let f64s = random.numbers(n_rows * n_dense);
        // Codes beyond the width have no indicator.
        let codes = widths.iter().map(|&width| {
            (0..n_rows)
                .map(|_| random.below(width + 2) as u32)
                .collect()
        });
        Samples {
            codes: codes.collect(),
            n_rows,
            n_dense,
            is_f32,
            f32s: f64s.iter().map(|&x| x as f32).collect(),
            f64s,
            shift: random.numbers(n_dense),
            scale: random.numbers(n_dense),
            widths: widths.to_vec(),
            response: random.numbers(n_rows),
            weights: random.numbers(n_rows).iter().map(|w| w.abs()).collect(),
            random,
        }
    }

    pub(crate) fn design(&self) -> Design<'_> {
        Design {
            rows: None,
            dense: MatrixView {
                n_rows: self.n_rows,
                n_cols: self.n_dense,
                elements: match self.is_f32 {
                    true => Elements::F32(&self.f32s),
                    false => Elements::F64(&self.f64s),
                },
            },
            shift: &self.shift,
            scale: &self.scale,
            codes: &self.codes,
            widths: &self.widths,
        }
    }

    pub(crate) fn n_cols(&self) -> usize {
        self.design().n_cols()
    }

    pub(crate) fn coefficients(&mut self, n_outputs: usize) -> Vec<f64> {
        let n = n_outputs * (self.n_cols() + 1);
        self.random.numbers(n).iter().map(|b| b * 0.2).collect()
    }
}

/// Blocks of no row, one row, around the sizes of warps, blocks and tiles, without columns, with
/// codes alone, with more columns than a tile.
pub(crate) fn shapes() -> Vec<Samples> {
    let shape = |(n_rows, n_dense, widths, is_f32): (usize, usize, &[usize], bool)| {
        Samples::new(n_rows, n_dense, widths, is_f32)
    };
    let shapes: [(usize, usize, &[usize], bool); 15] = [
        (0, 3, &[2], true),
        (1, 1, &[], true),
        (1, 0, &[], false),
        (7, 0, &[3, 2], true),
        (31, 2, &[], false),
        (32, 2, &[0, 3], true),
        (33, 5, &[4], false),
        (127, 3, &[2, 2], true),
        (128, 3, &[], false),
        (129, 3, &[5], true),
        (255, 30, &[], true),
        (257, 35, &[3], false),
        (2047, 1, &[], false),
        (2048, 1, &[], true),
        (2049, 2, &[2], true),
    ];
    shapes.into_iter().map(shape).collect()
}

pub(crate) fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        let is_close = (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
            || (found.is_nan() && expected.is_nan())
            || found == expected;
        assert!(is_close, "{what}: element {idx} is {found}, not {expected}");
    }
}

pub(crate) fn assert_same_bits(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        let is_same =
            found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(
            is_same,
            "{what}: element {idx} is {found:e}, not {expected:e}"
        );
    }
}

fn check_gram(device: &CudaDevice, samples: &Samples) {
    let design = samples.design();
    let response = Some(samples.response.as_slice());
    let weights = Some(samples.weights.as_slice());
    for (y, w) in [(response, weights), (response, None), (None, None)] {
        let found = device.gram(&design, y, w).unwrap();
        let expected = CpuDevice.gram(&design, y, w).unwrap();
        assert_close(&found.moments, &expected.moments, "moments");
        assert_close(&found.x_sums, &expected.x_sums, "sums");
        assert_close(&found.xy, &expected.xy, "products with the response");
        assert_close(&found.xx, &expected.xx, "products");
    }
}

fn check_linear(device: &CudaDevice, samples: &mut Samples) {
    for n_outputs in [0, 1, 3] {
        let coefficients = samples.coefficients(n_outputs);
        let design = samples.design();
        let found = device.linear(&design, &coefficients, n_outputs).unwrap();
        let expected = CpuDevice.linear(&design, &coefficients, n_outputs).unwrap();
        assert_same_bits(&found, &expected, "predictors");
    }
}

fn check_glm(device: &CudaDevice, samples: &mut Samples) {
    for (loss, n_outputs, with_hessian) in [
        (Loss::Squared, 1, true),
        (Loss::Logistic, 1, true),
        (Loss::Softmax, 3, true),
        (Loss::Softmax, 4, false),
    ] {
        let coefficients = samples.coefficients(n_outputs);
        let response: Vec<f64> = match loss {
            Loss::Squared => samples.response.clone(),
            Loss::Logistic => samples
                .response
                .iter()
                .map(|y| f64::from(*y > 0.3))
                .collect(),
            Loss::Softmax => samples
                .response
                .iter()
                .map(|y| (y.abs() * 9.0).floor() % 3.0)
                .collect(),
        };
        for weights in [None, Some(samples.weights.as_slice())] {
            let run = |device: &dyn Device| {
                device
                    .glm(
                        &samples.design(),
                        &response,
                        weights,
                        &coefficients,
                        n_outputs,
                        loss,
                        with_hessian,
                    )
                    .unwrap()
            };
            let (found, expected) = (run(device), run(&CpuDevice));
            assert_close(
                &[found.weight, found.loss],
                &[expected.weight, expected.loss],
                "loss",
            );
            assert_close(&found.gradient, &expected.gradient, "gradient");
            assert_close(&found.hessian, &expected.hessian, "hessian");
        }
    }
}

fn check_distances(device: &CudaDevice, samples: &mut Samples) {
    if samples.n_cols() == 0 {
        let refused = device.nearest(&samples.design(), &[], None).unwrap_err();
        assert_eq!(
            refused,
            CpuDevice.nearest(&samples.design(), &[], None).unwrap_err()
        );
        return;
    }
    for n_centroids in [1, 4, 7] {
        let n = n_centroids * samples.n_cols();
        let mut centroids = samples.random.numbers(n);
        if n_centroids > 1 {
            // A tie: the lower number wins.
            let first = centroids[..samples.n_cols()].to_vec();
            centroids[samples.n_cols()..2 * samples.n_cols()].copy_from_slice(&first);
        }
        for weights in [None, Some(samples.weights.as_slice())] {
            let found = device
                .nearest(&samples.design(), &centroids, weights)
                .unwrap();
            let expected = CpuDevice
                .nearest(&samples.design(), &centroids, weights)
                .unwrap();
            assert_eq!(found.ids, expected.ids);
            assert_same_bits(
                &found.squared_distances,
                &expected.squared_distances,
                "nearest",
            );
            let (sums, of_cpu) = (&found.sums, &expected.sums);
            assert_close(&sums.weights, &of_cpu.weights, "weights of centroids");
            assert_close(&sums.sums, &of_cpu.sums, "sums of centroids");
            assert_close(&sums.squares, &of_cpu.squares, "squares of centroids");
            let alone = device
                .cluster_sums(&samples.design(), &centroids, weights)
                .unwrap();
            assert_same_bits(&alone.weights, &sums.weights, "weights alone");
            assert_same_bits(&alone.sums, &sums.sums, "sums alone");
            assert_same_bits(&alone.squares, &sums.squares, "squares alone");
        }
        let found = device
            .squared_distances(&samples.design(), &centroids)
            .unwrap();
        let expected = CpuDevice
            .squared_distances(&samples.design(), &centroids)
            .unwrap();
        assert_same_bits(&found, &expected, "distances");
    }
}

#[test]
fn every_kernel_agrees_with_the_cpu_in_any_order_of_threads() {
    for (order, most_rows) in [("forward", 3000), ("reverse", 130), ("shuffle:1", 130)] {
        let driver = Driver::new(&format!("order={order}"));
        let device = CudaDevice::open(0).unwrap();
        for mut samples in shapes()
            .into_iter()
            .filter(|samples| samples.n_rows < most_rows)
        {
            check_gram(&device, &samples);
            check_linear(&device, &mut samples);
            check_glm(&device, &mut samples);
            check_distances(&device, &mut samples);
        }
        drop(device);
        assert_eq!(driver.report(), "", "no fault, no leak");
    }
}

#[test]
fn results_do_not_depend_on_how_rows_come_to_the_device() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(9000, 4, &[3], true);
    let coefficients = samples.coefficients(1);
    let design = samples.design();
    let run = |device: &Arc<CudaDevice>| {
        let gram = device.gram(&design, Some(&samples.response), None).unwrap();
        let glm = device
            .glm(
                &design,
                &samples.response,
                None,
                &coefficients,
                1,
                Loss::Squared,
                true,
            )
            .unwrap();
        let nearest = device.nearest(&design, &coefficients[..7], None).unwrap();
        (gram, glm, nearest)
    };
    let whole = run(&device);
    let n_launches = driver.counters().n_launches;
    // Two segments of one chunk each have room, with their partials, beside parameters and sums.
    device.set_memory_limit(2 * (2048 * (4 * 4 + 4 + 8 * 5) + 9_000) + 30_000);
    driver.configure("");
    assert_eq!(run(&device), whole, "the same bits");
    assert!(driver.counters().n_launches > 3 * n_launches, "in segments");
}

#[test]
fn numbers_that_are_none_stay_so() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    // Products with indicators are of numbers alone: the CPU leaves out those that are 0.
    for widths in [&[][..], &[2]] {
        let mut samples = Samples::new(40, 3, widths, false);
        samples.f64s[3] = f64::NAN;
        samples.f64s[44] = f64::INFINITY;
        samples.f64s[90] = f64::NEG_INFINITY;
        samples.f64s[7] = 1e300;
        check_linear(&device, &mut samples);
        if widths.is_empty() {
            check_gram(&device, &samples);
            check_glm(&device, &mut samples);
            check_distances(&device, &mut samples);
        }
    }
}

#[test]
fn extreme_predictors_have_the_losses_of_the_cpu() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let values: Vec<f64> = [
        -1e9, -800.0, -709.5, -36.0, -1e-9, 0.0, 1e-9, 36.0, 709.5, 800.0, 1e9,
    ]
    .to_vec();
    let design = Design {
        rows: None,
        dense: MatrixView {
            n_rows: values.len(),
            n_cols: 1,
            elements: Elements::F64(&values),
        },
        shift: &[0.0],
        scale: &[1.0],
        codes: &[],
        widths: &[],
    };
    let response = vec![1.0; values.len()];
    for row in 0..values.len() {
        // One row alone: no sum hides its bits.
        let mut weights = vec![0.0; values.len()];
        weights[row] = 1.0;
        let run = |device: &dyn Device| {
            device
                .glm(
                    &design,
                    &response,
                    Some(&weights),
                    &[1.0, 0.0],
                    1,
                    Loss::Logistic,
                    true,
                )
                .unwrap()
        };
        let (found, expected) = (run(device.as_ref()), run(&CpuDevice));
        assert_same_bits(&[found.loss], &[expected.loss], "loss");
        assert_same_bits(&found.gradient, &expected.gradient, "gradient");
    }
}

#[test]
fn many_columns_run_or_are_declined() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(3, 10_000, &[], true);
    check_linear(&device, &mut samples);
    check_distances(&device, &mut samples);
    let gram = |device: &dyn Device| device.gram(&samples.design(), None, None);
    let reason = "kernel \"gram\" does not run on a device: there are more than 4096 columns";
    assert_eq!(gram(device.as_ref()).unwrap_err().to_string(), reason);
    // The CPU computes it, also where the device was asked for, and says so.
    let offload = Offload::new(vec![device.another_run()], OnFailure::Fail);
    assert_eq!(gram(&offload), gram(&CpuDevice));
    assert_eq!(offload.left_to_cpu(), [reason]);
}
