"""The app under load and under hostile requests: requests per second beside a bare loop, refusals, and memory.

It writes load.csv and hostile.csv with provenance.json. Columns of load.csv, one row: connections (over loopback, each
sends its next image when it has its answer), seconds (of the load), requests (answered with status 200), errors (all
others), requests_per_second, bare_per_second (images per second of a loop that decodes and predicts the same images in
one process with all cores, while the load generator sends as much to itself), bare_alone_per_second (the same without
the generator), to_bare (requests_per_second / bare_per_second), p50_ms, p90_ms, p99_ms (time per request, percentiles
over the requests), p99_to_p50, answer_ms and map_ms (median time of a prediction and of an activation map, one request
at a time, in turns), map_to_answer (map_ms / answer_ms; empty for a file without maps), first_answer_s (from the start
of serve.py to its first prediction), page_kb (1000 bytes: the page with all that it loads), peak_rss_mb (of the server;
10⁶ bytes). 16 hostile requests are sent at once, to a server with its own limits except --timeout 10. Columns of
hostile.csv, a row per kind and one for all: kind, requests, refused (status 4xx with a reason), answered (an image
after all, with the probabilities that Python computes), failed (anything else), statuses, good_answered (good requests,
one after each hostile one, that were answered correctly), peak_rss_mb (of the server at the end; in the row all).
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from decant.benchmarking.hostile_run import HOSTILE_COLUMNS, hostile_rows, run_hostile
from decant.benchmarking.hostile_uploads import hostile_uploads, photo
from decant.benchmarking.server_process import running_server
from decant.benchmarking.serving_load import LOAD_COLUMNS, load_row
from decant.evaluation.tables import write_results_table
from decant.export.runtime import OnnxClassifier
from decant.stages.support.command import at_least_one, run
from decant.stages.support.provenance import RANDOM_STUDENT, measured_file, record_measurement
from decant.study_files import ROOT
from decant.timing.prediction_rate import write_photos
from decant.timing.random_student import exported_random_student
from decant.workspace import followed

SIZE = (300, 400)  # height and width of the photos of the load, pixels
PHOTOS = 40
NAME = "measured"  # of the model in the addresses
HOSTILE_OPTIONS = ("--timeout", "10")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/serving.py --seconds 60 --hostile 500",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=followed, metavar="FILE", help="a student.onnx (default: an EfficientNet-Lite0"
                        " with random weights, 128 px)")  # fmt: skip
    parser.add_argument("--connections", type=at_least_one, default=32, help="of the load (default: 32)")
    parser.add_argument("--seconds", type=at_least_one, default=60, help="of the load (default: 60)")
    parser.add_argument("--hostile", type=at_least_one, default=500, help="hostile requests (default: 500)")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "results" / "serving",
        help="folder for the tables (default: results/serving)",
    )
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or exported_random_student(Path(folder))
        photos = Path(folder) / "photos"
        write_photos(photos, SIZE, PHOTOS)
        load = load_row(model, photos, given.connections, given.seconds)
        hostile = hostile_table(model, given.hostile)
    write_results_table([load], given.out / "load.csv", LOAD_COLUMNS)
    write_results_table(hostile, given.out / "hostile.csv", HOSTILE_COLUMNS)
    measured = measured_file(given.model) if given.model else RANDOM_STUDENT
    record_measurement(given.out, ["load.csv", "hostile.csv"], measured)
    print("{requests} requests, {errors} errors, {to_bare:.2f} of the bare loop's rate, "
          "p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms".format(**load))  # fmt: skip
    print("no activation maps for this file" if np.isnan(load["map_to_answer"])
          else "a map takes {map_to_answer:.2f} times as long as a prediction".format(**load))  # fmt: skip
    print("{requests} hostile requests: {refused} refused, {answered} answered, {failed} failed, "
          "{peak_rss_mb:.0f} MB".format(**hostile[-1]))  # fmt: skip
    print(f"tables: {given.out}")


def hostile_table(model: Path, count: int) -> list[dict[str, object]]:
    """The rows of hostile.csv."""
    classifier = OnnxClassifier(model, threads=1)
    good = photo(np.random.default_rng(0), "JPEG")
    with running_server(model, HOSTILE_OPTIONS, name=NAME) as server:
        outcomes = run_hostile(server, classifier, NAME, hostile_uploads(count), good)
        return hostile_rows(outcomes, server.peak_rss_mb())


if __name__ == "__main__":
    run(main)
