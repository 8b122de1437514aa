//! The mistakes of kernels that a device would hide now and then.

use super::{ORDERS, module, run};
use crate::{Fault, Launch, Memory, MemoryFault, Module, Order};

/// `into[thread] = in[thread + offset]` for each thread of a block.
fn copy(offset: i64) -> Module {
    let body = format!(
        "mov.u32 %r1, %tid.x;\nmul.wide.u32 %rd1, %r1, 8;\nadd.s64 %rd2, %rd90, %rd1;\n\
         add.s64 %rd3, %rd91, %rd1;\nld.global.b64 %rd4, [%rd2+{offset}];\n\
         st.global.b64 [%rd3], %rd4;"
    );
    module("", &body)
}

/// Each thread leaves its number in shared memory and takes that of its neighbour.
fn neighbours(barrier: &str) -> Module {
    let body = format!(
        "mov.u32 %r1, %tid.x;\nmul.wide.u32 %rd1, %r1, 8;\nmov.u64 %rd2, s;\n\
         add.s64 %rd3, %rd2, %rd1;\nst.shared.b64 [%rd3], %rd1;\n{barrier}\nxor.b64 %rd4, %rd1, 8;\n\
         add.s64 %rd5, %rd2, %rd4;\nld.shared.b64 %rd6, [%rd5];\nadd.s64 %rd7, %rd91, %rd1;\n\
         st.global.b64 [%rd7], %rd6;"
    );
    module(
        ".extern .shared .align 16 .b8 dyn[];\n.shared .align 8 .b8 s[512];",
        &body,
    )
}

#[test]
fn an_access_out_of_bounds_is_caught() {
    let input: Vec<u64> = (0..4).collect();
    for order in ORDERS {
        let found = run(&copy(0), (1, 4), order, &input, 4).expect("in bounds");
        assert_eq!(found, input);
        let fault = run(&copy(8), (1, 4), order, &input, 4).expect_err("beyond the end");
        assert!(matches!(&fault, Fault::Memory { source, .. }
            if matches!(**source, MemoryFault::OutOfBounds { space: "global", .. })));
        assert!(fault.to_string().contains("thread 3"), "{fault}");
        let fault = run(&copy(0), (1, 4), order, &input, 3).expect_err("a write beyond the end");
        assert!(
            fault.to_string().contains("outside of global memory"),
            "{fault}"
        );
    }
}

#[test]
fn a_missing_barrier_is_caught_in_any_order() {
    for order in ORDERS {
        let found = run(&neighbours("bar.sync 0;"), (2, 64), order, &[], 64);
        // Both blocks write the same words of global memory.
        let fault = found.expect_err("blocks race");
        assert!(
            fault.to_string().contains("race in global memory"),
            "{fault}"
        );
        let found = run(&neighbours("bar.sync 0;"), (1, 64), order, &[], 64).expect("no race");
        assert!((0..64).all(|thread| found[thread] == (thread as u64 ^ 1) * 8));
        let fault = run(&neighbours(""), (1, 64), order, &[], 64).expect_err("no barrier");
        let text = fault.to_string();
        let is_caught = text.contains("race in shared memory") || text.contains("never written");
        assert!(is_caught, "{text}");
    }
}

#[test]
fn a_race_between_blocks_is_caught_unless_it_is_atomic() {
    let plain = module("", "st.global.b32 [%rd91], 1;");
    let atomic = module("", "red.global.add.u32 [%rd90], 1;");
    for order in ORDERS {
        let fault = run(&plain, (2, 1), order, &[], 1).expect_err("two writers");
        assert!(
            fault.to_string().contains("race in global memory"),
            "{fault}"
        );
        run(&atomic, (2, 1), order, &[0], 1).expect("atomics do not race");
    }
}

#[test]
fn a_read_only_load_of_a_written_byte_is_caught() {
    let body = "st.global.b64 [%rd90], 1;\nld.global.nc.b64 %rd1, [%rd90];";
    let fault = run(&module("", body), (1, 1), Order::Forward, &[0], 1).expect_err("written");
    assert!(fault.to_string().contains("read-only"), "{fault}");
}

#[test]
fn poison_may_not_be_read() {
    for body in [
        "ld.global.b64 %rd1, [%rd91];",
        "ld.shared.b32 %r1, [s];",
        "atom.shared.add.u32 %r1, [s], 1;",
    ] {
        let module = module(".shared .align 8 .b8 s[8];", body);
        let fault = run(&module, (1, 1), Order::Forward, &[], 1).expect_err(body);
        assert!(fault.to_string().contains("never written"), "{fault}");
    }
}

#[test]
fn misaligned_and_foreign_addresses_are_caught() {
    for (body, expected) in [
        ("ld.global.b64 %rd1, [%rd90+4];", "not aligned"),
        ("ld.global.v2.b64 {%rd1, %rd2}, [%rd90+8];", "not aligned"),
        ("ld.shared.b64 %rd1, [s+16];", "outside of shared memory"),
        ("ld.global.b64 %rd1, [%rd2];", "outside of global memory"),
        (
            "ld.param.u64 %rd1, [k_param_1+8];",
            "outside of parameter memory",
        ),
        ("trap;", "trap"),
    ] {
        let module = module(".shared .align 8 .b8 s[8];", body);
        let fault = run(&module, (1, 1), Order::Forward, &[1, 2], 1).expect_err(body);
        assert!(fault.to_string().contains(expected), "{fault}");
    }
}

#[test]
fn threads_that_part_at_a_barrier_are_caught() {
    let body = "mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 5;\n@%p1 bra $OTHER;\nbar.sync 0;\n\
                ret;\n$OTHER:\nshfl.sync.down.b32 %r2|%p2, %r1, 1, 31, -1;";
    for order in ORDERS {
        let fault = run(&module("", body), (1, 32), order, &[], 1).expect_err("parted");
        assert!(matches!(fault, Fault::Diverged { .. }), "{fault}");
    }
}

#[test]
fn a_launch_beyond_the_limits_is_refused() {
    let limits = |grid, block, dynamic_shared_bytes| {
        let module = module(".shared .align 8 .b8 s[1024];", "mov.u64 %rd1, s;");
        let launch = Launch {
            grid,
            block,
            dynamic_shared_bytes,
            parameters: &[0; 16],
            order: Order::Forward,
            is_wrong: false,
        };
        let kernel = module.kernel("k").expect("there");
        crate::launch(kernel, &launch, &mut Memory::new(0)).map(|_| ())
    };
    limits([1, 1, 1], [1, 1, 64], 47 << 10).expect("within the limits");
    for (grid, block, shared, what) in [
        ([1, 1, 1], [1025, 1, 1], 0, "number of threads"),
        ([1, 65_536, 1], [1, 1, 1], 0, "blocks along y"),
        ([1, 1, 1], [1, 1, 1], 48 << 10, "shared memory"),
        ([0, 1, 1], [1, 1, 1], 0, "extent"),
        ([1, 1, 1], [1, 1, 65], 0, "depth"),
    ] {
        let fault = limits(grid, block, shared).expect_err(what);
        assert!(fault.to_string().contains(what), "{fault}");
    }
}

#[test]
fn registers_are_counted_and_limited() {
    let n = 200;
    let loads: String = (0..n)
        .map(|idx| format!("ld.global.b64 %rd{}, [%rd90+{}];\n", idx + 100, idx * 8))
        .collect();
    let stores: String = (0..n)
        .map(|idx| format!("st.global.b64 [%rd91+{}], %rd{};\n", idx * 8, idx + 100))
        .collect();
    let module = module("", &(loads + &stores));
    let kernel = module.kernel("k").expect("there");
    assert!(
        kernel.n_live_registers > 2 * n,
        "{}",
        kernel.n_live_registers
    );
    let input = vec![1; n];
    let fault = run(&module, (1, 1), Order::Forward, &input, n).expect_err("too many");
    assert!(
        fault.to_string().contains("registers of a thread"),
        "{fault}"
    );
    assert!(copy(0).kernel("k").expect("there").n_live_registers < 16);
}

#[test]
fn memory_has_bounds_and_tells_what_leaks() {
    let mut memory = Memory::new(1000);
    assert_eq!(memory.allocate(0), None);
    assert_eq!(memory.allocate(1001), None);
    let first = memory.allocate(600).expect("room");
    assert_eq!(memory.allocate(600), None);
    let second = memory.allocate(400).expect("room");
    assert_eq!(memory.leaks(), [(first, 600), (second, 400)]);
    let mut byte = [0];
    memory.read(first, &mut byte).expect("in bounds");
    assert_eq!(byte, [0xff], "fresh memory is poison");
    assert!(memory.read(first + 600, &mut byte).is_err());
    assert!(memory.write(second - 1, &byte).is_err());
    assert!(memory.free(first));
    assert!(!memory.free(first));
    assert!(memory.read(first, &mut byte).is_err());
    assert_eq!(memory.leaks(), [(second, 400)]);
}
