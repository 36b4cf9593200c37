"""The signature of the HTTP form (proto/README.md, section HTTP form)."""

import hashlib
import json
from collections.abc import Mapping


def canonical_text(fields: Mapping[str, object]) -> str:
    """The signed text: all fields but Sign as compact JSON, keys sorted at every depth."""
    signed = {key: value for key, value in fields.items() if key != "Sign"}
    return json.dumps(signed, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def sign(fields: Mapping[str, object], key: str) -> str:
    """The field Sign of a request: the hex SHA-256 of the signed text and the merchant's key."""
    return hashlib.sha256((canonical_text(fields) + key).encode()).hexdigest()
