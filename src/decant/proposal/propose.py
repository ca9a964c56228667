"""From the path of some photos to a study file that can be run, and lines with the assumptions in it."""

import logging
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decant import cores, machine
from decant.data.class_checks import counted_reasons
from decant.data.file_names import has_surrogates, printable
from decant.data.geometry import SQUARE
from decant.data.preprocessing import size_text
from decant.data.sources import SOURCES, open_source
from decant.data.sources.base import ListedImage
from decant.data.sources.detection import detected_data
from decant.errors import UserError
from decant.evaluation.tables import plural, thousands
from decant.proposal.file import (
    assumed_in,
    command_line,
    is_unedited,
    made_by,
    one_line,
    study_file,
    study_text,
    write_study,
)
from decant.proposal.networks import Choice, chosen_networks
from decant.proposal.study import Facts, Proposed, proposed_study
from decant.stages.support.chain import left_text
from decant.stages.support.expected_time import Counts, counted
from decant.stages.support.sample import Sample, is_usable, look_at_sample
from decant.study import Data, Training
from decant.study_files import set_key
from decant.study_reading import explained

log = logging.getLogger(__name__)
SHOWN_CLASSES = 12


@dataclass(frozen=True)
class Wishes:
    """The options that a person gives beside the photos. overrides: KEY=VALUE, of any key of the study."""

    metric: str | None = None
    time_limit_s: float | None = None
    allow_downloads: bool = False
    overrides: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """The wishes as command-line options."""
        words = ["--metric", self.metric] if self.metric else []
        words += ["--time-limit", duration_text(self.time_limit_s)] if self.time_limit_s else []
        words += ["--allow-downloads"] if self.allow_downloads else []
        return [*words, *(word for override in self.overrides for word in ("--set", override))]


@dataclass(frozen=True)
class Proposal:
    """file: the study file. lines: what was assumed, for people."""

    file: Path
    lines: list[str]


def propose(photos: Path, wishes: Wishes, folder: Path, runs: Path) -> Proposal:
    """Detect what the photos are and write a study for them into `folder`/studies, or take the study that exists.

    An edited file is never written over. The same command takes its own file again, edited or not, so that an
    interrupted run continues. Raises UserError if the photos cannot be read as a data set, and if the options differ
    from those that an edited file was made with.
    """
    photos = photos.expanduser().resolve()
    if has_surrogates(str(photos)):
        raise UserError(f"{printable(str(photos))}: the path has letters that are not Unicode; rename it")
    file = study_file(photos, folder, runs)
    command = command_line(photos, wishes.options())
    if file.exists():
        text = file.read_text(encoding="utf-8")
        same_command = made_by(text) == command
        if is_unedited(text) and same_command:
            again = f"study: {file}, written by the same command before; delete it to start anew"
            return Proposal(file, [*assumed_in(text), again])
        if not is_unedited(text):
            return Proposal(file, [edited_line(file, Wishes() if same_command else wishes)])
    log.info("%s: reading the photos and timing training steps on this machine", photos)
    source, data = opened(photos, wishes.overrides)
    items = list(source.list_images())
    check_classes(photos, items)
    facts = Facts(counted(items, data), look_at_sample(source, items))
    choice = chosen_networks(machine.device().type, wishes.allow_downloads)
    head = {
        "name": file.stem,
        "metric": wishes.metric or "accuracy",
        "data": data.model_dump(exclude_defaults=True),
        "geometry": {"fit": "auto"},
    }
    settings = [override for override in wishes.overrides if not is_of_data(override)]
    proposed = proposed_study(head, settings, choice, facts, wishes.time_limit_s)
    lines = assumed_lines(photos, items, facts, choice, proposed)
    write_study(file, study_text(proposed.raw, command, lines))
    return Proposal(file, [*lines, f"study: {file}; you may edit it and run the same command again"])


def duration_text(seconds: float) -> str:
    """A duration as --time-limit takes it: "45m", "90s"."""
    return f"{seconds:g}s" if seconds % 60 else f"{seconds / 60:g}m"


def edited_line(file: Path, wishes: Wishes) -> str:
    """The line for a file that was edited. Raises UserError if there are wishes, which would not change it."""
    if wishes.options():
        raise UserError(
            f"{file} was edited, so {' '.join(wishes.options())} would not change it: put what you want into the file, "
            "or rename or delete it to have a new one written"
        )
    return f"study: {file}, which was edited, is taken as it is"


def opened(photos: Path, overrides: Sequence[str]) -> tuple[Any, Data]:
    """The source of the photos and its `data` section."""
    given: dict[str, Any] = {"data": {}}
    for override in filter(is_of_data, overrides):
        set_key(given, override)
    with explained("--set", ("data",)):
        data = Data.model_validate(detected_data(photos, given["data"]))
    return open_source(data, Path("/"), Path()), data


def is_of_data(override: str) -> bool:
    return override.startswith("data.")


def check_classes(photos: Path, items: Sequence[ListedImage]) -> None:
    """Raise UserError for fewer than two classes, and if each class has one image."""
    labelled = [item for item in items if item.given_label is not None and not item.problem]
    classes = {item.given_label for item in labelled if item.given_label}
    if 1 < len(classes) == len(labelled):
        raise UserError(
            f"{photos}: each of the {len(classes)} classes has one image, too few to train on. If the labels are in a "
            "table, is data.label_column the right column? Say which with --set data.label_column=COLUMN"
        )
    if len(classes) < 2:
        names = f" ({', '.join(classes)})" if classes else ""
        aside = counted_reasons(item.problem or item.aside for item in items if item.problem or item.aside)
        raise UserError(
            f"{photos}: {plural(len(classes), 'class', 'classes')}{names} found in {plural(len(items), 'image')}, at "
            "least two are needed: one sub-folder per class, or a table with a column of labels (--set data.table=FILE)"
            + (f". Set aside: {aside}" if aside else "")
        )


def assumed_lines(
    photos: Path,
    items: Sequence[ListedImage],
    facts: Facts,
    choice: Choice,
    proposed: Proposed,
) -> list[str]:
    """About ten printable lines, one per assumption, which also become comments of the study."""
    study = proposed.study
    better = [f"better: {name} ({reason})" for name, reason in choice.passed_over.items()]
    teachers = ", ".join(f"{name} ({network_text(teacher, proposed)})" for name, teacher in study.teachers.items())
    student = study.student
    lines = [
        f"photos: {photos}: {SOURCES[study.data.source].caption}",
        f"classes: {class_text(items)}",
        f"splits: {split_text(items, facts.counts)}",
        f"geometry: {geometry_text(facts.sample, proposed)}",
        f"teachers: {teachers}: {choice.networks.name}, on {machine_text()}",
        *better,
        f"student: {network_text(student, proposed)}, {plural(student.epochs, 'epoch')}",
        f"metric: {study.metric} on val chooses heads, weights and the best teacher",
        f"time: {left_text(proposed.seconds)}, an estimate from steps timed here; it may be twice or half as long",
    ]
    return [one_line(line) for line in lines]


def class_text(items: Sequence[ListedImage]) -> str:
    counts = Counter(item.given_label for item in filter(is_usable, items) if item.given_label is not None)
    names = [f"{name} ({count})" for name, count in counts.most_common(SHOWN_CLASSES)]
    more = f" and {len(counts) - SHOWN_CLASSES} more" if len(counts) > SHOWN_CLASSES else ""
    return f"{len(counts)}: {', '.join(names)}{more}"


def split_text(items: Sequence[ListedImage], counts: Counts) -> str:
    given = {item.split for item in filter(is_usable, items) if item.given_label is not None}
    drawn = [split for split in ("val", "test") if split not in given]
    text = f"train {thousands(counts.train)}, val {thousands(counts.val)}, test {thousands(counts.test)}"
    text += f" ({' and '.join(drawn)} drawn from train)" if drawn else ""
    text += f", without a label {thousands(counts.without_label)}" if counts.without_label else ""
    aside = len(items) - counts.total
    return text + (f", set aside {thousands(aside)}: copies or unreadable" if aside else "")


def geometry_text(sample: Sample, proposed: Proposed) -> str:
    """How photos become inputs, or what will decide it, and the median size of the sampled photos."""
    if not sample.sizes:
        return "none of the photos that were looked at can be read; decided when the data are cleaned"
    width, height = (int(statistics.median(sides)) for sides in zip(*sample.sizes, strict=True))
    looked_at = f"{plural(len(sample.sizes), 'photo')} of about {width} × {height} px looked at"
    return f"{proposed.possible}; {looked_at}"


def network_text(network: Training, proposed: Proposed) -> str:
    """Architecture and input size. If probes will choose among geometries, the size is that of a square input."""
    geometry = SQUARE if proposed.possible.probed else proposed.possible.geometries[0]
    return f"{network.architecture}, {size_text(geometry.input_px(network.input_px))} px"


def machine_text() -> str:
    if machine.device().type == "cuda":
        return "a GPU"
    return f"a CPU with {plural(cores.usable_cores(), 'core')}"
