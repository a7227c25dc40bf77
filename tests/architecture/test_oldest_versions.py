"""What `make test-oldest` installs is what pyproject.toml says daicho works with."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from ledger.store.server import SERVER_VERSION_MIN
from tests.architecture.test_layers import ROOT
from tests.servers import oldest_postgres

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("embedded", "demo", "otel", "zstd", "parquet", "test")
REQUIREMENTS = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in EXTRAS))
    for line in lines
]


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints" / "oldest.txt").read_text().splitlines()
    named = (line.split(";")[0].strip(" \\").split("==") for line in lines if "==" in line)
    return {name: Version(version) for name, version in named}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=[each.name for each in REQUIREMENTS])
def test_the_oldest_version_of_each_package_is_pinned(requirement: Requirement) -> None:
    [oldest] = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
    assert pins()[requirement.name].release[: len(oldest.release)] == oldest.release


def test_the_oldest_postgresql_is_the_one_that_is_put_in_place() -> None:
    assert oldest_postgres.VERSION.split(".")[0] == str(SERVER_VERSION_MIN)
