//! Products of matrices, neighbours, products with Hessians and dense networks against the CPU.

use auspex_gpu::{
    Activation, CpuDevice, CudaDevice, Device, Factors, Layout, Loss, Network, Product,
    ProductElements,
};

use crate::driver::Driver;
use crate::kernels::{Random, Samples, assert_close, assert_same_bits, shapes};

/// Two factors of random numbers.
struct Matrices {
    sizes: [usize; 3],
    layouts: [Layout; 2],
    left: Vec<f64>,
    right: Vec<f64>,
    left_singles: Vec<f32>,
    right_singles: Vec<f32>,
}

impl Matrices {
    fn new(sizes: [usize; 3], layouts: [Layout; 2]) -> Matrices {
        let mut random = Random(sizes.iter().fold(17, |seed, &n| seed * 31 + n as u64));
        let left = random.numbers(sizes[0] * sizes[1]);
        let right = random.numbers(sizes[1] * sizes[2]);
        let singles = |values: &[f64]| values.iter().map(|&x| x as f32).collect();
        Matrices {
            left_singles: singles(&left),
            right_singles: singles(&right),
            sizes,
            layouts,
            left,
            right,
        }
    }

    fn product(&self, is_f32: bool) -> Product<'_> {
        let [n_rows, n_inner, n_cols] = self.sizes;
        Product {
            n_rows,
            n_inner,
            n_cols,
            layouts: self.layouts,
            factors: match is_f32 {
                true => Factors::F32(&self.left_singles, &self.right_singles),
                false => Factors::F64(&self.left, &self.right),
            },
        }
    }
}

fn doubles(elements: &ProductElements) -> Vec<f64> {
    match elements {
        ProductElements::F32(values) => values.iter().map(|&x| f64::from(x)).collect(),
        ProductElements::F64(values) => values.clone(),
    }
}

const LAYOUTS: [[Layout; 2]; 4] = [
    [Layout::ByColumns, Layout::ByColumns],
    [Layout::ByRows, Layout::ByColumns],
    [Layout::ByColumns, Layout::ByRows],
    [Layout::ByRows, Layout::ByRows],
];

#[test]
fn products_agree_with_the_cpu_in_any_order_of_threads() {
    // Around the sizes of tiles, of stretches and of parts of the inner side.
    let sizes = [
        [0, 3, 2],
        [3, 0, 2],
        [3, 2, 0],
        [1, 1, 1],
        [63, 15, 65],
        [64, 16, 64],
        [65, 17, 63],
        [2, 2047, 3],
        [3, 2048, 1],
        [1, 2049, 2],
        [5, 4100, 4],
    ];
    for (order, largest) in [
        ("forward", usize::MAX),
        ("reverse", 100),
        ("shuffle:3", 100),
    ] {
        let driver = Driver::new(&format!("order={order}"));
        let device = CudaDevice::open(0).unwrap();
        for (number, sizes) in sizes.into_iter().enumerate() {
            if sizes[1] > largest {
                continue;
            }
            let matrices = Matrices::new(sizes, LAYOUTS[number % 4]);
            for (is_f32, limit) in [(false, 1e-9), (true, 1e-2)] {
                let product = matrices.product(is_f32);
                let found = doubles(&device.gemm(&product).unwrap());
                let expected = doubles(&CpuDevice.gemm(&product).unwrap());
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() <= limit, "{sizes:?} {is_f32}");
                }
            }
        }
        drop(device);
        assert_eq!(driver.report(), "", "no fault, no leak");
    }
}

#[test]
fn products_are_the_same_bits_in_stretches_and_in_any_layout() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    for layouts in LAYOUTS {
        let matrices = Matrices::new([300, 20, 5], layouts);
        let product = matrices.product(false);
        let whole = device.gemm(&product).unwrap();
        driver.configure("");
        let limited = device.for_run(8 * (20 * 5 + 2 * 70 * 25));
        assert_eq!(limited.gemm(&product).unwrap(), whole);
        assert_eq!(driver.counters().n_launches, 5, "stretches of 70 rows");
    }
    let matrices = Matrices::new([300, 20, 5], LAYOUTS[0]);
    let small = device.for_run(500);
    assert_eq!(
        small.gemm(&matrices.product(true)).unwrap_err().to_string(),
        "device \"PTX interpreter (no GPU)\" has too little memory for kernel \"gemm\""
    );
    drop((small, device));
    assert_eq!(driver.report(), "");
}

#[test]
fn products_of_what_is_no_number_and_wrong_sizes() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut matrices = Matrices::new([4, 3, 2], LAYOUTS[1]);
    matrices.left[1] = f64::NAN;
    matrices.left[4] = f64::INFINITY;
    matrices.right[0] = f64::NEG_INFINITY;
    let product = matrices.product(false);
    let found = doubles(&device.gemm(&product).unwrap());
    let expected = doubles(&CpuDevice.gemm(&product).unwrap());
    assert_close(&found, &expected, "products");
    assert!(found[0].is_nan() && found[7].is_finite());
    let wrong = Product {
        n_rows: 5,
        ..product
    };
    assert_eq!(
        device.gemm(&wrong).unwrap_err(),
        CpuDevice.gemm(&wrong).unwrap_err()
    );
}

fn check_neighbours(device: &CudaDevice, samples: &mut Samples) {
    let p = samples.n_cols();
    for (n_points, n_neighbours) in [(1, 1), (5, 5), (9, 3), (4, 0)] {
        let mut points = samples.random.numbers(n_points * p);
        if n_points > 1 {
            // A tie: the lower number comes first.
            points.copy_within(..p, p);
        }
        let run = |device: &dyn Device| device.neighbours(&samples.design(), &points, n_neighbours);
        match (run(device), run(&CpuDevice)) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.ids, expected.ids);
                let distances = [&found, &expected].map(|found| &found.squared_distances);
                assert_same_bits(distances[0], distances[1], "neighbours");
            }
            // Without columns there is nothing to be near in.
            (found, expected) => {
                assert_eq!(found.unwrap_err(), expected.unwrap_err());
                assert_eq!(p, 0);
            }
        }
    }
}

fn check_hessian_products(device: &CudaDevice, samples: &mut Samples) {
    for (loss, n_outputs) in [
        (Loss::Squared, 1),
        (Loss::Logistic, 1),
        (Loss::Softmax, 1),
        (Loss::Softmax, 3),
    ] {
        let coefficients = samples.coefficients(n_outputs);
        let direction = samples.coefficients(n_outputs);
        for weights in [None, Some(samples.weights.as_slice())] {
            let design = samples.design();
            let run = |device: &dyn Device| {
                device
                    .hessian_product(&design, weights, &coefficients, &direction, n_outputs, loss)
                    .unwrap()
            };
            assert_close(&run(device), &run(&CpuDevice), "products with the Hessian");
        }
    }
}

fn network_parameters(samples: &mut Samples, widths: &[usize]) -> Vec<f64> {
    let n_inputs = samples.n_cols();
    let inputs = std::iter::once(&n_inputs).chain(widths);
    let n = inputs.zip(widths).map(|(i, o)| (i + 1) * o).sum();
    samples.random.numbers(n).iter().map(|x| x * 0.3).collect()
}

fn check_networks(device: &CudaDevice, samples: &mut Samples) {
    let cases: [(&[usize], Activation, Loss); 4] = [
        (&[1], Activation::Relu, Loss::Squared),
        (&[5, 1], Activation::Logistic, Loss::Logistic),
        (&[7, 3, 4], Activation::Tanh, Loss::Softmax),
        (&[4, 2], Activation::Identity, Loss::Softmax),
    ];
    for (widths, activation, loss) in cases {
        let parameters = network_parameters(samples, widths);
        let network = Network {
            widths,
            parameters: &parameters,
            activation,
        };
        let design = samples.design();
        let found = device.network_outputs(&design, &network).unwrap();
        let expected = CpuDevice.network_outputs(&design, &network).unwrap();
        assert_same_bits(&found, &expected, "outputs of a network");
        let response: Vec<f64> = samples
            .response
            .iter()
            .map(|y| f64::from(u8::from(*y > 0.1)))
            .collect();
        for weights in [None, Some(samples.weights.as_slice())] {
            let run = |device: &dyn Device| {
                device
                    .network(&design, &response, weights, &network, loss)
                    .unwrap()
            };
            let (found, expected) = (run(device), run(&CpuDevice));
            let of = |partial: &auspex_gpu::GlmPartial| [partial.weight, partial.loss];
            assert_close(&of(&found), &of(&expected), "loss of a network");
            assert_close(&found.gradient, &expected.gradient, "gradient of a network");
            assert!(found.hessian.is_empty());
        }
    }
}

#[test]
fn neighbours_hessians_and_networks_agree_with_the_cpu_in_any_order_of_threads() {
    for (order, most_rows) in [("forward", 3000), ("reverse", 130), ("shuffle:2", 130)] {
        let driver = Driver::new(&format!("order={order}"));
        let device = CudaDevice::open(0).unwrap();
        for mut samples in shapes()
            .into_iter()
            .filter(|samples| samples.n_rows < most_rows)
        {
            check_neighbours(&device, &mut samples);
            check_hessian_products(&device, &mut samples);
            check_networks(&device, &mut samples);
        }
        drop(device);
        assert_eq!(driver.report(), "", "no fault, no leak");
    }
}

#[test]
fn what_is_no_number_reaches_neighbours_and_networks_as_on_the_cpu() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(40, 3, &[], false);
    samples.f64s[3] = f64::NAN;
    samples.f64s[44] = f64::INFINITY;
    samples.f64s[90] = f64::NEG_INFINITY;
    check_neighbours(&device, &mut samples);
    for activation in [Activation::Relu, Activation::Logistic, Activation::Tanh] {
        let parameters = network_parameters(&mut samples, &[4, 2]);
        let network = Network {
            widths: &[4, 2],
            parameters: &parameters,
            activation,
        };
        let run = |device: &dyn Device| device.network_outputs(&samples.design(), &network);
        let (found, expected) = (run(device.as_ref()), run(&CpuDevice));
        assert_same_bits(&found.unwrap(), &expected.unwrap(), "outputs");
    }
}

#[test]
fn networks_do_not_depend_on_how_rows_come_to_the_device() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(7000, 3, &[2], true);
    let parameters = network_parameters(&mut samples, &[3, 2]);
    let network = Network {
        widths: &[3, 2],
        parameters: &parameters,
        activation: Activation::Tanh,
    };
    let response: Vec<f64> = samples
        .response
        .iter()
        .map(|y| f64::from(u8::from(*y > 0.0)))
        .collect();
    let design = samples.design();
    let weights = Some(samples.weights.as_slice());
    let direction: Vec<f64> = parameters[..12].to_vec();
    let run = |device: &dyn Device| {
        let partial = device.network(&design, &response, weights, &network, Loss::Softmax);
        let outputs = device.network_outputs(&design, &network);
        let along =
            device.hessian_product(&design, weights, &direction, &direction, 2, Loss::Softmax);
        let near = device.neighbours(&design, &parameters[..10], 2);
        (
            partial.unwrap(),
            outputs.unwrap(),
            along.unwrap(),
            near.unwrap(),
        )
    };
    let whole = run(device.as_ref());
    let n_launches = driver.counters().n_launches;
    // Two segments of one chunk each have room.
    let limited = device.for_run(2 * (2048 * (3 * 4 + 4 + 8 * 13) + 9_000) + 30_000);
    driver.configure("");
    assert_eq!(run(&limited), whole, "the same bits");
    assert!(driver.counters().n_launches > n_launches, "in segments");
    drop((limited, device));
    assert_eq!(driver.report(), "");
}

#[test]
fn networks_that_kernels_are_not_for_go_to_the_cpu() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let samples = Samples::new(5, 2, &[], true);
    // The second layer's sums are its intercepts alone.
    let network = Network {
        widths: &[0, 1],
        parameters: &[0.5],
        activation: Activation::Relu,
    };
    let declined = device.network_outputs(&samples.design(), &network);
    assert_eq!(
        declined.unwrap_err().to_string(),
        "kernel \"network\" does not run on a device: a layer has no outputs"
    );
    let found = CpuDevice.network_outputs(&samples.design(), &network);
    assert_eq!(found.unwrap(), [0.5; 5]);
}
