"""The sections on data, cleaning, teachers, ensemble, student, ONNX file and origin. Each is "" without its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decant.data.sources import SOURCES
from decant.evaluation.markdown import capitalised, link, markdown_image, markdown_table, plain, section
from decant.evaluation.referee import choice_text
from decant.evaluation.tables import (
    difference,
    is_number,
    joined,
    magnitude,
    minutes,
    number,
    plural,
    short,
    significant,
    thousands,
    with_interval,
)
from decant.reporting.figures import CLASSES_PNG, curves_png
from decant.reporting.label_noise import label_noise_table
from decant.reporting.results_files import (
    ResultsFiles,
    Row,
    best_teacher,
    chosen_text,
    images_text,
    main_split,
    of_kind,
    splits_in_order,
    student_row,
)
from decant.reporting.transfer import transfer_text

SLOWEST = 5  # stages whose duration is named
TOTALS = {  # key of clean/metrics.json -> text
    "found": "images found",
    "kept": "images kept",
    "set_aside": "images set aside",
    "groups_of_several": "groups of duplicates with more than one kept image",
}
COUNTED = {"issues": "issues found"}  # an image may have several issues; all other counts are of images
SPLIT_HEADERS = {"splits": "split (images kept)", "splits_set_aside": "split (images set aside)"}


def data_section(results: ResultsFiles, base: Path) -> str:
    if not results.class_counts:
        return ""
    images: dict[str, int] = {}
    for row in results.class_counts:
        images[row["split"]] = images.get(row["split"], 0) + int(row["images"])
    classes = {row["class"] for row in results.class_counts if row["class"]}
    data = results.study.get("data", {})
    kind = SOURCES.get(str(data.get("source")))
    source = f"{capitalised(kind.caption)}: " if kind else ""
    sentences = [f"{source}{images_text(results)}."]
    if results.study.get("metric"):
        sentences.append(chosen_text(results))
    if results.geometry:
        sentences.append(f"Input of all networks: {results.geometry['description']}; {results.geometry['why']}.")
    splits = splits_in_order(list(images))
    sentences += absent_classes(results.class_counts, classes)
    return section(
        "The task and the data",
        " ".join(sentences),
        markdown_table(splits, [[thousands(images[split]) for split in splits]], left=0),
        markdown_image(results.folder / CLASSES_PNG, base, "Images per class and split"),
    )


def absent_classes(counts: Sequence[Row], classes: set[str]) -> list[str]:
    """A sentence for val and for test if the split lacks classes, with the consequence."""
    consequences = {"val": "all choices rest on these alone", "test": "the scores do not cover the others"}
    sentences = []
    for split, consequence in consequences.items():
        present = {row["class"] for row in counts if row["split"] == split and row["class"] and int(row["images"])}
        if present and present != classes:
            names = ", ".join(map(plain, sorted(present)[:5])) + (" …" if len(present) > 5 else "")
            sentences.append(
                f"{split} has images of {len(present)} of {len(classes)} classes ({names}): {consequence}."
            )
    return sentences


def cleaning_section(results: ResultsFiles, base: Path) -> str:
    counts = results.clean_metrics
    if not counts and not results.issues:
        return ""
    tables = [
        markdown_table([SPLIT_HEADERS.get(name, name.rstrip("s").replace("_", " ")), COUNTED.get(name, "images")], rows)
        for name, value in sorted(counts.items())
        if isinstance(value, dict) and (rows := _count_rows(value))
    ]
    if not tables and results.issues:
        tables = [_issue_table(results.issues)]
    totals = [
        f"{TOTALS.get(name, name.replace('_', ' '))}: {thousands(value)}"
        for name, value in sorted(counts.items(), key=lambda item: _position(item[0]))
        if is_number(value)
    ]
    policy = results.study.get("clean", {}).get("policy")
    return section(
        "Cleaning",
        f"{capitalised('; '.join(totals))}." if totals else "",
        f"Policy: {policy}." if policy else "",
        *tables,
        label_noise_table(counts),
        _listed_issues(results, base),
    )


def _position(name: str) -> tuple[int, str]:
    """Sort key: the keys of TOTALS in their order, then all others by name."""
    return (list(TOTALS).index(name) if name in TOTALS else len(TOTALS), name)


def _listed_issues(results: ResultsFiles, base: Path) -> str:
    """A sentence with a link to the list of issues; it gives the numbers if the list is not complete."""
    if not results.issues:
        return ""
    path = link(results.folder / "clean" / "issues.csv", base)
    total = sum(results.clean_metrics.get("issues", {}).values())
    which = "All issues"
    if total > len(results.issues):
        which = f"{thousands(len(results.issues))} of {thousands(total)} issues, the highest-scoring ones per type,"
    return f"{which} with their scores and actions: [{path}]({path})."


def _count_rows(counts: Mapping[str, Any]) -> list[list[str]]:
    return [[name.replace("_", " "), thousands(value)] for name, value in counts.items() if isinstance(value, int)]


def _issue_table(issues: Sequence[Row]) -> str:
    types, actions = sorted({row["issue"] for row in issues}), sorted({row["action"] for row in issues})
    rows = [
        [
            issue,
            *(str(sum(row["issue"] == issue and row["action"] == action for row in issues)) for action in actions),
        ]
        for issue in types
    ]
    return markdown_table(["issue", *actions], rows)


def teachers_section(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    rows = [row for row in results.precision if row["kind"] == "teacher" and row["split"] == split]
    names = [row["model"] for row in rows] or list(results.histories)
    if not names:
        return ""
    scores = {row["model"]: row for row in rows}
    cells = [
        [
            name,
            *_setting_cells(results, name.removesuffix("_tta")),
            with_interval(scores.get(name, {}), "accuracy"),
        ]
        for name in names
    ]
    curves = [markdown_image(results.folder / curves_png(name), base, f"Learning curves of {name}") for name in names]
    return section(
        "Teachers",
        markdown_table(
            ["teacher", "network", "training", "px", "epochs", "minutes", f"accuracy on {split or 'test'}"],
            cells,
            left=3,
        ),
        "`_tta`: with the ensemble's test-time augmentation." if any(name.endswith("_tta") for name in names) else "",
        *transfer_text(results, base),
        *curves,
    )


def size_of(results: ResultsFiles, network: str) -> str:
    """The size of the input of a teacher or of the student, as in tables."""
    sizes = results.geometry.get("input_px", {})
    study = results.study
    settings = study.get("student") if network == "student" else study.get("teachers", {}).get(network)
    return str(sizes.get(network) or (settings or {}).get("input_px", "–"))


def _setting_cells(results: ResultsFiles, name: str) -> list[str]:
    """Network, training, input size, epochs and minutes of a teacher."""
    teacher = results.study.get("teachers", {}).get(name, {})
    folds = teacher.get("folds") or 0
    training = {"finetune": "fine-tuned", "probe": "linear probe"}.get(str(teacher.get("kind")), "–")
    if training == "fine-tuned" and teacher.get("weights") == ["none"]:
        training = "from scratch"
    seconds = results.provenance.get("seconds", {}).get(f"teachers/{name}")
    return [
        str(teacher.get("architecture", "–")),
        f"{training}, {folds} folds" if folds else training,
        size_of(results, name),
        str(len(results.histories[name])) if name in results.histories else "–",
        "–" if seconds is None else minutes(seconds),
    ]


def ensemble_section(results: ResultsFiles, base: Path) -> str:
    teachers = results.weights.get("teachers", {})
    if not teachers:
        return ""
    gains = {row["teacher"]: difference(row, "gain") for row in results.contributions}
    header = ["teacher", "weight", "temperature", *(["gain"] if gains else [])]
    cells = [
        [
            name,
            short(str(entry["weight"])),
            short(str(entry["temperature"])) if "temperature" in entry else "–",
            *([gains.get(name, "–")] if gains else []),
        ]
        for name, entry in teachers.items()
    ]
    return section(
        "Ensemble",
        " ".join(_ensemble_sentences(results)),
        markdown_table(header, cells),
        "gain: how much higher the NLL on val is without the teacher." if gains else "",
        *_pooling_table(results.pooling),
        " ".join(_likeness(row) for row in results.diversity),
    )


def _ensemble_sentences(results: ResultsFiles) -> list[str]:
    split = main_split(results)
    row, best = of_kind(results, "ensemble", split), best_teacher(results, split)
    sentences = []
    if row:
        sentences.append(f"The ensemble has an accuracy of {with_interval(row, 'accuracy')} on {split}")
        if best:
            accuracy = with_interval(best, "accuracy")
            sentences[-1] += f"; {best['model']}, the best single teacher by the study's metric on val, has {accuracy}"
            sentences[-1] += _paired_difference(results, best["model"], split)
        sentences[-1] += "."
    pooling, tta = (results.study.get("ensemble", {}).get(key) for key in ("pooling", "tta"))
    if pooling := results.weights.get("pooling", pooling):
        sentences.append(f"Pooling: {pooling}; weights and temperatures are fitted on val.")
    if "temperature" in results.weights:
        sentences.append(f"The temperature after pooling is {short(str(results.weights['temperature']))}.")
    if tta:
        sentences.append(f"Test-time augmentation: {', '.join(map(_tta_name, tta))}.")
    return sentences


def _paired_difference(results: ResultsFiles, teacher: str, split: str) -> str:
    """The ensemble minus a teacher on the same images; "" in results of older versions."""
    for row in results.comparisons:
        if (row["model"], row["other"], row["split"]) == ("ensemble", teacher, split):
            return f" (paired difference {difference(row, 'accuracy_difference')})"
    return ""


def _pooling_table(rows: Sequence[Row]) -> list[str]:
    """The ways of pooling beside each teacher alone."""
    if not rows:
        return []
    cells = [
        [
            f"{row['model']}, alone" if row["kind"] == "teacher" else row["model"],
            short(row["val_accuracy"]),
            short(row["val_nll"]),
            "chosen" if row["chosen"] == "true" else difference(row, "val_nll_difference"),
        ]
        for row in rows
    ]
    return [
        "Ways of pooling and single teachers, compared on val by cross-validation. Differences are to the chosen pool:",
        markdown_table(["pool or teacher", "val accuracy", "val NLL", "difference of NLL"], cells),
    ]


def _likeness(row: Row) -> str:
    return (
        f"{row['teacher']} and {row['other']} predict the same class for a share of {short(row['agreement'])} of val; "
        f"both are wrong for {short(row['both_wrong'])}."
    )


def _tta_name(member: object) -> str:
    return " ".join(map(str, member)) if isinstance(member, dict) else str(member)


def student_section(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    student = student_row(results, split)
    if student is None:
        return ""
    compared = [row for row in results.comparisons if row["model"] == student["model"] and row["split"] == split]
    return section(
        "Distillation and student",
        " ".join(_student_sentences(results)),
        choice_text(results.choice) if results.choice else "",
        _primary_sentence(results, split),
        *(
            markdown_image(results.folder / curves_png(name), base, f"Learning curves of {name}")
            for name in results.student_histories
        ),
        f"{student['model']} minus each other model, on the same images of {split}:" if compared else "",
        markdown_table(
            ["other model", "accuracy", "macro precision", "only student right", "only other right", "McNemar p"],
            [_comparison_cells(row) for row in compared],
        )
        if compared
        else "",
    )


def _student_sentences(results: ResultsFiles) -> list[str]:
    """The student's network and training, and how its soft labels agree with the given labels."""
    settings = results.study.get("student", {})
    sentences = []
    if settings.get("architecture"):
        views, mode = results.study.get("soft_labels", {}).get("views"), settings.get("mode", "replay")
        labelled = {"online": " for new views in each epoch", "frozen": ", one per image"}.get(mode, "")
        sentences.append(
            f"The student is a {settings['architecture']} with an input of {size_of(results, 'student')} px. It was "
            f"trained for {plural(int(settings.get('epochs', 0)), 'epoch')} on the ensemble's soft labels"
            + (f" for {plural(views, 'stored view')} per image." if views and mode == "replay" else f"{labelled}.")
        )
    if "hard_weight" in settings:
        first, last = in_first_and_last_epoch(settings["hard_weight"])
        changes = f" in the first epoch and {last} in the last one" if first != last else ""
        sentences.append(f"The weight of the given label in its loss is {first}{changes}.")
    soft = next((row for row in results.soft_labels if row["kind"] == "ensemble"), None)
    if soft and soft["accuracy"]:
        sentences.append(
            f"In a share of {short(soft['accuracy'])} of the stored views of train, the most probable class of the "
            f"soft label is the given label; the mean probability of the given label is {short(soft['probability'])}."
        )
    return sentences


def _primary_sentence(results: ResultsFiles, split: str) -> str:
    """A sentence on the primary comparison, which was fixed before any result was seen; "" without one."""
    for row in results.comparisons:
        if row.get("primary") == "true" and row["split"] == split:
            return (
                f"The primary comparison is that of the student with its twin: the difference in accuracy on {split} "
                f"is {difference(row, 'accuracy_difference')}, with one training of each. All other comparisons are "
                "exploratory."
            )
    return ""


def in_first_and_last_epoch(value: Any) -> tuple[float, float]:
    """The first and last value of a setting that is one number or a pair."""
    return (value[0], value[1]) if isinstance(value, list) else (value, value)


def _comparison_cells(row: Row) -> list[str]:
    return [
        row["other"],
        difference(row, "accuracy_difference"),
        difference(row, "precision_macro_difference"),
        row["only_model_right"],
        row["only_other_right"],
        "< 0.001" if number(row["mcnemar_p"]) < 0.001 else short(row["mcnemar_p"]),
    ]


def export_section(results: ResultsFiles, base: Path) -> str:
    checked = results.verification
    if not checked:
        return ""
    sentences = []
    if "passed" in checked:
        sentences.append(f"The file {'passed' if checked['passed'] else '**did not pass**'} verification.")
    if "n" in checked and "top1_agreement" in checked:
        sentences.append(
            f"From image file to class, it predicts the same class as the PyTorch student for a share of "
            f"{short(str(checked['top1_agreement']), 4)} of {plural(int(checked['n']), 'image')}."
        )
    if is_number(checked.get("max_abs_logit_difference")):
        sentences.append(f"The largest difference of a logit is {magnitude(checked['max_abs_logit_difference'])}.")
    if sizes := checked.get("batch_sizes"):
        sentences.append(f"Batch sizes checked: {_batch_sizes(sizes, checked.get('pictures_by_batch_size', {}))}.")
    card = results.folder / "export" / "MODEL_CARD.md"
    about = f"For users of the file: [model card]({link(card, base)})." if card.is_file() else ""
    return section("The ONNX file", " ".join(sentences), _int8_sentences(results.int8), about)


def _batch_sizes(sizes: Sequence[int], images: Mapping[str, int]) -> str:
    """ "1 (204 images), 7 (69) and 32 (24)"; without counts "1, 7 and 32"."""
    if not all(str(size) in images for size in sizes):  # results of an older version have no counts
        return joined([str(size) for size in sizes])
    first, *others = sizes
    texts = [f"{size} ({thousands(images[str(size)])})" for size in others]
    return joined([f"{first} ({plural(images[str(first)], 'image')})", *texts])


def _int8_sentences(int8: Mapping[str, Any]) -> str:
    """Whether the int8 file is offered, and why. Its times are in the latency section, measured with all models."""
    if not int8:
        return ""
    offered = "is offered" if int8["offered"] else "is **not** offered"
    return (
        f"The int8 file {offered}: {int8['why']}. Its accuracy on val is {short(str(int8['val_accuracy']))} against "
        f"{short(str(int8['val_accuracy_fp32']))} in fp32; its size is {int8['file_mb']} MB. The two files were timed "
        f"alternately on {plural(int(int8['threads']), 'CPU thread')}.{_profile_sentence(int8)}"
    )


def _profile_sentence(int8: Mapping[str, Any]) -> str:
    """The time of the convolutions and of all other operators; "" if the file was not profiled."""
    if "convolutions_ms" not in int8:
        return ""
    fp32_ms, int8_ms = int8["convolutions_ms_fp32"], int8["convolutions_ms"]
    other_fp32_ms, other_int8_ms = int8["kernels_ms_fp32"] - fp32_ms, int8["kernels_ms"] - int8_ms
    return (
        f" On one thread the convolutions take {significant(int8_ms)} ms in int8 against {significant(fp32_ms)} ms in "
        f"fp32 ({fp32_ms / int8_ms:.1f} times as fast); all other operators, preprocessing included, take "
        f"{significant(other_int8_ms)} ms against {significant(other_fp32_ms)} ms (ONNX Runtime's profiler)."
    )


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
