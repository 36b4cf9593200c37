"""The chart's values: strict, complete, and each key changes what is rendered."""

import concurrent.futures
import json
import re
import unittest

import chart

SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())
# Objects whose keys others define: the Kubernetes API, operators, a parent chart.
FREE = {"kubernetes", "labels", "annotations", "global", "properties", "requests", "limits"}
# Keys of a parent chart, which this chart does not read.
PARENTS = {("global",), ("enabled",)}

# Values that fit the patterns of the schema; a mutation takes the first that fits and is new.
TEXTS = ["changed", "10.9.9.9:999", "a=b", "3h", "7Gi", "9.9", "sha256:" + "0" * 64, "SCRAM-SHA-256", "http://a:99"]
# What a list of objects gets.
ITEM = {"name": "CHANGED", "value": "changed"}


def resolved(schema):
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def leaves(schema, path=()):
    """Every key of the schema that has no further keys of ours below it."""
    schema = resolved(schema)
    if schema.get("type") == "object" and "properties" in schema and schema.get("additionalProperties") is False:
        for key, below in schema["properties"].items():
            yield from leaves(below, (*path, key))
    else:
        yield path, schema


def at(values, path):
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def with_value(values, path, value):
    layer = value
    for key in reversed(path):
        layer = {key: layer}
    changed = chart.merged(values, layer)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def mutations(schema, now):
    """Other values that the schema allows."""
    kind = schema.get("type")
    if "enum" in schema:
        yield from (value for value in schema["enum"] if value != now)
    elif kind == "boolean":
        yield not now
    elif kind == "integer":
        yield from (n for n in (now + 1, now - 1, now + 20) if schema["minimum"] <= n <= schema["maximum"])
    elif kind == "number":
        yield schema["maximum"]
    elif kind == "array":
        item = resolved(schema["items"])
        if "enum" in item:
            yield item["enum"][:1]
        elif item.get("type") == "object":
            yield [ITEM, *(now or [])]
        else:
            yield ["changed", *(now or [])]
    elif kind == "object":
        yield {**(now or {}), "changed": "1"}
    else:
        yield from (text for text in TEXTS if re.search(schema.get("pattern", ""), text) and text != now)


def bases():
    """Whole values among which each key is in use somewhere."""
    services = chart.merged(chart.defaults(), chart.read(chart.BASES / "services.yaml"))
    login = {"kafkaAuth": {"tls": True, "caSecret": "ca", "certSecret": "cert", "saslMechanism": "PLAIN", "passwordSecret": "pw"}}
    scaled = {name: {"autoscaling": {"kind": "keda", "max": 3}} for name in ("ingress", "router", "walletWorker", "fiscWorker")}
    scaled["config"] = {"task_partitions": 4}
    lone = {"ingress": {"service": {"type": "LoadBalancer"}}, "merchantKeys": {"secret": "keys"}}
    listener, peer = {"secret": "own", "clientCaSecret": "callers"}, {"caSecret": "theirs", "certSecret": "own"}
    lone["tls"] = {"grpc": listener, "posHttp": listener, "operators": listener, "wallet": peer, "fisc": peer}
    lone["tls"] |= {"admin": {"secret": "own", "caSecret": "theirs", "serverName": "twqr"}, "telemetry": peer, "client": peer}
    lone["config"] = {"telemetry": {"endpoint": "https://collector:4317"}}
    monitored = {"monitoring": {"kind": "PodMonitor", "alerts": True}}
    tested = {"test": {"enabled": True, "cardTokenSecret": "card", "apiKeySecret": "api-key"}}
    up = chart.merged(chart.defaults(), chart.read(chart.BASES / "up.yaml"), {"up": {"service": {"type": "LoadBalancer"}}})
    everything = chart.merged(chart.defaults(), chart.read(chart.BASES / "everything.yaml"))
    meshed = chart.merged(up, {"config": {"access": {"insecure": True, "insecure_admin": True}}})
    several = chart.merged(up, {"config": {"kafka": {"bootstrap": "10.2.0.1:9092"}}})
    return [chart.merged(services, login, lone, monitored, tested), chart.merged(services, scaled), up, meshed, several, everything]


class Values(unittest.TestCase):
    def test_schema_is_strict_at_every_depth(self):
        def walk(schema, name):
            if isinstance(schema, dict):
                if schema.get("type") == "object" and name not in FREE:
                    self.assertIs(schema.get("additionalProperties"), False, f"{name} takes any key")
                for key, below in schema.items():
                    walk(below, key)
            elif isinstance(schema, list):
                for below in schema:
                    walk(below, name)

        walk({key: value for key, value in SCHEMA.items()}, "values")

    def test_schema_and_defaults_name_the_same_keys(self):
        named = {path for path, _ in leaves(SCHEMA)} - PARENTS
        values = chart.defaults()
        missing = [".".join(path) for path in named if at(values, path) is None]
        self.assertEqual(missing, [], "in the schema, not in values.yaml")

        def below(value, path=()):
            if path in named or not isinstance(value, dict):
                yield path
            else:
                for key, one in value.items():
                    yield from below(one, (*path, key))

        unknown = [".".join(path) for path in below(values) if path not in named]
        self.assertEqual(unknown, [], "in values.yaml, not in the schema")

    def test_no_value_is_a_secret(self):
        secret = re.compile("password|token|credential|private", re.IGNORECASE)
        # The keys of externalSecrets name entries of a store.
        named = [path for path, _ in leaves(SCHEMA) if secret.search(path[-1]) and path[0] != "externalSecrets"]
        taken = [".".join(path) for path in named if not path[-1].endswith(("Secret", "Key"))]
        self.assertEqual(taken, [], "values take a secret; let them name a Secret, or a key of one")
        for base in bases():
            self.assertNotIn("Secret", {kind for kind, _ in chart.render(base)})

    def test_every_key_changes_the_rendering(self):
        rendered = [(base, chart.helm_template(base)) for base in bases()]

        def is_alive(leaf):
            path, schema = leaf
            for base, before in rendered:
                for value in mutations(schema, at(base, path)):
                    try:
                        after = chart.helm_template(with_value(base, path, value))
                    except chart.RenderError:
                        continue
                    if after != before:
                        return True
            return False

        found = [leaf for leaf in leaves(SCHEMA) if leaf[0] not in PARENTS]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            alive = list(pool.map(is_alive, found))
        dead = [".".join(path) for (path, _), lives in zip(found, alive) if not lives]
        self.assertEqual(dead, [], "keys that change nothing")
        print(f"chart: {len(found)} keys, each changes the rendering")


if __name__ == "__main__":
    unittest.main()
