"""docs/projections.md runs: its package is installed beside this one, its code is run, and its commands."""

import ast
import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

TEXT = (Path(__file__).parents[2] / "docs/projections.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with the package as an installer leaves it behind: code and metadata."""
    with tempfile.TemporaryDirectory(prefix="daicho-docs-") as folder:
        Path(folder).chmod(0o711)
        site = Path(folder) / "site"
        module, _ = blocks("python")
        [registration] = blocks("toml")
        [(group, entry)] = re.findall(r'\[project\.entry-points\."(.*?)"\]\n(\w+ = ".*?")\n', registration)
        metadata = site / "article_costs-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / "article_costs.py").write_text(module)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: article-costs\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("DAICHO_HOME", str(Path(folder) / "home"))
        yield site
        sys.modules.pop("article_costs", None)


async def test_a_projection_of_ones_own_is_followed_rebuilt_verified_and_shown(site: Path) -> None:
    _, usage = blocks("python")
    code = compile(usage, "docs/projections.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, {})
    if inspect.isawaitable(result):
        await result

    said = {}
    for line in blocks("console")[0].splitlines():
        words = [*line.removeprefix("$ daicho ").split(), "--json"]
        done = subprocess.run(
            [sys.executable, "-c", "from ledger.cli import main; main()", *words],
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        said[words[0]] = orjson.loads(done.stdout)

    assert said["rebuild"]["rows"] == {"costs_daily": 3}
    assert said["verify"]["tables"].keys() == {"costs_daily"}
    [tenant] = said["status"]
    states = {found["projection"]: found["state"] for found in tenant["projections"]}
    assert states.keys() == {"core", "costs"}
    assert states["costs"] in {"current", "behind"}  # the rebuild recorded itself, and nobody follows now
