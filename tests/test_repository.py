"""What is committed: no ballast, no source hidden by .gitignore, nothing that unpickles a file."""

import ast
import subprocess
from pathlib import Path

import pytest

MAX_BYTES = 1_500_000
PICKLE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve"}
LOADERS = {"joblib", "torch"}  # modules whose `load` unpickles, and whose other names are harmless
PICKLE_READERS = {"read_pickle", "load_pickle"}


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[Path]:
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout: which files belong to the repository is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True)
    files = [repository / name for name in listed.stdout.split("\0") if name]
    assert files
    return [file for file in files if file.is_file()]


def test_no_file_of_the_repository_is_large(tracked: list[Path]) -> None:
    assert [f"{file}: {file.stat().st_size} bytes" for file in tracked if file.stat().st_size > MAX_BYTES] == []


def test_what_git_ignores_hides_no_source(repository: Path, tracked: list[Path]) -> None:
    sources = ["src/decant/data/x.py", "tests/data/test_x.py", "results/demo/REPORT.md"]
    products = [".venv/x", "runs/demo/x", "data/x", "wandb/x", "research/wandb/x", "src/decant.egg-info/x"]
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", *sources, *products],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert asked.stdout.split() == products


def unpickling(source: str) -> list[str]:
    """The calls and imports in Python source that can run code from a file they read, as `line: what`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            if node.module in LOADERS and any(alias.name == "load" for alias in node.names):
                found.append(f"{node.lineno}: load taken out of {node.module}, where its calls go unseen")
        else:
            modules = []
            if isinstance(node, ast.Call):
                found += [f"{node.lineno}: {reason}" for reason in unsafe_call(node)]
        imported = {module.partition(".")[0] for module in modules} & PICKLE_MODULES
        found += [f"{node.lineno}: import of {module}" for module in sorted(imported)]
    return found


def unsafe_call(call: ast.Call) -> list[str]:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}

    def says(name: str, wanted: bool) -> bool:
        value = keywords.get(name)
        return isinstance(value, ast.Constant) and value.value is wanted

    reasons = []
    if ast.unparse(call.func) in {f"{module}.load" for module in LOADERS} and not says("weights_only", True):
        reasons.append(f"{ast.unparse(call.func)} without weights_only=True")
    if "allow_pickle" in keywords and not says("allow_pickle", False):
        reasons.append("allow_pickle")
    if isinstance(call.func, ast.Attribute) and call.func.attr in PICKLE_READERS:
        reasons.append(call.func.attr)
    return reasons


def test_no_committed_python_file_unpickles(repository: Path, tracked: list[Path]) -> None:
    found = [
        f"{file.relative_to(repository)}:{reason}"
        for file in tracked
        if file.suffix == ".py"
        for reason in unpickling(file.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from joblib import load",
        "from torch import load",
        "joblib.load(path)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
    ],
)
def test_what_could_run_code_from_a_file_is_found(source: str) -> None:
    assert len(unpickling(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, map_location='cpu', weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=False)",
        "json.load(file)",
    ],
)
def test_what_only_reads_data_is_let_through(source: str) -> None:
    assert unpickling(source) == []
