"""A fingerprint holds what differs from the defaults: a default that changes needs a new VERSION of what reads it."""

import importlib
import json
from pathlib import Path

import pytest

from decant.stages import GRAPH
from decant.study import Benchmark, Clean, Data, Ensemble, Export, SoftLabels, Student, Teacher, Views, non_defaults

KNOWN = Path(__file__).with_name("defaults.json")
READ_BY = {  # section -> modules of the stages whose settings hold it
    Data: ("manifest",),
    Clean: ("clean",),
    Teacher: ("teacher",),
    Views: ("teacher", "soft_labels", "student"),
    Ensemble: ("predictions", "ensemble"),
    SoftLabels: ("pixels", "soft_labels", "student"),
    Student: ("student",),
    Export: ("shipped", "export", "int8"),
    Benchmark: ("latency", "int8"),
}


def current() -> dict[str, dict[str, object]]:
    """Section -> the versions of the stages that read it, and its defaults."""
    return {
        section.__name__: {
            "versions": {name: importlib.import_module(f"decant.stages.{name}").VERSION for name in modules},
            "defaults": json.loads(section().model_dump_json()),
        }
        for section, modules in READ_BY.items()
    }


def test_a_changed_default_comes_with_a_new_version_of_the_stages_that_read_it() -> None:
    """New keys are free. To record a change made on purpose: raise VERSION, then write `current()` to defaults.json."""
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    for section, now in current().items():
        before = known[section]["defaults"]
        changed = [key for key, value in now["defaults"].items() if key in before and before[key] != value]
        unraised = [name for name, version in known[section]["versions"].items() if now["versions"][name] == version]
        assert not (changed and unraised), f"{section}.{changed} changed: raise VERSION of {unraised}"


def test_the_record_of_the_defaults_is_complete() -> None:
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    assert known == current(), "write current() to tests/stages/defaults.json"


def test_every_stage_of_the_table_is_here_or_has_no_defaults() -> None:
    modules = {stage.module for stage in GRAPH}
    assert modules == {name for names in READ_BY.values() for name in names} | {"precision", "refit_ensemble"}


@pytest.mark.parametrize(("values", "kept"), [({}, {}), ({"epochs": 10}, {}), ({"epochs": 11}, {"epochs": 11})])
def test_a_value_equal_to_the_default_is_not_in_the_fingerprint(values: dict, kept: dict) -> None:
    assert non_defaults(Teacher(**values)) == kept
