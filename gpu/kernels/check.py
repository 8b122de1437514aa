"""Compiles the CUDA kernels and compares the result with the PTX that is checked in.

python3 check.py            demands the same bytes, and that ptxas finds no spills
python3 check.py --write    writes the PTX and the table of resources

Needs the wheels nvidia-cuda-nvrtc-cu12==12.0.140 and nvidia-cuda-nvcc-cu12==12.9.86; no GPU, no driver.
"""

import ctypes
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
OPTIONS = ["--std=c++17", "--fmad=false", f"--include-path={HERE}"]
# The shipped text, and the machines that it is also compiled for.
SHIPPED, MACHINES = "compute_70", ["sm_70", "sm_80", "sm_90"]
TABLE = "resources.md"
HEADER = """# Resources of the kernels

What ptxas 12.9.86 gives a thread of each kernel, by architecture. Shared memory that a launch asks for comes on top.
Written by `check.py --write`; the check fails if it differs, or if a kernel spills.

| kernel | architecture | registers | shared bytes | stack bytes | spilled bytes |
|---|---|---|---|---|---|
"""


def library():
    import nvidia.cuda_nvrtc

    folder = list(nvidia.cuda_nvrtc.__path__)[0] + "/lib"
    lib = ctypes.CDLL(glob.glob(folder + "/libnvrtc.so.*")[0])
    major, minor = ctypes.c_int(), ctypes.c_int()
    lib.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    if (major.value, minor.value) != (12, 0):
        sys.exit(f"NVRTC is {major.value}.{minor.value}, expected 12.0")
    return lib


def compile_ptx(lib, name, architecture):
    with open(os.path.join(HERE, name), "rb") as file:
        source = file.read()
    program = ctypes.c_void_p()
    lib.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 0, None, None)
    options = [o.encode() for o in OPTIONS + [f"--gpu-architecture={architecture}"]]
    code = lib.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    if code:
        lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        lib.nvrtcGetProgramLog(program, log)
        sys.exit(f"{name} for {architecture}: {log.value.decode()}")
    lib.nvrtcGetPTXSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    lib.nvrtcGetPTX(program, text)
    lib.nvrtcDestroyProgram(ctypes.byref(program))
    return text.value.decode()


def resources(ptx, machine):
    """(kernel, machine, registers, shared, stack, spilled) of each kernel, by ptxas."""
    import nvidia.cuda_nvcc

    ptxas = list(nvidia.cuda_nvcc.__path__)[0] + "/bin/ptxas"
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [ptxas, "-v", f"-arch={machine}", file.name, "-o", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"ptxas for {machine}: {done.stderr}")
    rows, kernel, stack, spilled = [], None, 0, 0
    for line in done.stderr.splitlines():
        if found := re.search(r"entry function '(\w+)'", line):
            kernel = found.group(1)
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", line):
            stack, spilled = int(found.group(1)), int(found.group(2)) + int(found.group(3))
        elif found := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            smem = int(shared.group(1)) if shared else 0
            rows.append((kernel, machine, int(found.group(1)), smem, stack, spilled))
    return rows


def main():
    write = "--write" in sys.argv[1:]
    lib = library()
    problems, rows = [], []
    for path in sorted(glob.glob(os.path.join(HERE, "*.cu"))):
        name = os.path.basename(path)
        ptx = compile_ptx(lib, name, SHIPPED)
        target = os.path.join(HERE, "ptx", name.replace(".cu", ".ptx"))
        if write:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w") as file:
                file.write(ptx)
        elif not os.path.exists(target) or open(target).read() != ptx:
            problems.append(f"{name}: its PTX is not what is checked in; run check.py --write")
        for machine in MACHINES:
            compile_ptx(lib, name, machine)
            rows += resources(ptx, machine)
    table = HEADER + "".join("| " + " | ".join(map(str, row)) + " |\n" for row in sorted(rows))
    if write:
        with open(os.path.join(HERE, TABLE), "w") as file:
            file.write(table)
    elif open(os.path.join(HERE, TABLE)).read() != table:
        problems.append(f"{TABLE} is not what ptxas says; run check.py --write")
    problems += [f"{row[0]} spills on {row[1]}" for row in rows if row[5]]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(rows) // len(MACHINES)} kernels, no spills, the PTX is what its source says")


main()
