//! Tests of the whole: what instructions compute, and which mistakes of kernels are caught.

mod faults;
mod instructions;

use crate::{Fault, Launch, Memory, Module, Order};

/// A kernel with a pointer in, a pointer out, and the body given.
fn module(declarations: &str, body: &str) -> Module {
    let source = format!(
        ".version 8.0\n.target sm_70\n.address_size 64\n{declarations}\n.visible .entry k(\n\
         .param .u64 k_param_0,\n.param .u64 k_param_1\n)\n{{\n.reg .b64 %rd<99>;\n\
         ld.param.u64 %rd90, [k_param_0];\nld.param.u64 %rd91, [k_param_1];\n{body}\nret;\n}}\n"
    );
    Module::parse(&source).expect("known PTX")
}

/// Runs the kernel over words; returns the words that it wrote, poison where it wrote none.
fn run(
    module: &Module,
    (grid, block): (u32, u32),
    order: Order,
    input: &[u64],
    n_output: usize,
) -> Result<Vec<u64>, Fault> {
    let mut memory = Memory::new(1 << 20);
    let from = memory.allocate(input.len().max(1) * 8).expect("room");
    let into = memory.allocate(n_output * 8).expect("room");
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.write(from, &bytes).expect("in bounds");
    let parameters: Vec<u8> = [from, into].iter().flat_map(|p| p.to_le_bytes()).collect();
    let launch = Launch {
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        dynamic_shared_bytes: 0,
        parameters: &parameters,
        order,
        is_wrong: false,
    };
    crate::launch(module.kernel("k").expect("there"), &launch, &mut memory)?;
    let mut bytes = vec![0; n_output * 8];
    memory.read(into, &mut bytes).expect("in bounds");
    let words = bytes.chunks_exact(8);
    Ok(words
        .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
        .collect())
}

const ORDERS: [Order; 4] = [
    Order::Forward,
    Order::Reverse,
    Order::Shuffled(1),
    Order::Shuffled(2),
];
