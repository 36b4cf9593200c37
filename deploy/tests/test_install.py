"""The chart on a real API server: installed, upgraded and rolled back by both Helms, into a
namespace that enforces Pod Security `restricted`."""

import json
import os
import subprocess
import tempfile
import time
import unittest

import api_server
import chart

HELMS = {"3": os.environ["HELM"], "4": os.environ["HELM4"]}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}
NAMES = {"fullnameOverride": "twqr"}


def setUpModule():
    global SERVER
    SERVER = api_server.ApiServer()
    unittest.addModuleCleanup(SERVER.stop)
    for path in sorted((chart.ROOT / "deploy/tests/crds").glob("*.yaml")):
        for one in chart.yaml.safe_load_all(path.read_text()):
            SERVER.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", one)
    print(f"API server: {SERVER.version()}")
    for name, helm in HELMS.items():
        version = subprocess.run([helm, "version", "--template", "{{.Version}}"], capture_output=True, text=True, check=True)
        print(f"Helm {name}: {version.stdout}")


def helm(which, *arguments, values=None):
    environment = {**os.environ, "KUBECONFIG": str(SERVER.kubeconfig), "HELM_CACHE_HOME": str(SERVER.folder / "helm"),
                   "HELM_CONFIG_HOME": str(SERVER.folder / "helm"), "HELM_DATA_HOME": str(SERVER.folder / "helm")}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(chart.merged(values or {}, NAMES), file)
        file.flush()
        command = [HELMS[which], *arguments, *(["--values", file.name] if values is not None else [])]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise AssertionError(f"helm {which} {arguments}: {done.stderr}")
    return done.stdout


class Install(unittest.TestCase):
    def setUp(self):
        self.namespace = self.id().rsplit(".", 1)[1].replace("_", "-")[:60].strip("-")
        SERVER.namespace(self.namespace, RESTRICTED)
        for _ in range(100):
            try:
                SERVER.resources("kafka.strimzi.io/v1")
                break
            except api_server.Refused:
                time.sleep(0.1)

    def get(self, kind, name, api="apps/v1"):
        return SERVER.call("GET", f"{SERVER.path({'apiVersion': api, 'kind': kind}, self.namespace)}/{name}")

    def lifecycle(self, which):
        everything = chart.read(chart.BASES / "everything.yaml")
        where = ("--namespace", self.namespace)
        helm(which, "install", "twqr", str(chart.CHART), *where, values=everything)
        first = self.get("StatefulSet", "twqr-router")
        changed = chart.merged(everything, {"config": {"standby": False, "shards": 4}, "image": {"tag": "2"}})
        helm(which, "upgrade", "twqr", str(chart.CHART), *where, values=changed)
        second = self.get("StatefulSet", "twqr-router")
        self.assertNotEqual(first["spec"]["template"], second["spec"]["template"])
        helm(which, "rollback", "twqr", "1", *where)
        third = self.get("StatefulSet", "twqr-router")
        self.assertEqual(first["spec"]["template"], third["spec"]["template"])
        jobs = SERVER.call("GET", f"/apis/batch/v1/namespaces/{self.namespace}/jobs")["items"]
        self.assertEqual(len(jobs), 1, "the job of the other image is gone")
        helm(which, "uninstall", "twqr", *where)

    def test_helm_3_installs_upgrades_and_rolls_back_everything(self):
        self.lifecycle("3")

    def test_helm_4_installs_upgrades_and_rolls_back_everything(self):
        self.lifecycle("4")

    def test_every_profile_is_installed(self):
        for name, values in chart.profiles().items():
            for which in HELMS:
                helm(which, "install", "twqr", str(chart.CHART), "--namespace", self.namespace, values=values)
                helm(which, "uninstall", "twqr", "--namespace", self.namespace)
        helm("4", "install", "twqr", str(chart.CHART), "--namespace", self.namespace, values=chart.read(chart.BASES / "up.yaml"))

    def test_every_pod_is_admitted_under_restricted_pod_security(self):
        checked = 0
        for values in (chart.read(chart.BASES / "everything.yaml"), chart.read(chart.BASES / "up.yaml")):
            values = chart.merged(values, NAMES, {"pod": {"priorityClassName": ""}})
            helm("4", "upgrade", "--install", "twqr", str(chart.CHART), "--namespace", self.namespace, values=values)
            for fixed in (True, False):
                rendered = chart.pods(chart.render(chart.merged(values, {"pod": {"fixedIds": fixed}})))
                for (kind, name), pod in rendered.items():
                    volumes = [one for one in pod["spec"].get("volumes", []) if one["name"] != "data"]
                    spec = {**pod["spec"], "volumes": [*volumes, {"name": "data", "emptyDir": {}}]}
                    body = {"metadata": {"name": f"{name}-{kind.lower()}"}, "spec": spec}
                    SERVER.call("POST", f"/api/v1/namespaces/{self.namespace}/pods?dryRun=All", body)
                    checked += 1
        self.assertEqual(checked, 18)
        root = {"metadata": {"name": "root"}, "spec": {"serviceAccountName": "twqr", "containers": [{"name": "a", "image": "a"}]}}
        with self.assertRaisesRegex(api_server.Refused, "violates PodSecurity"):
            SERVER.call("POST", f"/api/v1/namespaces/{self.namespace}/pods?dryRun=All", root)

    def test_helm_4_upgrades_without_conflict_what_an_autoscaler_scaled(self):
        values = chart.merged(chart.read(chart.BASES / "services.yaml"), {"ingress": {"autoscaling": {"kind": "hpa"}}})
        where = ("--namespace", self.namespace)
        helm("4", "install", "twqr", str(chart.CHART), *where, values=values)
        path = f"/apis/apps/v1/namespaces/{self.namespace}/statefulsets/twqr-ingress/scale?fieldManager=horizontal-pod-autoscaler"
        SERVER.call("PATCH", path, {"spec": {"replicas": 7}}, "application/merge-patch+json")
        helm("4", "upgrade", "twqr", str(chart.CHART), *where, values=chart.merged(values, {"config": {"calls_max": 9}}))
        self.assertEqual(self.get("StatefulSet", "twqr-ingress")["spec"]["replicas"], 7)

    def test_helm_4_keeps_the_pods_of_a_release_that_gets_an_autoscaler_if_they_were_scaled_before(self):
        values = chart.read(chart.BASES / "services.yaml")
        where = ("--namespace", self.namespace)
        helm("4", "install", "twqr", str(chart.CHART), *where, values=values)
        path = f"/apis/apps/v1/namespaces/{self.namespace}/statefulsets/twqr-ingress/scale?fieldManager=kubectl"
        SERVER.call("PATCH", path, {"spec": {"replicas": 4}}, "application/merge-patch+json")
        helm("4", "upgrade", "twqr", str(chart.CHART), *where, values=chart.merged(values, {"ingress": {"autoscaling": {"kind": "hpa"}}}))
        self.assertEqual(self.get("StatefulSet", "twqr-ingress")["spec"]["replicas"], 4)

    def test_helm_4_takes_over_what_helm_3_installed(self):
        values = chart.read(chart.BASES / "services.yaml")
        where = ("--namespace", self.namespace)
        helm("3", "install", "twqr", str(chart.CHART), *where, values=values)
        helm("4", "upgrade", "twqr", str(chart.CHART), *where, values=chart.merged(values, {"image": {"tag": "2"}}))
        self.assertRegex(json.dumps(self.get("StatefulSet", "twqr-router")), r'"image": "twqr:2"')

    def test_the_topics_job_survives_what_argo_cd_does(self):
        values = chart.merged(chart.read(chart.BASES / "services.yaml"), NAMES)
        jobs = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

        def sync(now):
            objects = chart.render(now)
            for one in objects.values():
                one["metadata"]["namespace"] = self.namespace
                SERVER.apply(one, self.namespace, "argocd-controller")
            wanted = {name for kind, name in objects if kind == "Job"}
            for one in SERVER.call("GET", jobs)["items"]:
                if one["metadata"]["name"] not in wanted:
                    SERVER.call("DELETE", f"{jobs}/{one['metadata']['name']}?propagationPolicy=Background")
            return wanted

        first = sync(values)
        self.assertEqual(sync(values), first, "a second sync changes nothing")
        second = sync(chart.merged(values, {"config": {"kafka": {"retention_hours": 9}}, "image": {"tag": "2"}}))
        self.assertNotEqual(first, second)
        self.assertEqual(sync(values), first)
        found = {one["metadata"]["name"] for one in SERVER.call("GET", jobs)["items"]}
        self.assertEqual(found, first)


if __name__ == "__main__":
    unittest.main()
