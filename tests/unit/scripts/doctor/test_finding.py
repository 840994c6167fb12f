"""Findings."""

from __future__ import annotations

import json

import pytest

from scripts.doctor.entry import Level
from scripts.doctor.finding import found, nice, read, skipped


def test_a_finding_has_its_level_meaning_and_remedy_from_the_book() -> None:
    finding = found("port-taken", "PORT=1 is taken", setting="PORT", port=1)
    assert finding.level is Level.PROBLEM
    assert "Another program" in finding.meaning
    assert "sport = :1" in finding.remedy


@pytest.mark.parametrize(
    "finding", [found("shm-small", "no room"), nice("good", gpus=[1]), skipped("left out")]
)
def test_a_finding_survives_the_way_through_json(finding: object) -> None:
    assert read(json.loads(json.dumps(finding.plain()))) == finding  # type: ignore[attr-defined]


def test_a_remedy_that_is_not_filled_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        found("port-taken", "PORT=1 is taken")
