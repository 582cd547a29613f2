"""Any of torchvision's classification networks by name: ResNet, ViT, ConvNeXt, Swin and the rest."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.contracts.errors import ConfigError, WeightsError
from mm_assets.encoders import base
from mm_assets.encoders.weights import digest_file, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from torch import Tensor, nn
    from torchvision.models import WeightsEnum

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # further classifiers, used in training alone
WITH_AUXILIARY = ("googlenet", "inception_v3")


class TorchvisionBackboneOptions(base.Options):
    """Which network, with which weights, and the canvas.

    `model`: A name of `torchvision.models.list_models(torchvision.models)`.

    `weights`: One of its published weights, such as ``IMAGENET1K_V2``; fetched by torchvision once,
    into the checkpoints folder of torch's hub.

    `file`: A state dictionary on this machine instead, ``.safetensors`` or what `torch.save` wrote,
    of this network with any number of classes; pictures are then normalised as for ImageNet.
    """

    model: str = "resnet50"
    weights: str = "DEFAULT"
    file: str | None = None
    # Some networks take but one size: ViT 224, or 384 and more for some weights.
    size_px: Annotated[int, Field(ge=32, le=1024)] = 224


class TorchvisionBackbone(base.Encoder):
    """What the last layer of a classification network sees."""

    name: ClassVar[str] = "torchvision_backbone"
    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    input_shape: ClassVar[str] = "uint8 (batch, size_px, size_px, 3)"
    output_shape: ClassVar[str] = "float32 (batch, dim); dim 512 (resnet18) to 7392"
    size: ClassVar[str] = "1.2 M parameters, 5 MB (squeezenet1_1) to 645 M, 2.6 GB (regnet_y_128gf)"
    licence: ClassVar[str] = "BSD-3-Clause; of some weights CC-BY-NC 4.0 (SWAG): see torchvision"
    source: ClassVar[str] = "https://docs.pytorch.org/vision/stable/models.html#classification"
    options_model: ClassVar[type[base.Options]] = TorchvisionBackboneOptions
    options: TorchvisionBackboneOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Picture.collate` needs: the canvas."""
        return {"size_px": self.options.size_px}

    def weights_digest(self) -> str:
        """Give the SHA-256 of the file; see `Encoder.weights_digest`."""
        return digest_file(self.find_file())

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector.

        Raises:
            ConfigError: There is no such network, or it cannot take the canvas.
        """
        try:
            return _measure(self.options.model, self.options.size_px)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"params.yaml: encoder torchvision_backbone: {self.options.model} cannot take "
                f"pictures of `size_px` {self.options.size_px}: {str(error)[:200]}"
            ) from None

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`.

        Raises:
            WeightsError: The weights are absent, or those of another network.
        """
        from torchvision import models

        from mm_assets.encoders.networks.backbone import Backbone

        self.dim()  # judges network and canvas
        path = self.find_file()
        tensors = read_tensors(path)  # also judges that a published file holds no code
        if self.options.file is None:
            published = self._find_published()
            preset = published.transforms()
            network = models.get_model(self.options.model, weights=published)
            _cut_classifier(network)
            return Backbone(network, mean=preset.mean, std=preset.std).eval().requires_grad_(False)
        network = _build(self.options.model)
        classifier = _cut_classifier(network)
        place_tensors(
            network,
            tensors,
            path,
            without=(f"{classifier}.", *AUXILIARY),
            encoder=self.name,
            model=self.options.model,
        )
        return Backbone(network, mean=IMAGENET_MEAN, std=IMAGENET_STD).eval().requires_grad_(False)

    def find_file(self) -> Path:
        """Give the weights' file, after fetching it where it is published and absent.

        Raises:
            WeightsError: It cannot be fetched, or is not the published one.
        """
        if self.options.file is not None:
            return Path(self.options.file)
        return fetch_published(self._find_published(), encoder=self.name)

    def _find_published(self) -> WeightsEnum:
        """Find the published weights of this name.

        Raises:
            ConfigError: There are none.
        """
        _require_model(self.options.model)
        return choose_published(self.options.model, self.options.weights, encoder=self.name)


def choose_published(model: str, weights: str, *, encoder: str) -> WeightsEnum:
    """Find torchvision's weights of a name.

    Raises:
        ConfigError: There are none.
    """
    from torchvision.models import get_model_weights

    known = get_model_weights(model)
    if weights not in known.__members__:
        raise ConfigError(
            f"params.yaml: `weights` of encoder {encoder} must be one of "
            f"{', '.join(known.__members__)} for {model}, got {weights!r}; a file on this machine "
            "goes into `file`"
        )
    return known[weights]


def fetch_published(published: WeightsEnum, *, encoder: str) -> Path:
    """Give the file of torchvision's weights, after fetching it where it is absent.

    Raises:
        WeightsError: It cannot be fetched, or is not the published one.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    if not path.is_file():
        try:
            published.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"encoder {encoder} needs {path}, which is absent, and could not fetch "
                f"{published.url}: {str(error)[:200]}; put the file there, or name another one in "
                "`file`"
            ) from None
    stated = path.stem.rpartition("-")[2]  # what torchvision's names end in
    if not digest_file(path).startswith(stated):
        raise WeightsError(
            f"encoder {encoder} needs {path} with a SHA-256 that starts with {stated}, got "
            f"{digest_file(path)}; delete it, and it is fetched again"
        )
    return path


def _require_model(model: str) -> None:
    """Refuse what is no classification network.

    Raises:
        ConfigError: So it is.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise ConfigError(
            f"params.yaml: `model` of encoder torchvision_backbone must be one of "
            f"{', '.join(known)}, got {model!r}"
        )


def _build(model: str) -> nn.Module:
    """Build a network with random weights, in evaluation mode."""
    from torchvision import models

    _require_model(model)
    extra = {"aux_logits": False, "init_weights": False} if model in WITH_AUXILIARY else {}
    network: nn.Module = models.get_model(model, weights=None, **extra)
    return network.eval()


def place_tensors(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    without: tuple[str, ...],
    encoder: str,
    model: str,
) -> None:
    """Put a file's tensors into a network.

    Args:
        network: Has no classifier any more.
        tensors: What the file holds.
        path: The file.
        without: How the names of those begin that are left out.
        encoder: The encoder's name, for the message.
        model: The network's name, for the message.

    Raises:
        WeightsError: They are another network's.
    """
    wanted = {name: tensor for name, tensor in tensors.items() if not name.startswith(without)}
    try:
        network.load_state_dict(wanted)
    except RuntimeError as error:
        raise WeightsError(
            f"encoder {encoder} needs weights of {model}, got others in "
            f"{path}: {str(error)[:300]}; name the right one in `file`"
        ) from None


def _cut_classifier(network: nn.Module) -> str:
    """Replace the layer that gives the classes by none, and give its name.

    It is the last linear layer of every network, or the last convolution (SqueezeNet).
    """
    from torch import nn

    parts = dict(network.named_modules())
    linear = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
    convolutions = [name for name, part in parts.items() if isinstance(part, nn.Conv2d)]
    classifier: str = (linear or convolutions)[-1]
    network.set_submodule(classifier, nn.Identity())
    return classifier


@functools.cache
def _measure(model: str, size_px: int) -> int:
    """Give the length of a vector, without weights."""
    import torch

    from mm_assets.encoders.networks.backbone import measure_dim

    try:
        with torch.device("meta"):
            network = _build(model)
    except NotImplementedError:
        # RegNet reads widths that it computed, of which `meta` has no values; on the CPU all
        # networks would be built at their full size, some of a gigabyte.
        network = _build(model).to("meta")
    _cut_classifier(network)
    return measure_dim(network, size_px)


ENCODER = TorchvisionBackbone
