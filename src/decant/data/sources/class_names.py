"""Class names: from a class file, from labels, in one Unicode form, and warnings of names that look alike."""

import difflib
import json
import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from decant.data.sources.tables import text_of
from decant.errors import UserError

log = logging.getLogger(__name__)
WHOLE_NUMBER = re.compile(r"-?\d+\.0+")
MISSING = {"nan", "na", "n/a", "#n/a", "null", "none", "nat", "<na>"}  # what programs write where a value is missing


def nfc(name: str) -> str:
    """The name in Unicode's composed form: macOS stores accents apart from their letters."""
    return unicodedata.normalize("NFC", name)


def class_lines(content: bytes, where: str, encoding: str = "") -> list[str]:
    """Class names, one per line. Raises UserError if there is no name or a name occurs twice."""
    names = [nfc(line.strip()) for line in text_of(content, where, encoding).splitlines() if line.strip()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        detail = f"; {repeated[0]} occurs twice" if repeated else ""
        raise UserError(f"{where} (data.class_file) must contain one class name per line{detail}")
    return names


def whole_numbers(labels: Sequence[str]) -> list[str]:
    """Labels as text, where integers that pandas wrote as 0.0, because one is missing, are whole again.

    Other labels are unchanged; a missing number ("nan") becomes "".
    """
    given = {label for label in labels if label and label.lower() not in MISSING}
    numbers = {label for label in given if WHOLE_NUMBER.fullmatch(label)}
    if not numbers or not all(label in numbers or label.lstrip("-").isdecimal() for label in given):
        return list(labels)
    return ["" if label not in given else label.partition(".")[0] for label in labels]


def name_classes(values: Iterable[str], names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """(class names in order, label as the source writes it -> class name), in Unicode's composed form.

    Without `names`, each label is a class name: numbers in numerical order, then the others in alphabetical order.
    With `names`, a label is a name or its index from 0. Raises UserError for any other label.
    """
    written = sorted(set(values))
    labels = sorted({nfc(label) for label in written}, key=numbers_first)
    if names is None:
        classes, mapping = labels, {label: label for label in labels}
    elif all(label in names for label in labels):
        classes, mapping = list(names), {label: label for label in labels}
    else:
        classes, mapping = list(names), {label: named_by_index(label, names) for label in labels}
    warn_of_similar_names(classes)
    warn_of_missing_values(classes)
    return classes, {label: mapping[nfc(label)] for label in written}


def comparable(name: str) -> str:
    """The name in lower case, without repeated and outer spaces and without invisible characters."""
    visible = "".join(letter for letter in nfc(name) if unicodedata.category(letter) != "Cf")
    return " ".join(visible.casefold().split())


def numbers_first(label: str) -> tuple[bool, int, str]:
    return (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)


def named_by_index(label: str, names: Sequence[str]) -> str:
    if not label.isdecimal() or int(label) >= len(names):
        similar = difflib.get_close_matches(label, names, n=1)
        hint = f" Did you mean {similar[0]!r}?" if similar else ""
        raise UserError(
            f"The label {label!r} is not among the {len(names)} class names.{hint} Add it to data.class_file, or "
            "leave data.class_file empty."
        )
    return names[int(label)]


def warn_of_similar_names(classes: Sequence[str]) -> None:
    """Warn of classes whose names differ only in case or in spaces; they stay apart."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(comparable(name), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            log.warning(
                "the class names %s differ only in case or spaces and are separate classes; to make them one: "
                "data.class_names: {%r: %r}",
                " and ".join(map(repr, names)), names[1], names[0],
            )  # fmt: skip


def warn_of_missing_values(classes: Sequence[str]) -> None:
    """Warn of classes with a name that programs write for a missing value; they stay classes."""
    names = [name for name in classes if name.lower() in MISSING]
    if names:
        log.warning(
            "%s is read as a class, but programs write it where a label is missing. If its images have no label, empty "
            "these cells of the table, or take the folder away",
            " and ".join(map(repr, names)),
        )  # fmt: skip


def renamed(classes: Sequence[str], class_names: Mapping[str, str]) -> list[str]:
    """The classes with the names of `data.class_names`; classes that get one name become one class.

    Raises UserError if a key of `class_names` is no class, or if a name is not one printable line of text.
    """
    need_classes(class_names, classes, "data.class_names")
    new_names = composed_keys(class_names)
    names = list(dict.fromkeys(new_names.get(name, name) for name in classes))
    unusable = [name for name in names if not name.strip() or len(name.splitlines()) != 1 or "\0" in name]
    if unusable:
        letters = (letter if letter.isprintable() else " " for letter in unusable[0])
        one_line = " ".join("".join(letters).split()) or "unnamed"
        raise UserError(
            f"the class name {unusable[0]!r} is not one line of text, and classes.txt has one class per line. "
            f"Rename it in the study: data.class_names: {{{as_yaml(unusable[0])}: {as_yaml(one_line)}}}"
        )
    return names


def need_classes(class_names: Mapping[str, str], classes: Sequence[str], key: str) -> None:
    """Raise UserError if a name that the study maps is no class of the source. key: of the study."""
    unknown = [name for name in class_names if nfc(name) not in classes]
    if unknown:
        known = ", ".join(map(repr, classes[:12]))
        raise UserError(f"{key}: {unknown[0]!r} is not a class of the source; it has {known}")


def composed_keys(class_names: Mapping[str, str]) -> dict[str, str]:
    """Class of the source, in Unicode's composed form -> its name in `data.class_names`."""
    return {nfc(name): new_name for name, new_name in class_names.items()}


def as_yaml(text: str) -> str:
    """The text in YAML's double quotes."""
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False)
    )
