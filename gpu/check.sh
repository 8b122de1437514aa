#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds, compares every kernel and every model type with the CPU on the device, times
# both, and prints tables to paste into docs/gpu.md. Ends with an error where a device differs from the CPU by more than
# that page allows. Nothing of it runs in CI, which has no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

# A driver that is named may be the stand-in of the tests, which shows that this script works, and nothing about speed.
if [ -z "${AUSPEX_CUDA_LIBRARY:-}" ]; then
  command -v nvidia-smi >/dev/null || { echo "no nvidia-smi: is there a GPU and its driver?" >&2; exit 1; }
  nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader
  export AUSPEX_CUDA_LIBRARY=libcuda.so.1
fi
rows=()
[ -z "${AUSPEX_CHECK_ROWS:-}" ] || rows=(--rows "$AUSPEX_CHECK_ROWS" --runs 1)
failed=0

printf '\n## Kernels\n\n'
cargo run --release --locked --package auspex-gpu --example kernels -- --device cuda "${rows[@]}" || failed=1

printf '\n## Model types\n\n'
cargo run --release --locked --package auspex-ml --example estimators -- --device cuda "${rows[@]}" || failed=1

# The contract of every model type, on the device. One of its tests needs a driver that fails when it is told to.
printf '\n## Contract\n\n'
AUSPEX_CONTRACT_DEVICE=cuda AUSPEX_TEST_FULL=1 cargo test --release --locked --package auspex-ml --test contract -- \
  --skip the_cpu_ends_what_a_failing_device_began || failed=1

[ "$failed" = 0 ] || { echo "the device does not compute what the CPU computes: see above" >&2; exit 1; }
