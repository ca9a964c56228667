"""Images of extra sources with the classes of the study."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from decant.data.sources.base import ListedImage
from decant.data.sources.class_names import composed_keys, need_classes, nfc
from decant.errors import UserError, nearest
from decant.study import ExtraSource

log = logging.getLogger(__name__)


def extra_items(
    items: Sequence[ListedImage], extras: Sequence[ExtraSource], classes: Sequence[str]
) -> list[list[ListedImage]]:
    """The images of each extra source, labelled with classes of the study.

    items: of all extra sources. classes: of the study. An image whose class `class_names` leaves out is set aside.
    Raises UserError for a class that the study does not have.
    """
    return [
        with_study_classes([item for item in items if item.extra == number], extra, number, classes)
        for number, extra in enumerate(extras, 1)
    ]


def with_study_classes(
    items: Sequence[ListedImage], extra: ExtraSource, number: int, classes: Sequence[str]
) -> list[ListedImage]:
    """The images of one extra source, labelled with classes of the study. number: of the source, from 1."""
    key = f"data.extra.{number - 1}.class_names"
    labels = sorted({item.given_label for item in items if item.given_label is not None})
    if extra.split == "train":
        need_classes(extra.class_names, labels, key)
    study_name = {nfc(name): name for name in classes}  # accents may be written in two ways
    new_names = composed_keys(extra.class_names)
    wanted = {label: new_names.get(label, label) for label in labels}
    names = {label: study_name.get(nfc(name), name) for label, name in wanted.items()}
    refuse_unknown(names, classes, extra.path, key)
    return [item if item.given_label is None else relabelled(item, names[item.given_label], key) for item in items]


def relabelled(item: ListedImage, name: str, key: str) -> ListedImage:
    """The item with the study's name of its class; set aside if the name is empty."""
    if name:
        return replace(item, given_label=name)
    return replace(item, aside=f"{key} leaves out the class {item.given_label}")


def refuse_unknown(names: Mapping[str, str], classes: Sequence[str], where: str, key: str) -> None:
    """Raise UserError, with the nearest class of the study, if it lacks one. names: label in the source -> class."""
    for label, name in names.items():
        if name and name not in classes:
            called = f", which {key} calls {name!r}" if name != label else ""
            raise UserError(
                f"the extra source {where} has the class {label!r}{called}, but the study has no such class; "
                f"{nearest(name, classes)} Map it with {key}: {{{label!r}: CLASS}}, or to '' to leave its images out."
            )


def log_extra(extra: ExtraSource, rows: pd.DataFrame) -> None:
    """One line on an extra source. rows: of its images in the manifest."""
    kept_rows = rows[rows["action"] != "drop"]
    labelled = int(kept_rows["label"].notna().sum())
    log.info(
        "extra source %s: %d images, %d with a label to train on, %d unlabelled, %d set aside",
        extra.path, len(rows), labelled, len(kept_rows) - labelled, len(rows) - len(kept_rows),
    )  # fmt: skip
