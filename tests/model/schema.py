"""A small reader of the schemas in `crds/`: enough of OpenAPI, and CEL, to say whether an API server takes a document."""

import re  # noqa: TID251  (our own rules, in a test)
from functools import cache
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]  # its wheel lacks py.typed

_KNOWN = {
    "type", "description", "required", "properties", "additionalProperties", "items", "enum", "format", "pattern",
    "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "oneOf", "anyOf", "allOf", "not",
    "x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip
_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def refusals(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """Why an API server would refuse `value`, or prune a part of it; empty when it takes it whole."""
    assert not schema.keys() - _KNOWN, f"this reader does not know {schema.keys() - _KNOWN}"
    found: list[str] = []
    expected = schema.get("type")
    if expected and (not isinstance(value, _TYPES[expected]) or (expected != "boolean" and isinstance(value, bool))):
        return [f"{path}: not of type {expected}"]
    found += _scalar(schema, value, path)
    if isinstance(value, list):
        for i, item in enumerate(value):
            found += refusals(schema.get("items", {}), item, f"{path}[{i}]")
    if isinstance(value, dict):
        found += _object(schema, value, path)
    found += _combined(schema, value, path)
    return found or _cel(schema, value, path)  # an API server runs CEL on what the schema takes only


def _scalar(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    size = len(value) if isinstance(value, str | list) else 0
    checks = {
        "enum": lambda limit: value in limit,
        "pattern": lambda limit: re.search(limit, value) is not None,
        "minimum": lambda limit: value >= limit,
        "maximum": lambda limit: value <= limit,
        "minItems": lambda limit: size >= limit,
        "maxItems": lambda limit: size <= limit,
        "minLength": lambda limit: size >= limit,
        "maxLength": lambda limit: size <= limit,
    }
    return [
        f"{path}: {name} {schema[name]}" for name, check in checks.items() if name in schema and not check(schema[name])
    ]


def _object(schema: dict[str, Any], value: dict[str, Any], path: str) -> list[str]:
    found = [f"{path}.{name}: required" for name in schema.get("required", ()) if name not in value]
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        if name in properties:
            found += refusals(properties[name], item, f"{path}.{name}")
        elif others is not None:
            found += refusals(others, item, f"{path}.{name}")
        elif schema.get("type") == "object" and properties:
            found.append(f"{path}.{name}: pruned")
    return found


def _combined(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    found: list[str] = []
    if "oneOf" in schema and sum(not refusals(one, value) for one in schema["oneOf"]) != 1:
        found.append(f"{path}: oneOf")
    if "anyOf" in schema and all(refusals(one, value) for one in schema["anyOf"]):
        found.append(f"{path}: anyOf")
    if "not" in schema and not refusals(schema["not"], value):
        found.append(f"{path}: not")
    return found + [problem for one in schema.get("allOf", ()) for problem in refusals(one, value, path)]


def _cel(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    rules = schema.get("x-kubernetes-validations", ())
    return [f"{path}: {rule['message']}" for rule in rules if not _holds(rule["rule"], value)]


def _holds(rule: str, value: dict[str, Any]) -> bool:
    return bool(_compiled(rule).eval(data={"self": value}).value())


@cache
def _compiled(rule: str) -> Any:
    """Types are left open here: an API server knows them from the schema, and refuses a CRD whose rules do not fit."""
    return cel.NewEnv(variables={"self": cel.Type.DYN}).compile(rule)
