"""Any of timm's image networks by name or folder: more than a thousand published ones."""

from __future__ import annotations

import difflib
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.contracts.errors import ConfigError, WeightsError
from mm_assets.encoders import base
from mm_assets.encoders.weights import digest_file

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

CONFIG = "config.json"
FILES = ("model.safetensors", "pytorch_model.bin")  # in timm's own order


class TimmBackboneOptions(base.Options):
    """Which network, with which weights, and the canvas.

    `model`: A name of `timm.list_models(pretrained=True)`, with or without the tag of its weights,
    such as ``vit_small_patch14_dinov2.lvd142m``, fetched once from Hugging Face's hub into its
    cache; or a folder with ``config.json`` and ``model.safetensors`` as the hub keeps them.

    `file`: A state dictionary on this machine for a network given by name, ``.safetensors`` or
    what `torch.save` wrote, with any number of classes.
    """

    model: str = "resnet50"
    file: str | None = None
    # Transformers with a fixed number of patches are built for this size, and their positions are
    # interpolated from those they were trained on.
    size_px: Annotated[int, Field(ge=32, le=1024)] = 224


class TimmBackbone(base.Encoder):
    """What the classifier of an image network sees, pooled."""

    name: ClassVar[str] = "timm_backbone"
    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    input_shape: ClassVar[str] = "uint8 (batch, size_px, size_px, 3)"
    output_shape: ClassVar[str] = "float32 (batch, dim); dim 192 (vit_tiny) to 4096 and more"
    size: ClassVar[str] = "0.4 M parameters (test_resnet) to some billions; see timm"
    licence: ClassVar[str] = "Apache-2.0; of the weights as each page on the hub says"
    source: ClassVar[str] = "Wightman 2019, https://github.com/huggingface/pytorch-image-models"
    options_model: ClassVar[type[base.Options]] = TimmBackboneOptions
    options: TimmBackboneOptions

    @property
    def folder(self) -> Path | None:
        """The folder that the model lies in, or null where it has a name."""
        folder = Path(self.options.model)
        return folder if (folder / CONFIG).is_file() else None

    def inputs(self) -> dict[str, Any]:
        """Say what `Picture.collate` needs: the canvas."""
        return {"size_px": self.options.size_px}

    def weights_digest(self) -> str:
        """Give the SHA-256 of the file, and of a folder's `config.json`."""
        digests = [digest_file(self.find_file())]
        if self.folder is not None:
            digests.append(digest_file(self.folder / CONFIG))
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector.

        Raises:
            ConfigError: There is no such network, or it cannot take the canvas.
        """
        _require_model(self._source)
        try:
            return _measure(self._source, self.options.size_px)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"params.yaml: encoder timm_backbone: {self.options.model} cannot take pictures of "
                f"`size_px` {self.options.size_px}: {str(error)[:200]}"
            ) from None

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`.

        Raises:
            WeightsError: The weights are absent, or those of another network.
        """
        import timm
        from timm.data import resolve_model_data_config
        from timm.models import load_state_dict

        from mm_assets.encoders.networks.backbone import Backbone

        self.dim()  # judges network and canvas
        path = self.find_file()
        try:
            change: dict[str, Any] = {}
            if self.folder is None:
                # With as many classes as the file has, timm loads all of it or nothing.
                classes = _count_classes(self._source, load_state_dict(str(path)))
                change = {
                    "num_classes": classes,
                    "pretrained_cfg_overlay": {"file": str(path), "num_classes": classes},
                }
            network = timm.create_model(
                self._source,
                pretrained=True,
                **_fix_canvas(self._source, self.options.size_px),
                **change,
            )
        # A pickle with code in it, a damaged file, other layers, other shapes.
        except (OSError, RuntimeError, ValueError, KeyError, AttributeError, EOFError) as error:
            raise WeightsError(
                f"encoder timm_backbone needs weights of {self.options.model}, got others in {path}: "
                f"{str(error)[:300]}; name the right one in `file`"
            ) from None
        network.reset_classifier(0)
        shown = resolve_model_data_config(network)
        return Backbone(network, mean=shown["mean"], std=shown["std"]).eval().requires_grad_(False)

    def find_file(self) -> Path:
        """Give the weights' file, after fetching it where it is published and absent.

        Raises:
            WeightsError: It is absent and cannot be fetched.
            ConfigError: No weights are published for this name.
        """
        if self.options.file is not None:
            return Path(self.options.file)
        if self.folder is not None:
            found = [self.folder / name for name in FILES if (self.folder / name).is_file()]
            if not found:
                raise WeightsError(
                    f"encoder timm_backbone needs {FILES[0]} in {self.folder}, which is absent; "
                    "put it there"
                )
            return found[0]
        return self._fetch()

    @property
    def _source(self) -> str:
        """What timm calls the model."""
        return self.options.model if self.folder is None else f"local-dir:{self.folder}"

    def _fetch(self) -> Path:
        """Take the file from the hub's cache, or from the hub.

        Raises:
            WeightsError: It cannot be fetched.
            ConfigError: No weights are published for this name.
        """
        import timm
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        _require_model(self._source)
        published = timm.get_pretrained_cfg(self.options.model)
        if published is None or not published.hf_hub_id:
            raise ConfigError(
                f"params.yaml: encoder timm_backbone: there are no weights of {self.options.model} "
                "on Hugging Face's hub; name a file of them in `file`"
            )
        names = [published.hf_hub_filename] if published.hf_hub_filename else FILES
        for name in names:
            try:
                return Path(hf_hub_download(published.hf_hub_id, name))
            except LocalEntryNotFoundError as error:  # there is no network
                why = str(error)
            except EntryNotFoundError as error:
                why = str(error)
                continue
            except OSError as error:
                why = str(error)
            break
        raise WeightsError(
            f"encoder timm_backbone needs {name} of {published.hf_hub_id} on Hugging Face's hub and "
            f"could not fetch it: {why[:200]}; download that folder elsewhere (`hf download "
            f"{published.hf_hub_id} --local-dir FOLDER`) and give the folder as `model`"
        )


def _require_model(source: str) -> None:
    """Refuse a name that is none of timm's.

    Raises:
        ConfigError: So it is.
    """
    import timm

    if source.startswith("local-dir:") or timm.is_model(source):
        return
    close = difflib.get_close_matches(source, timm.list_models())
    raise ConfigError(
        "params.yaml: `model` of encoder timm_backbone must be a name of timm's, or a folder with "
        f"{CONFIG}, got {source!r}; " + (f"meant is perhaps {', '.join(close)}" if close else "")
    )


def _build(source: str, size_px: int) -> nn.Module:
    """Build a network without classifier or weights, in evaluation mode."""
    import timm

    network: nn.Module = timm.create_model(
        source, pretrained=False, num_classes=0, **_fix_canvas(source, size_px)
    )
    return network.eval()


@functools.cache
def _fix_canvas(source: str, size_px: int) -> dict[str, int]:
    """Give the arguments by which a network of one size is built for this one."""
    import timm
    import torch

    with torch.device("meta"):
        config = timm.create_model(source, pretrained=False).pretrained_cfg
    return {"img_size": size_px} if config.get("fixed_input_size") else {}


@functools.cache
def _measure(source: str, size_px: int) -> int:
    """Give the length of a vector, without weights."""
    import torch

    from mm_assets.encoders.networks.backbone import measure_dim

    with torch.device("meta"):
        network = _build(source, size_px)
    return measure_dim(network, size_px)


def _count_classes(source: str, tensors: dict[str, Any]) -> int:
    """Count the classes that a state dictionary tells apart; 0 where it has no classifier."""
    import timm
    import torch

    with torch.device("meta"):
        classifier = timm.create_model(source, pretrained=False).pretrained_cfg["classifier"]
    first = classifier if isinstance(classifier, str) else classifier[0]
    weight = tensors.get(f"{first}.weight")
    return 0 if weight is None else len(weight)


ENCODER = TimmBackbone
