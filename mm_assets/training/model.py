"""The fusion model: vectors of any subset of modalities in, every target's logits out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mm_assets.contracts.config import FusionConfig
from mm_assets.contracts.errors import StageError
from mm_assets.fusion.base import AttendSteps, Parts, build_fusion
from mm_assets.fusion.context import build_context
from mm_assets.fusion.steps import Steps, as_steps, average_steps
from mm_assets.targets.base import Target, find_target
from mm_assets.training.saved import read_saved, write_saved

MODEL_VERSION = 4
FITTED_ROWS = 1024  # that a standardisation looks at together
LEAST_SCALE = 0.1  # of a tuned encoder's vectors, times that of the middle one
Vectors = Mapping[str, Float[Tensor, "batch _"] | Steps]
Logits = dict[str, Float[Tensor, "batch _"]]


class Standardize(nn.Module):
    """Shifts and scales one modality's vectors by the training rows' statistics.

    Args:
        dim: Width of the vectors.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    @classmethod
    def fit(cls, pieces: Iterable[Float[Tensor, "_ dim"]]) -> Standardize:
        """Take mean and standard deviation of the rows; a constant dimension keeps scale 1.

        Args:
            pieces: Of the rows, each with one at least: all of them need not be in memory at once.

        Source:
            Chan, Golub & LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115, equation 2.1.
        """
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for piece in pieces:
            more, total = len(piece), count + len(piece)
            var, own = (found.double() for found in torch.var_mean(piece, dim=0, correction=0))
            shift = own - mean
            squares = squares + more * var + shift.square() * (count * more / total)
            mean, count = mean + shift * (more / total), total
        std = (squares / count).sqrt()
        # A constant column of float32 numbers can show a tiny spread; it must not be blown up.
        constant = std <= 1e-6 * mean.abs().clamp(min=1e-6)
        layer = cls(len(mean))
        layer.mean.copy_(mean)
        layer.scale.copy_(torch.where(constant, torch.ones_like(std), std))
        return layer

    def forward(
        self, vectors: Float[Tensor, "batch dim"], present: Bool[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Standardise present rows; absent ones become 0.

        They are selected out here already, although the fusion does so too: a NaN that only the
        fusion leaves out would still reach the gradient of the projection before it.
        """
        return (torch.where(present[:, None], vectors, self.mean) - self.mean) / self.scale


class InputDropout(nn.Module):
    """Does what `torch.nn.Dropout` does, with random numbers that a CPU draws several times as fast.

    There are a thousand for each row and member, and they were most of what a step took. Eight are
    cut from each 64 random bits, so the share that is dropped is the nearest multiple of 1/256.

    Args:
        share: Probability that a number is dropped.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(
        self, vectors: Float[Tensor, "batch *steps dim"]
    ) -> Float[Tensor, "batch *steps dim"]:
        """Drop numbers, in training, and scale the others so that the expectation stays."""
        if not self.training or not self.share:
            return vectors
        level = min(round(256 * self.share), 255)
        bits = torch.empty(-(-vectors.numel() // 8), dtype=torch.int64, device=vectors.device)
        drawn = bits.random_(-(2**63), None).view(torch.uint8)[: vectors.numel()]
        return (vectors * (drawn.view(vectors.shape) >= level)).mul_(256 / (256 - level))


class Heads(nn.Module):
    """One target's answer from each part of what was fused, and the mean of these answers.

    Args:
        target: What is answered.
        dim: Width of each part's vector.
        parts: How many there are.
        weighing: Whether the target learns what each part's answer counts. Learned weights are
            shrunk half-way to those that the fusion gives: they are the best for the subsets of
            modalities that training rows show most, and equal ones are hard to beat elsewhere.

    Attributes:
        temperature: Of each part's own answer; 1 until calibrated.

    Source:
        Diebold and Pauly 1990, The use of prior information in forecast combination,
        https://doi.org/10.1016/0169-2070(90)90028-A (shrinkage towards equal weights).
    """

    temperature: Tensor

    def __init__(self, target: Target, dim: int, *, parts: int, weighing: bool = False) -> None:
        super().__init__()
        self.target = target
        self.parts = nn.ModuleList(target.head(dim) for _ in range(parts))
        self.outputs = cast(nn.Linear, self.parts[0]).out_features
        self.scores = nn.Parameter(torch.zeros(parts)) if weighing else None
        self.register_buffer("temperature", torch.ones(parts))

    def forward(
        self, vectors: Float[Tensor, "batch part dim"], log_weights: Float[Tensor, "batch part"]
    ) -> Float[Tensor, "batch _"]:
        """Give logits; arguments as `Parts`."""
        logits = self.answer(vectors)
        if len(self.parts) == 1:
            return logits[:, 0]
        tempered = logits / self.temperature[:, None]
        return self.target.mix(tempered, self.weigh(log_weights))

    def answer(
        self, vectors: Float[Tensor, "batch part dim"]
    ) -> Float[Tensor, "batch part output"]:
        """Give each part's own logits, before calibration."""
        return torch.stack(
            [head(vectors[:, index]) for index, head in enumerate(self.parts)], dim=1
        )

    def weigh(self, log_weights: Float[Tensor, "batch part"]) -> Float[Tensor, "batch part"]:
        """Give the logarithms of what the parts count, from those that the fusion gives them."""
        if self.scores is None:
            return log_weights
        learned = torch.log_softmax(self.scores + log_weights, dim=-1)
        return torch.logsumexp(torch.stack([learned, log_weights]), dim=0) - math.log(2)


class Member(nn.Module):
    """One network of the ensemble: a projection per modality, the fusion, a head per target.

    A supervised encoder's vector is an answer already. It is fused like any other, and beside that
    added to the answer, as it is but for one learned factor a target: what is learned about such
    vectors is learned from those of training rows, which come from other networks than a new row's,
    each with mistakes of its own.

    Args:
        dims: Width of each modality's vectors.
        sequences: Which modalities come as sequences, whose steps are attended.
        answering: How many modalities' vectors are answers.
        targets: What is predicted.
        config: The `fusion` section of `params.yaml`.
    """

    def __init__(
        self,
        dims: list[int],
        sequences: list[bool],
        answering: int,
        targets: list[Target],
        config: FusionConfig,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.projections = nn.ModuleList(nn.Linear(dim, config.dim) for dim in dims)
        self.fusion = build_fusion(config, modalities=len(dims))
        self.attention = nn.ModuleList(
            AttendSteps(config.dim) if sequence and not self.fusion.sequential else nn.Identity()
            for sequence in sequences
        )
        self.context = build_context(config.context, config.dim) if config.context else None
        parts, weighing = self.fusion.parts, self.fusion.weighed_by_target
        heads = [Heads(one, config.dim, parts=parts, weighing=weighing) for one in targets]
        self.heads = nn.ModuleList(heads)
        self.outputs = [one.outputs for one in heads]
        self.lean = nn.Parameter(torch.full((len(targets), answering), 1 / max(answering, 1)))

    def forward(
        self,
        projected: list[Float[Tensor, "batch dim"] | Steps],
        presence: Bool[Tensor, "batch modality"],
        answers: list[Float[Tensor, "batch outputs"]],
        groups: Int[Tensor, " batch"],
    ) -> list[Float[Tensor, "batch _"]]:
        """Give each target's logits.

        Args:
            projected: Of `project`.
            presence: Which modalities a row has.
            answers: Of each modality that answers, the logits of all targets, side by side; 0 where
                it is absent.
            groups: Rows with the same number are read in each other's light, where there is a
                context.
        """
        said = self.read(projected, presence, groups)
        logits = [heads(*said) for heads in self.heads]
        for own, factors in zip(answers, self.lean.unbind(dim=1), strict=True):
            parts = zip(logits, torch.split(own, self.outputs, dim=1), factors, strict=True)
            logits = [found + factor * part for found, part, factor in parts]
        return logits

    def read(
        self,
        projected: list[Float[Tensor, "batch dim"] | Steps],
        presence: Bool[Tensor, "batch modality"],
        groups: Int[Tensor, " batch"],
    ) -> Parts:
        """Give what the heads answer from; arguments as `forward`."""
        fused = self._fuse(projected, presence)
        if not isinstance(fused, Parts):
            fused = Parts(fused[:, None], fused.new_zeros(fused.shape[0], 1))
        said = fused.vectors
        if self.context is not None:
            said = torch.stack([self.context(part, groups) for part in said.unbind(dim=1)], dim=1)
        return Parts(self.dropout(said), fused.log_weights)

    def _fuse(
        self,
        projected: list[Float[Tensor, "batch dim"] | Steps],
        presence: Bool[Tensor, "batch modality"],
    ) -> Float[Tensor, "batch dim"] | Parts:
        """Give the fusion what it takes: sequences, or one vector a modality."""
        if self.fusion.sequential:
            given = [one if isinstance(one, Steps) else as_steps(one) for one in projected]
            fused: Tensor | Parts = self.fusion(given, presence)
        else:
            vectors = [
                attention(one.values, one.there) if isinstance(one, Steps) else one
                for attention, one in zip(self.attention, projected, strict=True)
            ]
            fused = self.fusion(torch.stack(vectors, dim=1), presence)
        return fused


@dataclass(frozen=True)
class Projected:
    """Rows as the members of a model fuse them, whatever is then shown of them.

    Attributes:
        members: By member, the vectors of all modalities at one width.
        answers: Of each modality that answers, the logits of all targets, side by side; where it is
            absent they may be anything.
        groups: Rows with the same number are read in each other's light.
    """

    members: list[list[Float[Tensor, "batch dim"] | Steps]]
    answers: list[Float[Tensor, "batch outputs"]]
    groups: Int[Tensor, " batch"]

    def __getitem__(self, rows: Int[Tensor, " chosen"]) -> Projected:
        """Choose rows by their numbers."""
        return Projected(
            [[vectors[rows] for vectors in member] for member in self.members],
            [answer[rows] for answer in self.answers],
            self.groups[rows],
        )


class FusionModel(nn.Module):
    """Answers for any subset of its modalities.

    It averages the logits of `members` networks that differ in their initialisation, and divides
    them by one temperature per target, where its kind is calibrated.

    Args:
        encoders: Each modality's encoder as in `encoder.json`, `dim`, `sequence` and `folds` among
            it; their order is the order of `presence`.
        targets: By name.
        config: The `fusion` section of `params.yaml`.
        members: How many networks.
        tuned: Networks of encoders that are trained along, by modality; all members share them.

    Attributes:
        modalities: Names in the order of `presence`.
        answering: Those whose encoder is supervised.
        tuned: As given; empty where vectors come from encoders as they are.
        trust: By modality, in their order; scales its standardised vector, so that one not to be
            trusted (0) stays at its mean. 1 until calibrated.
        temperature: By target, in their order; 1 until calibrated.
    """

    trust: Tensor
    temperature: Tensor

    def __init__(
        self,
        encoders: Mapping[str, Mapping[str, Any]],
        targets: Mapping[str, Target],
        config: FusionConfig,
        *,
        members: int = 1,
        tuned: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.tuned = nn.ModuleDict(tuned)
        self.encoders = {name: dict(encoder) for name, encoder in encoders.items()}
        self.targets = dict(targets)
        self.config = config
        dims = list(self.dims.values())
        self.standardize = nn.ModuleList(Standardize(dim) for dim in dims)
        self.dropout = InputDropout(config.dropout)
        sequences = [bool(encoder.get("sequence")) for encoder in encoders.values()]
        self.answering = [name for name, encoder in encoders.items() if encoder.get("folds")]
        self.members = nn.ModuleList(
            Member(dims, sequences, len(self.answering), list(targets.values()), config)
            for _ in range(members)
        )
        self.register_buffer("trust", torch.ones(len(dims)))
        self.register_buffer("temperature", torch.ones(len(targets)))

    @property
    def heads(self) -> list[dict[str, Heads]]:
        """Each member's heads, by target."""
        return [
            {name: cast(Heads, own) for name, own in zip(self.targets, member.heads, strict=True)}
            for member in map(_as_member, self.members)
        ]

    @property
    def shares(self) -> dict[str, float]:
        """What each modality weighs where all are present, for all targets or (`late`) for each.

        By modality, or by target and modality as in ``sentiment_text``; empty if the fusion has no
        such weights.
        """
        found: dict[str, list[Tensor]] = {}
        for member, heads in zip(map(_as_member, self.members), self.heads, strict=True):
            if (shares := member.fusion.shares()) is not None:
                found.setdefault("", []).append(shares)
            if member.fusion.weighed_by_target:
                equal = torch.full((1, member.fusion.parts), -math.log(member.fusion.parts))
                for name, own in heads.items():
                    found.setdefault(f"{name}_", []).append(own.weigh(equal)[0].exp())
        return {
            f"{start}{name}": share.item()
            for start, by_member in found.items()
            for name, share in zip(self.modalities, torch.stack(by_member).mean(dim=0), strict=True)
        }

    @property
    def dims(self) -> dict[str, int]:
        """Width of each modality's vectors."""
        return {name: int(encoder["dim"]) for name, encoder in self.encoders.items()}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names in the order of `presence`."""
        return tuple(self.encoders)

    def describe(self) -> dict[str, Any]:
        """Give all but the weights, as JSON values."""
        return {
            # Lists, since the order counts and JSON's keys are written sorted.
            "modalities": [{"name": n, "encoder": e} for n, e in self.encoders.items()],
            "targets": [
                {"name": name, "kind": target.kind, "state": target.state()}
                for name, target in self.targets.items()
            ],
            "fusion": self.config.model_dump(mode="json"),
            "members": len(self.members),
            "tuned": list(self.tuned),
        }

    def fit_standardization(self, vectors: Vectors, presence: Bool[Tensor, "row modality"]) -> None:
        """Take the statistics of each modality's present vectors; called once, with training rows.

        Raises:
            StageError: A modality is present in no row.
        """
        for index, name in enumerate(self.modalities):
            present = presence[:, index].nonzero()[:, 0]
            if not len(present):
                raise StageError(
                    f"modality {name!r} needs at least 1 training row that has it, got 0; add such "
                    "rows or take the modality out of params.yaml"
                )
            pieces = (vectors[name][rows] for rows in torch.split(present, FITTED_ROWS))
            layer = Standardize.fit(
                piece.flat() if isinstance(piece, Steps) else piece for piece in pieces
            )
            if name in self.tuned:
                # What hardly varies yet (a unit that is dead but for rounding) will, and must not
                # be blown up then.
                layer.scale.clamp_(min=LEAST_SCALE * layer.scale.median().item())
            self.standardize[index] = layer

    def project(
        self,
        vectors: Vectors,
        presence: Bool[Tensor, "batch modality"],
        groups: Int[Tensor, " batch"] | None = None,
    ) -> Projected:
        """Standardise, and bring all vectors to one width: the same for every subset of modalities.

        Args:
            vectors: As `forward`.
            presence: Which modalities of a row are used. In training the vectors of the others are
                left out, as most of what a step costs is spent here; they become 0.
            groups: As `forward`.
        """
        members: list[list[Float[Tensor, "batch dim"] | Steps]] = [[] for _ in self.members]
        for index, name in enumerate(self.modalities):
            given, present = vectors[name], presence[:, index]
            # Elsewhere all rows are taken: which ones is not known when ONNX is written.
            rows = present.nonzero()[:, 0] if self.training else None
            if rows is not None:
                given, present = given[rows], present[rows]
            scaled = self._standardize(index, given, present)
            for member, own in zip(map(_as_member, self.members), members, strict=True):
                dropped = _apply(self.dropout, scaled)  # other numbers in each member
                found = _apply(member.projections[index], dropped)
                own.append(found if rows is None else _spread(found, rows, len(presence)))
        return Projected(
            members,
            [self._answer(name, vectors[name]) for name in self.answering],
            torch.arange(presence.shape[0], device=presence.device) if groups is None else groups,
        )

    def member_logits(
        self, projected: Projected, shown: Bool[Tensor, "batch modality"]
    ) -> list[Logits]:
        """Give each member's logits by target, since the loss is taken member by member.

        Args:
            projected: Of `project`.
            shown: Which of the modalities that a row has are looked at.
        """
        answers = [
            torch.where(shown[:, self.modalities.index(name), None], answer, 0.0)
            for name, answer in zip(self.answering, projected.answers, strict=True)
        ]
        return [
            dict(zip(self.targets, member(own, shown, answers, projected.groups), strict=True))
            for member, own in zip(map(_as_member, self.members), projected.members, strict=True)
        ]

    def read(
        self,
        vectors: Vectors,
        presence: Bool[Tensor, "batch modality"],
        groups: Int[Tensor, " batch"] | None = None,
    ) -> list[Parts]:
        """Give what each member's heads answer from; arguments as `forward`."""
        projected = self.project(vectors, presence, groups)
        return [
            member.read(own, presence, projected.groups)
            for member, own in zip(map(_as_member, self.members), projected.members, strict=True)
        ]

    def answer(self, projected: Projected, shown: Bool[Tensor, "batch modality"]) -> Logits:
        """Give the mean of the members' logits; arguments as `member_logits`."""
        found = self.member_logits(projected, shown)
        return {
            name: torch.stack([one[name] for one in found]).mean(dim=0) for name in self.targets
        }

    def _answer(
        self, name: str, given: Float[Tensor, "batch outputs"] | Steps
    ) -> Float[Tensor, "batch outputs"]:
        """Give what a modality answers (of a sequence the mean), as far as it is to be trusted."""
        mean = average_steps(given) if isinstance(given, Steps) else given
        trusted: Tensor = self.trust[self.modalities.index(name)] * mean
        return trusted

    def _standardize(
        self, index: int, given: Float[Tensor, "batch _"] | Steps, present: Bool[Tensor, " batch"]
    ) -> Float[Tensor, "batch _"] | Steps:
        """Standardise one modality's vectors, as far as it is to be trusted."""
        layer, trust = self.standardize[index], self.trust[index]
        if not isinstance(given, Steps):
            scaled: Tensor = trust * layer(given, present)
            return scaled
        batch, steps, dim = given.values.shape
        known = (given.there & present[:, None]).reshape(batch * steps)
        flat = layer(given.values.reshape(batch * steps, dim), known)
        return Steps(trust * flat.reshape(batch, steps, dim), given.there)

    def forward(
        self,
        vectors: Vectors,
        presence: Bool[Tensor, "batch modality"],
        groups: Int[Tensor, " batch"] | None = None,
    ) -> Logits:
        """Give each target's logits before calibration, the mean over members.

        Args:
            vectors: (batch, dim), or `Steps`, by modality; rows without the modality may hold
                anything.
            presence: Which modalities a row has.
            groups: Rows with the same number are read in each other's light, in the order in which
                they come; by default each is read alone. It makes a difference only with a
                `fusion.context`.
        """
        return self.answer(self.project(vectors, presence, groups), presence)

    def probabilities(
        self,
        vectors: Vectors,
        presence: Bool[Tensor, "batch modality"],
        groups: Int[Tensor, " batch"] | None = None,
    ) -> Logits:
        """Give each target's answer, its ONNX output; arguments as `forward`."""
        logits = self.temper(self(vectors, presence, groups))
        return {name: target.probabilities(logits[name]) for name, target in self.targets.items()}

    def temper(self, logits: Logits) -> Logits:
        """Divide each target's logits by its temperature."""
        return {
            name: logits[name] / temperature.to(logits[name].device)
            for name, temperature in zip(self.targets, self.temperature, strict=True)
        }


def _apply(
    layer: nn.Module, given: Float[Tensor, "batch _"] | Steps
) -> Float[Tensor, "batch _"] | Steps:
    """Apply a layer to vectors, or to each step."""
    if isinstance(given, Steps):
        return Steps(layer(given.values), given.there)
    found: Tensor = layer(given)
    return found


def _spread(
    given: Float[Tensor, "chosen dim"] | Steps, rows: Int[Tensor, " chosen"], count: int
) -> Float[Tensor, "batch dim"] | Steps:
    """Put rows back in their places among others, which become 0 and have no steps."""
    if isinstance(given, Steps):
        there = given.there.new_zeros(count, given.there.shape[1])
        return Steps(
            _spread_rows(given.values, rows, count), there.index_copy(0, rows, given.there)
        )
    return _spread_rows(given, rows, count)


def _spread_rows(
    given: Float[Tensor, "chosen *steps dim"], rows: Int[Tensor, " chosen"], count: int
) -> Float[Tensor, "batch *steps dim"]:
    return given.new_zeros(count, *given.shape[1:]).index_copy(0, rows, given)


def _as_member(module: nn.Module) -> Member:
    """Say what a `ModuleList` does not: which class its parts have."""
    return cast(Member, module)


def save_model(model: FusionModel, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`, which is all that `load_model` needs.

    Args:
        model: On any device.
        folder: An existing folder.
    """
    write_saved(model, model.describe(), folder, version=MODEL_VERSION)


def load_model(
    folder: Path, build_network: Callable[[str], nn.Module] | None = None
) -> FusionModel:
    """Read what `save_model` wrote.

    Args:
        folder: The train stage's out, or one of the baselines'.
        build_network: Builds the network of a modality's encoder, whose weights are then those that
            were trained along; needed for a model that has such.

    Returns:
        The model in evaluation mode on the CPU.

    Raises:
        StageError: The folder is absent or incomplete, of another schema version, or its weights
            do not fit its configuration.
    """
    again = "train it again: `dvc repro train`"
    saved = read_saved(folder, what="trained model", version=MODEL_VERSION, again=again)
    stored = saved.config
    if stored["tuned"] and build_network is None:
        raise StageError(
            f"the model in {folder} has encoders of its own ({', '.join(stored['tuned'])}), and is "
            "read with a function that builds their networks; use mm_assets.stages.trained"
        )
    model = FusionModel(
        {item["name"]: item["encoder"] for item in stored["modalities"]},
        {t["name"]: find_target(t["kind"]).from_state(t["state"]) for t in stored["targets"]},
        FusionConfig.model_validate(stored["fusion"]),
        members=stored["members"],
        tuned={name: build_network(name) for name in stored["tuned"]} if build_network else None,
    )
    saved.fill(model)
    return model.eval()
