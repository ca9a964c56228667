"""The keys of a study that are about heads: what fits together, and what is refused."""

import pytest
from pydantic import ValidationError

from decant.study import Student, Teacher

CLIP = "open_clip:ViT-B-32-quickgelu/openai"


@pytest.mark.parametrize(
    ("model", "values", "reason"),
    [
        (Teacher, {"head": "zero_shot"}, "text tower"),
        (Teacher, {"architecture": CLIP, "head": "mlp"}, "timm networks"),
        (Teacher, {"architecture": CLIP, "dropout": 0.1}, "timm networks"),
        (Teacher, {"architecture": CLIP, "drop_path": 0.1}, "timm networks"),
        (Teacher, {"kind": "probe", "head": "mlp"}, "linear head"),
        (Student, {"head": "mlp"}, "one linear layer"),
        (Teacher, {"prompts": ["a photo"]}, "class name"),
        (Teacher, {"prompts": []}, "at least 1"),
    ],
)
def test_a_head_that_cannot_be_is_refused_with_the_reason(model: type, values: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        model(**values)


@pytest.mark.parametrize(
    ("settings", "fitted"),
    [
        (Teacher(), False),
        (Teacher(head="mlp"), False),
        (Teacher(head="probe"), True),
        (Teacher(kind="probe"), True),
        (Teacher(kind="probe", architecture=CLIP, head="zero_shot"), True),
        (Teacher(architecture=CLIP, head="zero_shot"), True),
        (Student(), False),
        (Student(head="probe"), True),
    ],
)
def test_a_head_is_fitted_for_probes_and_where_the_recipe_asks_for_it(settings: Teacher, fitted: bool) -> None:
    assert settings.fits_head is fitted
