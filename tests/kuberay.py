"""What KubeRay's published schema of a RayJob says of the fields that cluster/kuberay.yaml uses.

The tests hold the file against ``tests/data/rayjob.yaml``; this makes that out of the schema, and so holds both
against what KubeRay publishes: a field of the file that the schema does not have is refused. After a change of the
file, or for another release::

    git clone --depth 1 --branch v1.7.0 https://github.com/ray-project/kuberay
    python -m tests.kuberay 1.7.0 kuberay/helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import REPOSITORY

JOB, EXTRACT = REPOSITORY / "cluster" / "kuberay.yaml", REPOSITORY / "tests" / "data" / "rayjob.yaml"

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "integer or string": (int, str),
}

Schema = Mapping[str, Any]


def extract(definition: Schema, job: Mapping[str, Any]) -> dict[str, Any]:
    """Of a CustomResourceDefinition what the resource `job` uses.

    ``fields`` has the type of each of its fields by path, or the values that there are; [] is an item of a list, * any
    key of a map. ``required`` has the paths that must be there where what they are in is. Raises ValueError with every
    field that the schema does not have.
    """
    wanted = job["apiVersion"].rpartition("/")[2]
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == wanted)
    fields: dict[str, str | list[str]] = {}
    required: set[str] = set()
    unknown: list[str] = []

    def walk(schema: Schema, value: Any, path: str) -> None:
        if path:
            kind = "integer or string" if schema.get("x-kubernetes-int-or-string") else schema["type"]
            fields[path] = schema.get("enum", kind)
        if isinstance(value, list):
            for each in value:
                walk(schema["items"], each, f"{path}[]")
        elif isinstance(value, dict) and (schema.get("properties") or "additionalProperties" in schema):
            required.update(join(path, name) for name in schema.get("required", ()))
            for name, each in value.items():
                if name in schema.get("properties", {}):
                    walk(schema["properties"][name], each, join(path, name))
                elif "additionalProperties" in schema:
                    walk(schema["additionalProperties"], each, join(path, "*"))
                else:
                    unknown.append(join(path, name))

    walk(version["schema"]["openAPIV3Schema"], job, "")
    if unknown:
        raise ValueError(f"no fields of a {definition['spec']['names']['kind']}: {', '.join(unknown)}")
    return {"fields": dict(sorted(fields.items())), "required": sorted(required)}


def problems(schema: Schema, job: Mapping[str, Any]) -> list[str]:
    """Every path at which `job` is none by an `extract`: an unknown field, another type or value, or one that lacks."""
    maps = [field.removesuffix(".*") for field in schema["fields"] if field.endswith(".*")]
    found = []
    for path, value in flat(job):
        inside = next((each for each in maps if path.startswith(f"{each}.")), None)
        kind = schema["fields"].get(f"{inside}.*" if inside else path)
        fits = value in kind if isinstance(kind, list) else kind and isinstance(value, TYPES[kind])
        if path and not path.startswith("metadata.") and not fits:
            found.append(path)
        if isinstance(value, dict):
            needed = (each.rpartition(".") for each in schema["required"])
            found += [join(path, name) for above, _, name in needed if above == path and name not in value]
    return found


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every path of a document and what is there, with [] for the items of lists."""
    yield path, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from flat(each, join(path, key))
    elif isinstance(value, list):
        for each in value:
            yield from flat(each, f"{path}[]")


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def main(release: str, definition: Path) -> None:
    content = definition.read_bytes()
    found = extract(yaml.safe_load(content), yaml.safe_load(JOB.read_text(encoding="utf-8")))
    head = (
        "# Of KubeRay's own schema of a RayJob (Apache-2.0) what cluster/kuberay.yaml uses; made by tests/kuberay.py.\n"
        "# path -> type, or the values that there are. [] is an item of a list, * any key of a map.\n"
    )
    source = {
        "release": release,
        "file": "ray-project/kuberay: helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = yaml.safe_dump({"source": source, **found}, sort_keys=False, width=200)
    EXTRACT.write_text(head + text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
