"""`helm test` on processes: the container of the chart's test must pay, inquire and refund at a
system whose pods are rendered with the same values, and must fail with a wrong key. The containers
get the rendered arguments, environment, Secrets and ConfigMaps; only the listeners are moved to
loopback."""

import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

import chart
import pods

TWQR = os.environ["TWQR"]
READY_WITHIN_S = 60
# The name in the caller's certificate.
CALLER = "helm-test.example"
# Codes that the simulated wallet approves and declines.
APPROVED, DECLINED = "22abcdefghijklmnop", "22D928efghijklmnop"
# The system is on loopback, whatever proxy the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def setUpModule():
    pods.check_prerequisites()
    # An interrupted test ends its pods at the exit of the interpreter.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    unittest.addModuleCleanup(signal.signal, signal.SIGTERM, before)


@contextlib.contextmanager
def held_ports(count):
    """Ports of loopback, among those that the chart accepts. Until the end of the block no other
    process can take them."""
    with contextlib.ExitStack() as held:
        ports = []
        while len(ports) < count:
            port = random.randrange(20_000, 32_768)
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
        yield ports


def new_key():
    """A new API key, and the line with its hash by which a caller is configured."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TWQR_")}
    command = [TWQR, "callers", "key", "generate"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout, re.search('sha256 = "[0-9a-f]{64}"', done.stderr)[0]


def caller(merchant, key_hash):
    """The caller that the test is, with what it needs and no more."""
    return (f'[[access.callers]]\nname = "helm-test"\nmerchants = ["{merchant}"]\ncertificates = ["{CALLER}"]\n'
            f'operations = ["pay", "query", "refund"]\n[[access.callers.keys]]\nname = "first"\n{key_hash}\n')


def certificates(server):
    """Secrets with an authority, a server's certificate for this name, and the caller's."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        openssl = lambda *arguments: subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True)
        openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=authority of a test", "-keyout", "ca.key", "-out", "ca.crt")
        secrets = {"authority": {"ca.crt": (folder / "ca.crt").read_text()}}
        for secret, host in (("server", server), ("caller", CALLER)):
            (folder / "names").write_text(f"subjectAltName=DNS:{host}\n")
            openssl("req", *key, "-subj", f"/CN={secret}", "-keyout", "tls.key", "-out", "tls.csr")
            openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                    "-out", "tls.crt", "-extfile", "names")
            secrets[secret] = {file: (folder / file).read_text() for file in ("tls.crt", "tls.key")}
        return secrets


class HelmTest(unittest.TestCase):
    def release(self, mode, layers, secrets):
        """Starts the simulator, and all services in one process: here is no Kafka for more of them.
        Returns what runs the test's container, whose Secrets may be others."""
        with held_ports(6) as (grpc, pos_http, admin, operators, wallet, fisc):
            listeners = {
                "ports": {"grpc": grpc, "posHttp": pos_http, "admin": admin, "operators": operators},
                "simulator": {"enabled": True, "walletPort": wallet, "fiscPort": fisc},
                "test": {"enabled": True},
            }
            values = chart.merged(chart.read(chart.BASES / f"{mode}.yaml"), listeners, layers)
            tested = chart.render(values)
            served = chart.render(chart.merged(values, {"mode": "up", "config": {"kafka": {"bootstrap": ""}}}))
        services = sorted({name for kind, name in [*tested, *served] if kind == "Service"})
        system = pods.Pods(services, secrets)
        self.addCleanup(system.stop)
        for workload in ("simulator", "up"):
            name = f"release-twqr-{workload}"
            system.start(f"{name}-0", served["StatefulSet", name]["spec"]["template"]["spec"], served)
        self.wait_until_ready(system, admin)

        def run(**others):
            test = pods.Pods(services, {**secrets, **others})
            self.addCleanup(test.stop)
            return test.run("release-twqr-test", tested["Pod", "release-twqr-test"]["spec"], tested)

        return run

    def wait_until_ready(self, system, admin):
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            with contextlib.suppress(OSError):
                with OPENER.open(f"http://127.0.0.1:{admin}/readyz", timeout=2):
                    return
            ended = any(process.poll() is not None for process in system.running)
            if ended or time.monotonic() > deadline:
                printed = [system.printed(f"release-twqr-{workload}-0") for workload in ("simulator", "up")]
                self.fail(f"the system is not ready: {printed}")
            time.sleep(0.05)

    def check_pays(self, run, amount):
        code, out, err = run()
        self.assertEqual(code, 0, err)
        steps = r"paid {} TWD as (SMOKE\d+), and an inquiry says so\nrefunded it as \1R, and an inquiry says so\n"
        self.assertRegex(out, rf"\A{steps.format(amount)}\Z")

    def check_fails(self, result, reason):
        code, out, err = result
        self.assertEqual((code, out), (1, ""), err)
        self.assertIn(reason, err)

    def test_it_pays_where_everyone_may_call(self):
        run = self.release("up", {"config": {"access": {"required": False, "insecure": True}}}, {})
        self.check_pays(run, 1)

    def test_it_pays_with_a_key_and_a_card_of_secrets(self):
        key, key_hash = new_key()
        layers = {
            "config": {"access": {"callers": caller("M7", key_hash)}},
            "test": {"merchantId": "M7", "amount": 7, "apiKeySecret": "api-key", "apiKeyKey": "own",
                     "cardTokenSecret": "card", "cardTokenKey": "code"},
        }
        secrets = {"api-key": {"own": key}, "card": {"code": f"{APPROVED}\n"}}
        run = self.release("services", layers, secrets)
        self.check_pays(run, 7)
        wrong, _ = new_key()
        self.check_fails(run(**{"api-key": {"own": wrong}}), "is not accepted")
        declined = run(card={"code": DECLINED})
        self.check_fails(declined, "was answered 928")
        self.assertNotIn(DECLINED, declined[2])

    def test_it_pays_over_tls_with_a_key_and_a_certificate(self):
        key, key_hash = new_key()
        layers = {
            "config": {"access": {"key_and_certificate": ["grpc"], "callers": caller("M1", key_hash)}},
            "tls": {"grpc": {"secret": "server", "clientCaSecret": "authority"},
                    "client": {"caSecret": "authority", "certSecret": "caller"}},
            "test": {"apiKeySecret": "api-key"},
        }
        # The name in the certificate is that of the Service.
        run = self.release("services", layers, {"api-key": {"key": key}, **certificates("release-twqr-ingress")})
        self.check_pays(run, 1)
        wrong, _ = new_key()
        self.check_fails(run(**{"api-key": {"key": wrong}}), "is not accepted")

    def test_it_pays_over_tls_where_the_certificate_has_another_name(self):
        layers = {
            "config": {"access": {"required": False, "insecure": True}},
            "tls": {"grpc": {"secret": "server"}, "client": {"caSecret": "authority", "serverName": "twqr.example"}},
        }
        self.check_pays(self.release("up", layers, certificates("twqr.example")), 1)


if __name__ == "__main__":
    unittest.main()
