"""Where the results come from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from decant.evaluation.markdown import section
from decant.reporting.results_files import ResultsFiles

SLOWEST = 5  # stages whose duration is named
WHAT_REPEATS = (
    "The same commit, packages, data and seed give the same files and scores on the same kind of processor; only times "
    "differ. Another kind of processor rounds sums differently, so that trainings diverge and scores differ."
)


def provenance_section(results: ResultsFiles, base: Path) -> str:
    origin = results.provenance
    labels = {
        "command": "Command", "commit": "Commit at publishing", "data_digest": "Digest of the data",
        "lock_digest": "Digest of the packages",
    }  # fmt: skip
    lines = [f"- {label}: `{origin[key]}`" for key, label in labels.items() if isinstance(origin.get(key), str)]
    built_by = origin.get("stages_built_by")
    if built_by:
        lines.append(f"- Commits that built the stages: {_builders(built_by)}")
    if seconds := origin.get("seconds"):
        slowest = sorted(seconds, key=lambda stage: -seconds[stage])[:SLOWEST]
        longest = ", ".join(f"{stage} {seconds[stage] / 60:.1f}" for stage in slowest)
        lines.append(f"- Minutes: {sum(seconds.values()) / 60:.0f} for all stages; the longest are {longest}")
    return section("Provenance", "\n".join(lines), WHAT_REPEATS if lines else "")


def _builders(built_by: Mapping[str, Sequence[str]]) -> str:
    """ "`abc` (clean, teachers), `def+` (export; uncommitted changes)": each commit with the stages that it built."""
    commits_of: dict[str, set[str]] = {}
    for commit, stages in built_by.items():
        for stage in stages:
            commits_of.setdefault(stage.partition("/")[0], set()).add(commit)

    def short_name(stage: str) -> str:
        """ "teachers" for "teachers/lite1" if one commit built all teachers."""
        family = stage.partition("/")[0]
        return family if len(commits_of[family]) == 1 else stage

    texts = []
    for commit, stages in built_by.items():
        names = ", ".join(dict.fromkeys(map(short_name, stages)))
        texts.append(f"`{commit or 'unknown'}` ({names}{'; uncommitted changes' if commit.endswith('+') else ''})")
    return ", ".join(texts)
