"""The diagram of the flow, drawn from the table of stages. The same table gives the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 204, 44, 34, 30, 20
COLOURS = {"research": "#dde8f3", "ensembles": "#d9ecd9", "distill": "#e9dff2", "benchmarks": "#f4e3c1"}


@dataclass(frozen=True)
class FlowStage:
    """A stage by its name, the names of the stages that it reads, and the script that runs it."""

    name: str
    reads: Sequence[str]
    script: str


def flow_svg(stages: Sequence[FlowStage]) -> str:
    """An SVG with a box per stage, a row of boxes per step, and an arrow from each stage to the stages that read it.

    An arrow is left out if the stage is also read through another stage.
    """
    arrows = {stage.name: direct_reads(stage, stages) for stage in stages}
    steps = steps_of(arrows)
    lanes = lanes_of(arrows, steps)
    corners = {
        name: (MARGIN + lanes[name] * (BOX_WIDTH + GAP_X), MARGIN + steps[name] * (BOX_HEIGHT + GAP_Y))
        for name in arrows
    }
    width = MARGIN + max(x for x, _ in corners.values()) + BOX_WIDTH
    height = MARGIN * 2 + max(y for _, y in corners.values()) + BOX_HEIGHT + 20
    lines = [arrow(corners[read], corners[name]) for name, reads in arrows.items() for read in reads]
    boxes = [box(stage, *corners[stage.name]) for stage in stages]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, '
            'sans-serif">',
            "<title>The stages of a study: what each reads, and the script that runs it</title>",
            '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *lines,
            *boxes,
            *legend(height),
            "</svg>",
            "",
        ]
    )


def steps_of(arrows: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Stage -> step: each stage is one step before the first stage that reads it.

    arrows: stage -> the stages that it reads, in the order of the flow.
    """
    earliest: dict[str, int] = {}
    for name, reads in arrows.items():
        earliest[name] = 1 + max((earliest[read] for read in reads), default=-1)
    steps: dict[str, int] = {}
    for name in reversed(list(arrows)):
        readers = [steps[reader] for reader in steps if name in arrows[reader]]
        steps[name] = min(readers, default=max(earliest.values()) + 1) - 1
    return steps


def lanes_of(arrows: Mapping[str, Sequence[str]], steps: Mapping[str, int]) -> dict[str, int]:
    """Stage -> lane, from the left. The longest path has lane 0; others have lanes without a box in their way."""
    lanes = dict.fromkeys(longest_path(arrows), 0)
    taken: list[tuple[int, int]] = []  # lane, step
    for name, reads in arrows.items():
        if name in lanes:
            continue
        last = max((steps[reader] for reader in arrows if name in arrows[reader]), default=steps[name] + 1)
        passed = range(min(steps[read] for read in reads) + 1, last)
        wanted = [lanes[read] for read in reads if lanes.get(read)]
        lane = next(
            lane for lane in (*wanted, *range(1, len(arrows))) if not any((lane, step) in taken for step in passed)
        )
        lanes[name] = lane
        taken += [(lane, step) for step in passed]
    return lanes


def longest_path(arrows: Mapping[str, Sequence[str]]) -> list[str]:
    """The stages of the longest chain of arrows, first to last."""
    paths: dict[str, list[str]] = {}
    for name, reads in arrows.items():
        paths[name] = [*max((paths[read] for read in reads), key=len, default=[]), name]
    return max(paths.values(), key=len)


def direct_reads(stage: FlowStage, stages: Sequence[FlowStage]) -> list[str]:
    """The stages that a stage reads directly, and not also through another stage that it reads."""
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
        f'<text x="{middle:g}" y="{top + 20}" text-anchor="middle" font-size="12.5" font-weight="bold" fill="#222">'
        f"{escape(stage.name)}</text>"
        f'<text x="{middle:g}" y="{top + 37}" text-anchor="middle" font-size="10.5" fill="#333">{stage.script}</text>'
    )


def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """An arrow from the lower side of one box to the upper side of another. Long arrows run along the right lane."""
    x1, y1, x2, y2 = start[0] + BOX_WIDTH / 2, start[1] + BOX_HEIGHT, end[0] + BOX_WIDTH / 2, end[1] - 2
    if x2 > x1:
        bend = min(y1 + GAP_Y, y2 - 8)
        path = f"M{x1:g},{y1:g} C{x1:g},{bend:g} {x2:g},{y1:g} {x2:g},{bend:g} L{x2:g},{y2:g}"
    else:
        path = f"M{x1:g},{y1:g} L{x1:g},{y2 - GAP_Y:g} C{x1:g},{y2:g} {x2:g},{y2 - GAP_Y:g} {x2:g},{y2:g}"
    return f'<path d="{path}" fill="none" stroke="#555" stroke-width="1.4" marker-end="url(#a)"/>'


def legend(height: int) -> list[str]:
    return [
        f'<rect x="{MARGIN + 150 * number}" y="{height - 30}" width="14" height="14" rx="3" fill="{colour}" '
        f'stroke="#666"/><text x="{MARGIN + 150 * number + 22}" y="{height - 18}" font-size="12" fill="#333">'
        f"{folder}/</text>"
        for number, (folder, colour) in enumerate(COLOURS.items())
    ]
