"""What events say about artifacts: versions of paths, where they came from, and what a repair changed."""

from builder import History, ref


def test_a_stored_artifact_has_a_row_with_its_path_digest_and_origin() -> None:
    draft = ref("draft.md")
    rows = History().run_started().stored(draft).folded()

    [row] = rows.artifacts
    assert (row.path, row.digest, row.version, row.origin) == (draft["path"], draft["digest"], 1, "stored")
    assert (row.producer_step_id, row.producer_attempt) == ("draft", 1)
    assert (row.name, row.first_position) == ("draft.md", 2)
    assert (row.content_type, row.size_bytes) == ("application/json", 8)
    assert rows.run().artifacts == 1
    assert rows.anomalies == []


def test_other_bytes_under_one_path_are_its_next_version() -> None:
    rows = (
        History()
        .run_started()
        .stored(ref("draft.md", "one"))
        .stored(ref("draft.md", "two"))
        .stored(ref("other.md", "one"))
        .stored(ref("draft.md", "three"))
        .folded()
    )

    versions = [(row.name, row.version) for row in rows.artifacts]
    assert versions == [("draft.md", 1), ("draft.md", 2), ("other.md", 1), ("draft.md", 3)]
    assert rows.run().artifacts == 4


def test_the_same_bytes_under_one_path_are_one_artifact_as_it_was_first_seen() -> None:
    draft = ref("draft.md")
    rows = (
        History()
        .run_started()
        .stored(draft)
        .step_started("polish", inputs=[draft])
        .step_succeeded("polish", outputs={"output": draft}, inputs_read=[draft])
        .run_succeeded(outputs={"page": draft})
        .folded()
    )

    assert [(row.origin, row.version, row.first_position) for row in rows.artifacts] == [("stored", 1, 2)]
    assert rows.run().artifacts == 1


def test_an_artifact_knows_who_produced_it_and_in_order_who_had_it_as_an_input() -> None:
    draft = ref("draft.md")
    rows = (
        History()
        .run_started()
        .step_started("draft", attempt=1)
        .step_failed("draft", attempt=1)
        .step_started("draft", attempt=2)
        .step_succeeded("draft", attempt=2, outputs={"output": draft})
        .step_started("render", inputs=[draft])
        .step_succeeded("render", inputs_read=[draft])
        .step_started("check")
        .step_failed("check", inputs_read=[draft])
        .folded()
    )

    [row] = rows.artifacts
    assert (row.origin, row.producer_step_id, row.producer_attempt) == ("output", "draft", 2)
    assert row.consumers == ["render", "check"]


def test_what_comes_from_outside_has_no_producer_also_where_a_step_hands_it_on() -> None:
    source, page = ref("source.md"), ref("page.md")
    rows = (
        History()
        .run_started(inputs=[source])
        .step_started(inputs=[page])
        .step_succeeded(outputs={"source": source, "page": page})
        .folded()
    )

    assert [(row.name, row.producer_step_id, row.consumers) for row in rows.artifacts] == [
        ("source.md", None, None),
        ("page.md", None, ["draft"]),
    ]


def test_an_artifact_that_was_read_before_word_came_of_its_storing_has_its_producer() -> None:
    page = ref("page.md")
    rows = History().run_started().step_started("render", inputs=[page]).stored(page, step="draft").folded()

    [row] = rows.artifacts
    assert (row.origin, row.producer_step_id, row.consumers) == ("input", "draft", ["render"])


def test_an_artifact_stored_before_its_run_started_is_an_anomaly() -> None:
    rows = History().stored(ref("draft.md")).folded()

    assert rows.anomalies == ["artifact_before_run"]
    assert rows.run().artifacts == 1


def test_a_repair_names_what_it_changed_into_what() -> None:
    before, after = ref("draft.json", "{"), ref("draft.json", "{}")
    rows = (
        History()
        .run_started()
        .step_started()
        .stored(before)
        .repaired(before, after, note="closed a brace", validator="schema", actor="fixer")
        .folded()
    )

    broken, repaired = rows.artifacts
    assert (broken.origin, broken.version, broken.repaired_from) == ("stored", 1, None)
    assert (broken.repaired_into, broken.repair_kind) == (after["digest"], None)
    assert (repaired.origin, repaired.version, repaired.repaired_from) == ("repair", 2, before["digest"])
    assert (repaired.repaired_into, repaired.repair_kind) == (None, "json_fix")
    assert (repaired.producer_step_id, broken.consumers) == ("draft", None)
    assert (rows.run().repairs, rows.step("draft").repairs) == (1, 1)
    act = rows.audit[-1]
    assert (act.action, act.subject, act.reason) == ("repair.applied", after["path"], "closed a brace")
    assert (act.actor, act.step_id) == ("fixer", "draft")
    assert act.details == {"kind": "json_fix", "validator": "schema", "before": before, "after": after}
    assert rows.anomalies == []


def test_a_repair_whose_result_was_stored_before_still_says_where_it_came_from() -> None:
    before, after = ref("draft.json", "{"), ref("draft.json", "{}")
    rows = History().run_started().stored(before).stored(after).repaired(before, after).folded()

    assert [(row.origin, row.repaired_from) for row in rows.artifacts] == [
        ("stored", None),
        ("stored", before["digest"]),
    ]


def test_a_repair_of_an_artifact_nobody_recorded_is_an_anomaly() -> None:
    before, after = ref("draft.json", "{"), ref("draft.json", "{}")
    rows = History().run_started().repaired(before, after).folded()

    assert rows.anomalies == ["repair_of_unknown"]
    assert [(row.origin, row.version) for row in rows.artifacts] == [("input", 1), ("repair", 2)]


def test_a_repair_that_changed_nothing_is_an_anomaly() -> None:
    same = ref("draft.json")
    rows = History().run_started().stored(same).repaired(same, same).folded()

    assert rows.anomalies == ["repair_changed_nothing"]
    assert [(row.repaired_from, row.repaired_into) for row in rows.artifacts] == [(None, None)]
    assert rows.run().repairs == 1


def test_a_repair_outside_every_step_counts_for_the_run_alone() -> None:
    before, after = ref("draft.json", "{"), ref("draft.json", "{}")
    rows = History().run_started().stored(before, step=None).repaired(before, after, step=None).folded()

    assert (rows.run().repairs, rows.run().steps) == (1, 0)


def test_a_repair_of_a_step_that_never_started_shows_the_step() -> None:
    before, after = ref("draft.json", "{"), ref("draft.json", "{}")
    rows = History().run_started().stored(before).repaired(before, after).folded()

    assert (rows.step("draft").status, rows.step("draft").repairs) == ("not_started", 1)
