"""The picture of the flow, drawn from the table of stages: the same table, the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 190, 44, 34, 30, 20
COLOURS = {"research": "#dde8f3", "ensembles": "#d9ecd9", "distill": "#e9dff2", "benchmarks": "#f4e3c1"}


@dataclass(frozen=True)
class FlowStage:
    """name: of the stage. reads: names of the stages that it reads. script: that makes it."""

    name: str
    reads: Sequence[str]
    script: str


def flow_svg(stages: Sequence[FlowStage]) -> str:
    """An SVG with a box per stage, one line per step of the flow, and an arrow from each stage to those that read it.

    Where a stage reads another one also through a third, that arrow is left out.
    """
    places = places_of(stages, steps_of(stages))
    width = MARGIN * 2 + max(x for x, _ in places.values()) + BOX_WIDTH - MARGIN
    height = MARGIN * 2 + max(y for _, y in places.values()) + BOX_HEIGHT + 20
    arrows = [arrow(places[read], places[stage.name]) for stage in stages for read in direct_reads(stage, stages)]
    boxes = [box(stage, *places[stage.name]) for stage in stages]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, '
            'sans-serif">',
            "<title>The stages of a study: what each reads, and the script that makes it</title>",
            '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *arrows,
            *boxes,
            *legend(height),
            "</svg>",
            "",
        ]
    )


def steps_of(stages: Sequence[FlowStage]) -> dict[str, int]:
    """Stage -> step: one more than the largest step that it reads. The stages come in the order of the flow."""
    steps: dict[str, int] = {}
    for stage in stages:
        steps[stage.name] = 1 + max((steps[read] for read in stage.reads), default=-1)
    return steps


def places_of(stages: Sequence[FlowStage], steps: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Stage -> left and top of its box, pixels; the stages of one step stand side by side, in the middle."""
    lines: dict[int, list[str]] = {}
    for stage in stages:
        lines.setdefault(steps[stage.name], []).append(stage.name)
    widest = max(map(len, lines.values()))
    places = {}
    for step, names in lines.items():
        indent = (widest - len(names)) * (BOX_WIDTH + GAP_X) // 2
        for number, name in enumerate(names):
            left = MARGIN + indent + number * (BOX_WIDTH + GAP_X)
            places[name] = (left, MARGIN + step * (BOX_HEIGHT + GAP_Y))
    return places


def direct_reads(stage: FlowStage, stages: Sequence[FlowStage]) -> list[str]:
    """What a stage reads, without what it also reads through another stage."""
    by_name = {other.name: other for other in stages}

    def upstream(name: str) -> set[str]:
        return {name}.union(*(upstream(read) for read in by_name[name].reads))

    indirect = {name for read in stage.reads for name in upstream(read) - {read}}
    return [read for read in stage.reads if read not in indirect]


def box(stage: FlowStage, left: int, top: int) -> str:
    middle = left + BOX_WIDTH / 2
    colour = COLOURS[stage.script.partition("/")[0]]
    return (
        f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" fill="{colour}" stroke="#666"/>'
        f'<text x="{middle:g}" y="{top + 20}" text-anchor="middle" font-size="13" font-weight="bold" fill="#222">'
        f"{escape(stage.name)}</text>"
        f'<text x="{middle:g}" y="{top + 37}" text-anchor="middle" font-size="10.5" fill="#333">{stage.script}</text>'
    )


def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """From the lower side of one box to the upper side of another."""
    x1, y1, x2, y2 = start[0] + BOX_WIDTH / 2, start[1] + BOX_HEIGHT, end[0] + BOX_WIDTH / 2, end[1] - 2
    bend = y2 - GAP_Y / 2
    return (
        f'<path d="M{x1:g},{y1:g} C{x1:g},{bend:g} {x2:g},{bend:g} {x2:g},{y2:g}" fill="none" stroke="#555" '
        'stroke-width="1.4" marker-end="url(#a)"/>'
    )


def legend(height: int) -> list[str]:
    return [
        f'<rect x="{MARGIN + 150 * number}" y="{height - 30}" width="14" height="14" rx="3" fill="{colour}" '
        f'stroke="#666"/><text x="{MARGIN + 150 * number + 22}" y="{height - 18}" font-size="12" fill="#333">'
        f"{folder}/</text>"
        for number, (folder, colour) in enumerate(COLOURS.items())
    ]
