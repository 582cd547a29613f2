"""The optimizer, its learning rate over time, and the average of the weights that it passes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from mm_assets.contracts.config import FinetuneConfig, TrainConfig
from mm_assets.contracts.errors import ConfigError
from mm_assets.training.model import FusionModel


def build_optimizer(model: FusionModel, config: TrainConfig) -> optim.Optimizer:
    """Build what `train.optimizer` names, with a learning rate of its own for each tuned encoder.

    Raises:
        ConfigError: `train.finetune.KEY.frozen` names no weight, or leaves none to be trained.

    Source:
        Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101 (AdamW);
        Kingma & Ba 2015, https://arxiv.org/abs/1412.6980 (Adam).
    """
    tuned = {id(weight) for weight in model.tuned.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in model.parameters() if id(weight) not in tuned]}
    ]
    for name, asked in config.finetune.items():
        freeze_weights(model.tuned[name], asked, name)
        weights = [weight for weight in model.tuned[name].parameters() if weight.requires_grad]
        groups.append({"params": weights, "lr": asked.learning_rate})
    # `fused`: one call a step instead of ten for each of a hundred small tensors.
    shared: dict[str, Any] = {
        "lr": config.learning_rate,
        "weight_decay": config.weight_decay,
        "fused": True,
    }
    if config.optimizer == "sgd":
        return optim.SGD(groups, momentum=config.momentum, **shared)
    kind = optim.AdamW if config.optimizer == "adamw" else optim.Adam
    return kind(groups, **shared)


def freeze_weights(network: nn.Module, asked: FinetuneConfig, name: str) -> None:
    """Keep weights as they are whose names begin as the configuration says.

    Args:
        network: Of an encoder that is trained along; changed in place.
        asked: Its entry of `train.finetune`.
        name: Of its modality.

    Raises:
        ConfigError: The network has no weights, no weight's name begins so, or all of them do.
    """
    names = [known for known, _ in network.named_parameters()]
    if not names:
        raise ConfigError(
            f"params.yaml: `train.finetune.{name}` trains the weights of an encoder, and that of "
            f"{name!r} has none; take {name!r} out of `train.finetune`"
        )
    where = f"params.yaml: `train.finetune.{name}.frozen`"
    for start in asked.frozen:
        if not any(known.startswith(start) for known in names):
            tops = sorted({".".join(known.split(".")[:3]) for known in names})
            raise ConfigError(
                f"{where} must name weights of the encoder (their names begin with "
                f"{', '.join(tops)}), got {start!r}"
            )
    for known, weight in network.named_parameters():
        weight.requires_grad_(not known.startswith(tuple(asked.frozen)))
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ConfigError(
            f"{where} leaves no weight to be trained; shorten the list or take {name!r} out of "
            "`train.finetune`"
        )


def build_schedule(optimizer: optim.Optimizer, config: TrainConfig, *, steps: int) -> LambdaLR:
    """Let the learning rates rise over the first steps, and then stay or fall along a cosine.

    Args:
        optimizer: Whose rates.
        config: The `train` section.
        steps: That all epochs take.

    Source:
        Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2 (warm-up);
        Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, equation 5 (cosine).
    """
    warm = round(config.warmup * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        if config.decay == "none":
            return 1.0
        return (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm)))) / 2

    return LambdaLR(optimizer, factor)


def build_average(model: FusionModel, config: TrainConfig) -> AveragedModel | None:
    """Follow the weights by an exponential moving average, where one is asked for.

    Source:
        Polyak & Juditsky 1992, https://doi.org/10.1137/0330046; Tarvainen & Valpola 2017,
        https://arxiv.org/abs/1703.01780 (exponential).
    """
    if config.ema is None:
        return None
    share = 1 - config.ema  # of the new weights
    return AveragedModel(model, avg_fn=lambda mean, new, _: torch.lerp(mean, new, share))
