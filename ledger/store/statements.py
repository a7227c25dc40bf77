"""Named SQL statements. A `.sql` file is a sequence of statements, each under a line
`-- name: statement_name`; what stands before the first such line is a comment on the file."""

import re
from functools import cache
from importlib.resources import files

_NAME_LINE = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load_statements(package: str, filename: str) -> dict[str, str]:
    """The statements of `filename` in `package`, by name, in the order of the file."""
    text = files(package).joinpath(filename).read_text(encoding="utf-8")
    parts = _NAME_LINE.split(text)[1:]
    statements = dict(zip(parts[::2], (body.strip() for body in parts[1::2]), strict=True))
    assert len(statements) * 2 == len(parts), f"{filename} holds a name twice"
    return statements
