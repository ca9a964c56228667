"""The cost of a network in parameters and multiply-adds."""

import torch
from torch import nn

from decant.timing.models import count_cost


def test_multiply_adds_and_parameters_equal_a_count_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 16 × 16 × 8 outputs of 27 multiply-adds
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # 16 × 16 × 8 of 9
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),  # 80
    )
    params_millions, gmacs = count_cost(network, 32)
    assert gmacs * 1e9 == 16 * 16 * 8 * 27 + 16 * 16 * 8 * 9 + 80
    assert params_millions * 1e6 == (27 * 8 + 8) + (9 * 8 + 8) + (80 + 10)


def test_attention_is_counted() -> None:
    class Attention(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = images.flatten(2).transpose(1, 2)  # [1, 64, 3]
            return torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    assert count_cost(Attention(), 8)[1] * 1e9 == 2 * 64 * 64 * 3
