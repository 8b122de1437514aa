#!/usr/bin/env python3
"""Bytes and messages between the machines of a cluster, by estimator and width.

Starts a coordinator and two workers of a release binary on loopback, trains models of several widths with few and with
many iterations, and reads from the kernel (ss -ti) what the coordinator's connections to the workers carried. The
difference of two trainings of one model type, divided by the difference of their passes, is what a pass costs.

Needs psycopg and ss. Usage: bytes.py BINARY
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

import psycopg

ROWS = {8: 400_000, 64: 200_000, 256: 60_000}
# Name, options, the option that sets the number of iterations, few and many of them, label.
MODELS = [
    ("linear_reg", "", None, 0, 0, "y"),
    ("logistic_reg", "early_stop = false,", "max_iterations", 3, 8, "c"),
    ("kmeans", "num_clusters = 8, early_stop = false,", "max_iterations", 3, 8, None),
    ("boosted_tree_classifier", "max_tree_depth = 6, early_stop = false,", "max_iterations", 2, 6, "c"),
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def carried(ports):
    """Bytes to and from the workers, and segments with data, of established connections to their ports."""
    text = subprocess.run(["ss", "-Htin", "state", "established"], capture_output=True, text=True).stdout
    sent = received = segments = 0
    lines = text.splitlines()
    for head, info in zip(lines, lines[1:]):
        found = re.search(r"127\.0\.0\.1:(\d+)\s+127\.0\.0\.1:(\d+)", head)
        if not found or int(found.group(2)) not in ports:
            continue
        number = lambda name: int((re.search(rf"\b{name}:(\d+)", info) or [0, 0])[1])
        sent += number("bytes_sent")
        received += number("bytes_received")
        segments += number("data_segs_out") + number("data_segs_in")
    return sent, received, segments


def cost(warehouse, model):
    for manifest in pathlib.Path(warehouse, "models").glob("*/1/manifest.json"):
        text = json.loads(manifest.read_text())
        if text["model"] == model:
            return text["trained"]["record"]["cost"]
    raise SystemExit(f"{model} was not stored")


def main():
    binary = sys.argv[1]
    folder = tempfile.TemporaryDirectory()
    config = pathlib.Path(folder.name, "auspex.toml")
    config.write_text('[settings]\nmin_distributed_size = "0"\n')
    warehouse = os.path.join(folder.name, "warehouse")
    port, gate, ports = free_port(), free_port(), [free_port(), free_port()]
    serve = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--worker-listen", f"127.0.0.1:{gate}"]
    processes = [subprocess.Popen([*serve, "--config", config, "--warehouse", warehouse])]
    for worker in ports:
        command = [binary, "worker", "--listen", f"127.0.0.1:{worker}", "--threads", "1"]
        processes.append(subprocess.Popen([*command, "--coordinator", f"127.0.0.1:{gate}"]))
    try:
        measure(port, set(ports), warehouse)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()


def connect(port):
    for _ in range(200):
        try:
            return psycopg.connect(f"host=127.0.0.1 port={port} user=postgres", autocommit=True)
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise SystemExit("the coordinator never answered")


def measure(port, ports, warehouse):
    client = connect(port)
    while client.execute("SELECT count(*) FROM ml.workers WHERE state = 'ready'").fetchone()[0] < 2:
        time.sleep(0.1)
    idle = carried(ports)
    time.sleep(10)
    later = carried(ports)
    print("idle, a second and worker:", [(b - a) / 20 for a, b in zip(idle, later)])
    print("| model type | features | passes | bytes out a pass and worker | bytes back | segments | opening, bytes both ways |")
    print("|---|---|---|---|---|---|---|")
    for width, n_rows in ROWS.items():
        columns = ", ".join(f"sin(value * {i + 1.37})::float8 AS x{i}" for i in range(width))
        client.execute(f"CREATE TABLE t{width} AS SELECT {columns}, cos(value * 0.7) + sin(value * 1.37) AS y, "
                       f"sin(value * 1.37) + cos(value * 3.1) > 0.3 AS c FROM generate_series(1, {n_rows})")
        for name, options, iterations, few, many, label in MODELS:
            features = ", ".join(f"x{i}" for i in range(width)) + (f", {label}" if label else "")
            seen = []
            for count in dict.fromkeys([few, many]):
                model = f"{name}_{width}_{count}"
                own = options + (f" {iterations} = {count}," if iterations else "") + " seed = 1"
                predict = f"PREDICT {label} " if label else ""
                before, began = carried(ports), time.time()
                client.execute(f"CREATE MODEL {model} {predict}USING {name} WITH ({own}) AS SELECT {features} FROM t{width}")
                elapsed = time.time() - began
                after, found = carried(ports), cost(warehouse, model)
                passes = found["source_passes"] + found["kept_passes"]
                idle_bytes = [(b - a) / 10 * elapsed for a, b in zip(idle, later)]
                seen.append((passes, [b - a - i for a, b, i in zip(before, after, idle_bytes)]))
            (first, start), (last, end) = seen[0], seen[-1]
            n_passes = max(last - first, 1) if last > first else max(first, 1)
            change = [b - a for a, b in zip(start, end)] if last > first else start
            a_pass = [value / n_passes / 2 for value in change]
            opening = sum(start[:2]) - first * 2 * sum(a_pass[:2]) if last > first else 0
            print(f"| {name} | {width} | {first}, {last} | {a_pass[0]:,.0f} | {a_pass[1]:,.0f} | {a_pass[2]:.1f} | {opening:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
