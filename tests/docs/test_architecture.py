"""ARCHITECTURE.md is true: what it points to is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_every_file_that_architecture_names_exists() -> None:
    named = re.findall(r"`((?:tests|ledger|projections|blobstore|migrations)/[\w./-]*)`", TEXT)
    assert len(named) > 20
    missing = sorted({name for name in named if not (ROOT / name).exists()})
    assert not missing, missing


def test_every_invariant_names_its_test() -> None:
    rows = re.findall(r"^\| (\d) \|.*\| ([^|]*) \|$", TEXT, re.MULTILINE)
    assert [number for number, _ in rows] == list("12345678")
    assert all("tests/" in tests for _, tests in rows)
