"""LlmCatalogue: what is asked of the LLM catalogue, and how it is changed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ledger.control.audit import Act, acts_of, record_act
from ledger.control.catalogue import Catalogue
from ledger.control.llm.records import LlmModel, LlmProvider, Price, ResolvedLlm, StepLlmDefault
from ledger.errors import LlmInUse, LlmNotFound, NoModelForStep
from ledger.store.server import Connection
from ledger.store.statements import load_statements

_SQL = load_statements("ledger.control.llm", "llm.sql")

Record = TypeVar("Record", LlmProvider, LlmModel, StepLlmDefault)


@dataclass(frozen=True)
class Change(Generic[Record]):
    """What a call changed: `before` is None where there was nothing, `after` where there is nothing now.
    Where both are equal nothing was changed, and no act was recorded."""

    before: Record | None
    after: Record | None


@dataclass(frozen=True)
class _Kind(Generic[Record]):
    """How one kind of record is found, written and named. `subject` is its kind in the audit trail."""

    name: str
    subject: str
    called: str
    read: Callable[[Any], Record]
    write: Callable[[Record], tuple[Any, ...]]

    def not_found(self, key: str) -> LlmNotFound:
        return LlmNotFound(
            f"There is no {self.called} {key!r} in the catalogue",
            fix=f"Correct the name; `daicho llm {self.name} list` shows all",
        )


class LlmCatalogue:
    """One for all tenants, in the control database. What is asked is answered from it, and never from a
    copy. Changing it needs a reason and records an act (`ledger.control.audit`), in one transaction: `by`
    None is the account at this machine. All methods raise StoreUnavailable where it is out of reach."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def resolve(self, step_id: str) -> ResolvedLlm:
        """The model of a step: its default, with parameters. Raises NoModelForStep where it has none: no
        second choice is ever made."""
        rows = await self._catalogue.ask(_SQL["resolve"], step_id)
        if not rows:
            raise NoModelForStep(
                f"No model is set for the step {step_id!r}",
                expected="a default in the LLM catalogue",
                fix=f"Set one with `daicho llm default set {step_id} MODEL`; no other is used instead",
            )
        row = dict(rows[0])
        provider = {"provider_id": row["provider_id"], "name": row.pop("provider_name")}
        provider |= {name: row.pop(name) for name in ("base_url", "key_variable")}
        default = {name: row.pop(name) for name in ("step_id", "parameters")}
        return ResolvedLlm(
            step_id=default["step_id"],
            parameters=json.loads(default["parameters"]),
            provider=LlmProvider(**provider),
            model=LlmModel(name=row.pop("model_name"), **row),
        )

    async def price(self, model_id: str) -> Price | None:
        """What the model costs now; None where it is not in the catalogue, or there without a price."""
        found = await self._find(MODEL, model_id)
        return None if found is None else found.price

    async def providers(self) -> Sequence[LlmProvider]:
        return await self._all(PROVIDER)

    async def models(self) -> Sequence[LlmModel]:
        return await self._all(MODEL)

    async def defaults(self) -> Sequence[StepLlmDefault]:
        return await self._all(DEFAULT)

    async def provider(self, provider_id: str) -> LlmProvider:
        """Raises LlmNotFound."""
        return await self._get(PROVIDER, provider_id)

    async def model(self, model_id: str) -> LlmModel:
        """Raises LlmNotFound."""
        return await self._get(MODEL, model_id)

    async def default(self, step_id: str) -> StepLlmDefault:
        """Raises LlmNotFound; `resolve` gives the model with it."""
        return await self._get(DEFAULT, step_id)

    async def set_provider(
        self, provider: LlmProvider, *, reason: str, by: str | None = None
    ) -> Change[LlmProvider]:
        """Adds the provider, or puts it in the place of the one of this id, whole."""
        return await self._set(PROVIDER, provider.provider_id, provider, reason, by)

    async def set_model(self, model: LlmModel, *, reason: str, by: str | None = None) -> Change[LlmModel]:
        """Adds the model, or puts it in the place of the one of this id, whole. Costs that are recorded
        stay as they are. Raises LlmNotFound for a provider that is not in the catalogue."""
        return await self._set(MODEL, model.model_id, model, reason, by, needs=(PROVIDER, model.provider_id))

    async def set_default(
        self, default: StepLlmDefault, *, reason: str, by: str | None = None
    ) -> Change[StepLlmDefault]:
        """Makes it the model of the step. Raises LlmNotFound for a model that is not in the catalogue."""
        return await self._set(DEFAULT, default.step_id, default, reason, by, needs=(MODEL, default.model_id))

    async def remove_provider(
        self, provider_id: str, *, reason: str, by: str | None = None
    ) -> Change[LlmProvider]:
        """Raises LlmNotFound; LlmInUse while a model names it."""
        return await self._remove(PROVIDER, provider_id, reason, by, users="models_of_provider")

    async def remove_model(self, model_id: str, *, reason: str, by: str | None = None) -> Change[LlmModel]:
        """Raises LlmNotFound; LlmInUse while it is the default of a step."""
        return await self._remove(MODEL, model_id, reason, by, users="steps_of_model")

    async def remove_default(
        self, step_id: str, *, reason: str, by: str | None = None
    ) -> Change[StepLlmDefault]:
        """From now on the step resolves to nothing. Raises LlmNotFound."""
        return await self._remove(DEFAULT, step_id, reason, by)

    async def history(self, subject: str, *, limit: int = 100) -> Sequence[Act]:
        """The last changes of one record, the newest first: `provider:ID`, `model:ID` or `step:ID`, which may
        be gone by now. Each has who, when, why, and in `details` what stood there `before` and `after`."""
        async with self._catalogue.changing() as connection:
            return await acts_of(connection, subject, limit=limit)

    async def _all(self, kind: _Kind[Record]) -> Sequence[Record]:
        return [kind.read(row) for row in await self._catalogue.ask(_SQL[f"{kind.name}s"])]

    async def _find(self, kind: _Kind[Record], key: str) -> Record | None:
        rows = await self._catalogue.ask(_SQL[kind.name], key)
        return kind.read(rows[0]) if rows else None

    async def _get(self, kind: _Kind[Record], key: str) -> Record:
        found = await self._find(kind, key)
        if found is None:
            raise kind.not_found(key)
        return found

    async def _set(
        self,
        kind: _Kind[Record],
        key: str,
        after: Record,
        reason: str,
        by: str | None,
        needs: tuple[_Kind[Any], str] | None = None,
    ) -> Change[Record]:
        async with self._catalogue.changing() as connection:
            before = await _locked(connection, kind, key)
            if needs is not None and not await connection.fetch(_SQL[needs[0].name], needs[1]):
                raise needs[0].not_found(needs[1])
            if before != after:
                await connection.execute(_SQL[f"set_{kind.name}"], *kind.write(after))
                await _record(connection, kind, key, "set", Change(before, after), reason, by)
        return Change(before, after)

    async def _remove(
        self, kind: _Kind[Record], key: str, reason: str, by: str | None, users: str | None = None
    ) -> Change[Record]:
        async with self._catalogue.changing() as connection:
            before = await _locked(connection, kind, key)
            if before is None:
                raise kind.not_found(key)
            using = [row[0] for row in await connection.fetch(_SQL[users], key)] if users else []
            if using:
                raise LlmInUse(
                    f"The {kind.called} {key!r} is still named by {', '.join(using[:10])}",
                    expected="nothing that names it",
                    fix="Let them name another, or remove them first; nothing was changed",
                )
            await connection.execute(_SQL[f"remove_{kind.name}"], key)
            change = Change[Record](before, None)
            await _record(connection, kind, key, "removed", change, reason, by)
        return change


async def _locked(connection: Connection, kind: _Kind[Record], key: str) -> Record | None:
    """What stands there now, and will until this transaction ends."""
    await connection.execute(_SQL["lock_changes"])
    rows = await connection.fetch(_SQL[kind.name], key)
    return kind.read(rows[0]) if rows else None


async def _record(
    connection: Connection,
    kind: _Kind[Record],
    key: str,
    done: str,
    change: Change[Record],
    reason: str,
    by: str | None,
) -> None:
    details = {
        "before": None if change.before is None else change.before.said(),
        "after": None if change.after is None else change.after.said(),
    }
    await record_act(
        connection, by, f"llm.{kind.name}_{done}", f"{kind.subject}:{key}", reason=reason, details=details
    )


def _default(row: Any) -> StepLlmDefault:
    return StepLlmDefault(**{**row, "parameters": json.loads(row["parameters"])})


def _of_provider(record: LlmProvider) -> tuple[Any, ...]:
    return (record.provider_id, record.name, record.base_url, record.key_variable)


def _of_model(record: LlmModel) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in LlmModel.model_fields)


def _of_default(record: StepLlmDefault) -> tuple[Any, ...]:
    return (record.step_id, record.model_id, json.dumps(record.parameters))


PROVIDER = _Kind("provider", "provider", "LLM provider", lambda row: LlmProvider(**row), _of_provider)
MODEL = _Kind("model", "model", "LLM model", lambda row: LlmModel(**row), _of_model)
DEFAULT = _Kind("default", "step", "default model of step", _default, _of_default)
