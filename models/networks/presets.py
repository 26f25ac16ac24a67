"""The networks by name: how they are built, what pictures they take, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from netsurgeon.models.networks.alexnet import AlexNet
from netsurgeon.models.networks.cifarnet import CifarNet
from netsurgeon.models.networks.lenet import LeNet5, LeNet300
from netsurgeon.models.networks.resnet import CifarResNet, ResNet50
from netsurgeon.models.networks.vgg import VGG16
from netsurgeon.models.surgery import SurgeryPlan
from netsurgeon.models.training import CIFAR, IMAGENET, LENET, Recipe

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Network:
    """A network that can be trained.

    Attributes:
        build: makes it for a number of classes.
        shape: (channels, height, width) of its pictures.
        recipe: how it is trained.
        surgery: the authors' constants of dynamic network surgery, ours where the authors gave none.
        scale: a pixel, 0 to 255, becomes ``(pixel * scale - mean) / std``.
        mean: one value, or one a channel.
        std: one value, or one a channel.
        resize: pixels of a picture's shorter side before the crop to `shape`.
    """

    build: Callable[[int], nn.Module]
    shape: tuple[int, int, int]
    recipe: Recipe
    surgery: SurgeryPlan = field(default_factory=SurgeryPlan)
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: int | None = None


_MNIST_SCALE = 1 / 256  # Caffe's example
_LENET5_SURGERY = SurgeryPlan(c={"conv1": 2.0, "conv2": 3.0, "ip1": 4.0, "ip2": 2.5}, stop=14_000)
_LENET300_SURGERY = SurgeryPlan(c={"ip1": 5.0, "ip2": 3.0, "ip3": 3.0}, stop=20_000)
_CONVOLUTIONS_FIRST = (("conv*", "features*", "layer*"), ("fc*", "ip*", "linear"))
_IMAGENET_SURGERY = SurgeryPlan(c={"conv*": 1.0, "features*": 1.0, "layer*": 1.0, "*": 1.5}, stop=200_000)
_IN_TURN = SurgeryPlan(c=_IMAGENET_SURGERY.c, stop=200_000, groups=_CONVOLUTIONS_FIRST)
_CIFAR_SURGERY = SurgeryPlan(c={"*": 1.0}, stop=20_000)


def _imagenet(build: Callable[[int], nn.Module], surgery: SurgeryPlan, side: int = 224) -> Network:
    return Network(build, (3, side, side), IMAGENET, surgery, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize=256)


def _cifar(build: Callable[[int], nn.Module]) -> Network:
    return Network(build, (3, 32, 32), CIFAR, _CIFAR_SURGERY, mean=IMAGENET_MEAN, std=IMAGENET_STD)


NETWORKS: Mapping[str, Network] = {
    "lenet300": Network(LeNet300, (1, 28, 28), replace(LENET, steps=30_000), _LENET300_SURGERY, scale=_MNIST_SCALE),
    "lenet5": Network(LeNet5, (1, 28, 28), LENET, _LENET5_SURGERY, scale=_MNIST_SCALE),
    "cifarnet": _cifar(CifarNet),
    "resnet20": _cifar(partial(CifarResNet, blocks=3)),
    "resnet56": _cifar(partial(CifarResNet, blocks=9)),
    "alexnet": _imagenet(AlexNet, _IN_TURN, side=227),
    "vgg16": _imagenet(VGG16, _IN_TURN),
    "vgg16_bn": _imagenet(partial(VGG16, batch_norm=True), _IN_TURN),
    "resnet50": _imagenet(ResNet50, _IMAGENET_SURGERY),
}


def built(name: str, classes: int, seed: int) -> nn.Module:
    """A network with first weights drawn with the seed."""
    torch.manual_seed(seed)
    return NETWORKS[name].build(classes)
