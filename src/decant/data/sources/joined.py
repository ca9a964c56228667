"""The main source of a study and its extra sources, as one source."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from decant.data.images import BrokenImage
from decant.data.sources.base import BaseSource, ListedImage, Source
from decant.study import ExtraSource


class JoinedSource(BaseSource):
    """The main source's images first, then those of the extra sources, whose paths begin with `extra<number>:`.

    Extra images with a label are of train, the others are unlabelled, whatever splits their source gives them. Labels
    are the source's, before `class_names`.
    """

    def __init__(self, where: Path, main: Source, extras: Sequence[tuple[ExtraSource, Source]]) -> None:
        super().__init__(where)
        self.main, self.classes = main, main.classes
        self.extras = dict(enumerate(extras, 1))

    def digest(self) -> str:
        digests = [self.main.digest(), *(source.digest() for _, source in self.extras.values())]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def sample_submission(self) -> bytes | None:
        return self.main.sample_submission()

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        inner_paths: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            prefix = next((prefix for prefix in self._prefixes if path.startswith(prefix)), "")
            inner_paths[prefix].append(path.removeprefix(prefix))
        for prefix, source_paths in inner_paths.items():
            source = self.extras[self._prefixes[prefix]][1] if prefix else self.main
            yield from ((prefix + path, content) for path, content in source.contents(source_paths))

    def _list_images(self) -> Iterator[ListedImage]:
        yield from self._main_images
        for prefix, number in self._prefixes.items():
            extra, source = self.extras[number]
            for item in source.list_images():
                label = item.given_label if extra.split == "train" else None
                yield replace(
                    item, path=prefix + item.path, given_label=label, split="train" if label else None, extra=number
                )

    @cached_property
    def _main_images(self) -> list[ListedImage]:
        return list(self.main.list_images())

    @cached_property
    def _prefixes(self) -> dict[str, int]:
        """Prefix -> number of the extra source. No path of the main source begins with one: names are untrusted."""
        word = "extra"
        while any(item.path.startswith(f"{word}{number}:") for item in self._main_images for number in self.extras):
            word += "_"
        return {f"{word}{number}:": number for number in self.extras}
