"""Small manifests for the tests of this folder."""

from collections.abc import Callable

import pandas as pd
import pytest

from decant.data.manifest import COLUMNS, Manifest


def manifest_of(*rows: dict[str, object], classes: tuple[str, ...] = ("bus", "car", "van")) -> Manifest:
    """Return a manifest with these rows. Missing columns get defaults: id r0, r1, … and different contents."""
    filled = []
    for number, row in enumerate(rows):
        label = row.get("given_label", "car")
        content = row.get("content", f"c{number}")
        default = {
            "id": f"r{number}", "content": content, "path": f"{number}.jpg", "given_label": label, "label": label,
            "split": "train", "group": content, "weight": 1.0, "action": "none", "reason": "", "width": 9, "height": 9,
        }  # fmt: skip
        filled.append({**default, **row})
    return Manifest(pd.DataFrame(filled, columns=COLUMNS), list(classes))


@pytest.fixture(scope="session")
def manifest() -> Callable[..., Manifest]:
    return manifest_of
