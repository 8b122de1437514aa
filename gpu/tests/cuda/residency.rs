//! What stays on a device through a run, how much memory it may take, and what happens when that is too little.

use std::sync::Arc;

use auspex_gpu::{
    CpuDevice, CudaDevice, Design, Device, Elements, Error, GlmPartial, Loss, Offload, OnFailure,
    RowsId, Visit,
};

use crate::driver::Driver;
use crate::kernels::{Samples, assert_same_bits};

fn rows(chunk: u64) -> Option<RowsId> {
    Some(RowsId {
        part: 0,
        first_row: 0,
        chunk,
    })
}

fn glm(device: &dyn Device, samples: &Samples, chunk: u64, coefficients: &[f64]) -> GlmPartial {
    try_glm(device, samples, chunk, coefficients).unwrap()
}

fn try_glm(
    device: &dyn Device,
    samples: &Samples,
    chunk: u64,
    coefficients: &[f64],
) -> auspex_gpu::Result<GlmPartial> {
    let design = Design {
        rows: rows(chunk),
        ..samples.design()
    };
    let weights = Some(samples.weights.as_slice());
    let loss = Loss::Squared;
    device.glm(
        &design,
        &samples.response,
        weights,
        coefficients,
        1,
        loss,
        true,
    )
}

#[test]
fn iterations_move_only_parameters_and_partials() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(5000, 6, &[3], true);
    let coefficients = samples.coefficients(1);
    let first = glm(device.as_ref(), &samples, 1, &coefficients);
    let block_bytes = 5000 * (6 * 4 + 4 + 16);
    assert!(device.kept_bytes() >= block_bytes);
    driver.configure("");
    let again = glm(device.as_ref(), &samples, 1, &coefficients);
    assert_same_bits(&again.gradient, &first.gradient, "gradient");
    assert!(driver.counters().uploaded_bytes < 1000);
    // Other labels of the same rows are noticed.
    samples.response[4321] += 1.0;
    let changed = glm(device.as_ref(), &samples, 1, &coefficients);
    let fresh = CudaDevice::open(0).unwrap();
    let expected = glm(fresh.as_ref(), &samples, 1, &coefficients);
    assert_same_bits(&changed.gradient, &expected.gradient, "gradient");
    assert_ne!(changed.loss.to_bits(), first.loss.to_bits());
    let uploaded = driver.counters().uploaded_bytes as usize;
    assert!(
        uploaded < 5000 * 8 + 2000 + block_bytes + 2000,
        "{uploaded}"
    );
    // A run's memory is freed with it, also while the device goes on.
    let other = device.for_run(usize::MAX);
    glm(&other, &samples, 1, &coefficients);
    drop(other);
    drop((device, fresh));
    assert_eq!(driver.report(), "");
}

#[test]
fn other_rows_under_a_name_are_not_those_that_are_kept() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    for n_rows in [5000, 300, 700] {
        let mut samples = Samples::new(n_rows, 6, &[3], true);
        let coefficients = samples.coefficients(1);
        let found = glm(device.as_ref(), &samples, 1, &coefficients);
        let fresh = CudaDevice::open(0).unwrap();
        let expected = glm(fresh.as_ref(), &samples, 1, &coefficients);
        assert_same_bits(&found.gradient, &expected.gradient, "gradient");
    }
    drop(device);
    assert_eq!(driver.report(), "");
}

#[test]
fn an_iteration_of_kmeans_brings_nothing_of_each_row_back() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    for n_rows in [500, 9000] {
        let mut samples = Samples::new(n_rows, 4, &[3], true);
        let centroids = samples.random.numbers(5 * 7);
        let design = Design {
            rows: rows(n_rows as u64),
            ..samples.design()
        };
        let weights = Some(samples.weights.as_slice());
        let sums = || device.cluster_sums(&design, &centroids, weights).unwrap();
        let first = sums();
        driver.configure("");
        assert_eq!(sums(), first);
        assert!(driver.counters().uploaded_bytes < 1000);
        // Of each centroid its weight, seven sums and its squares.
        let of_sums = 5 * (1 + 7 + 1) * 8;
        assert_eq!(driver.counters().downloaded_bytes, of_sums);
        // Who asks for rows gets them.
        driver.configure("");
        device.nearest(&design, &centroids, weights).unwrap();
        let with_rows = of_sums + 12 * n_rows as u64;
        assert_eq!(driver.counters().downloaded_bytes, with_rows);
    }
    drop(device);
    assert_eq!(driver.report(), "");
}

#[test]
fn a_run_maps_memory_once_and_gives_it_back_at_its_end() {
    let mut predictors = Vec::new();
    // Where memory comes in the order of a stream, and where each call maps its own.
    for (settings, has_pools) in [("", true), ("pools=0", false)] {
        let driver = Driver::new(settings);
        let device = CudaDevice::open(0).unwrap();
        let mut samples = Samples::new(5000, 6, &[3], true);
        let coefficients = samples.coefficients(1);
        // A run that keeps its rows, and one whose calls keep nothing.
        for chunk in [Some(1), None] {
            let run = device.for_run(usize::MAX);
            let mut mapped_bytes = || {
                driver.configure(settings);
                let design = Design {
                    rows: chunk.and_then(rows),
                    ..samples.design()
                };
                let found = run.linear(&design, &coefficients, 1).unwrap();
                predictors.push(found);
                driver.counters().mapped_bytes
            };
            let first = mapped_bytes();
            assert!(first > 5000 * 8, "{first}");
            assert_eq!(mapped_bytes() == 0, has_pools);
            drop(run);
            let other = device.for_run(usize::MAX);
            driver.configure(settings);
            glm(&other, &samples, 1, &coefficients);
            assert!(
                driver.counters().mapped_bytes > 5000 * 8,
                "it was given back"
            );
        }
        drop(device);
        assert_eq!(driver.report(), "");
    }
    for gradient in &predictors[1..] {
        assert_same_bits(gradient, &predictors[0], "predictors");
    }
}

#[test]
fn runs_do_not_share_what_they_call_the_same() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = [
        Samples::new(300, 2, &[], true),
        Samples::new(301, 2, &[], true),
    ];
    let coefficients = samples[0].coefficients(1);
    glm(device.as_ref(), &samples[0], 1, &coefficients);
    let other = device.another_run();
    let found = glm(other.as_ref(), &samples[1], 1, &coefficients);
    let expected = glm(&CpuDevice, &samples[1], 1, &coefficients);
    assert_eq!(found.weight, expected.weight);
}

#[test]
fn a_limit_counts_blocks_and_partials_and_changes_no_bit() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(9000, 5, &[2], false);
    let coefficients = samples.coefficients(1);
    let whole = glm(device.as_ref(), &samples, 1, &coefficients);
    // From room for the block, through stretches of it, to less than two chunks with their partials.
    let mut n_streamed = 0;
    for limit_bytes in [
        2_000_000, 1_000_000, 700_000, 500_000, 300_000, 100_000, 1000,
    ] {
        let limited = device.for_run(limit_bytes);
        for _ in 0..2 {
            match try_glm(&limited, &samples, 1, &coefficients) {
                Ok(found) => {
                    assert_same_bits(&found.gradient, &whole.gradient, "gradient");
                    assert_same_bits(&found.hessian, &whole.hessian, "hessian");
                    n_streamed += u32::from(limited.kept_bytes() == 0);
                }
                Err(error) => {
                    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
                    assert!(limit_bytes <= 300_000, "{limit_bytes}");
                }
            }
            assert!(limited.kept_bytes() <= limit_bytes);
        }
    }
    assert!(n_streamed >= 2, "{n_streamed}");
    assert!(
        try_glm(&device.for_run(1000), &samples, 1, &coefficients).is_err(),
        "too little for parameters"
    );
    drop(device);
    assert_eq!(driver.report(), "");
}

#[test]
fn a_limit_counts_what_its_own_run_keeps() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut large = Samples::new(9000, 5, &[], false);
    let mut small = Samples::new(1000, 3, &[], true);
    let (of_large, of_small) = (large.coefficients(1), small.coefficients(1));
    glm(device.as_ref(), &large, 1, &of_large);
    let limited = device.for_run(300_000);
    assert!(device.kept_bytes() > 300_000, "others keep more");
    glm(&limited, &small, 1, &of_small);
    driver.configure("");
    glm(&limited, &small, 1, &of_small);
    assert!(driver.counters().uploaded_bytes < 1000, "it stayed");
    drop((limited, device));
    assert_eq!(driver.report(), "");
}

#[test]
fn what_does_not_stay_streams_through_page_locked_memory() {
    // With page-locked memory, and where the system has none to give.
    for (settings, streams) in [("", true), ("host_bytes=1000", false)] {
        let driver = Driver::new(settings);
        let device = CudaDevice::open(0).unwrap();
        let mut samples = Samples::new(9000, 5, &[2], false);
        let coefficients = samples.coefficients(1);
        let whole = glm(device.as_ref(), &samples, 1, &coefficients);
        driver.configure(settings);
        glm(device.as_ref(), &samples, 1, &coefficients);
        assert_eq!(driver.counters().streamed_bytes, 0, "they stayed");
        // Room for stretches of a chunk.
        let limited = device.for_run(500_000);
        for _ in 0..2 {
            driver.configure(settings);
            let found = glm(&limited, &samples, 1, &coefficients);
            assert_same_bits(&found.gradient, &whole.gradient, "gradient");
            assert_same_bits(&found.hessian, &whole.hessian, "hessian");
            assert_eq!(limited.kept_bytes(), 0);
            // Numbers, codes, response and weights.
            let of_rows = 9000 * (5 * 8 + 4 + 16);
            let counters = driver.counters();
            assert!(counters.uploaded_bytes >= of_rows, "{counters:?}");
            let expected = if streams { of_rows } else { 0 };
            assert_eq!(counters.streamed_bytes, expected, "{counters:?}");
        }
        drop((limited, device));
        assert_eq!(
            driver.report(),
            "",
            "no leak, and no copy of what is written anew"
        );
    }
}

#[test]
fn a_missing_wait_between_streams_is_caught() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(9000, 5, &[2], false);
    let coefficients = samples.coefficients(1);
    // Room for stretches of a chunk, whose sums are added on both streams.
    let limited = device.for_run(500_000);
    let by_glm = || try_glm(&limited, &samples, 1, &coefficients).map(drop);
    let by_gram = || limited.gram(&samples.design(), None, None).map(drop);
    let calls: [&dyn Fn() -> auspex_gpu::Result<()>; 2] = [&by_glm, &by_gram];
    for call in calls {
        driver.configure("deaf=1");
        let error = call().unwrap_err();
        assert!(matches!(error, Error::Fault { .. }), "{error}");
        let report = driver.report();
        assert!(report.contains("race in device memory"), "{report}");
        driver.configure("");
        call().unwrap();
        assert_eq!(driver.report(), "");
    }
}

#[test]
fn rows_that_exceed_the_page_locked_memory_stream_in_pieces() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(2100, 520, &[], false);
    let coefficients = samples.coefficients(1);
    let design = samples.design();
    driver.configure("");
    let found = device.linear(&design, &coefficients, 1).unwrap();
    let expected = CpuDevice.linear(&design, &coefficients, 1).unwrap();
    assert_same_bits(&found, &expected, "predictors");
    assert_eq!(driver.counters().streamed_bytes, 2100 * 520 * 8);
    drop(device);
    assert_eq!(driver.report(), "");
}

#[test]
fn what_is_kept_makes_way_for_what_is_computed() {
    let driver = Driver::new("memory_bytes=1000000");
    let device = CudaDevice::open(0).unwrap();
    let mut blocks: Vec<Samples> = (0..6).map(|_| Samples::new(3000, 8, &[], true)).collect();
    let coefficients = blocks[0].coefficients(1);
    for pass in 0..2 {
        for (chunk, samples) in blocks.iter().enumerate() {
            let found = glm(device.as_ref(), samples, chunk as u64, &coefficients);
            let expected = glm(&CpuDevice, samples, 0, &coefficients);
            let difference = (found.loss - expected.loss).abs();
            assert!(difference <= 1e-9 * expected.loss, "pass {pass}");
        }
    }
    assert!(device.kept_bytes() > 0 && device.kept_bytes() <= 750_000);
    // Another run finds no room, and takes what this one keeps.
    let other = device.for_run(usize::MAX);
    let large = Samples::new(7000, 12, &[], true);
    let found = other.gram(&large.design(), None, None).unwrap();
    assert_eq!(found.moments[0], 7000.0);
    let found = glm(device.as_ref(), &blocks[0], 0, &coefficients);
    assert_eq!(
        found.weight.to_bits(),
        glm(&other, &blocks[0], 9, &coefficients).weight.to_bits()
    );
    drop((device, other));
    assert_eq!(driver.report(), "");
}

#[test]
fn a_fault_takes_what_was_kept_and_the_next_call_brings_it_anew() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut samples = Samples::new(500, 3, &[], true);
    let coefficients = samples.coefficients(1);
    let expected = glm(device.as_ref(), &samples, 1, &coefficients);
    driver.configure("fault_at_launch=3");
    let error = try_glm(device.as_ref(), &samples, 1, &coefficients).unwrap_err();
    assert!(matches!(error, Error::Fault { .. }), "{error}");
    assert_eq!(device.kept_bytes(), 0);
    let found = glm(device.as_ref(), &samples, 1, &coefficients);
    assert_same_bits(&found.hessian, &expected.hessian, "hessian");
    assert_eq!(device.n_rebuilt(), 1);
}

/// A pass over blocks as a training makes it.
fn pass(offload: &Offload, blocks: &[Samples], coefficients: &[f64]) -> auspex_gpu::Result<f64> {
    let mut loss = 0.0;
    for (chunk, samples) in blocks.iter().enumerate() {
        let design = samples.design();
        let Elements::F32(values) = design.dense.elements else {
            unreachable!("made of f32")
        };
        let id = rows(chunk as u64).unwrap();
        let visit = Visit::new(id, Elements::F32(values), design.codes);
        let response = &samples.response;
        let found = offload.visiting(visit).glm(
            &design,
            response,
            None,
            coefficients,
            1,
            Loss::Squared,
            false,
        )?;
        loss += found.loss;
    }
    Ok(loss)
}

#[test]
fn two_devices_share_the_blocks_of_a_run() {
    let driver = Driver::new("devices=2");
    let mut blocks: Vec<Samples> = (0..5).map(|_| Samples::new(200, 2, &[], true)).collect();
    let coefficients = blocks[0].coefficients(1);
    let devices: Vec<Arc<CudaDevice>> = (0..2)
        .map(|ordinal| CudaDevice::open(ordinal).unwrap())
        .collect();
    let runs: Vec<Arc<dyn Device>> = devices.iter().map(|device| device.another_run()).collect();
    let both = Offload::new(runs.clone(), OnFailure::Fail);
    let one = Offload::new(vec![devices[0].another_run()], OnFailure::Fail);
    let found = pass(&both, &blocks, &coefficients).unwrap();
    assert_eq!(
        found.to_bits(),
        pass(&one, &blocks, &coefficients).unwrap().to_bits()
    );
    for run in &runs {
        assert!(run.figures().n_launches > 0);
    }
    assert_eq!((both.used().len(), one.used().len()), (2, 1));
    // Of two devices, one computes a block that is alone.
    let little = both.for_run();
    assert!(little.used().is_empty());
    pass(&little, &blocks[..1], &coefficients).unwrap();
    assert_eq!(little.used().len(), 1);
    // A block keeps its device: nothing but parameters is moved to another.
    driver.configure("devices=2");
    pass(&both, &blocks, &coefficients).unwrap();
    assert!(driver.counters().uploaded_bytes < 5 * 200);
    assert_eq!(
        both.figures().n_launches,
        runs.iter().map(|run| run.figures().n_launches).sum()
    );
    drop((both, one, little, runs, devices));
    assert_eq!(driver.report(), "");
}

#[test]
fn the_cpu_goes_on_where_that_is_allowed_and_says_so() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut blocks: Vec<Samples> = (0..3).map(|_| Samples::new(100, 2, &[], true)).collect();
    let coefficients = blocks[0].coefficients(1);
    let cpu = Offload::new(Vec::new(), OnFailure::Fail);
    let expected = pass(&cpu, &blocks, &coefficients).unwrap();
    assert_eq!(cpu.n_calls(), 0);
    for (settings, reason) in [
        ("fault_at_launch=7", "failed on device"),
        ("memory_bytes=100", "has too little memory"),
        // In the midst of a pass, also once what is kept has made way.
        ("failing_allocations=20..22", "has too little memory"),
    ] {
        let auto = Offload::new(vec![device.another_run()], OnFailure::UseCpu);
        let asked = Offload::new(vec![device.another_run()], OnFailure::Fail);
        driver.configure(settings);
        let found = pass(&auto, &blocks, &coefficients).unwrap();
        assert!((found - expected).abs() <= 1e-9 * expected);
        assert_eq!(auto.left_to_cpu().len(), 1);
        assert!(
            auto.left_to_cpu()[0].contains(reason),
            "{:?}",
            auto.left_to_cpu()
        );
        driver.configure(settings);
        let error = pass(&asked, &blocks, &coefficients).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        // The next statement works.
        driver.configure("");
        let next = Offload::new(vec![device.another_run()], OnFailure::Fail);
        let found = pass(&next, &blocks, &coefficients).unwrap();
        assert!((found - expected).abs() <= 1e-9 * expected);
        assert!(next.left_to_cpu().is_empty() && next.n_calls() == 3);
    }
}

#[test]
fn another_block_in_the_same_pass_has_no_name() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let offload = Offload::new(vec![device.another_run()], OnFailure::Fail);
    let (visited, other) = (
        Samples::new(50, 2, &[], true),
        Samples::new(50, 3, &[], true),
    );
    let design = visited.design();
    let visit = Visit::new(rows(1).unwrap(), design.dense.elements, design.codes);
    let visiting = offload.visiting(visit);
    let gram = |samples: &Samples| visiting.gram(&samples.design(), None, None).unwrap();
    let first = gram(&visited);
    driver.configure("");
    let foreign = gram(&other);
    assert!(driver.counters().uploaded_bytes > 50 * 3 * 4, "it is moved");
    assert_eq!(foreign.x_sums.len(), 3);
    driver.configure("");
    assert_eq!(gram(&visited), first);
    assert!(driver.counters().uploaded_bytes < 100, "it stayed");
}
