"""A checker says what its model says: yes to the same JSON, and the same errors at the same places."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, RootModel, ValidationError, field_validator, model_validator

from ledger import EventType
from ledger.contract.events import PAYLOAD_MODELS
from ledger.store.checking import Checker, checker
from tests.contract.strategies import payload_of

ODD: list[Any] = [None, True, -1, 0, 1.5, 2**63, "", "x" * 1100, "2026-01-01", [], [{}], {}, {"path": "p"}]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with every key or index of it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *places(value[key])]]


def said(check: Checker, data: bytes) -> list[tuple[Any, ...]]:
    try:
        check(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return [(each["loc"], each["type"].replace("model_type", "dict_type")) for each in found]
    return []


@pytest.mark.parametrize("event_type", EventType)
def test_it_agrees_with_the_model_on_any_payload_and_on_any_that_is_wrong_in_one_place(
    event_type: EventType,
) -> None:
    model = PAYLOAD_MODELS[event_type]
    check = checker(model)

    def by_the_model(data: bytes) -> object:
        return model.model_validate_json(data, strict=True)

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(payload_of(event_type), st.data())
    def agrees(payload: dict[str, Any], data: st.DataObject) -> None:
        value = orjson.loads(orjson.dumps(payload, default=lambda part: part.model_dump(mode="json")))
        assert said(check, orjson.dumps(value)) == said(by_the_model, orjson.dumps(value)) == []
        if found := places(value):
            container, key = data.draw(st.sampled_from(found))
            if data.draw(st.booleans()):
                del container[key]
            else:
                container[key] = data.draw(st.sampled_from(ODD))
            wrong = orjson.dumps(value)
            assert said(check, wrong) == said(by_the_model, wrong)

    agrees()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b'"x"', b"null"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValidationError):
        checker(PAYLOAD_MODELS[EventType.STEP_SUCCEEDED])(data)


class Inner(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int = 0


class LooksAtItself(Inner):
    @model_validator(mode="after")
    def _fits(self) -> "LooksAtItself":
        return self


class LooksAtItsPart(BaseModel):
    part: Inner

    @field_validator("part")
    @classmethod
    def _fits(cls, part: Inner) -> Inner:
        return part


class LooksBefore(Inner):
    @model_validator(mode="before")
    @classmethod
    def _fits(cls, data: Any) -> Any:
        return data


@pytest.mark.parametrize("model", [LooksAtItself, LooksAtItsPart, LooksBefore, RootModel[int]])
def test_a_model_with_rules_that_need_an_instance_is_no_checker(model: type[BaseModel]) -> None:
    with pytest.raises(TypeError, match="check it with the model itself"):
        checker(model)
