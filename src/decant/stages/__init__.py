"""The stages of a study in the order of the flow, as data: what each reads and the script that makes it.

A name with NAME stands for one stage per teacher. In `reads`, NAME is the same teacher and `*` means several: every
teacher of the study, and for the families of OF_ACTIVE the active ones, whose weight in the ensemble is above zero.
Soft labels are stored for a student that replays them; for other students the families of STORED have no stage. The
stages of OF_CHOICE do not read the twin if the study ships the student in any case.

The stages of a study with `final: refit` begin with REFIT. They have the code of the stage without that prefix, which
finds its inputs under the names without the prefix, but they learn from train, val and test and predict the images to
predict alone. No other stage reads them, so no choice and no score depends on a model that was trained on val or test.

Each stage is a module of this package with

    VERSION                                    of its code: raise it when the same inputs give another result
    settings(experiment, name, inputs)         what of the study decides the result; part of the fingerprint
    build(experiment, name, inputs, folder)    write the result into `folder`
    PARALLEL = True                            if several processes may run `build` together (`decant.processes`); the
                                               first one's files are kept
    RESUMABLE = True                           if `build` continues in a folder that an interruption left
    repair(experiment, name, inputs, folder)   if the stage has files outside `folder`: called once per process for the
                                               finished stage, without its lock, to make again what was lost of them
    records(experiment, name, inputs, folder)  what W&B gets of a stage that was built, read from its files: one
                                               `tracking.Record` per run; a training opens its run itself
    artifacts(name, folder, share)             the small files that stand for the stage in W&B's lineage

A stage reads nothing but its `inputs`: the results of the stages that the table names. `support/resolve.py` finds them.
`publish.py` is no stage and has no row in the table: it copies the small results of the finished stages.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One row of the table. module: the file of this package that contains the stage's code. doing: shown to people."""

    name: str
    module: str
    reads: tuple[str, ...]
    script: str
    doing: str


CLEAN, TRAIN, COMBINE = "research/clean_data.py", "research/train_teacher.py", "ensembles/combine.py"
LABEL, DISTIL, EXPORT = "distill/make_soft_labels.py", "distill/train_student.py", "distill/export_onnx.py"
PRECISION, LATENCY = "benchmarks/precision.py", "benchmarks/latency.py"
TRAIN_AGAIN = "distill/refit.py"

STUDENTS = ("student", "student_alone")
PREDICTED = ("predictions/*", "predictions/student", "predictions/student_alone")
REFIT = "refit_"
TWIN, OF_CHOICE = ("student_alone", "predictions/student_alone"), ("shipped", "export")
STORED = ("soft_labels", "refit_soft_labels")
OF_ACTIVE = (*STORED, "refit_teachers", "refit_predictions")

PREDICTS, PREDICTS_ALONE = "predicts the images outside train", "predicts the images to predict"

GRAPH = (
    Stage("manifest", "manifest", (), CLEAN, "reads every image"),
    Stage("clean", "clean", ("manifest",), CLEAN, "looks for duplicates, leaks and wrong labels"),
    Stage("pixels", "pixels", ("clean",), TRAIN, "stores the pixels for training"),
    Stage("teachers/NAME", "teacher", ("clean", "pixels"), TRAIN, "trains a teacher"),
    Stage("predictions/NAME", "predictions", ("clean", "teachers/NAME"), TRAIN, PREDICTS),
    Stage("ensemble", "ensemble", ("clean", "predictions/*"), COMBINE, "fits temperatures and weights on val"),
    Stage("soft_labels/NAME", "soft_labels",
          ("clean", "pixels", "teachers/NAME"), LABEL, "stores the teacher's probabilities for the student's views"),
    Stage("student", "student",
          ("clean", "pixels", "teachers/*", "ensemble", "soft_labels/*"), DISTIL, "distils the student"),
    Stage("student_alone", "student", ("clean", "pixels"), DISTIL, "trains the same network on the given labels alone"),
    Stage("predictions/student", "predictions", ("clean", "student"), EXPORT, PREDICTS),
    Stage("predictions/student_alone", "predictions", ("clean", "student_alone"), EXPORT, PREDICTS),
    Stage("shipped", "shipped", ("clean", *STUDENTS, "predictions/student", "predictions/student_alone"), EXPORT,
          "takes the better one of student and twin"),
    Stage("export", "export",
          ("clean", "teachers/*", "ensemble", "shipped", "predictions/student", "predictions/student_alone"), EXPORT,
          "writes the ONNX file and verifies it"),
    Stage("int8", "int8", ("clean", "shipped", "export"), EXPORT, "quantises the file, verifies and times it"),
    Stage("benchmarks/precision", "precision",
          ("clean", "pixels", *PREDICTED, "ensemble", "soft_labels/*", "export", "int8"), PRECISION,
          "scores every model"),
    Stage("benchmarks/latency", "latency",
          ("clean", "teachers/*", "ensemble", "shipped", "export", "int8"), LATENCY, "times every model"),
    Stage("refit_pixels", "pixels", ("clean",), TRAIN_AGAIN, "stores the pixels of all labelled images"),
    Stage("refit_teachers/NAME", "teacher",
          ("clean", "refit_pixels", "teachers/NAME"), TRAIN_AGAIN, "trains the teacher again, on all labelled images"),
    Stage("refit_predictions/NAME", "predictions", ("clean", "refit_teachers/NAME"), TRAIN_AGAIN, PREDICTS_ALONE),
    Stage("refit_ensemble", "refit_ensemble",
          ("ensemble", "refit_predictions/*"), TRAIN_AGAIN, "pools them with the weights of the ensemble"),
    Stage("refit_soft_labels/NAME", "soft_labels",
          ("clean", "refit_pixels", "refit_teachers/NAME"), TRAIN_AGAIN, "stores the teacher's probabilities again"),
    Stage("refit_student", "student",
          ("clean", "refit_pixels", "refit_teachers/*", "shipped", "ensemble", "refit_soft_labels/*"), TRAIN_AGAIN,
          "trains the shipped model again, on all labelled images"),
    Stage("refit_predictions/student", "predictions", ("clean", "refit_student"), TRAIN_AGAIN, PREDICTS_ALONE),
)  # fmt: skip
SCRIPTS = (*dict.fromkeys(stage.script for stage in GRAPH), "benchmarks/report.py")


def reads_in_table(stage: Stage) -> list[str]:
    """The rows of the table that a stage reads: `predictions/*` is the row `predictions/NAME`."""
    return [read.replace("*", "NAME") for read in stage.reads]
