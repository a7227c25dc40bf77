"""What the specification of OpenLineage refuses: its own JSON schemas (openlineage/README.md), offline."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

FOLDER = Path(__file__).parent / "openlineage"
RUN_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
_SCHEMAS = [orjson.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))]
_REGISTRY: Registry[Any] = Registry().with_resources(
    [(schema["$id"], Resource.from_contents(schema)) for schema in _SCHEMAS]
)
KNOWN = frozenset(schema["$id"] for schema in _SCHEMAS)


def validator(schema_url: str) -> Draft202012Validator:
    """Of the schema that the address names, formats checked. Nothing is fetched: an address that is not
    among the files is an error."""
    return Draft202012Validator(
        {"$ref": schema_url}, registry=_REGISTRY, format_checker=FormatChecker(["date-time", "uri", "uuid"])
    )


def problems(event: dict[str, Any]) -> list[str]:
    """Of an event, by the schema of all events and the one that it names itself, and of each facet of it that
    OpenLineage describes, by the schema which that names."""
    found = [(RUN_EVENT, event), (event["schemaURL"], event)]
    found += [(facet["_schemaURL"], facet) for facet in facets(event)]
    return [
        f"{error.json_path} of {url}: {error.message}"
        for url, value in found
        if not url.startswith("urn:daicho:")
        for error in validator(url).iter_errors(value)
    ]


def facets(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for bearer in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        yield from bearer.get("facets", {}).values()
