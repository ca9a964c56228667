"""The section on latency: the student's times compared with those of the other models."""

from collections.abc import Iterator
from pathlib import Path

from decant.evaluation.markdown import link, markdown_image, markdown_table, paragraphs, section
from decant.evaluation.tables import joined, number, plural, ratio, short
from decant.reporting.figures import PARETO_PNG
from decant.reporting.results_files import (
    ResultsFiles,
    Row,
    best_teacher,
    comparable,
    int8_is_offered,
    main_split,
    of_kind,
    reported_latency,
    student_row,
)
from decant.timing.quoted import quoted_threads

HEADER = {
    "model": "model",
    "engine": "engine",
    "precision": "precision",
    "graph": "graph",
    "input_px": "px",
    "cold_start_s": "cold start s",
    "p50_ms": "p50 ms",
    "p90_ms": "p90 ms",
    "p99_ms": "p99 ms",
    "images_per_second": "images/s",
    "params_millions": "M params",
    "gmacs": "GMACs",
    "file_mb": "MB",
    "peak_rss_mb": "peak MB",
}
ENGINES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torch": "PyTorch",
    "torch_compile": "PyTorch, compiled",
    "mixed": "several engines",
}
GRAPHS = {"full": "preprocessing included", "bare": "without preprocessing"}
SHIPPED_KINDS = ("student_onnx", "student_onnx_int8")


def latency_section(results: ResultsFiles, base: Path) -> str:
    if not results.latency:
        return ""
    table = results.folder / "benchmarks" / "latency" / "metrics.csv"
    batch_size, threads = quoted_setting(results)
    images = "One image" if batch_size == "1" else f"{batch_size} images"
    return section(
        "Benchmarks: latency",
        "\n".join(f"- {sentence}" for sentence in _sentences(results)),
        " ".join(_conditions(results)),
        markdown_image(results.folder / PARETO_PNG, base, "Accuracy against latency; the area is the size of the file"),
        f"{images} per call on {plural(int(threads), 'thread')}; [all batch sizes and threads]({link(table, base)}):",
        markdown_table(
            list(HEADER.values()),
            [[row[column] or "–" for column in HEADER] for row in quoted_rows(results)],
            left=4,
        ),
        _throughput(results),
    )


def quoted_setting(results: ResultsFiles) -> tuple[str, str]:
    """The batch size and the number of threads that the report quotes: the smallest, and 2 or else the largest."""
    batch_size = min((row["batch_size"] for row in results.latency), key=int)
    threads = {int(row["threads"]) for row in results.latency if row["batch_size"] == batch_size}
    return batch_size, str(quoted_threads(threads))


def quoted_rows(results: ResultsFiles) -> list[Row]:
    """The latency rows at the quoted batch size and number of threads, in the table's order."""
    setting = quoted_setting(results)
    return [row for row in results.latency if (row["batch_size"], row["threads"]) == setting]


def dominating(results: ResultsFiles, split: str) -> list[tuple[Row, Row]]:
    """(precision row, latency row) of the models that dominate the student.

    They are at least as accurate on `split` and at least as fast, and better in one of the two. Models are compared
    with the student's graph, at the quoted setting, each in its fastest engine. The student's int8 file does not count
    as another model. The student alone is the same network: if it was not timed, it has the student's times.
    """
    student = student_row(results, split)
    timing = reported_latency(results, student["model"]) if student else None
    if student is None or timing is None:
        return []
    student_timing = _fastest(results, student["model"], timing)
    pairs = []
    for row in results.precision:
        if row["split"] != split or row["kind"] in SHIPPED_KINDS:
            continue
        other = _fastest(results, row["model"], timing)
        if other is None and row["kind"] == "student_alone":
            other = student_timing
        if student_timing and other and _dominates(row, other, student, student_timing):
            pairs.append((row, other))
    return pairs


def _dominates(row: Row, timing: Row, student: Row, student_timing: Row) -> bool:
    gain = number(row["accuracy"]) - number(student["accuracy"])
    saved = number(student_timing["p50_ms"]) - number(timing["p50_ms"])
    return gain >= 0 and saved >= 0 and (gain > 0 or saved > 0)


def _fastest(results: ResultsFiles, model: str, timing: Row) -> Row | None:
    """The model's fastest row measured under the conditions of `timing`, in any engine."""
    rows = [row for row in results.latency if row["model"] == model and comparable(row, timing)]
    return min(rows, key=lambda row: number(row["p50_ms"])) if rows else None


def _in_engine(results: ResultsFiles, model: str, engine: str, timing: Row) -> Row | None:
    """The model's row in an engine, at the batch size and threads of `timing`, and with its graph if possible."""
    rows = [
        row
        for row in results.latency
        if row["model"] == model
        and row["engine"] == engine
        and all(row[column] == timing[column] for column in ("batch_size", "threads"))
    ]
    return min(rows, key=lambda row: row["graph"] != timing["graph"]) if rows else None


def _conditions(results: ResultsFiles) -> Iterator[str]:
    """Sentences on the machine, the images and the models that were timed."""
    machine = results.latency_machine
    if machine.get("processor"):
        cores = f" with {plural(int(machine['cores']), 'core')}" if machine.get("cores") else ""
        yield f"Measured on {machine['processor']}{cores}."
        if size := machine.get("picture_px"):
            yield f"Graphs with preprocessing got images of {size[1]} × {size[0]} pixels."
    yield "The ensemble's time is the sum of its teachers' times, each in its fastest engine."
    if results.study.get("ensemble", {}).get("tta"):
        yield "The ensemble's accuracy includes test-time augmentation, its time does not."
    folds = [name for name, settings in results.study.get("teachers", {}).items() if settings.get("folds")]
    if folds:
        yield f"For {joined(folds)}, the time is of one fold's model, the accuracy of the mean over all folds."


def _sentences(results: ResultsFiles) -> Iterator[str]:
    split = main_split(results)
    student = student_row(results, split)
    timing = reported_latency(results, student["model"]) if student else None
    if student is None or timing is None:
        return
    images = "one image" if timing["batch_size"] == "1" else f"{timing['batch_size']} images"
    fastest = _fastest(results, student["model"], timing)
    other_engine = ""
    if fastest and fastest["engine"] != timing["engine"]:
        other_engine = f" Its fastest engine is {ENGINES[fastest['engine']]}, with {fastest['p50_ms']} ms."
    yield (
        f"The median time of {student['model']} is {timing['p50_ms']} ms for {images} ({ENGINES[timing['engine']]}, "
        f"{plural(int(timing['threads']), 'thread')}, {GRAPHS[timing['graph']]}{_spread(timing)}).{other_engine}"
    )
    yield from _ratio_sentences(results, split, timing)
    yield from _domination_sentences(results, split, student, fastest)
    yield from _int8_sentences(results, split, timing)


def _spread(timing: Row) -> str:
    """The range of the medians of single processes; "" for one process or in a table without these columns."""
    low, high = timing.get("p50_low_ms"), timing.get("p50_high_ms")
    return f"; {low} to {high} ms in single processes" if low and high and timing["processes"] != "1" else ""


def _ratio_sentences(results: ResultsFiles, split: str, timing: Row) -> Iterator[str]:
    best, ensemble = best_teacher(results, split), of_kind(results, "ensemble", split)
    if best:
        same = _in_engine(results, best["model"], timing["engine"], timing)
        eager = _in_torch(results, best["model"], timing["batch_size"]) if timing["engine"] != "torch" else None
        ratios = [_times_as_long(row, timing) for row in (same, eager) if row]
        if ratios:
            yield f"{best['model']}, the best single teacher, takes {joined(ratios)}."
    fastest = _fastest(results, ensemble["model"], timing) if ensemble else None
    if fastest:
        yield f"The ensemble takes {_times_as_long(fastest, timing)}."


def _in_torch(results: ResultsFiles, model: str, batch_size: str) -> Row | None:
    """The model's row in eager PyTorch at that batch size, with its best number of threads."""
    rows = [
        row
        for row in results.latency
        if (row["model"], row["engine"], row["batch_size"]) == (model, "torch", batch_size)
    ]
    return min(rows, key=lambda row: number(row["p50_ms"])) if rows else None


def _times_as_long(row: Row, timing: Row) -> str:
    """ "4.5 times as long in PyTorch on 1 thread, without preprocessing"; names all differences from `timing`."""
    threads = "" if row["threads"] == timing["threads"] else f" on {plural(int(row['threads']), 'thread')}"
    graph = "" if row["graph"] == timing["graph"] else f", {GRAPHS[row['graph']]}"
    return f"{ratio(row['p50_ms'], timing['p50_ms'])} times as long in {ENGINES[row['engine']]}{threads}{graph}"


def _domination_sentences(results: ResultsFiles, split: str, student: Row, student_timing: Row | None) -> Iterator[str]:
    pairs = dominating(results, split)
    if not pairs:
        yield (
            f"No other model dominates the student, that is, is at least as accurate on {split}, at least as fast, and "
            "better in one of the two (each in its fastest engine)."
        )
    for row, timing in pairs:
        twin = " (the same network, so the same time)" if timing is student_timing else ""
        doubts = []
        if _accuracies_overlap(results, split, student["model"], row["model"]):
            doubts.append("the 95 % interval of the difference in accuracy contains 0")
        if student_timing and not twin and _times_overlap(timing, student_timing):
            doubts.append("the times of single processes overlap")
        yield (
            f"{row['model']} dominates the student: an accuracy of {short(row['accuracy'])} against "
            f"{short(student['accuracy'])} on {split}, in {timing['p50_ms']} ms{twin}"
            f"{', but ' + joined(doubts) if doubts else ''}."
        )


def _accuracies_overlap(results: ResultsFiles, split: str, model: str, other: str) -> bool:
    """True if the interval of the difference in accuracy contains 0."""
    for row in results.comparisons:
        if (row["model"], row["other"], row["split"]) == (model, other, split):
            return number(row["accuracy_difference_low"]) <= 0 <= number(row["accuracy_difference_high"])
    return False


def _times_overlap(row: Row, other: Row) -> bool:
    """True if the ranges of the medians of single processes overlap; False if they are not in the table."""
    return all(number(a.get("p50_low_ms")) <= number(b.get("p50_high_ms")) for a, b in ((row, other), (other, row)))


def _int8_sentences(results: ResultsFiles, split: str, timing: Row) -> Iterator[str]:
    fp32, int8 = (_in_engine(results, kind, timing["engine"], timing) for kind in SHIPPED_KINDS)
    if int8 is None or fp32 is None or not comparable(int8, fp32):
        return
    fp32_score, int8_score = (of_kind(results, kind, split) for kind in SHIPPED_KINDS)
    accuracy = ""
    if fp32_score and int8_score:
        accuracy = (
            f"; its accuracy on {split} is {short(int8_score['accuracy'])} against {short(fp32_score['accuracy'])}"
        )
    offered = int8_is_offered(results)
    yield (
        f"The int8 file{'' if offered else ', which is not offered,'} takes {int8['p50_ms']} ms against "
        f"{fp32['p50_ms']} ms in fp32{_int8_on_one_thread(results, timing)}; its size is {int8['file_mb']} MB "
        f"against {fp32['file_mb']} MB{accuracy}."
    )
    if not offered:
        return
    best, ensemble = best_teacher(results, split), of_kind(results, "ensemble", split)
    others = [
        (best["model"], _in_engine(results, best["model"], timing["engine"], int8)) if best else None,
        ("the ensemble", _fastest(results, ensemble["model"], int8)) if ensemble else None,
    ]
    ratios = [f"{name} in fp32 takes {_times_as_long(row, int8)}" for name, row in filter(None, others) if row]
    if ratios:
        yield f"Compared with the int8 file, {joined(ratios)}."


def _int8_on_one_thread(results: ResultsFiles, timing: Row) -> str:
    """The times of both files on one thread; "" if they were not measured or are the quoted ones."""
    one_thread = {**timing, "threads": "1"}
    fp32, int8 = (_in_engine(results, kind, timing["engine"], one_thread) for kind in SHIPPED_KINDS)
    if timing["threads"] == "1" or not fp32 or not int8:
        return ""
    return f" ({int8['p50_ms']} ms against {fp32['p50_ms']} ms on 1 thread)"


def _throughput(results: ResultsFiles) -> str:
    """Images per second of the offered files by batch size and threads; "" if there is only one setting."""
    shipped = SHIPPED_KINDS if int8_is_offered(results) else SHIPPED_KINDS[:1]
    rows = [row for row in results.latency if row["kind"] in shipped]
    graph = "full" if any(row["graph"] == "full" for row in rows) else "bare"
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        if row["graph"] == graph:
            by_size = cells.setdefault((row["engine"], row["precision"], row["threads"]), {})
            by_size[row["batch_size"]] = row["images_per_second"]
    sizes = sorted({size for by_size in cells.values() for size in by_size}, key=int)
    if len(cells) * len(sizes) < 2:
        return ""
    return paragraphs(
        f"Images per second of the offered files, {GRAPHS[graph]}:",
        markdown_table(
            ["engine", "precision", "threads", *(f"batch {size}" for size in sizes)],
            [[*setting, *(by_size.get(size, "–") for size in sizes)] for setting, by_size in cells.items()],
            left=2,
        ),
    )
