"""Reduces the definitions of operators' objects to what the chart uses, so that they are small
enough to keep here: keys that no rendering has, descriptions and rules in CEL are left out. The
renderings are checked against the whole definitions first, by the same strict schemas.

Usage: reduce_crds.py RENDERED... < DEFINITIONS > deploy/tests/crds/operators.yaml
"""

import sys

import yaml

# Rules and defaults of whole objects; they name keys that are left out.
RULES = {"description", "default", "x-kubernetes-validations", "oneOf", "anyOf", "allOf", "not", "example"}


def reduced(schema, instances):
    """The schema, with only those properties that one of the instances has."""
    instances = [one for one in instances if one is not None]
    kept = {key: value for key, value in schema.items() if key not in RULES}
    if schema.get("x-kubernetes-int-or-string"):
        return kept
    if "properties" in schema:
        maps = [one for one in instances if isinstance(one, dict)]
        present = {key for one in maps for key in one}
        for key in present - set(schema["properties"]):
            if not schema.get("x-kubernetes-preserve-unknown-fields"):
                sys.exit(f"{key} is not in the definition")
        kept["properties"] = {
            key: reduced(value, [one.get(key) for one in maps])
            for key, value in schema["properties"].items() if key in present
        }
    if "items" in schema:
        kept["items"] = reduced(schema["items"], [item for one in instances if isinstance(one, list) for item in one])
    if isinstance(schema.get("additionalProperties"), dict):
        values = [value for one in instances if isinstance(one, dict) for value in one.values()]
        kept["additionalProperties"] = reduced(schema["additionalProperties"], values)
    return kept


def main():
    instances = {}
    for path in sys.argv[1:]:
        with open(path) as file:
            for one in yaml.safe_load_all(file):
                if one:
                    instances.setdefault((one["apiVersion"], one["kind"]), []).append(one)
    result = []
    for crd in yaml.safe_load_all(sys.stdin):
        spec = (crd or {}).get("spec", {})
        for version in spec.get("versions", []):
            key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            if key not in instances:
                continue
            schema = reduced(version["schema"]["openAPIV3Schema"], instances[key])
            schema["properties"]["metadata"] = {"type": "object"}
            names = {name: spec["names"][name] for name in ("kind", "listKind", "plural", "singular")}
            result.append({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": crd["metadata"]["name"], "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}},
                "spec": {"group": spec["group"], "names": names, "scope": spec["scope"], "versions": [
                    {"name": version["name"], "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]},
            })
    missing = {key for key in instances if "." in key[0].split("/")[0] and not key[0].split("/")[0].endswith(".k8s.io")}
    missing -= {(f"{one['spec']['group']}/{one['spec']['versions'][0]['name']}", one["spec"]["names"]["kind"]) for one in result}
    if missing:
        sys.exit(f"no definition of {missing}")
    yaml.safe_dump_all(result, sys.stdout, sort_keys=False, width=100)


if __name__ == "__main__":
    main()
