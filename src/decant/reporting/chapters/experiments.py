"""Training and Experimentation: method, loss, settings, what was tried and what did not help."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from decant.evaluation.markdown import figure_row, markdown_table, plain, section
from decant.evaluation.referee import DO_NOT
from decant.evaluation.tables import difference, joined, minutes, plural
from decant.reporting.figures import curves_png
from decant.reporting.paired import distillation_gain, sign_of
from decant.reporting.reasons import NETWORK_KEYS, code, networks, reasons, shared_reasons
from decant.reporting.results_files import (
    ResultsFiles,
    Row,
    chosen_text,
    in_first_and_last_epoch,
    int8_is_offered,
    main_split,
)
from decant.reporting.transfer import COURSES_PNG

LOSSES = {
    "kd": "the cross-entropy with softened soft labels (Hinton et al. 2015)",
    "dkd": "decoupled distillation (Zhao et al. 2022)",
    "dist": "the correlations within a batch (DIST, Huang et al. 2022)",
    "soft_cross_entropy": "the cross-entropy with the soft labels (Beyer et al. 2022)",
    "jensen_shannon": "the Jensen-Shannon divergence to the soft labels",
}
SETTINGS = {  # key of a study -> name in the table
    "optimizer": "optimiser",
    "learning_rate": "learning rate",
    "schedule": "schedule",
    "weight_decay": "weight decay",
    "batch_size": "batch",
    "epochs": "epochs",
    "label_smoothing": "label smoothing",
    "ema_share": "averaging",
    "balance": "class weights",
}


def experiments(results: ResultsFiles, base: Path) -> str:
    if not results.study.get("student"):
        return ""
    tried = [*_ablations(results), *_pools(results), *_test_time(results), *_int8(results)]
    shared = shared_reasons(results.study, but=(*NETWORK_KEYS, "views"))
    return section(
        "Training and Experimentation",
        " ".join(_method(results)),
        _settings(results),
        "\n".join([*shared, *_other_reasons(results.study)]),
        "What was tried, and what it brought:" if tried else "",
        markdown_table(["tried", "compared with", "result (95 % interval)", "verdict"], tried, left=4) if tried else "",
        _not_helpful(results, tried),
        figure_row(base, _curves(results)),
    )


def _method(results: ResultsFiles) -> Iterator[str]:
    student, teachers = results.study["student"], results.study.get("teachers", {})
    trained = [name for name, teacher in teachers.items() if teacher.get("kind") != "probe"]
    if trained:
        subject, verb = ("teachers", "minimise") if len(trained) > 1 else ("teacher", "minimises")
        further = _auxiliary(results.study)
        yield f"The {subject} {joined(trained)} {verb} the cross-entropy with the given labels{further}."
    if "hard_weight" in student:
        loss = LOSSES.get(str(student.get("loss", "kd")), "a distillation loss")
        yield (
            f"The student minimises a sum of the cross-entropy with the given label (weight "
            f"{_range(student['hard_weight'])}) and {loss} at T = {_range(student.get('temperature', 1))}"
            f"{_views(results.study)}."
        )
    yield "Its twin has the same network, start and number of steps, and learns from the given labels alone."
    if results.study.get("metric"):
        yield chosen_text(results)
    seconds = results.provenance.get("seconds", {})
    if seconds:
        yield f"The stages took {minutes(sum(seconds.values()))} minutes together."


def _auxiliary(study: Mapping[str, Any]) -> str:
    """The further term of the teachers' loss; "" for studies without one."""
    weights = {teacher.get("auxiliary_weight") or 0 for teacher in study.get("teachers", {}).values()} - {0}
    columns = study.get("data", {}).get("auxiliary_columns", [])
    if not weights or not columns:
        return ""
    several = joined([f"{weight:g}" for weight in sorted(weights)])
    return f" and, with the weight {several}, with those of {joined(columns)}"


def _range(setting: Any) -> str:
    """ "0.5", or "0.5 to 0.1" for a setting that changes from the first epoch to the last."""
    first, last = in_first_and_last_epoch(setting)
    return f"{first:g}" if first == last else f"{first:g} to {last:g}"


def _views(study: Mapping[str, Any]) -> str:
    mode, views = study["student"].get("mode", "replay"), study.get("soft_labels", {}).get("views")
    if mode == "replay" and views:
        return f", on {plural(views, 'stored view')} per image"
    return {"online": ", on new views in each epoch", "frozen": ", with one soft label per image"}.get(mode, "")


def _settings(results: ResultsFiles) -> str:
    """A row per trained network; only the settings that do something in one of them."""
    trained = {name: keys for name, keys in networks(results.study).items() if keys.get("kind") != "probe"}
    used = {key: label for key, label in SETTINGS.items() if any(keys.get(key) for keys in trained.values())}
    rows = [[name, *(_value(keys.get(key)) for key in used)] for name, keys in trained.items()]
    return markdown_table(["network", *used.values()], rows) if rows and used else ""


def _value(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def _other_reasons(study: dict[str, Any]) -> list[str]:
    """The reasons of the sections that no other part of the report gives."""
    paths = {("ensemble",): "ensemble", ("soft_labels",): "soft labels", ("export",): "export", (): "study"}
    section_reasons = {name: reasons(study, path) for path, name in paths.items()}
    section_reasons["data"] = reasons(
        study, ["data"], only=["auxiliary_columns", "class_names", "extra", "labelled_share"]
    )
    return [
        f"- {code(keys)} ({name}): {plain(reason)}"
        for name, why in section_reasons.items()
        for keys, reason in why.items()
    ]


def _ablations(results: ResultsFiles) -> Iterator[list[str]]:
    """Each change of a teacher's settings, by its accuracy on val."""
    for row in results.effects:
        if not row["val_accuracy_difference"]:
            continue
        seeds = int(row["seeds"])
        verdict = _verdict(row, "val_accuracy_difference") if seeds > 1 else "one seed: not enough to tell"
        change = difference(row, "val_accuracy_difference")
        yield [plain(row["change"]), "the settings before it, val accuracy", change, verdict]


def _pools(results: ResultsFiles) -> Iterator[list[str]]:
    """The ways of pooling that were not chosen. Their difference in NLL is how much worse they are."""
    chosen = next((row["model"] for row in results.pooling if row["chosen"] == "true"), "")
    for row in results.pooling:
        if row["kind"] == "teacher" or row["chosen"] == "true":
            continue
        sign = sign_of(row, "val_nll_difference")
        verdict = "worse" if sign > 0 else "better" if sign < 0 else "no difference shown"
        yield [f"pooling {row['model']}", f"{chosen}, val NLL", difference(row, "val_nll_difference"), verdict]


def _test_time(results: ResultsFiles) -> Iterator[list[str]]:
    """Test-time augmentation of each teacher, where the table compares it with the bare teacher."""
    split = main_split(results)
    for row in results.comparisons:
        if row["split"] != split:
            continue
        pair = {row["model"], row["other"]}
        bare = min(pair, key=len)
        if pair == {bare, f"{bare}_tta"}:
            sign = 1 if row["model"] == f"{bare}_tta" else -1
            verdict = {1: "better", -1: "worse", 0: "no difference shown"}[sign_of(row) * sign]
            change = difference(row, "accuracy_difference")
            yield [row["model"], f"{row['other']}, {split} accuracy", change, verdict]


def _int8(results: ResultsFiles) -> Iterator[list[str]]:
    if results.int8:
        verdict = "offered" if int8_is_offered(results) else "not offered"
        yield ["int8 file", "fp32, val accuracy", f"{results.int8.get('why', '–')}; without an interval", verdict]


def _verdict(row: Row, column: str) -> str:
    return {1: "better", -1: "worse", 0: "no difference shown"}[sign_of(row, column)]


def _not_helpful(results: ResultsFiles, tried: list[list[str]]) -> str:
    """What did not help, from the table's verdicts, the referee's and the twin."""
    names = [name for name, _, _, verdict in tried if verdict in ("worse", "no difference shown")]
    gain = distillation_gain(results, main_split(results))
    primary = next((row for row in results.arm_comparisons if row["primary"] == "true"), None)
    if primary and primary["verdict"] == DO_NOT:
        names.append("distillation, by the referee's verdict")
    elif gain and not primary and sign_of(gain) <= 0:
        names.append("distillation, by one training of student and twin (the interval is not above zero)")
    sentences = [f"Not better, or not shown to be: {joined(names)}."] if names else []
    if not int8_is_offered(results) and results.int8.get("why"):
        sentences.append(f"The int8 file is not offered: {results.int8['why']}.")
    return " ".join(sentences)


def _curves(results: ResultsFiles) -> dict[str, Path]:
    """The courses of all teachers, or the curves of two, and the student's curves."""
    courses = results.folder / COURSES_PNG
    if courses.is_file():
        figures = {"Teachers: accuracy on val against minutes": courses}
    else:
        figures = {
            f"Learning curves of {name}": results.folder / curves_png(name) for name in list(results.histories)[:2]
        }
    return figures | {"Learning curves of the student": results.folder / curves_png("student")}
