"""daicho llm: the catalogue on the command line, its answers for people and for machines."""

import json
from collections.abc import Awaitable, Callable

import pytest

from tests.support.command_line import CommandLine

Call = Callable[[str], Awaitable[tuple[int, str]]]


@pytest.fixture
def call(daicho: CommandLine, own: str) -> Call:
    """Runs `daicho llm …`; `@` begins names of this test's own."""

    async def _call(line: str) -> tuple[int, str]:
        words = ["llm", *(f"{own}-{word[1:]}" if word.startswith("@") else word for word in line.split())]
        return await daicho(*words)

    return _call


PRICED = "model set @m --provider @p --input-price 2.5 --output-price 10 --currency USD"


async def test_a_catalogue_is_made_asked_and_taken_down(call: Call, own: str) -> None:
    assert (await call("provider set @p --key-variable THE_KEY --reason first"))[0] == 0
    code, said = await call(f"{PRICED} --context-window 1000 --reason first --json")
    assert (code, json.loads(said)["after"]["price_input_per_million"]) == (0, "2.5")
    code, said = await call("resolve @draft")
    assert (code, "No model is set" in said) == (2, True), said
    assert (await call('default set @draft @m --parameters {"t":0.2} --reason first'))[0] == 0
    code, said = await call("resolve @draft --json")
    found = json.loads(said)
    assert (code, found["model"]["model_id"], found["parameters"]) == (0, f"{own}-m", {"t": 0.2})
    assert found["provider"]["key_variable"] == "THE_KEY"
    code, said = await call("resolve @draft")
    assert (code, "price: 2.5 + 10 USD" in said) == (0, True), said
    for kind, name in (("provider", f"{own}-p"), ("model", f"{own}-m"), ("default", f"{own}-draft")):
        code, said = await call(f"{kind} list")
        assert (code, name in said) == (0, True), said
        code, listed = await call(f"{kind} list --json")
        code, shown = await call(f"{kind} show {name} --json")
        assert json.loads(shown) in json.loads(listed)
        code, said = await call(f"{kind} show {name}")
        assert (code, name in said) == (0, True), said
    assert (await call("model remove @m --reason old"))[0] == 2
    for line in ("default remove @draft", "model remove @m", "provider remove @p"):
        code, said = await call(f"{line} --reason old")
        assert (code, "removed" in said) == (0, True), said
    assert (await call("model show @m"))[0] == 2


async def test_a_change_tells_what_is_not_kept_and_its_history_by_whom_and_why(call: Call) -> None:
    await call("provider set @p --reason first")
    await call(f"{PRICED} --context-window 1000 --reason first --by ann")
    code, said = await call(f"{PRICED.replace('10', '12')} --reason dearer --by ben")
    assert code == 0
    assert "context window tokens: 1000 -> none" in said
    assert "price output per million: 10 -> 12" in said
    assert "unchanged" in (await call(f"{PRICED.replace('10', '12')} --reason again"))[1]
    code, said = await call("history model @m")
    newest, first = said.index("ben: dearer"), said.index("ann: first")
    assert (code, newest < first) == (0, True), said
    acts = json.loads((await call("history model @m --json"))[1])
    assert [act["actor"] for act in acts] == ["ben", "ann"]
    assert acts[0]["details"]["before"]["price_output_per_million"] == "10"
    assert "Nothing is on record" in (await call("history default @draft"))[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("provider set @p --key-variable sk-live-4711 --reason x", "name of an environment variable"),
        ("provider set @p", "--reason"),
        ("model set @m --provider @p --input-price 1 --reason x", "a price is"),
        ("model set @m --provider @p --input-price a --output-price 1 --currency USD --reason x", "decimal"),
        ("model set @m --provider @nobody --reason x", "no LLM provider"),
        ("default set @draft @m --parameters {] --reason x", "not JSON"),
        ("default set @draft @m --parameters [1] --reason x", "a JSON object"),
        ("history nothing @m", "not one of"),
    ],
)
async def test_bad_input_is_told_in_words_and_changes_nothing(call: Call, line: str, said: str) -> None:
    code, output = await call(line)
    assert (code, said in output) == (2, True), output
    assert "Traceback" not in output
    assert "4711" not in output
    assert (await call("model show @m"))[0] == 2
