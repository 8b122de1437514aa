#!/usr/bin/env python3
"""Auspex beside scikit-learn: whole processes in turn, on the same file, with the quality beside the time.

Each measurement is a process that starts, reads a Parquet file, learns on four fifths of its rows, judges the
model on the held-out fifth, and ends. Printed: wall time, CPU time and peak resident memory of both, their
ratios (Auspex / peer), and the quality of both. Needs python3 with venv and a release build of Auspex:

    cargo build --release --locked --bin auspex
    python3 benches/peers/run.py --auspex target/release/auspex --rows 1000000 5000000

The peer's libraries are installed into a virtual environment in the work folder. Tables come from fixed seeds.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["numpy", "pyarrow", "scikit-learn"]


def venv_python(work):
    """The virtual environment's interpreter, made on first use."""
    python = work / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def measure(command, env):
    """Runs a command; returns (wall seconds, CPU seconds, peak MiB, standard output)."""
    with tempfile.TemporaryFile("w+") as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, env=env, text=True)
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        out.seek(0)
        text = out.read()
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{text}\n{errors}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def auspex_command(binary, work, table, task):
    """The statements of one task, run by the embedded engine over a fresh warehouse."""
    warehouse = work / "warehouse"
    shutil.rmtree(warehouse, ignore_errors=True)
    split = "data_split_method = 'CUSTOM', data_split_col = 'is_eval'"
    if task == "linear":
        model = f"OPTIONS (model_type = 'linear_reg', input_label_cols = ['y'], {split}) AS SELECT * EXCEPT (label) FROM '{table}'"
        judge = "SELECT r2_score AS quality FROM ML.EVALUATE(MODEL m)"
    elif task == "logistic":
        model = f"OPTIONS (model_type = 'logistic_reg', input_label_cols = ['label'], l2_reg = 1.0, {split}) AS SELECT * EXCEPT (y) FROM '{table}'"
        judge = "SELECT roc_auc AS quality FROM ML.EVALUATE(MODEL m)"
    else:
        model = (
            "OPTIONS (model_type = 'kmeans', num_clusters = 8, standardize_features = FALSE, "
            f"early_stop = FALSE, max_iterations = 300) AS SELECT * EXCEPT (is_eval) FROM '{table}' WHERE NOT is_eval"
        )
        judge = f"SELECT mean_squared_distance AS quality FROM ML.EVALUATE(MODEL m, (SELECT * FROM '{table}' WHERE is_eval))"
    return [
        binary, "sql", "--warehouse", warehouse, "--allow-location", table.parent, "--format", "csv",
        "-c", f"CREATE MODEL m {model}", "-c", judge,
    ]  # fmt: skip


def quality(text):
    """The last number that a process printed."""
    return float(re.findall(r"-?\d+\.\d+(?:[eE][-+]?\d+)?", text)[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auspex", type=pathlib.Path, required=True, help="the release binary")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--tasks", nargs="+", default=["linear", "logistic", "kmeans"])
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "auspex-peers")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    python = venv_python(args.work)
    # An emulated instruction set would slow the peer down: let its libraries choose for themselves.
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    print(f"{'task':<9} {'rows':>9} {'system':<30} {'wall s':>8} {'cpu s':>8} {'peak MiB':>9}  quality")
    for n_rows in args.rows:
        for task in args.tasks:
            shape = "blobs" if task == "kmeans" else "boundary"
            table = args.work / f"{shape}-{n_rows}.parquet"
            if not table.exists():
                subprocess.run([python, HERE / "tables.py", shape, str(n_rows), table], check=True, env=env)
            runs = {}
            solvers = json.loads(subprocess.check_output([python, HERE / "sklearn_peer.py", "solvers", task], env=env))
            commands = {f"scikit-learn {s}": [python, HERE / "sklearn_peer.py", task, s, table] for s in solvers}
            commands["auspex"] = auspex_command(args.auspex, args.work, table, task)
            for name, command in commands.items():
                best = None
                for _ in range(args.repeat):
                    if name == "auspex":
                        command = auspex_command(args.auspex, args.work, table, task)
                    run = measure([str(part) for part in command], env)
                    best = min(best or run, run)
                runs[name] = best
                wall, cpu, peak, text = best
                print(f"{task:<9} {n_rows:>9} {name:<30} {wall:8.2f} {cpu:8.2f} {peak:9.0f}  {quality(text):.6f}", flush=True)
            ours = runs.pop("auspex")
            name, peer = min(runs.items(), key=lambda item: item[1][0])
            ratios = [mine / theirs for mine, theirs in zip(ours[:3], peer[:3])]
            print(f"{task:<9} {n_rows:>9} {'ratio to ' + name:<30} {ratios[0]:8.3f} {ratios[1]:8.3f} {ratios[2]:9.3f}  {quality(ours[3]) - quality(peer[3]):+.6f}", flush=True)


if __name__ == "__main__":
    main()
