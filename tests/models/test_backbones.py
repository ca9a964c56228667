"""Networks by name: weights depend on the seed, sizes on the recipe; head(embedding) equals the whole network."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor

from decant.errors import UserError
from decant.models.backbones import blank_classifier, build_classifier, embed, head_of
from decant.models.classifier import Classifier
from decant.models.weights import head_entries

Small = Callable[..., Classifier]


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit", "tf_efficientnet_lite0"])
def test_head_of_the_embedding_gives_the_logits_of_the_whole_network(architecture: str) -> None:
    classifier, _ = build_classifier(architecture, 5, 32, ["none"], seed=0)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = embed(classifier.eval(), images)
        assert features.shape == (3, head_of(classifier).in_features)
        torch.testing.assert_close(head_of(classifier)(features), classifier(images))


def test_head_of_the_embedding_gives_the_logits_of_the_whole_open_clip_network() -> None:
    classifier, _ = build_classifier("open_clip:ViT-S-32-alt/laion400m", 5, 224, ["none"], seed=0)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = embed(classifier.eval(), images)
        assert features.shape == (2, 256)
        torch.testing.assert_close(head_of(classifier)(features), classifier(images))


def test_weights_are_equal_for_equal_seeds_only(small: Small) -> None:
    first, same, other = small(seed=4).state_dict(), small(seed=4).state_dict(), small(seed=5).state_dict()
    assert all(torch.equal(value, same[key]) for key, value in first.items())
    assert not torch.equal(first["backbone.conv_stem.weight"], other["backbone.conv_stem.weight"])


def test_building_does_not_change_the_global_generator(small: Small) -> None:
    torch.manual_seed(11)
    untouched = torch.rand(3)
    torch.manual_seed(11)
    small(seed=4)
    assert torch.equal(torch.rand(3), untouched)


def test_weights_do_not_depend_on_the_global_generator(small: Small) -> None:
    torch.manual_seed(1)
    first = small(seed=4).state_dict()["backbone.conv_stem.weight"]
    torch.manual_seed(2)
    assert torch.equal(first, small(seed=4).state_dict()["backbone.conv_stem.weight"])


def test_a_transformer_is_built_for_the_recipes_input_size() -> None:
    classifier, _ = build_classifier("vit_tiny_patch16_224", 3, 64, ["none"], 0, {"patch_size": 8, "depth": 1})
    assert classifier.backbone.state_dict()["pos_embed"].shape[1] == (64 // 8) ** 2 + 1
    assert classifier(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_drop_path_reaches_the_network() -> None:
    classifier, _ = build_classifier("test_convnext", 3, 32, ["none"], 0, drop_path=0.5)
    rates = [module.drop_prob for module in classifier.modules() if type(module).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.5)


def test_the_error_for_an_unknown_architecture_lists_similar_names() -> None:
    with pytest.raises(UserError, match=r"no architecture 'convnext_attto'.*convnext_atto\b"):
        build_classifier("convnext_attto", 3, 32, ["none"], seed=0)


def test_an_unknown_tag_of_weights_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"tag \(in2k\).*list_pretrained\('convnext_atto\*'\)"):
        build_classifier("convnext_atto.in2k", 3, 32, ["none"], seed=0)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit", "small_cnn"])
def test_a_head_with_a_hidden_layer_is_the_last_part_of_the_network(architecture: str) -> None:
    classifier, _ = build_classifier(architecture, 5, 32, ["none"], 0, hidden_layer=True)
    mlp = classifier.backbone.get_classifier()
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = embed(classifier.eval(), images)
        hidden = torch.nn.functional.gelu(features @ mlp.fc1.weight.T + mlp.fc1.bias)
        torch.testing.assert_close(classifier(images), hidden @ mlp.fc2.weight.T + mlp.fc2.bias)
    names = head_entries(classifier.backbone)
    assert sorted(name.split(".fc")[-1] for name in names) == ["1.bias", "1.weight", "2.bias", "2.weight"]


def test_a_network_that_does_not_end_in_a_linear_layer_has_no_hidden_layer() -> None:
    with pytest.raises(UserError, match=r"resnetv2_50 does not end in one linear layer"), torch.device("meta"):
        blank_classifier("resnetv2_50", 5, 32, hidden_layer=True)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit", "small_cnn"])
def test_dropout_reaches_the_features_before_the_head_in_training_alone(architecture: str) -> None:
    classifier, _ = build_classifier(architecture, 5, 32, ["none"], 0, dropout=0.5)
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    shares: list[Tensor] = []
    head_of(classifier).register_forward_pre_hook(lambda module, given: shares.append((given[0] == 0).float().mean()))
    with torch.no_grad():
        classifier.train()(images)
        classifier.eval()(images)
    assert shares[0] > shares[1] + 0.2


def test_an_unknown_open_clip_model_is_a_user_error() -> None:
    with pytest.raises(UserError, match="open_clip has no model 'ViT-Z-99'"):
        build_classifier("open_clip:ViT-Z-99/openai", 3, 32, ["none"], seed=0)


def test_an_argument_that_the_architecture_does_not_accept_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"test_convnext.*model_args.*paatch"):
        build_classifier("test_convnext", 3, 32, ["none"], 0, {"paatch": 2})


def test_a_network_without_stochastic_depth_names_the_key() -> None:
    with pytest.raises(UserError, match=r"small_cnn does not accept these .*drop_path"):
        build_classifier("small_cnn", 3, 32, ["none"], 0, drop_path=0.1)


def test_a_network_without_a_linear_head_cannot_be_probed(small: Small) -> None:
    classifier = small()
    classifier.backbone.reset_classifier(0)
    with pytest.raises(UserError, match=r"EfficientNet.*linear layer"):
        head_of(classifier)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "convnext_atto", "tf_efficientnet_lite0"])
def test_a_classifier_normalises_with_the_mean_and_std_of_its_architecture(architecture: str) -> None:
    classifier, _ = build_classifier(architecture, 3, 32, ["none"], seed=0)
    expected = timm.get_pretrained_cfg(architecture)
    torch.testing.assert_close(classifier.mean, torch.tensor(expected.mean))
    torch.testing.assert_close(classifier.std, torch.tensor(expected.std))


def test_images_are_normalised_per_channel_before_the_backbone(small: Small, images: Tensor) -> None:
    classifier = small()
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    classifier.mean.copy_(mean)
    classifier.std.copy_(std)
    backbone_inputs: list[Tensor] = []
    classifier.backbone.register_forward_pre_hook(lambda module, inputs: backbone_inputs.append(inputs[0]))
    with torch.inference_mode():
        classifier(images)
    expected = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(backbone_inputs[0], expected)


def test_swapped_colour_channels_change_the_logits(small: Small, images: Tensor) -> None:
    classifier = small()
    with torch.inference_mode():
        assert not torch.allclose(classifier(images), classifier(images.flip(1)), atol=1e-4)
