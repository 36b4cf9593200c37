"""Writes the JSON schemas by which kubeconform checks objects strictly: those of Kubernetes from its
API's description, those of operators from the definitions in `crds`.

Usage: schemas.py SWAGGER OUT
"""

import json
import pathlib
import sys

import yaml

# What the description calls text, but the API reads as a number, too.
LOOSE = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
}


def strict(schema):
    """The schema without room for unknown keys."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    result = {key: strict(value) for key, value in schema.items() if key != "description"}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and not free:
        result["additionalProperties"] = False
    return result


def used(schema, definitions, found):
    """Collects the definitions that a schema refers to, those below them too."""
    if isinstance(schema, dict):
        name = schema.get("$ref", "").removeprefix("#/definitions/")
        if name and name not in found:
            found[name] = definitions[name]
            used(definitions[name], definitions, found)
        for below in schema.values():
            used(below, definitions, found)
    elif isinstance(schema, list):
        for below in schema:
            used(below, definitions, found)
    return found


def name(kind, group, version):
    """The file's name as kubeconform looks for it."""
    return "-".join(part.lower() for part in (kind, group.split(".")[0], version) if part) + ".json"


def main(swagger, out):
    out.mkdir(parents=True, exist_ok=True)
    definitions = json.loads(swagger.read_text())["definitions"]
    definitions = {key: LOOSE.get(key) or strict(value) for key, value in definitions.items()}
    for schema in definitions.values():
        for gvk in schema.get("x-kubernetes-group-version-kind", []):
            whole = {**schema, "definitions": used(schema, definitions, {})}
            (out / name(gvk["kind"], gvk["group"], gvk["version"])).write_text(json.dumps(whole))
    meta = {"type": "object"}
    for path in sorted((pathlib.Path(__file__).parent / "crds").glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": meta}
                (out / name(spec["names"]["kind"], spec["group"], version["name"])).write_text(json.dumps(schema))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
