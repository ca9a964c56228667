"""The search space of a teacher: which of its keys are tried, and which values, around its recipe."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError, model_validator

from decant.errors import UserError, nearest
from decant.models.backbones import has_drop_path, has_fixed_input, is_transformer
from decant.study import Section, Teacher
from decant.study_files import ROOT, read_yaml
from decant.study_reading import explained

SPACES = ROOT / "research" / "spaces"
FIXED = ("recipe", "kind", "folds")  # a trial trains one model of the teacher's kind
DIGITS = 3  # of a drawn number, so that a recipe can be read
HOW_TO = (
    "write it as {range: [low, high]}, {times: [low, high]} or {choices: [a, b]}, with log: true where it is wanted"
)
Parameter = float | int | str | bool | None  # what Optuna stores
Distribution: TypeAlias = FloatDistribution | IntDistribution | CategoricalDistribution


class Values(Section):
    """One line of a space: the values that a key may take. `times` is a range in multiples of the recipe's value."""

    range: tuple[float, float] | None = None
    times: tuple[float, float] | None = None
    choices: list[Any] | None = None
    log: bool = False

    @model_validator(mode="after")
    def _one_kind_in_order(self) -> "Values":
        given = [value for value in (self.range, self.times, self.choices) if value is not None]
        if len(given) != 1 or not given[0] or (self.choices is not None and self.log):
            raise ValueError(HOW_TO)
        if self.choices is None and not given[0][0] < given[0][1]:
            raise ValueError("low must be below high")
        return self


@dataclass(frozen=True)
class Space:
    """The keys that are tried, with Optuna's distributions, and the value of each stored choice.

    base: the teacher as the study describes it. choices: key -> stored value -> value of the teacher.
    """

    base: Teacher
    distributions: Mapping[str, Distribution]
    choices: Mapping[str, Mapping[Parameter, Any]]

    @property
    def recipe(self) -> dict[str, Parameter]:
        """The parameters of the trial that is the recipe itself."""
        values = values_of(self.base)
        return {key: stored(values[key]) for key in self.distributions}

    def settings(self, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
        """Key -> value of the teacher; drawn numbers are rounded to three digits, the recipe's are not."""
        return {key: self._setting(key, value) for key, value in parameters.items()}

    def _setting(self, key: str, value: Any) -> Any:
        if key in self.choices:
            return self.choices[key][value]
        distribution = self.distributions[key]
        if value == self.recipe[key] or isinstance(distribution, IntDistribution):
            return value
        assert isinstance(distribution, FloatDistribution)
        return min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high)

    def teacher(self, parameters: Mapping[str, Parameter]) -> Teacher:
        """The teacher of a trial. Raises ValidationError if values that are valid alone do not fit together."""
        return with_settings(self.base, self.settings(parameters))

    def __str__(self) -> str:
        return "; ".join(f"{key} {text_of(self.distributions[key])}" for key in self.distributions)


def family_of(teacher: Teacher) -> str:
    """The name of the space in research/spaces that fits the teacher's kind, weights and architecture."""
    if teacher.kind == "probe":
        return "probe"
    if set(teacher.weights) == {"none"}:
        return "scratch"
    return "transformer" if is_transformer(teacher.architecture) else "convnet"


def read_space(path: Path, base: Teacher, study: str, name: str) -> Space:
    """The space in a file, widened where it does not contain the value of the teacher `name` of `study`.

    Raises UserError for a malformed file, an unknown key and a value that the teacher cannot have.
    """
    raw = read_yaml(path)
    if "input_px" in raw and has_fixed_input(base.architecture):
        del raw["input_px"]
    if "drop_path" in raw and not has_drop_path(base.architecture, base.input_px, base.model_args):
        del raw["drop_path"]
    known = values_of(base)
    distributions: dict[str, Distribution] = {}
    choices: dict[str, dict[Parameter, Any]] = {}
    for key, line in raw.items():
        if key not in known or key in FIXED:
            raise UserError(f"{path}: {key} is not a key that can be searched; {nearest(str(key), sorted(known))}")
        values = values_in(path, key, line)
        with explained(f"{study} with the values of {path}", ("teachers", name)):
            if values.choices is not None:
                choices[key] = all_choices(base, key, values.choices)
                distributions[key] = CategoricalDistribution(list(choices[key]))
            else:
                distributions[key] = numbers(path, key, values, known[key])
                for end in (distributions[key].low, distributions[key].high):
                    with_settings(base, {key: end})
    if not distributions:
        raise UserError(
            f"{path} contains no key that can be searched for {base.architecture}; add one, or give --space"
        )
    return Space(base, distributions, choices)


def values_in(path: Path, key: str, line: Any) -> Values:
    try:
        return Values.model_validate(line)
    except ValidationError as error:
        problem = error.errors()[0]
        inner = ".".join([key, *(str(part) for part in problem["loc"])])
        raise UserError(f"{path}: {inner}: {problem['msg'].removeprefix('Value error, ')}; {HOW_TO}") from None


def all_choices(base: Teacher, key: str, given: list[Any]) -> dict[Parameter, Any]:
    """Stored value -> value, the teacher's own first. Raises ValidationError for a value that the key cannot have."""
    possible = [values_of(with_settings(base, {key: value}))[key] for value in given]
    return {stored(value): value for value in [values_of(base)[key], *possible]}


def numbers(path: Path, key: str, values: Values, recipe_value: Any) -> FloatDistribution | IntDistribution:
    """The range of a number, widened to the recipe's value."""
    if isinstance(recipe_value, bool) or not isinstance(recipe_value, int | float):
        raise UserError(f"{path}: {key} of the recipe is {recipe_value}, not a number; give choices")
    low, high = values.range or tuple(recipe_value * factor for factor in values.times or ())
    low, high = min(low, recipe_value), max(high, recipe_value)
    if values.log and low <= 0:
        raise UserError(f"{path}: {key} can be {low:g}, which no logarithmic scale contains; remove log: true")
    if isinstance(recipe_value, int):
        return IntDistribution(round(low), round(high), log=values.log)
    return FloatDistribution(low, high, log=values.log)


def values_of(section: Section, prefix: str = "") -> dict[str, Any]:
    """Key -> value of a section and of those inside it: `views.mix`, for example."""
    values: dict[str, Any] = {}
    for name in (key for key in type(section).model_fields if key != "why"):
        value = getattr(section, name)
        values |= values_of(value, f"{prefix}{name}.") if isinstance(value, Section) else {f"{prefix}{name}": value}
    return values


def with_settings(base: Teacher, settings: Mapping[str, Any]) -> Teacher:
    """The teacher with other values at some keys. Raises ValidationError."""
    return Teacher.model_validate(nested(settings, base.model_dump()))


def nested(settings: Mapping[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """The mapping of a section with the settings written into it: `views.mix` into its mapping `views`."""
    for key, value in settings.items():
        *parents, last = key.split(".")
        section = raw
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = list(value) if isinstance(value, tuple) else value
    return raw


def stored(value: Any) -> Parameter:
    """The value as Optuna stores it: lists and mappings as JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)


def text_of(distribution: Distribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return " | ".join(str(choice) for choice in distribution.choices)
    return f"{distribution.low:g} to {distribution.high:g}" + (" (log)" if distribution.log else "")
