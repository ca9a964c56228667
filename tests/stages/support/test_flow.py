"""The diagram of the flow shows the table of stages."""

import re
from pathlib import Path

from decant.scripts import script_module
from decant.stages import GRAPH, REFIT
from decant.stages.support.flow import FlowStage, direct_reads, flow_svg, lanes_of, steps_of

STAGES = [
    FlowStage("a", [], "research/a.py"),
    FlowStage("b", ["a"], "research/a.py"),
    FlowStage("c", ["a"], "distill/c.py"),
    FlowStage("d", ["a", "b", "c"], "benchmarks/d.py"),
]


def test_a_stage_is_one_step_before_the_first_stage_that_reads_it() -> None:
    arrows = {"a": [], "b": ["a"], "c": ["b"], "late": ["a"], "d": ["c", "late"]}
    steps = steps_of(arrows)
    assert steps == {"a": 0, "b": 1, "c": 2, "late": 2, "d": 3}
    assert lanes_of(arrows, steps) == {"a": 0, "b": 0, "c": 0, "d": 0, "late": 1}


def test_a_stage_read_through_another_one_has_no_direct_arrow() -> None:
    assert direct_reads(STAGES[3], STAGES) == ["b", "c"]
    assert flow_svg(STAGES).count("marker-end") == 4


def test_every_stage_of_the_table_is_drawn_with_its_script(repository: Path) -> None:
    svg = (repository / "docs" / "flow.svg").read_text(encoding="utf-8")
    for stage in GRAPH:
        if stage.name.startswith(REFIT):
            continue  # the diagram would show the same boxes twice
        assert re.search(rf">{re.escape(stage.name)}</text>", svg) and stage.script in svg


def test_the_committed_diagram_agrees_with_the_table(repository: Path) -> None:
    tables = script_module("benchmarks/tables.py")
    assert (repository / "docs" / "flow.svg").read_text(encoding="utf-8") == tables.flow_text()
