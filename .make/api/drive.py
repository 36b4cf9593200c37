"""Starts a system of real processes on free ports, signs requests with an independent library, and
lets schemathesis send what openapi.json allows and what it does not, for a bounded time."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

import signatures

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until_ready(url, processes, log):
    for _ in range(300):
        for process in processes:
            if process.poll() is not None:
                sys.exit(f"test-api: a process ended early\n{log.read_text()}")
        try:
            if requests.get(url, timeout=1).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    sys.exit(f"test-api: not ready within 30 s\n{log.read_text()}")


def explore(base):
    """Runs schemathesis. What every answer must keep: the described statuses, types and fields. The
    form answers every body with HTTP 200, so checks of which bodies it refuses do not apply."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{base}/openapi.json", "--url", base,
               "--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-examples", "40",
               "--request-timeout", "20", "--workers", "1", "--seed", "7", "--max-time", "30",
               "--suppress-health-check", "all", "--no-color"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(command, env=environment, cwd=tempfile.mkdtemp(), timeout=90).returncode


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = ["GRPC", "POS_HTTP", "ADMIN", "OPERATORS", "WALLET", "FISC"]
        ports = dict(zip(names, free_ports(len(names))))
        all_keys = signatures.keys()
        (folder / "keys.toml").write_text(signatures.key_file(all_keys))
        environment = {**os.environ, **{f"TWQR__{name}": f"127.0.0.1:{port}" for name, port in ports.items()},
                       "TWQR__DATA_DIR": str(folder / "data"), "TWQR__MERCHANT_KEYS_FILE": str(folder / "keys.toml")}
        log = folder / "log"
        with log.open("w") as output:
            start = lambda *command: subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
            binaries = ROOT / "target/debug"
            processes = [start(binaries / "twqr-lab", "simulator", "--data-dir", folder / "ledger"),
                         start(binaries / "twqr", "up")]
            try:
                wait_until_ready(f"http://127.0.0.1:{ports['ADMIN']}/readyz", processes, log)
                base = f"http://127.0.0.1:{ports['POS_HTTP']}"
                signatures.main(base, all_keys)
                status = explore(base)
                if any(process.poll() is not None for process in processes):
                    sys.exit(f"test-api: a process ended\n{log.read_text()}")
                if "panicked" in log.read_text():
                    sys.exit(f"test-api: a panic\n{log.read_text()}")
            finally:
                for process in processes:
                    process.send_signal(signal.SIGTERM)
                for process in processes:
                    process.wait(20)
        sys.exit(status)


main()
