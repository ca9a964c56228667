"""All that a study hands in, in one folder with a README that names the file for each demand."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from decant.evaluation.markdown import Markdown, markdown_table, paragraphs, plain
from decant.export.targets.folder import write_target
from decant.reporting.documents import HTML, PDF, SLIDES
from decant.reporting.report import APPENDIX, REPORT
from decant.stages import GRAPH, REFIT
from decant.stages.int8 import FILE as INT8
from decant.stages.int8 import is_offered
from decant.stages.support.experiment import Experiment
from decant.study import Study, documented
from decant.study_files import ROOT
from decant.workspace import LATEST

FILES = (
    "student.onnx",
    "student_bare.onnx",
    "classes.txt",
    "preprocessing.json",
    "accept.json",
    "MODEL_CARD.md",
    "example.py",
)
SCRIPTS = ("distill/verify_onnx.py", "distill/predict.py")
COMMANDS, STUDY, RESULTS = "commands.sh", "study.yaml", "results"
FOR_FEW = (
    "It contains images of the study: give it only to those who may see them (`data: {may_be_shared: true}` in the "
    "study says that everybody may)."
)
DEMANDS = {  # what is asked for -> the files that contain it, as far as they exist
    "the classifier": ("student.onnx",),
    "a smaller classifier, for 8-bit arithmetic": (INT8,),
    "its network without the preprocessing, to verify it": ("student_bare.onnx",),
    "the names of the classes, in the order of the outputs": ("classes.txt",),
    "the preprocessing, which the file contains": ("preprocessing.json",),
    "thresholds for predictions that can be trusted": ("accept.json",),
    "a description for users": ("MODEL_CARD.md",),
    "a program that uses the file": ("example.py",),
    "a script that verifies the file": ("distill/verify_onnx.py",),
    "a script that predicts a folder of images": ("distill/predict.py",),
    "the report": (HTML, PDF, f"{RESULTS}/{REPORT}", f"{RESULTS}/{APPENDIX}"),
    "the slides": (SLIDES,),
    "predictions for the images to predict": (f"{RESULTS}/submission.csv", f"{RESULTS}/submission_student.csv"),
    "accuracy, precision, recall, F1 and mAP of every model": (f"{RESULTS}/benchmarks/precision/metrics.csv",),
    "speed and size of every model": (f"{RESULTS}/benchmarks/latency/metrics.csv",),
    "what cleaning found": (f"{RESULTS}/clean/issues.csv",),
    "learning curves": (f"{RESULTS}/teachers",),
    "the origin of every number": (f"{RESULTS}/provenance.json",),
    "the study: data, networks and all settings": (STUDY,),
    "the commands of all scripts": (COMMANDS,),
}


def write_bundle(experiment: Experiment, gathered: Path, documents: Path, out: Path) -> list[str]:
    """Write the folder; return the names of its files.

    gathered: the study's results. documents: the folder with report.html, report.pdf and slides.pptx. Files in `out`
    that were not written here are never changed: UserError before anything is written.
    """
    files = {
        **_exported(experiment),
        **{name: (documents / name).read_bytes() for name in (HTML, PDF, SLIDES) if (documents / name).is_file()},
        **_results(gathered),
        **_programs(),
        STUDY: study_yaml(experiment.study).encode(),
        COMMANDS: commands(experiment.study).encode(),
    }
    files["README.md"] = readme(experiment, files).encode()
    write_target(out, "bundle", files)
    return sorted(files)


def _exported(experiment: Experiment) -> dict[str, bytes]:
    """The exported file, its description, and the int8 file if it is offered; by name."""
    folder = experiment.workspace.folder / "export" / LATEST
    sources = {name: folder / name for name in FILES}
    int8_folder = experiment.workspace.folder / "int8" / LATEST
    if int8_folder.is_dir() and is_offered(int8_folder):
        sources[INT8] = int8_folder / INT8
    return {name: path.read_bytes() for name, path in sources.items() if path.is_file()}


def _results(gathered: Path) -> dict[str, bytes]:
    """Reports, tables, figures and pictures, by their path in the bundle."""
    skipped = (HTML, PDF, SLIDES)
    paths = [path for path in sorted(gathered.rglob("*")) if path.is_file() and path.name not in skipped]
    return {f"{RESULTS}/{path.relative_to(gathered).as_posix()}": path.read_bytes() for path in paths}


def _programs() -> dict[str, bytes]:
    """The scripts and the modules that they import, by path: they run from the bundle's folder."""
    modules: dict[str, Path] = {}
    for script in SCRIPTS:
        for name, path in imported(ROOT / script):
            modules.setdefault(name, path)
    paths = {ROOT / script for script in SCRIPTS} | set(modules.values())
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted(paths)}


def imported(script: Path, seen: set[str] | None = None) -> Iterator[tuple[str, Path]]:
    """(name, file) of the modules of the package that are loaded with a script: its imports outside functions."""
    seen = set() if seen is None else seen
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in (part for full in names for part in _with_parents(full)):
            path = _file_of(name)
            if path is not None and name not in seen:
                seen.add(name)
                yield name, path
                yield from imported(path, seen)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _file_of(name: str) -> Path | None:
    """The file of a module of the package; None for any other module and for a name inside one."""
    if name.partition(".")[0] != "decant":
        return None
    module = ROOT / "src" / Path(*name.split("."))
    return next((path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file()), None)


def study_yaml(study: Study) -> str:
    """The study with its recipes and all defaults in one file, which needs no other."""
    content = documented(study)
    for section in (content, content["ensemble"], content["student"], *content["teachers"].values()):
        section |= dict.fromkeys({"extends", "recipe"} & section.keys(), "")  # their values are in this file
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def commands(study: Study) -> str:
    """A shell script: the whole chain in one command, and the same in the scripts' own commands."""
    refit = study.final == "refit"
    scripts = dict.fromkeys(stage.script for stage in GRAPH if refit or not stage.name.startswith(REFIT))
    lines = [f'#   python {script} --study "$study"' for script in [*scripts, "benchmarks/report.py"]]
    return "\n".join(
        [
            "#!/bin/sh",
            "# In a checkout with its environment, and the data in $DECANT_DATA: sh WHERE/THIS/FOLDER/IS/commands.sh",
            f'study="$(cd "$(dirname "$0")" && pwd)/{STUDY}"',
            "# The whole chain, then all documents:",
            'python distill/run.py --study "$study"',
            'python benchmarks/report.py --study "$study" --bundle bundle/',
            "# The first command calls these in order; each can be run by hand with the same result:",
            *lines,
            "",
        ]
    )


def readme(experiment: Experiment, files: Mapping[str, bytes]) -> str:
    study = experiment.study
    rows = [
        [demand, Markdown(", ".join(f"[{name}]({name})" for name in present))]
        for demand, candidates in DEMANDS.items()
        if (present := [name for name in candidates if name in files or _is_folder(name, files)])
    ]
    warning = "" if study.data.may_be_shared else FOR_FEW
    return (
        paragraphs(
            f"# {plain(study.title or study.name)}",
            f"What the study `{study.name}` hands in. {warning}".strip(),
            markdown_table(["asked for", "file"], rows, left=2),
            "Verify the file on images of your own (a folder, an archive or a list of files); onnxruntime, numpy and "
            "pillow are enough:",
            "```sh\npython distill/verify_onnx.py student.onnx --data photos.zip\n"
            "python distill/predict.py student.onnx photos.zip --csv predictions.csv\n```",
        )
        + "\n"
    )


def _is_folder(name: str, files: Mapping[str, bytes]) -> bool:
    return any(path.startswith(f"{name}/") for path in files)
