"""Images per second of training, from image files to the step: decant's stages beside timm's own loop."""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import decant
from decant.benchmarking.photo_folder import median_size
from decant.benchmarking.timed_training import Job
from decant.cores import SPINS, WAITING, usable_cores
from decant.data.preprocessing import size_text
from decant.errors import UserError
from decant.machine import may_have_bf16
from decant.models.backbones import blank_classifier
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.resolve import inputs_of
from decant.stages.teacher import resolved_teacher
from decant.study import Teacher
from decant.study_reading import load_study
from decant.timing.models import cause_of, child_environment
from decant.timing.step_profile import PARTS
from decant.timing.timm_training import Flags, alternatives
from decant.timing.turns import Contender, in_rounds, ratio_cells, running

THROUGHPUT_COLUMNS = (
    "architecture", "input_px", "batch_size", "batch_norms", "height_px", "width_px", "threads", "images", "rounds",
    "timm_flags", "timm_per_second", "memory_per_second", "images_per_second",
    "to_timm", "to_timm_low", "to_timm_high", "to_memory", "to_memory_low", "to_memory_high",
)  # fmt: skip
FLAG_COLUMNS = ("architecture", "input_px", "flags", "images_per_second", "chosen")
PROFILE_COLUMNS = ("architecture", "input_px", "batch_size", "batch_norms", "threads", "part", "step_ms", "share")
LEVER_COLUMNS = (
    "architecture", "input_px", "batch_size", "batch_norms", "threads", "lever", "images", "rounds",
    "images_per_second", "without_per_second", "times_as_fast", "times_as_fast_low", "times_as_fast_high",
)  # fmt: skip
# What the recipe `lite0` trains with, but from random weights, whose values do not change the time of a step. Rotation
# is left out, because timm's loader has none.
EVERY_NETWORK: dict[str, Any] = {
    "recipe": "lite0", "weights": ["none"], "head": "random", "freeze_norm": False, "views": {"rotate_deg": 0.0},
}  # fmt: skip
NETWORKS: dict[str, dict[str, Any]] = {
    "lite0": {},
    "lite0_frozen_norms": {"freeze_norm": True},
    "convnext_atto": {"architecture": "convnext_atto", "input_px": 96},
    "vit_tiny": {"architecture": "vit_tiny_patch16_224", "input_px": 96},
}
PHOTOS = "photos"
COMPILE_LIMIT_S = 100  # for start, compilation and the timed steps
FLAG_STEPS = 6

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Photos whose manifest and pixel cache are made. folder: with `photos/`, `study.yaml` and the runs."""

    folder: Path
    experiment: Experiment
    rounds: int
    processes: int  # of each contender; the rounds are divided among them
    threads: int

    def teacher(self, name: str) -> Teacher:
        """The settings of a network, with the number format that is faster here."""
        inputs = inputs_of(self.experiment, f"teachers/{name}")
        return resolved_teacher(
            self.experiment, f"teachers/{name}", inputs, input_geometry(self.experiment, inputs["clean"])
        )

    def job(self, way: str, name: str, **options: Any) -> Job:
        study, runs = str(self.folder / "study.yaml"), str(self.folder / "runs")
        return Job(way, study, name, str(self.folder), runs, **{"turns": self.rounds // self.processes, **options})

    def cells(self, name: str) -> dict[str, object]:
        """The cells that describe a network in all tables."""
        teacher = self.teacher(name)
        return {
            "architecture": teacher.architecture,
            "input_px": size_text(teacher.input_px),
            "batch_size": teacher.batch_size,
            "batch_norms": batch_norms(teacher),
            "threads": self.threads,
        }

    def images(self) -> int:
        """Images of an epoch."""
        return len(list((self.folder / PHOTOS / "train").rglob("*.jpg")))


def prepare(
    folder: Path, networks: Mapping[str, Mapping[str, Any]], rounds: int, processes: int, threads: int | None = None
) -> Prepared:
    """Write the study of the photos in `folder`/photos and build its stages up to the pixel cache."""
    study = {
        "name": "training_speed",
        "data": {"source": "folder", "path": PHOTOS},
        "geometry": {"fit": "crop"},
        "clean": {
            "policy": "report",
            "near_duplicates": False,
            "folds": 2,
            "encoder": {"architecture": "test_efficientnet", "weights": ["none"], "input_px": 32},
        },
        "teachers": {
            name: {**EVERY_NETWORK, **changes, "views": {**EVERY_NETWORK["views"], **changes.get("views", {})}}
            for name, changes in networks.items()
        },
        "student": {},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    experiment = Experiment(load_study(str(path)), folder, folder / "runs", wandb="disabled")
    prepared = Prepared(folder, experiment, rounds, processes, threads or usable_cores())
    for name in networks:
        prepared.teacher(name)  # builds the stages that it reads, and decides its number format
    return prepared


def batch_norms(teacher: Teacher) -> str:
    """trained | frozen, or "" for a network without batch norms."""
    with torch.device("meta"):
        network = blank_classifier(teacher.architecture, 2, teacher.input_px, teacher.model_args)
    if not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()):
        return ""
    return "frozen" if teacher.freeze_norm else "trained"


def command(job: Job) -> list[str]:
    return [sys.executable, "-P", "-m", "decant.benchmarking.timed_training", json.dumps(asdict(job))]


def environment(prepared: Prepared, job: Job, **variables: str) -> dict[str, str]:
    """The environment of a job's process. With timm it is that of a program without decant.

    Otherwise the threads wait as in this process, which chose at its start how they do.
    """
    inherited = child_environment(prepared.threads)
    if job.way != "timm":
        del inherited[decant.UNTUNED]
        inherited |= {name: os.environ[name] for name in WAITING if name in os.environ}
    cache = str(prepared.folder / "compiled")
    return inherited | {"CUDA_VISIBLE_DEVICES": "", "TORCHINDUCTOR_CACHE_DIR": cache, **variables}


def round_answers(
    prepared: Prepared, jobs: Mapping[str, Job], variables: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, list[Any]]:
    """The answers of each job, one per round, from `prepared.processes` processes per job.

    variables: further environment variables of some jobs.
    """
    variables = variables or {}
    contenders = {
        name: (command(job), environment(prepared, job, **variables.get(name, {}))) for name, job in jobs.items()
    }
    answers: dict[str, list[Any]] = {name: [] for name in jobs}
    for _ in range(prepared.processes):
        with running(contenders) as processes:
            for name, values in in_rounds(processes, prepared.rounds // prepared.processes).items():
                answers[name] += values
    return answers


def rates_of_flags(prepared: Prepared, name: str, may_compile: bool) -> dict[Flags, float | None]:
    """Images per second of timm's loop with each tried setting of its flags; None for a setting that fails.

    One flag after the other is changed; its fastest value stays for the next.
    """
    rates: dict[Flags, float | None] = {}
    best_flags = Flags()
    unchanged: list[dict[str, Any]] = [{}]
    for changes in [unchanged, *alternatives(may_have_bf16(torch.device("cpu")), may_compile)]:
        for flags in [replace(best_flags, **change) for change in changes]:
            rates[flags] = flag_rate(prepared, name, flags)
        best_flags = fastest(rates)
    return rates


def fastest(rates: Mapping[Flags, float | None]) -> Flags:
    """The flags with the most images per second."""
    return max(rates, key=lambda flags: rates[flags] or 0.0)


def flag_rate(prepared: Prepared, name: str, flags: Flags) -> float | None:
    """Images per second of one turn in timm's loop; None, with a warning, if it fails or takes too long to compile."""
    limit_s = COMPILE_LIMIT_S if flags.compiled else 0
    job = prepared.job("timm", name, turns=1, steps=FLAG_STEPS, flags=asdict(flags), limit_s=limit_s, keep_memory=False)
    contender = Contender(f"timm's loop, {flags.text()}", command(job), environment(prepared, job))
    try:
        rate = float(contender.turn())
    except UserError as error:
        limit_text = f" (its limit is {limit_s} s)" if limit_s else ""
        log.warning("%s: timm's loop with %s is left out%s: %s", name, flags.text(), limit_text, cause_of(str(error)))
        return None
    finally:
        contender.close()
    log.info("%s: timm's loop with %s: %.1f images/s", name, flags.text(), rate)
    return rate


def throughput_row(prepared: Prepared, name: str, flags: Flags) -> dict[str, object]:
    """The row of one network; keys are THROUGHPUT_COLUMNS."""
    rates = round_answers(
        prepared,
        {
            "timm": prepared.job("timm", name, flags=asdict(flags), keep_memory=False),
            "stage": prepared.job("stage", name),
            "memory": prepared.job("memory", name),
        },
    )
    height, width = median_size(prepared.folder / PHOTOS)
    row = {
        **prepared.cells(name),
        "height_px": height,
        "width_px": width,
        "images": prepared.images(),
        "rounds": len(rates["stage"]),
        "timm_flags": flags.text(),
        "timm_per_second": float(np.median(rates["timm"])),
        "memory_per_second": float(np.median(rates["memory"])),
        "images_per_second": float(np.median(rates["stage"])),
        **ratio_cells("to_timm", rates["stage"], rates["timm"]),
        **ratio_cells("to_memory", rates["stage"], rates["memory"]),
    }
    return {column: row[column] for column in THROUGHPUT_COLUMNS}


def profile_rows(prepared: Prepared, name: str) -> list[dict[str, object]]:
    """The time of a step's parts: a row per part and one for the whole step; keys are PROFILE_COLUMNS."""
    jobs = {"profile": prepared.job("profile", name, turns=1)}
    ((times,), *_) = round_answers(replace(prepared, rounds=1, processes=1), jobs).values()
    whole = times["whole step"]
    return [
        {**prepared.cells(name), "part": part, "step_ms": times[part], "share": times[part] / whole}
        for part in (*PARTS, "whole step")
        if times[part] > 0
    ]


def lever_rows(prepared: Prepared, name: str, trained_norms: str, fp32: str) -> list[dict[str, object]]:
    """How much faster a training is for each lever that can be switched off; keys are LEVER_COLUMNS.

    name: a network with frozen batch norms; trained_norms, fp32: the same with trained ones, and always in fp32.
    """
    job = prepared.job("stage", name)
    without = {
        "frozen batch norms": prepared.job("stage", trained_norms),
        "number format": prepared.job("stage", fp32),
        "freed memory is kept": replace(job, keep_memory=False),
        "waiting threads spin": job,
    }
    waiting = {
        "all": {"GOMP_SPINCOUNT": str(SPINS)},
        "waiting threads spin": {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"},
    }
    rates = round_answers(prepared, {"all": job, **without}, dict.fromkeys(without, waiting["all"]) | waiting)
    return [
        {
            **prepared.cells(name),
            "lever": lever,
            "images": prepared.images(),
            "rounds": len(rates["all"]),
            "images_per_second": float(np.median(rates["all"])),
            "without_per_second": float(np.median(rates[lever])),
            **ratio_cells("times_as_fast", rates["all"], rates[lever]),
        }
        for lever in without
    ]


def flags_of_networks(prepared: Prepared, names: Sequence[str]) -> tuple[list[dict[str, object]], dict[str, Flags]]:
    """The rows of all tried flags (keys are FLAG_COLUMNS), and the fastest flags of each network.

    Networks that differ only in their batch norms get the same flags. If the first network does not compile,
    compilation is not tried again.
    """
    rates_of: dict[tuple[object, object], dict[Flags, float | None]] = {}
    flags_of = {}
    for name in names:
        cells = prepared.cells(name)
        kind = cells["architecture"], cells["input_px"]
        if kind not in rates_of:
            failed = any(flags.compiled and not rate for rates in rates_of.values() for flags, rate in rates.items())
            rates_of[kind] = rates_of_flags(prepared, name, may_compile=not failed)
        flags_of[name] = fastest(rates_of[kind])
    rows: list[dict[str, object]] = [
        {
            "architecture": architecture,
            "input_px": input_px,
            "flags": flags.text(),
            "images_per_second": rate,
            "chosen": flags == fastest(rates),
        }
        for (architecture, input_px), rates in rates_of.items()
        for flags, rate in rates.items()
    ]
    return rows, flags_of
