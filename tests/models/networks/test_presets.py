"""Presets: each network has the published size and maps pictures to logits."""

import pytest
import torch

from netsurgeon.models.networks.presets import NETWORKS

SIZES = {"lenet300": 266_610, "lenet5": 431_080, "cifarnet": 89_578, "resnet20": 269_722, "resnet56": 853_018}


IMAGENET_SIZES = {"alexnet": 60_965_224, "vgg16": 138_357_544, "vgg16_bn": 138_365_992, "resnet50": 25_557_032}


def size(name: str, classes: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in NETWORKS[name].build(classes).parameters())


@pytest.mark.parametrize(("name", "parameters"), SIZES.items())
def test_small_networks_have_the_published_size(name: str, parameters: int) -> None:
    assert size(name, 10) == parameters


@pytest.mark.parametrize(("name", "parameters"), IMAGENET_SIZES.items())
def test_large_networks_have_the_published_size(name: str, parameters: int) -> None:
    assert size(name, 1000) == parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_pictures_becomes_logits(name: str) -> None:
    with torch.device("meta"):
        network = NETWORKS[name].build(7).eval()
        logits = network(torch.empty(2, *NETWORKS[name].shape))
    assert logits.shape == (2, 7)
