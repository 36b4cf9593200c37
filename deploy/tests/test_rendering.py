"""What the chart renders: who restarts when, which images it names, what twqr says of its files."""

import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
import unittest

import chart

TWQR = os.environ["TWQR"]
SERVICES = ["ingress", "router", "wallet-worker", "fisc-worker", "tracker"]


def services(**layers):
    return chart.merged(chart.read(chart.BASES / "services.yaml"), layers)


def restarted(before, after):
    """The pods that differ between two renderings; a job has a name of its own each time."""
    old, new = (chart.pods(chart.render(values)) for values in (before, after))
    changed = [name.removeprefix("release-twqr-") for (kind, name), pod in new.items() if old.get((kind, name)) != pod]
    return {"topics" if name.startswith("topics-") else name for name in changed}


class Restarts(unittest.TestCase):
    def test_a_changed_configuration_restarts_just_the_pods_that_read_it(self):
        kafka = lambda **keys: {"config": {"kafka": keys}}
        for change, readers in [
            ({"config": {"calls_max": 99}}, {"ingress"}),
            ({"config": {"admission": {"delay_ms": 99}}}, {"ingress"}),
            ({"config": {"standby": False}}, {"router"}),
            ({"config": {"wallet": "10.1.0.9:1"}}, {"wallet-worker"}),
            ({"config": {"fisc": "10.1.0.9:1"}}, {"fisc-worker"}),
            ({"ports": {"operators": 8099}}, {"tracker"}),
            ({"config": {"shards": 8}}, {*SERVICES, "topics"}),
            ({"config": {"task_partitions": 8}}, {"topics"}),
            ({"merchantKeys": {"key": "other"}}, {"ingress"}),
            ({"simulator": {"script": "# other"}}, {"simulator"}),
            (kafka(retention_hours=99), {"topics"}),
            (kafka(prefix="other."), {*SERVICES, "topics"}),
            ({"config": {"call_timeout_ms": 4400}}, set(SERVICES)),
            ({"tracker": {"extraEnv": [{"name": "A", "value": "b"}]}}, {"tracker"}),
            ({"ingress": {"replicas": 5}}, set()),
            ({"podDisruptionBudget": {"maxUnavailable": 2}}, set()),
            ({"commonAnnotations": {"a": "b"}}, set()),
            ({"networkPolicy": {"enabled": False}}, set()),
        ]:
            # Only with this key may `networkPolicy.enabled` be false.
            open_admin = {"access": {"insecure_admin": True}}
            simulator = {"enabled": "simulator" in change}
            base = services(simulator=simulator, merchantKeys={"secret": "keys"}, config=open_admin)
            found = restarted(base, chart.merged(base, change))
            self.assertEqual(found, readers, change)

    def test_a_release_of_the_chart_alone_restarts_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "twqr"
            shutil.copytree(chart.CHART, copy)
            text = (copy / "Chart.yaml").read_text()
            (copy / "Chart.yaml").write_text(re.sub(r"(?m)^version: .*", "version: 99.0.0", text))
            everything = chart.read(chart.BASES / "everything.yaml")
            for values in (services(), chart.read(chart.BASES / "up.yaml"), everything):
                old, new = chart.render(values), chart.render(values, copy)
                self.assertNotEqual(old, new, "the version is in the objects' labels")
                workloads = lambda objects: {key: one["spec"] for key, one in objects.items() if key[0] in ("StatefulSet", "Job")}
                self.assertEqual(workloads(old), workloads(new))


class Pods(unittest.TestCase):
    def everything(self):
        return chart.pods(chart.render(chart.read(chart.BASES / "everything.yaml")))

    def test_every_image_is_one_of_the_values(self):
        digests = {"digest": "sha256:" + "1" * 64, "labDigest": "sha256:" + "2" * 64}
        image = {"registry": "mirror.example", "repository": "a", "labRepository": "b", **digests}
        values = chart.merged(chart.read(chart.BASES / "everything.yaml"), {"image": image})
        allowed = {f"mirror.example/a@{digests['digest']}", f"mirror.example/b@{digests['labDigest']}"}
        pods = [pod["spec"] for pod in chart.pods(chart.render(values)).values()]
        containers = [one for spec in pods for one in spec["containers"] + spec.get("initContainers", [])]
        found = {one["image"] for one in containers}
        self.assertEqual(found, allowed)

    def test_extra_environment_reaches_every_container(self):
        for key, pod in self.everything().items():
            for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
                self.assertIn({"name": "EXTRA", "value": "everywhere"}, container["env"], key)
                self.assertIn({"name": "more", "mountPath": "/more"}, container["volumeMounts"], key)

    def test_the_grace_period_exceeds_the_drain(self):
        settings = (chart.ROOT / "crates/twqr/src/services/settings.rs").read_text()
        drain = int(re.search(r"DRAIN_WITHIN_MS: u64 = ([\d_]+)", settings)[1].replace("_", "")) / 1000
        ends = (chart.ROOT / "crates/twqr/src/services.rs").read_text()
        end = int(re.search(r"END_WITHIN_MS: u64 = ([\d_]+)", ends)[1].replace("_", "")) / 1000
        checks = (chart.CHART / "templates/_checks.tpl").read_text()
        margin = int(re.search(r"drain_delay_ms\).* (\d+) -}}", checks)[1])
        self.assertGreater(margin, drain + end, "the least grace that the chart accepts after the delay")
        for key, pod in self.everything().items():
            if key[0] == "StatefulSet" and "simulator" not in key[1]:
                spec = pod["spec"]
                delay = chart.defaults()["config"]["drain_delay_ms"] / 1000
                self.assertGreater(spec["terminationGracePeriodSeconds"], delay + drain + end, key)

    def test_volume_claims_never_change_with_a_version(self):
        values = services()
        claims = lambda objects: {key: one["spec"].get("volumeClaimTemplates") for key, one in objects.items() if key[0] == "StatefulSet"}
        changed = services(image={"tag": "9"}, commonLabels={"a": "b"}, pod={"labels": {"c": "d"}})
        self.assertEqual(claims(chart.render(values)), claims(chart.render(changed)))

    def test_the_job_has_another_name_whenever_it_is_another_job(self):
        jobs = lambda values: {name for kind, name in chart.render(values) if kind == "Job"}
        now = jobs(services())
        self.assertEqual(now, jobs(services(ingress={"replicas": 7}, commonLabels={})))
        for change in ({"image": {"tag": "2"}}, {"config": {"shards": 8}}, {"pod": {"extraEnv": [{"name": "A", "value": "b"}]}}):
            self.assertNotEqual(now, jobs(services(**change)), change)


class Configuration(unittest.TestCase):
    def check(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            environment = {key: value for key, value in os.environ.items() if not key.startswith("TWQR_")}
            command = [TWQR, "--config", file.name, "config", "check"]
            return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def test_twqr_accepts_every_rendered_configuration(self):
        policy = "[policy]\nsend_within_ms = 2000\n"
        cases = {**chart.profiles(), "up": chart.read(chart.BASES / "up.yaml")}
        cases["everything"] = chart.read(chart.BASES / "everything.yaml")
        cases["sasl"] = services(
            listen="[::]",
            config={
                "policy": policy,
                "telemetry": {"endpoint": "http://collector:4317", "sample_ratio": 1},
                "kafka": {"properties": {"client.rack": "a"}},
            },
            kafkaAuth={"tls": True, "caSecret": "ca", "saslMechanism": "SCRAM-SHA-512", "username": "a\"b"},
        )
        checked = 0
        for name, values in cases.items():
            for key, one in chart.render(values).items():
                text = (one.get("data") or {}).get("twqr.toml") if key[0] == "ConfigMap" else None
                if text is None:
                    continue
                # The files of secrets are mounted in a pod; here there are none.
                text = re.sub(r"(?m)^(password_file|merchant_keys_file) = .*\n", "", text)
                text = re.sub(r"(?ms)^\[tls\..*?(?=^\[(?!tls)|\Z)", "", text)
                done = self.check(text)
                self.assertEqual(done.returncode, 0, f"{name} {key[1]}: {done.stderr}\n{text}")
                checked += 1
        print(f"chart: {checked} rendered configurations pass `twqr config check`")

    def test_each_pod_has_the_certificates_of_its_own_parts_and_no_others(self):
        listener = {"secret": "own", "clientCaSecret": "callers", "clientCertificates": "optional"}
        peer = {"caSecret": "theirs", "certSecret": "own", "serverName": "issuer.example"}
        tls = {"grpc": listener, "posHttp": {"secret": "own"}, "operators": listener, "wallet": peer, "fisc": {"caSecret": "theirs"}}
        objects = chart.render(services(tls=tls))
        expected = {
            "ingress": {"grpc": {"ca.crt", "tls.crt", "tls.key"}, "pos_http": {"tls.crt", "tls.key"}},
            "router": {},
            "tracker": {"operators": {"ca.crt", "tls.crt", "tls.key"}},
            "wallet-worker": {"wallet": {"ca.crt", "tls.crt", "tls.key"}},
            "fisc-worker": {"fisc": {"ca.crt"}},
        }
        for name, parts in expected.items():
            pod = objects["StatefulSet", f"release-twqr-{name}"]["spec"]["template"]["spec"]
            config = tomllib.loads(objects["ConfigMap", f"release-twqr-{name}"]["data"]["twqr.toml"])
            self.assertEqual(set(config.get("tls", {})), set(parts), name)
            places = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
            mounted = {}
            for volume in pod["volumes"]:
                if volume["name"].startswith("tls-"):
                    sources = [source["secret"] for source in volume["projected"]["sources"]]
                    mounted[places[volume["name"]]] = {item["path"] for source in sources for item in source["items"]}
            self.assertEqual(mounted, {f"/etc/twqr/tls/{part}": files for part, files in parts.items()}, name)
            for part, section in config.get("tls", {}).items():
                files = {value for key, value in section.items() if key.endswith("_file")}
                self.assertEqual(files, {f"/etc/twqr/tls/{part}/{file}" for file in parts[part]}, name)

    def test_containers_have_the_memory_that_twqr_takes_at_most_and_a_quarter_more(self):
        units = {"Mi": 1, "Gi": 1024}
        for name, values in {**chart.profiles(), "default": services(), "up": chart.read(chart.BASES / "up.yaml")}.items():
            objects = chart.render(values)
            for key, pod in chart.pods(objects).items():
                if key[0] != "StatefulSet":
                    continue
                limit = pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
                limit = int(limit[:-2]) * units[limit[-2:]]
                text = objects["ConfigMap", key[1]]["data"]["twqr.toml"]
                # In the container, which has the limit, twqr chooses this itself.
                text = text.replace("[kafka]", f"[kafka]\nqueue_mib = {max(8, min(256, limit // 8))}")
                printed = self.check(text).stdout
                most = int(re.search(rf"\b{key[1].removeprefix('release-twqr-')} (\d+) MiB", printed)[1])
                self.assertGreaterEqual(limit, most * 1.25, f"{name}: {key[1]}")

    def test_twqr_refuses_what_the_schema_cannot_see(self):
        found = chart.render(services(config={"kafka": {"min_insync": 1}}))
        done = self.check(found["ConfigMap", "release-twqr-topics"]["data"]["twqr.toml"])
        self.assertIn("min_insync", done.stderr)

    def test_every_key_of_twqr_has_a_place_in_the_chart(self):
        keys = subprocess.run([TWQR, "config", "default"], capture_output=True, text=True, check=True).stdout
        sections = re.split(r"(?m)^\[", "\n".join(line for line in keys.splitlines() if not line.startswith("#")))
        template = (chart.CHART / "templates/_config.tpl").read_text()
        # The pod's name; rules and callers, which come as documents; files that commands write;
        # secrets, which are files that the chart names.
        elsewhere = {"member", "policy", "settlement.layout", "kafka.property_files", "callers"}
        missing = []
        for section in sections:
            name = section.split("]")[0] if "]\n" in section else ""
            if name.split(".")[0].strip("[") not in elsewhere and name not in elsewhere:
                wanted = set(re.findall(r"(?m)^([a-z_]+) = ", section)) - elsewhere
                missing += [f"{name} {key}" for key in wanted if not re.search(rf"(?m)^{key} = ", template)]
        self.assertEqual(missing, [], "keys of twqr that no pod gets")


class Rights(unittest.TestCase):
    def printed(self, prefix):
        """What `twqr topics acls` prints, one tuple for each user, operation and resource."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TWQR_")}
        environment["TWQR__KAFKA__PREFIX"] = prefix
        command = [TWQR, "topics", "acls", "--principal", "release-twqr-{}"]
        lines = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
        found = set()
        for line in lines.splitlines():
            words = shlex.split(line)
            given = lambda option: [words[n + 1] for n, word in enumerate(words) if word == option]
            pattern = "prefix" if "prefixed" in given("--resource-pattern-type") else "literal"
            resources = [(kind, name) for kind in ("topic", "group") for name in given(f"--{kind}")]
            for user, operation in itertools.product(given("--allow-principal"), given("--operation")):
                found |= {(user, operation, kind, pattern, name) for kind, name in resources}
        return found

    def test_the_users_of_strimzi_have_the_rights_that_twqr_prints(self):
        base, up = chart.read(chart.BASES / "everything.yaml"), {"mode": "up", "router": {"autoscaling": {"kind": "none"}}}
        for values, programs in ((base, SERVICES), (chart.merged(base, up), ["up"])):
            prefix = "shop."
            objects = chart.render(chart.merged(values, {"config": {"kafka": {"prefix": prefix}}}))
            users = {name: one["spec"]["authorization"]["acls"] for (kind, name), one in objects.items() if kind == "KafkaUser"}
            self.assertEqual(set(users), {f"release-twqr-{program}" for program in [*programs, "topics", "dead-letters"]})
            granted = set()
            for user, rules in users.items():
                for rule in rules:
                    resource = rule["resource"]
                    for operation in rule["operations"]:
                        granted.add((user, operation, resource["type"], resource["patternType"], resource["name"]))
            self.assertEqual(granted, {one for one in self.printed(prefix) if one[0] in users})


class Profiles(unittest.TestCase):
    def test_each_profile_has_what_twqr_capacity_asks_for(self):
        for path in sorted((chart.CHART / "profiles").glob("*.yaml")):
            command = re.search(r"(?m)^#   twqr (capacity .*)$", path.read_text())[1].split()
            plan = subprocess.run([TWQR, *command, "--json"], capture_output=True, text=True, check=True).stdout
            plan = {one["name"]: one["value"] for one in json.loads(plan)["figures"]}
            values = chart.merged(chart.defaults(), chart.read(path))
            gib = lambda size: int(size.removesuffix("Gi")) * 1.0737
            has = {
                "shards": values["config"]["shards"],
                "task_partitions": values["config"]["task_partitions"],
                "kafka.replies_partitions": values["config"]["kafka"]["replies_partitions"],
                "ingress": values["ingress"]["replicas"],
                "router": values["router"]["replicas"],
                "wallet-worker": values["walletWorker"]["replicas"],
                "fisc-worker": values["fiscWorker"]["replicas"],
                "tracker": values["tracker"]["replicas"],
                "disk of each router": gib(values["router"]["storage"]["size"]),
                "disk of each tracker": gib(values["tracker"]["storage"]["size"]),
                "brokers": values["strimzi"]["nodes"],
                "standby (1: true, 0: false)": int(values["config"]["standby"]),
            }
            for name, number in has.items():
                self.assertGreaterEqual(number, plan[name], f"{path.name}: {name}")
            disk = plan["brokers"] * (plan["disk of each broker, requests"] + plan["disk of each broker, states"])
            self.assertGreaterEqual(values["strimzi"]["nodes"] * gib(values["strimzi"]["storage"]["size"]), disk, path.name)


class Alerts(unittest.TestCase):
    def test_the_chart_carries_the_alerts_of_the_repository(self):
        def files(folder):
            return {path.name: path.read_text() for path in folder.glob("*.yml") if path.name != "cases.yml"}

        self.assertEqual(files(chart.ROOT / "deploy/alerts"), files(chart.CHART / "files/alerts"), "run make chart-docs")

        def rendered(**monitoring):
            values = chart.merged(services(), {"monitoring": {"alerts": True, **monitoring}})
            return chart.render(values)["PrometheusRule", "release-twqr"]["spec"]["groups"]

        wanted = [group for _, text in sorted(files(chart.ROOT / "deploy/alerts").items()) for group in chart.yaml.safe_load(text)["groups"]]
        self.assertEqual(rendered(), wanted)
        base = "https://git.example/twqr/blob/main"
        for rule in (rule for group in wanted for rule in group["rules"] if "alert" in rule):
            rule["annotations"]["runbook_url"] = f"{base}/{rule['annotations']['runbook_url']}"
        self.assertEqual(rendered(runbookBaseUrl=base), wanted)
        self.assertEqual(rendered(runbookBaseUrl=base + "/"), wanted)


if __name__ == "__main__":
    unittest.main()
