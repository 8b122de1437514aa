#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds, compares every kernel with the CPU on the device, times both, and prints
# a table to paste into docs/gpu.md. Nothing of it runs in CI, which has no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v nvidia-smi >/dev/null || { echo "no nvidia-smi: is there a GPU and its driver?" >&2; exit 1; }
nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader

# The comparison of each kernel with the CPU, and the times of both.
cargo run --release --locked --package auspex-gpu --example kernels -- --device cuda

# Every estimator that has kernels: the same model as on the CPU, trees to the bit.
AUSPEX_CUDA_LIBRARY="${AUSPEX_CUDA_LIBRARY:-libcuda.so.1}" \
  cargo test --release --locked --package auspex-ml --test contract a_device_learns_what_the_cpu_learns
