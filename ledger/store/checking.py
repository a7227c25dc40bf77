"""Checking: whether JSON is what a model says, without making the model.

A payload is checked and its bytes are stored: the objects that pydantic makes of it on the way are never
looked at, and making them takes half of the time. So a model's own rules are compiled once more, with
dictionaries in the place of models.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import CoreSchema, SchemaValidator

Checker = Callable[[bytes], object]


def checker(model: type[BaseModel]) -> Checker:
    """Checks JSON bytes strictly by the rules of `model`; raises pydantic's ValidationError as the model
    itself does. Raises TypeError for a model with rules that need its instance."""
    schema = cast(CoreSchema, _without_models(model.__pydantic_core_schema__))
    return partial(SchemaValidator(schema).validate_json, strict=True)


def _without_models(part: Any) -> Any:
    """A core schema (pydantic_core.core_schema) whose models are typed dictionaries of the same fields."""
    if isinstance(part, list):
        return [_without_models(item) for item in part]
    if not isinstance(part, dict):
        return part
    if str(part.get("type")).startswith("function-") and _names_a_model(part):
        raise TypeError("A function of this model takes a model's instance: check it with the model itself")
    inside = {key: _without_models(value) for key, value in part.items() if key != "metadata"}
    return _dictionary_of(inside) if part.get("type") == "model" else inside


def _dictionary_of(model: dict[str, Any]) -> dict[str, Any]:
    if model["schema"]["type"] != "model-fields" or model["custom_init"] or model["root_model"]:
        raise TypeError(f"{model['cls'].__name__} is more than its fields: check it with the model itself")
    fields = {name: _key_of(field) for name, field in model["schema"]["fields"].items()}
    dictionary = {"type": "typed-dict", "fields": fields, "extra_behavior": "ignore"}
    return {**dictionary, "ref": model["ref"]} if "ref" in model else dictionary


def _key_of(field: dict[str, Any]) -> dict[str, Any]:
    """A field with a default is a key that may be missing; nobody would look at its default."""
    schema = field["schema"]
    if schema["type"] == "default":
        return {**field, "type": "typed-dict-field", "required": False, "schema": schema["schema"]}
    return {**field, "type": "typed-dict-field", "required": True}


def _names_a_model(part: Any) -> bool:
    if isinstance(part, dict):
        is_model = part.get("type") in {"model", "definition-ref"}
        return is_model or any(_names_a_model(value) for value in part.values())
    return isinstance(part, list) and any(_names_a_model(item) for item in part)
