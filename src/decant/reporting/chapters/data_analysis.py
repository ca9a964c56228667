"""Data Analysis and Cleaning: what was observed, what was done with it and why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decant.data.sources import SOURCES
from decant.evaluation.markdown import capitalised, figure_row, markdown_table, plain, section
from decant.evaluation.tables import joined, plural, short, thousands
from decant.reporting.appendix.data import absent_classes
from decant.reporting.figures import CLASSES_PNG
from decant.reporting.pictures import CAPTIONS, SAMPLES, VIEWS, attribution_sentence, pictures_sentence
from decant.reporting.reasons import reasons
from decant.reporting.results_files import ResultsFiles, images_text, splits_in_order

WHY = {  # issue -> why something is done with it
    "broken": "a file that cannot be decoded cannot be trained on",
    "extra_leak": "a copy of an image that is scored must not be trained on",
    "extra_copy": "the main source has the same file with its label",
    "exact_duplicate": "a repeated image would count twice",
    "conflict": "the same file has two labels, and it is not known which is right",
    "leak": "a copy in a stricter split would make scores too high",
    "near_duplicate": "kept, but in one split as a whole, and counted as one in intervals",
    "label": "a doubtful label can also be a rare but true one",
    "odd": "an unusual image may still be a right one",
    "warning": "the decoder read the image in spite of damaged metadata",
}
FOR_PEOPLE = "listed so that people can decide; the policy changes nothing here"
ACTIONS = {  # action -> what was done, after a count
    "drop": "set aside",
    "downweight": "kept without their label's weight",
    "relabel": "relabelled",
    "group": "grouped",
    "review": "listed for review",
    "suggest": "listed",
    "none": "left as they are",
}
SETS = {"train": "train", "val_and_test": "val and test", "extra": "the extra sources"}  # as in clean/metrics.json
UNCHANGED = {"review", "suggest", "none"}  # actions that leave image and label as they are


def data_analysis(results: ResultsFiles, base: Path) -> str:
    if not results.class_counts and not results.clean_metrics:
        return ""
    issues = _issue_rows(results.clean_metrics)
    return section(
        "Data Analysis and Cleaning",
        " ".join([*_observed(results), *_cleaned(results), _noise(results.clean_metrics)]).strip(),
        _splits(results),
        markdown_table(["observed", "done", "because", "images"], issues, left=3) if issues else "",
        " ".join([_policy(results), pictures_sentence(results, base)]).strip(),
        figure_row(
            base,
            {
                "Images per class and split": results.folder / CLASSES_PNG,
                CAPTIONS[SAMPLES]: results.folder / SAMPLES,
                CAPTIONS[VIEWS]: results.folder / VIEWS,
            },
        ),
    )


def _observed(results: ResultsFiles) -> list[str]:
    """How many images and classes there are, how uneven the classes are, which splits lack some, and the source."""
    if not results.class_counts:
        return []
    source = SOURCES.get(str(results.study.get("data", {}).get("source")))
    counts: dict[str, int] = {}
    for row in results.class_counts:
        if row["class"] and row["split"] == "train":
            counts[row["class"]] = counts.get(row["class"], 0) + int(row["images"])
    classes = {row["class"] for row in results.class_counts if row["class"]}
    begin = f"{capitalised(source.caption)}: " if source else ""
    sentences = [f"{begin}{images_text(results)}."]
    if len(counts) > 1:
        largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
        if counts[largest] == counts[smallest]:
            sentences.append(f"Each class has {plural(counts[largest], 'image')} of train.")
        else:
            sentences.append(
                f"In train the largest class, {plain(largest)}, has {plural(counts[largest], 'image')}, the smallest, "
                f"{plain(smallest)}, {thousands(counts[smallest])}."
            )
    sentences += [*absent_classes(results.class_counts, classes), attribution_sentence(results)]
    return [sentence for sentence in sentences if sentence]


def _cleaned(results: ResultsFiles) -> list[str]:
    counts = results.clean_metrics
    if "found" not in counts or "kept" not in counts:
        return []
    set_aside = counts.get("set_aside", counts["found"] - counts["kept"])
    found = plural(counts["found"], "found image")
    return [f"Cleaning set {thousands(set_aside)} of {found} aside; no file was changed."]


def _noise(clean_metrics: Mapping[str, Any]) -> str:
    """The estimated share of wrong labels, and how many labels count as doubtful because of it."""
    sets = clean_metrics.get("label_noise", {})
    noise = sets.get("train")
    if not noise or noise.get("rate") is None:
        return ""
    names = {"from_joint": "predictions", "from_duplicates": "duplicates"}
    estimates = {name: noise[key] for key, name in names.items() if noise.get(key)}
    sources = []
    for name, estimate in estimates.items():
        rate, low, high = (short(str(estimate[end])) for end in ("rate", "low", "high"))
        sources.append(f"from {name} {rate} ({low}–{high})")
    more = f": {joined(sources)}" if sources else ""
    lowest_end = min((estimate["high"] for estimate in estimates.values()), default=1.0)
    apart = any(estimate["low"] > lowest_end for estimate in estimates.values())
    doubt = " These intervals do not overlap, so the share is uncertain." if apart else ""
    shares = f"The estimated share of wrong labels in train is {_share(noise['rate'])}{more}.{doubt}"
    return " ".join([shares, *_rates_of_others(sets), *_doubtful(sets)])


def _rates_of_others(sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for val and test, and for extra sources: doubtful labels may lie there alone."""
    rates = {name: of_set["rate"] for name, of_set in sets.items() if name != "train" and of_set.get("labels")}
    return [f"In {SETS.get(name, name)} it is {_share(rate)}." for name, rate in rates.items() if rate is not None]


def _doubtful(sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    counts = {SETS.get(name, name): of_set.get("suggested", 0) for name, of_set in sets.items()}
    if not any(counts.values()):
        return ["No label counts as doubtful."]
    numbers = joined([f"{thousands(count)} of {name}" for name, count in counts.items() if count])
    return [f"As many labels as these shares warrant, those with the highest scores, count as doubtful: {numbers}."]


def _share(rate: float) -> str:
    """A share of labels; one that would be rounded to 0 is not shown as 0."""
    return "below 0.001" if 0 < rate < 0.0005 else short(str(rate))


def _splits(results: ResultsFiles) -> str:
    images: dict[str, int] = {}
    for row in results.class_counts:
        images[row["split"]] = images.get(row["split"], 0) + int(row["images"])
    splits = splits_in_order(list(images))
    if not splits:
        return ""
    return markdown_table(["kept images of", *splits], [["images", *(thousands(images[split]) for split in splits)]])


def _issue_rows(clean_metrics: Mapping[str, Any]) -> list[list[str]]:
    """Issue, count, what was done with how many, and why."""
    counts, actions = clean_metrics.get("issues", {}), clean_metrics.get("issue_actions", {})
    rows = []
    for issue, count in counts.items():
        done = {name: images for name, images in actions.get(issue, {}).items() if images}
        texts = [
            ACTIONS.get(action, action) if len(done) == 1 else f"{thousands(images)} {ACTIONS.get(action, action)}"
            for action, images in done.items()
        ]
        because = FOR_PEOPLE if set(done) <= UNCHANGED else WHY.get(issue, "–")
        rows.append([issue.replace("_", " "), joined(texts) if texts else "–", because, thousands(count)])
    return sorted(rows, key=lambda row: -int(row[-1].replace(",", "")))


def _policy(results: ResultsFiles) -> str:
    policy = results.study.get("clean", {}).get("policy")
    issues = results.folder / "clean" / "issues.csv"
    sentences = [f"The cleaning policy is `{policy}`."] if policy else []
    sentences += [plain(reason) for reason in reasons(results.study, ["clean"]).values()]
    return " ".join(sentences) if issues.is_file() or sentences else ""
