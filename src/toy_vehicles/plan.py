"""Plans the messy set: path, true label, given label and fault of each file, before any is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toy_vehicles.scene import CLASSES

VAL_SHARE = 0.15  # of all images
IMBALANCE = 5.0  # images of the most frequent class per image of the least frequent class
WRONG_LABELS = 0.08  # share of the train images
AMONG_LOOK_ALIKES = 0.7  # share of the wrong labels that name a look-alike
ALL_KINDS_FROM = 200  # a set of at least this many images contains every fault

LOOK_ALIKES: dict[str, tuple[str, ...]] = {
    "car": ("van", "pickup"), "truck": ("bus", "van"), "bus": ("tram", "truck"), "motorcycle": ("bicycle",),
    "van": ("car", "bus"), "bicycle": ("motorcycle",), "pickup": ("car",), "tram": ("bus",),
    "tractor": ("excavator",), "excavator": ("tractor",),
}  # fmt: skip

# shares of all files
DUPLICATES = {
    "exact_duplicate": 0.012,
    "resized": 0.008,
    "cropped": 0.008,
    "mirrored": 0.008,
    "reencoded": 0.008,
}
BROKEN = {"truncated": 0.004, "corrupt": 0.004}
NO_IMAGE = {"non_image": 0.004}
ODDITIES = {
    "too_dark": 0.008, "too_bright": 0.008, "blurred": 0.008, "odd_size": 0.008, "wrong_extension": 0.006,
    "exif_rotated": 0.006, "cmyk": 0.004, "sixteen_bit": 0.005, "palette": 0.004, "alpha": 0.005,
    "animated": 0.004, "unicode_name": 0.006, "long_name": 0.004,
}  # fmt: skip
FAULTS: tuple[str, ...] = ("wrong_label", *DUPLICATES, *BROKEN, *NO_IMAGE, *ODDITIES)
"""All values of the column `fault` of truth.csv, besides the empty one."""

_ENCODINGS = {"jpg": 0.8, "png": 0.08, "webp": 0.05, "gif": 0.02, "bmp": 0.02, "tiff": 0.03}
# the destinations of duplicates, in turn: (split, with another label)
_DESTINATIONS = (("train", False), ("val", False), ("train", True), ("test", False), ("train", False))
_WORDS = ("straßenbahn_größe", "автомобиль", "自転車", "véhicule_été", "مركبة", "차량", "ποδήλατο", "🚜_åker")


@dataclass(frozen=True)
class Plan:
    """The plan of one file. scene and key select the random numbers of its image and of its encoding."""

    path: str
    true_label: str  # "" if the file is not an image
    given_label: str
    fault: str  # "" for no fault
    of: str  # for duplicates, the path of the original; else ""
    scene: int
    key: int
    width_px: int
    height_px: int
    encoding: str  # key of _ENCODINGS
    treatment: str  # how image or bytes are changed; an exact duplicate has the treatment of its original


def plan_files(images: int, size_px: int, seed: int, classes: int, test_share: float = 0.15) -> list[Plan]:
    """Return the plans of exactly `images` files, sorted by path. Raises ValueError if a number is out of range."""
    if not 2 <= classes <= len(CLASSES):
        raise ValueError(f"toy-vehicles: classes is {classes}; choose 2 to {len(CLASSES)}")
    if images < 6 * classes:
        raise ValueError(
            f"toy-vehicles: {images} images are too few for {classes} classes; ask for {6 * classes} or more"
        )
    if not 0 < test_share <= 0.5:
        raise ValueError(f"toy-vehicles: test_share is {test_share}; choose a share above 0 and up to 0.5")
    if size_px < 24:
        raise ValueError(f"toy-vehicles: size_px is {size_px}; a vehicle is recognisable only from 24 pixels on")
    rng = np.random.default_rng([seed, 1])
    names = CLASSES[:classes]
    counts = _fault_counts(images)
    extra = sum(counts[kind] for kind in (*DUPLICATES, *NO_IMAGE))
    numbers = iter((rng.permutation(images) + 1).tolist())
    originals = _originals(images - extra, test_share, size_px, names, numbers, rng)
    originals = _with_faults(originals, counts, names, rng)
    plans = originals + _duplicates(originals, counts, names, numbers, rng)
    plans += [_non_image(names, next(numbers), i, images, rng) for i in range(counts["non_image"])]
    return sorted(plans, key=lambda plan: plan.path)


def class_shares(classes: int) -> np.ndarray:
    """Return the share of each class: float64 [classes], geometric, first to last 5 : 1, with sum 1."""
    weights = IMBALANCE ** (-np.arange(classes) / max(classes - 1, 1))
    return np.asarray(weights / weights.sum())


def _fault_counts(images: int) -> dict[str, int]:
    """Return the files per fault, without wrong labels: at least 1 each in a large set, else with a rounded sum."""
    shares = {**DUPLICATES, **BROKEN, **NO_IMAGE, **ODDITIES}
    if images >= ALL_KINDS_FROM:
        return {kind: max(1, round(share * images)) for kind, share in shares.items()}
    total = np.round(np.cumsum([0.0, *shares.values()]) * images).astype(int)
    return dict(zip(shares, np.diff(total).tolist(), strict=True))


def _allocated(total: int, shares: np.ndarray) -> list[int]:
    """Return positive whole numbers near total * shares whose sum is total."""
    counts = np.maximum(np.floor(total * shares).astype(int), 1)
    while counts.sum() != total:
        gap = total * shares - counts
        if counts.sum() < total:
            counts[np.argmax(gap)] += 1
        else:
            counts[np.argmin(np.where(counts > 1, gap, np.inf))] -= 1
    return [int(count) for count in counts]


def _originals(
    total: int, test_share: float, size_px: int, names: Sequence[str], numbers: Iterator[int], rng: np.random.Generator
) -> list[Plan]:
    shares = class_shares(len(names))
    held_out = {
        split: max(round(total * share), len(names)) for split, share in (("val", VAL_SHARE), ("test", test_share))
    }
    sizes = {"train": total - sum(held_out.values()), **held_out}
    plans: list[Plan] = []
    for split, size in sizes.items():
        for label, count in zip(names, _allocated(size, shares), strict=True):
            for _ in range(count):
                scene = len(plans)
                encoding = str(rng.choice(list(_ENCODINGS), p=list(_ENCODINGS.values())))
                width, height = _size(size_px, rng)
                path = f"{split}/{label}/{_name(next(numbers), encoding, rng)}"
                plans.append(Plan(path, label, label, "", "", scene, scene, width, height, encoding, ""))
    return plans


def _size(size_px: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return width and height: square in half of the cases, else upright or wide, 3/4 to 5/3 of size_px."""
    if rng.random() < 0.5:
        return size_px, size_px
    if rng.random() < 0.3:
        return round(size_px * rng.uniform(0.75, 0.95)), round(size_px * rng.uniform(0.95, 1.25))
    return round(size_px * rng.uniform(1.05, 1.67)), round(size_px * rng.uniform(0.8, 1.15))


def _name(number: int, ending: str, rng: np.random.Generator) -> str:
    """Return a file name in one of several styles; it does not depend on the class."""
    style = rng.random()
    if style < 0.6:
        return f"img_{number:05d}.{ending}"
    if style < 0.75:
        return f"IMG_{number:05d}.{ending.upper()}"
    if style < 0.9:
        return f"photo ({number}).{'jpeg' if ending == 'jpg' else ending}"
    return f"{number:05d}-{int(rng.integers(16**6)):06x}.{ending}"


def _with_faults(
    plans: list[Plan], counts: dict[str, int], names: Sequence[str], rng: np.random.Generator
) -> list[Plan]:
    """Distribute the faults: labels and broken files in train, one of seven oddities in val or test."""
    plans = list(plans)
    free: dict[bool, list[int]] = {True: [], False: []}  # is of train -> faultless plans
    for index in rng.permutation(len(plans)).tolist():
        free[plans[index].path.startswith("train/")].append(index)
    mislabelled = round(WRONG_LABELS * len(free[True]))
    for _ in range(mislabelled):
        index = free[True].pop()
        given = _wrong_label(plans[index].true_label, names, rng)
        path = plans[index].path.replace(f"/{plans[index].true_label}/", f"/{given}/", 1)
        plans[index] = replace(plans[index], path=path, given_label=given, fault="wrong_label")
    for kind in BROKEN:
        for _ in range(counts[kind]):
            index = free[True].pop()
            plans[index] = _spoiled(plans[index], kind, rng)
    assigned = 0
    for kind in ODDITIES:
        for _ in range(counts[kind]):
            assigned += 1
            index = free[assigned % 7 != 0].pop()
            plans[index] = _spoiled(plans[index], kind, rng)
    return plans


def _wrong_label(label: str, names: Sequence[str], rng: np.random.Generator) -> str:
    look_alikes = [name for name in LOOK_ALIKES[label] if name in names]
    others = [name for name in names if name != label]
    chosen = look_alikes if look_alikes and rng.random() < AMONG_LOOK_ALIKES else others
    return chosen[int(rng.integers(len(chosen)))]


def _spoiled(plan: Plan, kind: str, rng: np.random.Generator) -> Plan:
    """Return the plan with a fault, and with the format, name and size that the fault needs."""
    folder, _, name = plan.path.rpartition("/")
    stem = name.rpartition(".")[0]
    plan = replace(plan, fault=kind, treatment=kind)
    if kind == "odd_size":
        width, height = ((13, 19), (31, 240), (300, 27), (512, 384), (7, 7))[int(rng.integers(5))]
        return replace(plan, width_px=width, height_px=height)
    if kind == "unicode_name":
        word = _WORDS[int(rng.integers(len(_WORDS)))]
        return replace(plan, path=f"{folder}/{word} {plan.key}.{plan.encoding}")
    if kind == "long_name":
        tail = f"_{plan.key}.{plan.encoding}"
        text = ("a_photo_whose_name_tells_a_whole_story_" * 6)[: 200 - len(tail)]
        return replace(plan, path=f"{folder}/{text}{tail}")
    formats = {
        "wrong_extension": ("png", "jpg", "webp", "gif"), "exif_rotated": ("jpg",),
        "cmyk": ("jpg", "jpg", "tiff"),
        "sixteen_bit": ("png", "png", "tiff"), "palette": ("png", "gif"), "alpha": ("png", "webp"),
        "animated": ("gif", "webp", "png"), "corrupt": ("jpg", "png"), "truncated": ("jpg", "jpg", "png"),
    }  # fmt: skip
    if kind not in formats:
        return plan
    encoding = formats[kind][int(rng.integers(len(formats[kind])))]
    ending = encoding
    if kind == "wrong_extension":
        ending = "png" if encoding == "jpg" else "jpg"
    return replace(plan, encoding=encoding, path=f"{folder}/{stem}.{ending}")


def _duplicates(
    originals: list[Plan], counts: dict[str, int], names: Sequence[str], numbers: Iterator[int],
    rng: np.random.Generator,
) -> list[Plan]:  # fmt: skip
    """Return copies of faultless train images, in turn to train, val, train with another label, test, train."""
    kinds = [kind for kind in DUPLICATES for _ in range(counts[kind])]
    sources = [plan for plan in originals if not plan.fault and plan.path.startswith("train/")]
    order = rng.permutation(len(sources)).tolist()
    plans = []
    for turn, kind in enumerate(kinds):
        source = sources[order[turn % len(order)]]
        split, elsewhere = _DESTINATIONS[turn % len(_DESTINATIONS)]
        label = source.true_label
        given = _wrong_label(label, names, rng) if elsewhere else label
        encoding = source.encoding
        if kind == "reencoded" and encoding == "jpg" and rng.random() < 0.4:
            encoding = "webp"
        path = f"{split}/{given}/{_name(next(numbers), encoding, rng)}"
        key = source.key if kind == "exact_duplicate" else len(originals) + turn
        treatment = source.treatment if kind == "exact_duplicate" else kind
        plans.append(replace(source, path=path, given_label=given, fault=kind, of=source.path, key=key,
                             encoding=encoding, treatment=treatment))  # fmt: skip
    return plans


def _non_image(names: Sequence[str], number: int, turn: int, images: int, rng: np.random.Generator) -> Plan:
    label = names[int(rng.integers(len(names)))]
    ending = ("jpg", "png", "jpeg", "gif")[turn % 4]
    path = f"train/{label}/img_{number:05d}.{ending}"
    return Plan(path, "", label, "non_image", "", 0, images + turn, 1, 1, ending, "non_image")
