#!/usr/bin/env python3
"""Auspex beside its peers: whole processes in turn, on the same file, with the quality beside the time.

Each measurement is a process that starts, reads a Parquet file, learns on four fifths of its rows, judges the
model on the held-out fifth, and ends (task `scoring`: reads, scores every row with a model learned before, and
writes Parquet). Printed: wall time, CPU time and peak resident memory of both, their ratios (Auspex / the fastest
peer), the quality of both, and the task's bars. Needs python3 with venv and a release build of Auspex:

    cargo build --release --locked --bin auspex
    python3 benches/peers/run.py --auspex target/release/auspex --rows 1000000 5000000
    python3 benches/peers/run.py --auspex target/release/auspex --tasks boosted --threads 1 2
    python3 benches/peers/run.py --auspex target/release/auspex --tasks airline limited --rows 10000000

The peers' libraries are installed into a virtual environment in the work folder. Tables come from fixed seeds.
Without `--auspex` the peers run alone.
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
import threading
import time
from dataclasses import dataclass

from tasks import TASKS, TREES

HERE = pathlib.Path(__file__).resolve().parent
# Each package with the module that shows that it is there; cffi is LightGBM's way to Arrow.
PACKAGES = {"numpy": "numpy", "pyarrow": "pyarrow", "scikit-learn": "sklearn", "lightgbm": "lightgbm", "xgboost": "xgboost", "cffi": "cffi"}


@dataclass
class Run:
    """One measured process."""

    wall: float
    cpu: float
    peak: float
    text: str
    judged: str = ""
    growing_s: float | None = None

    def figure(self, name):
        """A number that the process reported about itself, in seconds; None if it did not."""
        if self.text.lstrip().startswith("{"):
            return json.loads(self.text).get(name)
        return auspex_training_s(self.text) if name == "train_cpu_s" else None

    @property
    def quality(self):
        """The last number that the process (or its judge) printed, or what it calls so."""
        text = self.judged or self.text
        if text.lstrip().startswith("{"):
            return json.loads(text).get("quality", float("nan"))
        return float((re.findall(r"-?\d+\.\d+(?:[eE][-+]?\d+)?", text) or ["nan"])[-1])


def auspex_training_s(text):
    """Seconds of training alone that Auspex reports: the sum of `duration_ms` of ML.TRAINING_INFO."""
    found = re.search(r"^training_ms\r?\n([\d.]+)", text, re.MULTILINE)
    return float(found[1]) / 1000 if found else None


def venv_python(work, packages=PACKAGES):
    """The interpreter of a virtual environment with these packages, made on first use."""
    python = work / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    test = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in {list(packages.values())}))"
    if subprocess.run([python, "-c", test]).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def pinned(threads):
    """For Popen: keeps a process on `threads` cores, where the system can."""
    if threads is None or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def measure(command, env, threads=None, patience_s=None):
    """Runs a command; returns a Run, or None if it took longer than `patience_s`."""
    command = [str(part) for part in command]
    env = env if threads is None else env | {"OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, env=env, text=True, preexec_fn=pinned(threads))
        timer = threading.Timer(patience_s or threading.TIMEOUT_MAX, process.kill)
        timer.start()
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        timer.cancel()
        process.returncode = status
        out.seek(0)
        text = out.read()
    if patience_s and wall >= patience_s:
        return None
    if status != 0:
        sys.exit(f"{' '.join(command)}\nfailed:\n{text}\n{errors}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


class Bench:
    """One task on one table with one number of threads."""

    def __init__(self, args, python, env, name, n_rows, threads):
        self.args, self.python, self.env = args, python, env
        self.name, self.task, self.n_rows, self.threads = name, TASKS[name], n_rows, threads
        self.warehouse = args.work / "warehouse"
        self.table = self.make_table(n_rows)
        self.prepare_table = self.make_table(min(n_rows, self.task.prepare_rows)) if self.task.prepare else None

    def make_table(self, n_rows):
        table = self.args.work / f"{self.task.shape}-{n_rows}.parquet"
        if not table.exists():
            part = table.with_suffix(".part")
            subprocess.run([self.python, HERE / "tables.py", self.task.shape, str(n_rows), part], check=True, env=self.env)
            part.rename(table)
        return table

    def auspex_command(self, statements, table, limit=None):
        """The statements of one task, run by the embedded engine."""
        command = [self.args.auspex, "sql", "--warehouse", self.warehouse, "--allow-location", table.parent, "--format", "csv"]
        command += ["--threads", self.threads] if self.threads else []
        command += ["--memory-limit", f"{limit / 1e6:.0f}MB"] if limit else []
        for statement in statements:
            command += ["-c", statement.format(table=table)]
        return command

    def auspex(self, statements=None, limit=None):
        """A run of Auspex over a fresh warehouse."""
        shutil.rmtree(self.warehouse, ignore_errors=True)
        if self.task.prepare:
            measure(self.auspex_command(self.task.prepare, self.prepare_table), self.env)
        command = self.auspex_command(statements or self.task.statements, self.table, limit)
        run = measure(command, self.env, self.threads)
        if self.name == "scoring":
            run.judged = self.judge(sorted(self.warehouse.glob("tables/**/*.parquet")))
        return run

    def peer(self, solver, patience_s):
        """A run of a peer; None if it was given up."""
        script = [self.python, HERE / self.task.peer]
        limit = ["--threads", self.threads] if self.threads and self.task.peer == "tree_peer.py" else []
        if self.name != "scoring":
            return self.either_wait([*script, self.name, solver, self.table, *limit], patience_s)
        model = self.args.work / ("model.ubj" if solver == "xgboost" else "model.txt")
        scores = self.args.work / "scores.parquet"
        measure([*script, "prepare", "scoring", solver, self.prepare_table, "--model", model, "--threads", "1"], self.env)
        command = [*script, "scoring", solver, self.table, "--model", model, "--out", scores, *limit]
        run = self.either_wait(command, patience_s)
        if run:
            run.judged = self.judge([scores])
        return run

    def either_wait(self, command, patience_s):
        """The faster of a peer's runs with sleeping and with spinning OpenMP threads.

        Spinning is the libraries' default and the faster on an idle machine; when a core is taken, LightGBM on two
        threads has been seen to burn 15 to 25 times the time. The second run is stopped once it cannot win.
        """
        if self.task.peer != "tree_peer.py" or self.threads == 1:
            return measure(command, self.env, self.threads, patience_s)
        asleep = measure(command, self.env | {"OMP_WAIT_POLICY": "passive"}, self.threads, patience_s)
        spinning = asleep and measure(command, self.env, self.threads, asleep.wall)
        return spinning or asleep

    def judge(self, files):
        return measure([self.python, HERE / "tree_peer.py", "judge", *files], self.env).text

    def print(self, system, text):
        print(f"{self.name:<9} {self.n_rows:>9} {self.threads or 'all':>3} {system:<34} {text}", flush=True)

    def print_run(self, system, run):
        alone = run.figure("train_cpu_s")
        alone = f"  (training alone {alone:.2f} s)" if alone is not None else ""
        self.print(system, f"{run.wall:8.2f} {run.cpu:8.2f} {run.peak:9.0f}  {run.quality:.6f}{alone}")

    def fastest(self, system, run):
        """Runs `--repeat` times; the fastest counts."""
        runs = [run() for _ in range(self.args.repeat)]
        best = min((run for run in runs if run), key=lambda run: run.wall, default=None)
        if best:
            self.print_run(system, best)
        return best

    def run_peers(self):
        """{system: Run} of the peers; one that falls far behind the fastest is given up."""
        if not self.task.peer:
            return {}
        prefix = "" if self.task.peer == "tree_peer.py" else "scikit-learn "
        solvers = subprocess.check_output([self.python, HERE / self.task.peer, "solvers", self.name], env=self.env)
        runs = {}
        for solver in json.loads(solvers):
            if not re.search(self.args.systems, prefix + solver):
                continue
            patience_s = self.args.give_up * min(run.wall for run in runs.values()) + 60 if runs else None
            run = self.fastest(prefix + solver, lambda: self.peer(solver, patience_s))
            if run:
                runs[prefix + solver] = run
            else:
                self.print(prefix + solver, f"given up after {patience_s:.0f} s")
        return runs

    def run_auspex(self):
        """{system: Run} of Auspex: `auspex`, and `auspex limited` where the task has a memory limit."""
        ours = {"auspex": self.fastest("auspex", self.auspex)}
        if self.task.one_tree:
            # CPU time by difference: it does not move with what else the machine does.
            one = self.auspex(self.task.one_tree)
            ours["auspex"].growing_s = (ours["auspex"].cpu - one.cpu) * TREES / (TREES - 1)
            self.print("auspex, one tree", f"{one.wall:8.2f} {one.cpu:8.2f} {one.peak:9.0f}  {one.quality:.6f}")
        if self.task.limit_bytes_a_row:
            whole = self.model_bytes()
            limit = int(self.task.limit_bytes_a_row * self.n_rows)
            ours["auspex limited"] = self.fastest(f"auspex, limit {limit / 1e6:.0f} MB", lambda: self.auspex(limit=limit))
            same = bool(whole) and whole == self.model_bytes()
            self.print("same model to the bit", "yes" if same else "NO")
        return ours

    def model_bytes(self):
        """What the models in the warehouse consist of, without the record of their training."""
        return sorted(file.read_bytes() for file in self.warehouse.glob("models/*/blobs/*"))


def bar_value(bar, runs):
    """The figure of a bar, from {threads: {system: Run}}; None if a run that it needs is missing."""
    ours = runs.get(bar.threads, {}).get("auspex")
    one = runs.get(1, {}).get("auspex")
    if not ours:
        return None
    if bar.figure == "speedup":
        return one and one.wall / ours.wall
    if bar.figure == "training speedup":
        trained = [run and run.figure("train_cpu_s") for run in (one, ours)]
        return trained[0] / trained[1] if all(trained) else None
    if bar.figure == "limited":
        limited = runs[bar.threads].get("auspex limited")
        return limited and limited.wall / ours.wall
    peers = [run for system, run in runs[bar.threads].items() if not system.startswith("auspex") and system.startswith(bar.against)]
    if not peers:
        return None
    if bar.figure == "quality":
        return ours.quality - max(run.quality for run in peers)
    if bar.figure in ("training", "growing"):
        mine = ours.growing_s if bar.figure == "growing" else ours.figure("train_cpu_s")
        return mine and mine / min(run.figure("train_cpu_s") for run in peers)
    return getattr(ours, bar.figure) / min(getattr(run, bar.figure) for run in peers)


def print_bars(name, n_rows, runs):
    """One line for each bar whose runs are there."""
    for bar in TASKS[name].bars:
        value = bar_value(bar, runs)
        if value is None:
            continue
        reached = value >= bar.limit if bar.at_least else value <= bar.limit
        words = f"{'at least' if bar.at_least else 'at most'} {bar.limit}"
        print(f"{name:<9} {n_rows:>9} {bar.threads or 'all':>3} bar: {bar.name}: {value:.4f} ({words}): {'reached' if reached else 'MISSED'}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auspex", type=pathlib.Path, help="the release binary; without it the peers run alone")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["linear", "logistic", "kmeans"])
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads and cores; default: the task's")
    parser.add_argument("--systems", default="", help="only peers whose name matches this regular expression")
    parser.add_argument("--give-up", type=float, default=3.0, help="stop a peer after this many times the fastest one's time and a minute")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "auspex-peers")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    args = parser.parse_args()
    args.auspex = args.auspex and args.auspex.resolve()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    python = venv_python(args.work)
    # An emulated instruction set would slow the peer down: let its libraries choose for themselves.
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    print(f"{'task':<9} {'rows':>9} {'thr':>3} {'system':<34} {'wall s':>8} {'cpu s':>8} {'peak MiB':>9}  quality")
    for n_rows in args.rows:
        for name in args.tasks:
            runs = {}
            for threads in args.threads or TASKS[name].threads:
                bench = Bench(args, python, env, name, n_rows, threads)
                peers = bench.run_peers()
                ours = bench.run_auspex() if args.auspex else {}
                runs[threads] = peers | ours
                if not (peers and ours):
                    continue
                mine, (system, peer) = ours["auspex"], min(peers.items(), key=lambda item: item[1].wall)
                ratios = f"{mine.wall / peer.wall:8.3f} {mine.cpu / peer.cpu:8.3f} {mine.peak / peer.peak:9.3f}"
                bench.print("ratio to " + system, f"{ratios}  {mine.quality - peer.quality:+.6f}")
            print_bars(name, n_rows, runs)


if __name__ == "__main__":
    main()
