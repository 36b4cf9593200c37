"""A Kubernetes API server on loopback with etcd, without nodes: it checks and stores objects, and
runs nothing."""

import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

TOKEN = "test-admin"
# How long each of the two processes may take to serve.
START_WITHIN_S = 90


class Refused(Exception):
    """What the server said of an object that it refused."""


def free_ports(count):
    """Ports that were free a moment ago, all held at once so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class ApiServer:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="twqr-api-"))
        self.processes = []
        client, peer, self.port = free_ports(3)
        self.run("etcd", [os.environ["ETCD"], f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}"])
        key = self.folder / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        (self.folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
        self.run("kube-apiserver", [os.environ["KUBE_APISERVER"], f"--etcd-servers=http://127.0.0.1:{client}",
            f"--secure-port={self.port}", "--bind-address=127.0.0.1", f"--cert-dir={self.folder}/certs",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://local", "--service-cluster-ip-range=10.0.0.0/24",
            f"--token-auth-file={self.folder}/tokens.csv", "--authorization-mode=RBAC"])
        self.context = ssl.create_default_context()
        # The server's certificate is of its own making, on loopback.
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.wait()
        self.kubeconfig = self.folder / "kubeconfig"
        cluster = {"server": f"https://127.0.0.1:{self.port}", "insecure-skip-tls-verify": True}
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        }))

    def run(self, name, command):
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))

    def wait(self):
        deadline = time.monotonic() + 2 * START_WITHIN_S
        while True:
            ended = [one for one in self.processes if one.poll() is not None]
            if not ended and time.monotonic() < deadline:
                try:
                    self.call("GET", "/readyz")
                    return
                except (Refused, OSError):
                    time.sleep(0.2)
                    continue
            logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
            self.stop()
            raise RuntimeError(f"the API server does not serve:\n{logs}")

    def stop(self):
        for one in reversed(self.processes):
            one.terminate()
        for one in reversed(self.processes):
            try:
                one.wait(20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        data = None
        if body is not None:
            request.add_header("Content-Type", kind)
            data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=30, context=self.context) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode()) from None
        return json.loads(text) if text.startswith("{") else text

    def version(self):
        return self.call("GET", "/version")["gitVersion"]

    def namespace(self, name, labels=None):
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})

    def resources(self, api_version):
        """The plural name of each kind of an API version."""
        base = "/api" if api_version == "v1" else "/apis"
        found = self.call("GET", f"{base}/{api_version}")["resources"]
        return {one["kind"]: (f"{base}/{api_version}", one["name"], one["namespaced"]) for one in found if "/" not in one["name"]}

    def path(self, one, namespace):
        base, plural, namespaced = self.resources(one["apiVersion"])[one["kind"]]
        return f"{base}/namespaces/{namespace}/{plural}" if namespaced else f"{base}/{plural}"

    def apply(self, one, namespace, manager, force=True):
        """Server-side apply, as Argo CD does it; unknown fields are refused."""
        query = f"fieldManager={manager}&force={str(force).lower()}&fieldValidation=Strict"
        path = f"{self.path(one, namespace)}/{one['metadata']['name']}?{query}"
        return self.call("PATCH", path, one, "application/apply-patch+yaml")
