"""The CRDs, made from the model: `python -m controlplane.model.crd [DIRECTORY]` (`make crds`).

Two descriptions of one API drift apart, and the difference is what users lose sleep over: a field the API server
prunes, a field the schema allows and nobody reads. So there is one, the model, and `crds/` is printed from it; a test
fails when it is not what this module prints.
"""

import ast
import inspect as source
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, Final

import yaml
from msgspec import inspect

from controlplane.model.crdrules import ALIASES, BOUNDS, REQUIRED, RULES, Cel
from controlplane.model.durations import MAX_LENGTH
from controlplane.model.kinds import MESH_KINDS, Kind
from controlplane.model.value import Mark

HEADER: Final = "# Printed from controlplane/model by `make crds`; change the model, not this file.\n"
Schema = dict[str, Any]

# No CEL here: durations occur in lists of lists, where an API server deems every CEL rule too expensive.
_DURATION: Final[Schema] = {
    "type": "string",
    "maxLength": MAX_LENGTH,
    "pattern": r"^(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(h|ms|m|s|us|µs|ns))+)$",
}
_AGE: Final = {
    "name": "Age",
    "type": "date",
    "jsonPath": ".metadata.creationTimestamp",
    "description": "Time since the object was created.",
}
_ACCEPTED: Final = {
    "name": "Accepted",
    "type": "string",
    "jsonPath": '.status.conditions[?(@.type=="Accepted")].status',
    "description": "Whether all of it has an effect; the condition's message says what has none.",
}
_PROGRAMMED: Final = {
    "name": "Programmed",
    "type": "string",
    "jsonPath": '.status.conditions[?(@.type=="Programmed")].status',
    "description": "Whether the proxies that it concerns run it; nothing where they are not counted.",
}
# (column, field of spec, what it shows)
_COLUMNS: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "VirtualService": (("Gateways", "gateways", "Gateways that apply it."), ("Hosts", "hosts", "Hosts it is for.")),
    "DestinationRule": (("Host", "host", "The service it is for."),),
    "Gateway": (("Selector", "selector", "Labels of the gateway pods."),),
    "ServiceEntry": (
        ("Hosts", "hosts", "Names of the service."),
        ("Location", "location", "Whether it belongs to the mesh."),
        ("Resolution", "resolution", "How its addresses are found."),
    ),
    "WorkloadEntry": (("Address", "address", "Address of the workload."),),
    "Sidecar": (("Selector", "workloadSelector.labels", "Labels of the workloads it is for."),),
    "PeerAuthentication": (("Mode", "mtls.mode", "What workloads take from their callers."),),
    "RequestAuthentication": (),
    "AuthorizationPolicy": (("Action", "action", "What becomes of calls that match."),),
}


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a mesh kind."""
    described = inspect.type_info(kind.type)
    assert isinstance(described, inspect.StructType)
    spec = next(field.type for field in described.fields if field.name == "spec")
    assert isinstance(spec, inspect.StructType)
    schema = {
        "type": "object",
        "description": _sentence(kind.type.__doc__),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {"description": _sentence(spec.cls.__doc__), **_schema(spec)},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": _names(kind),
            "scope": "Namespaced",
            "versions": [_version(kind, version, schema) for version in kind.versions],
        },
    }


def files() -> dict[str, str]:
    """File name -> content, of all CRDs."""
    return {f"{kind.group}_{kind.plural}.yaml": HEADER + _to_yaml(crd(kind)) for kind in MESH_KINDS}


def main(arguments: list[str]) -> None:
    """Write the CRDs into a directory, and remove those of kinds that are gone."""
    directory = Path(arguments[0] if arguments else "crds")
    directory.mkdir(parents=True, exist_ok=True)
    made = files()
    for stale in directory.glob("*.yaml"):
        if stale.name not in made:
            stale.unlink()
    for name, content in made.items():
        (directory / name).write_text(content, encoding="utf-8")


def _names(kind: Kind) -> Schema:
    names: Schema = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
        "categories": ["istio-io", "networking-istio-io"],
    }
    return names | ({"shortNames": list(kind.short_names)} if kind.short_names else {})


def _version(kind: Kind, version: str, schema: Schema) -> Schema:
    columns = [
        {"name": name, "type": "string", "jsonPath": f".spec.{field}", "description": says}
        for name, field, says in _COLUMNS[kind.kind]
    ]
    return {
        "name": version,
        "served": True,
        "storage": version == kind.versions[0],
        "subresources": {"status": {}},
        "additionalPrinterColumns": [*columns, _ACCEPTED, _PROGRAMMED, _AGE],
        "schema": {"openAPIV3Schema": schema},
    }


# Types -> schemas


def _schema(node: inspect.Type) -> Schema:
    """A structural schema; the types of the model are few, one that is not listed is a mistake of ours."""
    return _SCHEMAS[type(node)](node)


def _optional(node: inspect.UnionType) -> Schema:
    return _schema(next(option for option in node.types if not isinstance(option, inspect.NoneType)))


def _integer(node: inspect.IntType) -> Schema:
    schema: Schema = {"type": "integer", "format": "int32" if node.ge and node.ge < 0 else "int64"}
    if node.ge == 0:
        schema["minimum"] = 0
        if node.le is not None:
            schema["maximum"] = node.le
    return schema


def _object(node: inspect.StructType) -> Schema:
    kind = node.cls
    properties: dict[str, Schema] = {}
    for field in node.fields:
        if isinstance(field.type, inspect.CustomType) and field.type.cls is Mark:
            continue
        schema = _schema(field.type) | BOUNDS.get((kind, field.encode_name), {})
        schema = {
            "description": _descriptions(kind)[field.name],
            **schema,
        }
        properties[field.encode_name] = schema
        if alias := ALIASES.get((kind, field.encode_name)):
            properties[alias] = schema
    made: Schema = {"type": "object"}
    if kind in REQUIRED:
        made["required"] = list(REQUIRED[kind])
    return made | {"properties": properties} | _rules(kind)


def _rules(kind: type) -> Schema:
    rules = RULES.get(kind, ())
    schemas = [rule for rule in rules if not isinstance(rule, Cel)]
    cel = [{"rule": rule.rule, "message": rule.message} for rule in rules if isinstance(rule, Cel)]
    made: Schema = schemas[0] if len(schemas) == 1 else {"allOf": schemas} if schemas else {}
    return made | ({"x-kubernetes-validations": cel} if cel else {})


_SCHEMAS: Final[Mapping[type, Callable[[Any], Schema]]] = {
    inspect.UnionType: _optional,
    inspect.StructType: _object,
    inspect.IntType: _integer,
    inspect.StrType: lambda _node: {"type": "string"},
    inspect.BoolType: lambda _node: {"type": "boolean"},
    inspect.FloatType: lambda _node: {"type": "number"},
    inspect.CustomType: lambda _duration: dict(_DURATION),
    inspect.EnumType: lambda node: {"type": "string", "enum": [str(member.value) for member in node.cls]},
    inspect.VarTupleType: lambda node: {"type": "array", "items": _schema(node.item_type)},
    inspect.DictType: lambda node: {"type": "object", "additionalProperties": _schema(node.value_type)},
}


# Descriptions: the comment beside a field


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


@cache
def _descriptions(kind: type) -> Mapping[str, str]:
    """Field name -> the comment at the end of its line."""
    module = source.getsource(sys.modules[kind.__module__])
    comments = dict(_comments(module))
    body = next(
        node for node in ast.parse(module).body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    return {
        field.target.id: comments[field.end_lineno or field.lineno]
        for field in body.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and (field.end_lineno or field.lineno) in comments
    }


def _comments(module: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(StringIO(module).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.removeprefix("#").strip()


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out in full: an anchor saves bytes and costs readers."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _to_yaml(document: Schema) -> str:
    dumped: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return dumped


if __name__ == "__main__":
    main(sys.argv[1:])
