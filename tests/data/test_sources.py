"""The registry of sources: one entry for each name that a study may give, importable without torch and pandas."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

from decant.data.sources import SOURCES
from decant.study import Data


def test_every_source_of_a_study_has_an_opener_and_a_caption_of_its_own() -> None:
    assert set(SOURCES) == set(get_args(Data.model_fields["source"].annotation))
    captions = [kind.caption for kind in SOURCES.values()]
    assert all(captions) and len(set(captions)) == len(captions)


def test_the_registry_is_imported_without_torch_and_pandas(repository: Path) -> None:
    code = "import sys, decant.data.sources; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository / "src").returncode == 0
