//! What goes wrong with drivers and devices, and that the next call works.

use std::sync::Arc;

use auspex_gpu::{CpuDevice, CudaDevice, CudaProbe, Device, Error};
use cudarc::driver::CudaContext;

use crate::driver::Driver;
use crate::kernels::Samples;

#[test]
fn drivers_and_devices_that_cannot_be_used_say_why() {
    let driver = Driver::new("devices=0");
    assert_eq!(CudaDevice::open(0).unwrap_err(), Error::NoDevice);
    driver.configure("driver_version=11080");
    assert_eq!(
        CudaDevice::open(0).unwrap_err().to_string(),
        "the CUDA driver supports CUDA 11.8, but 12.0 is needed"
    );
    driver.configure("wrong=1");
    assert_eq!(
        CudaDevice::open(0).unwrap_err().to_string(),
        "device \"PTX interpreter (no GPU)\" computes wrong results"
    );
    driver.configure("devices=2");
    assert_eq!(
        CudaDevice::open(2).unwrap_err().to_string(),
        "there is no CUDA device 2, but 2 from number 0 on"
    );
}

#[test]
fn what_could_not_be_used_is_found_when_it_is_looked_for_anew() {
    let driver = Driver::new("devices=0");
    let probe = CudaProbe::default().anew();
    assert_eq!(probe.absence, Some(Error::NoDevice));
    // The first device has no memory for its first call.
    driver.configure("devices=2,failing_allocations=1..2");
    let probe = probe.anew();
    assert_eq!(probe.absence, None);
    assert_eq!(
        probe.devices[0].as_ref().unwrap_err().to_string(),
        "device \"PTX interpreter (no GPU)\" has too little free memory to be tried"
    );
    let second = probe.devices[1].clone().unwrap();
    driver.configure("devices=2");
    let probe = probe.anew();
    let first = probe.devices[0].clone().unwrap();
    assert!(Arc::ptr_eq(&second, probe.devices[1].as_ref().unwrap()));
    // A context that was lost, and cannot be opened for now.
    let samples = Samples::new(50, 2, &[], true);
    let gram = || first.gram(&samples.design(), None, None);
    driver.configure("devices=2,fault_at_launch=1");
    gram().unwrap_err();
    assert_eq!(first.problem(), None, "the next call opens it");
    driver.configure("devices=0");
    let lost = gram().unwrap_err();
    assert_eq!(first.problem(), Some(lost));
    driver.configure("devices=2");
    let probe = probe.anew();
    assert!(Arc::ptr_eq(&first, probe.devices[0].as_ref().unwrap()));
    assert_eq!(first.problem(), None);
    gram().unwrap();
}

#[test]
fn two_devices_compute_the_same() {
    let _driver = Driver::new("devices=2");
    let samples = Samples::new(100, 3, &[], true);
    let grams: Vec<_> = [0, 1]
        .map(|ordinal| CudaDevice::open(ordinal).unwrap())
        .iter()
        .map(|device| device.gram(&samples.design(), None, None).unwrap())
        .collect();
    assert_eq!(grams[0], grams[1]);
}

#[test]
fn a_device_tells_what_it_is() {
    let _driver = Driver::new("");
    let info = CudaDevice::open(0).unwrap().info();
    assert_eq!(info.kind, "cuda");
    assert_eq!(info.name, "PTX interpreter (no GPU)");
    assert_eq!(info.memory_bytes, Some(1 << 30));
    assert_eq!(info.driver.as_deref(), Some("CUDA 12.9"));
}

#[test]
fn too_little_memory_is_an_error_and_the_next_call_works() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let samples = Samples::new(3000, 8, &[], false);
    let gram = || device.gram(&samples.design(), Some(&samples.response), None);
    let expected = gram().unwrap();
    // At the upload of the rows, and later, at the sums of the chunks.
    for memory_bytes in [1000, 60_000, 9000 * 8] {
        driver.configure(&format!("memory_bytes={memory_bytes}"));
        assert_eq!(
            gram().unwrap_err().to_string(),
            "device \"PTX interpreter (no GPU)\" has too little memory for kernel \"gram\""
        );
    }
    driver.configure("");
    assert_eq!(gram().unwrap(), expected);
    assert_eq!(device.n_rebuilt(), 0, "the context was never lost");
    drop(device);
    assert_eq!(driver.report(), "", "no leak");
}

#[test]
fn a_fault_poisons_its_context_alone_which_is_opened_anew() {
    let driver = Driver::new("devices=2");
    let devices = [0, 1].map(|ordinal| CudaDevice::open(ordinal).unwrap());
    let samples = Samples::new(50, 2, &[], true);
    let gram = |device: &CudaDevice| device.gram(&samples.design(), None, None);
    let expected = gram(&devices[0]).unwrap();
    driver.configure("devices=2,fault_at_launch=2");
    assert_eq!(
        gram(&devices[0]).unwrap_err().to_string(),
        "kernel \"gram\" failed on device \"PTX interpreter (no GPU)\": CUDA_ERROR_ILLEGAL_ADDRESS"
    );
    assert_eq!(
        gram(&devices[1]).unwrap(),
        expected,
        "the other device goes on"
    );
    assert_eq!(gram(&devices[0]).unwrap(), expected, "and so does this one");
    assert_eq!(devices.each_ref().map(|device| device.n_rebuilt()), [1, 0]);
}

#[test]
fn works_of_two_streams_on_the_same_memory_need_an_event() {
    let driver = Driver::new("");
    // The second stream reads what the first has filled, and then the first frees it.
    for (read_waits, free_waits) in [(true, true), (true, false), (false, true)] {
        let context = CudaContext::new(0).unwrap();
        // SAFETY: what is missing is to be found by the stand-in driver, not by cudarc's own events.
        unsafe { context.disable_event_tracking() };
        let [first, second] = [(); 2].map(|()| context.new_stream().unwrap());
        let filled = first.alloc_zeros::<u32>(8).unwrap();
        if read_waits {
            second.join(&first).unwrap();
        }
        let mut found = [7u32; 8];
        let copied = second.memcpy_dtoh(&filled, &mut found[..]);
        assert_eq!(copied.is_ok(), read_waits);
        if read_waits && free_waits {
            first.join(&second).unwrap();
            assert_eq!(found, [0; 8]);
        }
        drop(filled);
        drop((first, second, context));
        let report = driver.report();
        let expected = match (read_waits, free_waits) {
            (true, true) => "",
            (true, false) => "written by a release on stream",
            (false, _) => "read by a copy on stream",
        };
        assert!(report.contains(expected), "{report}");
        assert_eq!(report.is_empty(), expected.is_empty(), "{report}");
    }
}

#[test]
fn wrong_shapes_are_refused_as_on_the_cpu() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let samples = Samples::new(10, 2, &[], true);
    let response = vec![0.0; 9];
    let design = samples.design();
    assert_eq!(
        device.gram(&design, Some(&response), None).unwrap_err(),
        CpuDevice.gram(&design, Some(&response), None).unwrap_err()
    );
    assert_eq!(
        device.linear(&design, &[0.0], 1).unwrap_err(),
        CpuDevice.linear(&design, &[0.0], 1).unwrap_err()
    );
}

#[test]
fn only_what_a_pass_needs_is_moved() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let samples = Samples::new(1000, 4, &[], true);
    driver.configure("");
    device.gram(&samples.design(), None, None).unwrap();
    let counters = driver.counters();
    // The rows, the frame, and the sums of one tile.
    assert!(counters.uploaded_bytes < 1000 * 16 + 200, "{counters:?}");
    assert!(counters.downloaded_bytes <= 8 * 32 * 32, "{counters:?}");
}
