"""Renders the chart and walks what came out; shared by the tests in this folder."""

import copy
import json
import os
import pathlib
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/twqr"
BASES = CHART / "tests/values"
HELM = os.environ["HELM"]


class RenderError(Exception):
    """What Helm said of values that it refused."""


def read(path):
    return yaml.safe_load(path.read_text())


def defaults():
    return read(CHART / "values.yaml")


def merged(*layers):
    """Values as Helm merges them: later layers win, maps are merged, lists are replaced."""
    result = {}
    for layer in layers:
        for key, value in (layer or {}).items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def helm_template(values, chart=CHART):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        command = [HELM, "template", "release", str(chart), "--namespace", "payments", "--values", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RenderError(done.stderr)
    return done.stdout


def render(values, chart=CHART):
    """The objects that the values give, by kind and name."""
    objects = [one for one in yaml.safe_load_all(helm_template(values, chart)) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def pods(objects):
    """The pod templates among the objects, and pods, by kind and name."""
    found = {}
    for (kind, name), one in objects.items():
        if kind == "Pod":
            found[kind, name] = one
        elif "template" in one.get("spec", {}) and kind in ("StatefulSet", "Job", "Deployment"):
            found[kind, name] = one["spec"]["template"]
    return found


def profiles():
    """Each profile with the least that it needs, by name."""
    base = read(BASES / "services.yaml")
    return {path.stem: merged(base, read(path)) for path in sorted((CHART / "profiles").glob("*.yaml"))}
