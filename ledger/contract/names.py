"""Names: the identifiers of tenants, runs, steps and packs, and what may stand in them.

A run's id is its stream's id. Ids travel in artifact paths, so none may hold a slash; ids that
begin with `$` are reserved for the ledger's own streams.
"""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

CORE_PROJECTION = "core"
"""The projection that daicho brings itself."""
TENANT_STREAM = "$tenant"
PROMPT_PACKS = "$prompt_packs"  # the streams `$prompt_packs/pack_id` hold what was decided about packs
RUN_LEVEL = "$run"  # stands as `step_id` in the StepError of a failure outside every step
NAME_BYTES_MAX = 255

_TENANT_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}", re.ASCII)

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_$-][A-Za-z0-9_$:.-]{0,199}", re.ASCII)


def tenant_id_problem(value: str) -> str | None:
    """What is wrong with a tenant id, or None. Upper and lower case are different tenants."""
    if isinstance(value, str) and _TENANT_ID.fullmatch(value):
        return None
    return "a tenant id is 1 to 64 of A-Z a-z 0-9 _ - . beginning with a letter or digit, without '..'"


def name_problem(value: str) -> str | None:
    """What is wrong with a run, step or artifact name, or None."""
    if not isinstance(value, str):
        return f"a name is text, not {type(value).__name__}"
    if _PLAIN_NAME.fullmatch(value):  # nearly all of them, in a tenth of the time
        return None
    if not value or value != value.strip():
        return "a name is not empty and does not begin or end with white space"
    if value in {".", ".."} or "/" in value or "\\" in value:
        return "a name holds no slash or backslash and is not '.' or '..'"
    # Cc: control characters, NUL among them. Cf: invisible marks that reverse or hide text.
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in value):
        return "a name holds no control character, no invisible format mark and no lone surrogate"
    if len(value.encode()) > NAME_BYTES_MAX:
        return f"a name is at most {NAME_BYTES_MAX} bytes of UTF-8"
    return None


def shown(value: object) -> str:
    """What was given for a name, as an error may show it: escaped and short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def is_reserved(name: str) -> bool:
    return name.startswith("$")


def _valid_tenant_id(value: str) -> str:
    if problem := tenant_id_problem(value):
        raise ValueError(problem)
    return value


def _valid_name(value: str) -> str:
    if problem := name_problem(value):
        raise ValueError(problem)
    return value


TenantId = Annotated[str, AfterValidator(_valid_tenant_id)]
Name = Annotated[str, AfterValidator(_valid_name)]
