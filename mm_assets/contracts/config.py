"""`params.yaml` as one frozen, validated object.

Sections that belong to a kind, an encoder or a fusion are kept as plain mappings here and
validated by their owner (`mm_assets.stages.project.load_project` does all of it before any work).
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path, PurePath
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mm_assets.contracts.errors import ConfigError

SCHEMA_VERSION = 2
Model = TypeVar("Model", bound=BaseModel)
SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")
RESERVED = ("id", "copy", "split", "group", "render")  # columns beside modalities and targets
Split = Literal["train", "validation", "test"]
ColumnType = Literal["numeric", "categorical"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bf16", "int8"]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
# What pydantic says in Python's words, by type of its error, in those of `params.yaml`.
PLAIN = {
    "dict_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "list_type": "must be a list",
}


class Section(BaseModel):
    """A frozen mapping of `params.yaml` that refuses unknown keys and silent type changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataConfig(Section):
    """Which table under `data/` holds the samples, and its bookkeeping columns."""

    table: str = "samples.csv"
    encoding: str = "utf-8"  # of a table that is text
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    sheet: str | None = None  # of a workbook; by default its first
    id: str | None = "id"  # null: a row is named by its content
    group: str | None = None
    order: str | None = None  # of the rows of a group, where one is read in the light of the others
    split: str | None = None

    @field_validator("table")
    @classmethod
    def _lies_in_data(cls, table: str) -> str:
        path = PurePath(table)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("the table must lie inside data/, where DVC versions it")
        return table


class SplitConfig(Section):
    """Shares of the three splits; used where the table gives no split column."""

    train: Share = 0.7
    validation: Share = 0.15
    test: Share = 0.15

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitConfig:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the three shares must sum to 1, got {total:g}")
        if min(self.train, self.validation, self.test) <= 0:
            raise ValueError("each share must be above 0")
        return self


class EncoderConfig(BaseModel):
    """An encoder's name and, beside it, its own options."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    name: Name
    precision: Precision = "float32"  # bf16 and int8 are faster where the device has them
    sequence: bool = False  # of vectors, where it can; the fusion then learns which steps matter

    @property
    def options(self) -> dict[str, Any]:
        """The other keys, validated by the encoder itself."""
        return dict(self.model_extra or {})


class ModalityConfig(Section):
    """One channel of a sample: where its cells are, and which encoder reads them.

    Most kinds read one `column`; `tabular` reads several `columns`, each with its type.
    """

    kind: Name
    column: str | None = None
    columns: dict[str, ColumnType] | None = None
    encoder: EncoderConfig
    options: dict[str, Any] = {}
    augment: dict[str, Any] = {}

    @property
    def sources(self) -> dict[str, str]:
        """Map each key that names a column of the raw table (`column`, `columns.age`) to it."""
        if self.columns is not None:
            return {f"columns.{name}": name for name in self.columns}
        return {"column": str(self.column)}

    @model_validator(mode="after")
    def _has_columns(self) -> ModalityConfig:
        many = self.kind == "tabular"
        if many and (not self.columns or self.column is not None):
            raise ValueError(
                "kind tabular reads several columns; give them as `columns: {age: numeric, "
                "region: categorical}` and no `column`"
            )
        if not many and (self.column is None or self.columns is not None):
            raise ValueError(f"kind {self.kind} reads one column; give its name as `column`")
        return self


class TargetConfig(Section):
    """One thing to predict; `options` and `loss` belong to its kind."""

    kind: Name
    column: str
    classes: list[str] | None = None
    weight: Annotated[float, Field(gt=0)] = 1.0
    loss: dict[str, Any] = {}  # how it is trained: class weights, focal, label smoothing, Huber
    options: dict[str, Any] = {}


class ExpectationConfig(BaseModel):
    """A type of expectation of Great Expectations and, beside it, its arguments."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    type: Annotated[str, Field(pattern=r"^expect_[a-z_]+$")]

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys beside `type`, validated by `mm_assets.validation.expectations`."""
        return dict(self.model_extra or {})


class AugmentConfig(Section):
    """How many further, differently rendered rows each training row gets."""

    copies: Annotated[int, Field(ge=0, le=20)] = 1


class ContextConfig(Section):
    """Reads each row in the light of the other rows of its group, in their order.

    So an utterance is read among those of its video, a message among those of its dialogue.
    """

    name: Literal["mean", "transformer", "gru"] = "mean"
    layers: Annotated[int, Field(ge=1, le=12)] = 1  # of a transformer or gru
    heads: Annotated[int, Field(ge=1, le=64)] = 4  # of a transformer
    # Share of training batches whose rows are read alone: a row may come without its group.
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class FusionConfig(Section):
    """How the modalities' vectors meet.

    Strong dropout (of the standardised vectors and of the fused one) suits some hundred to some
    thousand rows with noisy labels; with far more rows, lower it.
    """

    name: Name = "gated"
    options: dict[str, Any] = {}  # the fusion's own; see mm_assets/fusion/options.py
    dim: Annotated[int, Field(ge=1)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.7
    context: ContextConfig | None = None

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> FusionConfig:
        context = self.context
        if context and context.name == "transformer" and self.dim % context.heads:
            raise ValueError(
                f"`dim` must be a multiple of `context.heads`, got {self.dim} and {context.heads}"
            )
        return self


class AlignmentConfig(Section):
    """Draws a row's modalities towards each other, and away from other rows', by InfoNCE."""

    weight: Annotated[float, Field(ge=0)] = 0.1  # of its loss beside the targets'
    temperature: Annotated[float, Field(gt=0)] = 0.1
    epochs: Annotated[int, Field(ge=0)] = (
        0  # before all others, of this loss alone: no label needed
    )


class PseudoLabelConfig(Section):
    """Learns from training rows without a label what the model itself is sure of."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    start_epoch: Annotated[int, Field(ge=1)] = 10  # before it the model knows too little


class FinetuneConfig(Section):
    """Trains a modality's encoder along with the fusion, from its published weights on."""

    learning_rate: Annotated[float, Field(gt=0)] = 3e-5
    frozen: list[str] = []  # beginnings of names of weights that stay as they are


class TrainConfig(Section):
    """One optimizer, with early stopping on the validation loss.

    `seeds` networks that differ in their initialisation are trained together and averaged.
    """

    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] = 10
    # Null: 128, and of more than 32,768 training rows a 256th of them.
    batch_size: Annotated[int, Field(ge=1)] | None = None
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # of sgd
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of all steps, in which the rate rises
    decay: Literal["none", "cosine"] = "none"  # of the rate after that
    accumulate: Annotated[int, Field(ge=1)] = 1  # batches to a step
    clip: Annotated[float, Field(gt=0)] | None = None  # length of the gradient, at most
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of the weights' moving average
    precision: Literal["float32", "bf16"] = "float32"
    modality_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    seeds: Annotated[int, Field(ge=1)] = 4
    alignment: AlignmentConfig | None = None
    pseudo_labels: PseudoLabelConfig | None = None
    finetune: dict[Name, FinetuneConfig] = {}


class EvaluationConfig(Section):
    """How evidence is computed."""

    bootstrap: Annotated[int, Field(ge=100)] = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    slices: list[str] = []  # columns of the raw table by whose values the test rows are looked at
    # What answers are to be right by where the unsure ones are left to a person; null asks for none.
    abstain_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    noise_levels: Annotated[list[Share], Field(min_length=2)] = [0.0, 0.25, 0.5, 0.75, 1.0]
    noise_rows: Annotated[int, Field(ge=0)] = 200  # test rows that are disturbed; 0 measures none
    attributed_rows: Annotated[int, Field(ge=0)] = 2  # rightly answered ones, and as many wrongly

    @field_validator("noise_levels")
    @classmethod
    def _rise(cls, levels: list[float]) -> list[float]:
        if sorted(set(levels)) != levels:
            raise ValueError(f"must rise, such as [0, 0.5, 1], got {levels}")
        return levels


class ExportConfig(Section):
    """Whether and how the trained model becomes one ONNX file."""

    enabled: bool = True
    tolerance: Annotated[float, Field(gt=0)] = 1e-4


class GatesConfig(Section):
    """Thresholds at which a stage fails."""

    quarantined_share: Share = 0.05
    class_share: Share = 0.01
    export_megabytes: Annotated[float, Field(gt=0)] = 500.0


class PromotionConfig(Section):
    """When a candidate may take the champion's place.

    On a few hundred rows two equally good models differ by a point or two. So a candidate is refused
    when it is worse beyond chance, or by more than `worse_by` even where that may be chance: on 136
    rows (models that differ in 8 % of their answers) that refuses one equally good model in twelve
    and five of six that are 6 points worse. With thousands of rows chance plays no part.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05  # level of the paired tests
    worse_by: Annotated[float, Field(ge=0)] = 0.03  # in each target's headline metric
    subset_worse_by: Annotated[float, Field(ge=0)] = 0.05  # the same, of the worst subset
    miscalibrated_by: Annotated[float, Field(ge=0)] = 0.03  # in expected calibration error
    slower_by: Annotated[float, Field(gt=0)] = 1.5  # as a factor of the median time a row
    rows: Annotated[int, Field(ge=1)] = 30  # labelled test rows at least that neither has seen


class SearchedConfig(Section):
    """Which values of a key are tried: one of some, or a number within bounds, which are included."""

    choices: Annotated[list[bool | int | float | str | None], Field(min_length=2)] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False  # orders of magnitude are drawn evenly, rather than the numbers themselves

    @model_validator(mode="before")
    @classmethod
    def _take_list(cls, given: object) -> object:
        return {"choices": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _is_either(self) -> SearchedConfig:
        bounds = self.low is not None and self.high is not None and self.low < self.high
        if bounds == (self.choices is not None) or (self.log and not bounds):
            raise ValueError(
                "must be a list of values, or bounds such as {low: 1e-4, high: 1e-2, log: true} "
                "with low below high"
            )
        if self.log and self.low is not None and self.low <= 0:
            raise ValueError(f"`log: true` needs a low above 0, got {self.low:g}")
        return self


class SearchConfig(Section):
    """What `mm search` tries, and how often; it is no part of what a stage depends on.

    Keys of `space` are those of `params.yaml`, such as `fusion.dim`; a space that is given stands
    in the place of the whole default.
    """

    trials: Annotated[int, Field(ge=1)] = 30
    space: Annotated[dict[str, SearchedConfig], Field(min_length=1)] = {
        "fusion.name": SearchedConfig(choices=["gated", "concat", "transformer", "late"]),
        "fusion.dim": SearchedConfig(choices=[16, 32, 64, 128]),
        "fusion.dropout": SearchedConfig(low=0.1, high=0.8),
        "train.learning_rate": SearchedConfig(low=3e-4, high=1e-2, log=True),
        "train.weight_decay": SearchedConfig(low=1e-4, high=1.0, log=True),
        "train.modality_dropout": SearchedConfig(low=0.1, high=0.7),
    }


class ScheduleConfig(Section):
    """When Dagster retrains by itself."""

    cron: str = "0 3 * * *"
    timezone: str = "UTC"


AlertKind = Literal["failure", "refusal", "drift"]
Address = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]


class ChannelConfig(Section):
    """A way for alerts to reach somebody: by default of failed runs, refused candidates and drift."""

    events: list[AlertKind] = ["failure", "refusal", "drift"]


class WebhookConfig(ChannelConfig):
    """Alerts as JSON by POST, whose `text` is what Slack and Mattermost show.

    Such an address is often a secret by itself; an environment variable then holds it.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    url_variable: str | None = None

    @model_validator(mode="after")
    def _has_one_address(self) -> WebhookConfig:
        if (self.url is None) == (self.url_variable is None):
            raise ValueError("give either `url`, or as `url_variable` the variable that holds it")
        return self


class EmailConfig(ChannelConfig):
    """Alerts by SMTP; the password is never written here, but in an environment variable."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"  # tls: from the first byte on
    sender: Address
    recipients: Annotated[list[Address], Field(min_length=1)]
    user: str | None = None
    password_variable: str = "MM_SMTP_PASSWORD"

    @model_validator(mode="after")
    def _keeps_the_password_secret(self) -> EmailConfig:
        if self.user is not None and self.security == "none":
            raise ValueError("a password would be sent in the clear; set `security: starttls`")
        return self


class AlertsConfig(Section):
    """Who hears of what happens in runs; `ui` is where the links in alerts lead."""

    ui: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] = "http://127.0.0.1:3000"
    log: ChannelConfig | None = ChannelConfig()
    webhook: WebhookConfig | None = None
    email: EmailConfig | None = None


class ShardsConfig(Section):
    """Embedding by shards on Ray; its presence offers the job `fill_store`."""

    rows: Annotated[int, Field(ge=1)] = 20_000
    threads: Annotated[int, Field(ge=1)] = 1  # of a worker, which asks Ray for as many cores
    # Where workers put vectors that share no disk with us, such as s3://bucket/store.
    url: str | None = None


class DriftConfig(Section):
    """When an incoming batch counts as drifted, and when batches start a retraining."""

    folder: Annotated[str, Field(min_length=1)] = "incoming"  # the drop folder, from the root
    p_value: Annotated[float, Field(gt=0, lt=1)] = 0.01  # of all tests of a batch together
    psi: Annotated[float, Field(ge=0)] = 0.25  # nor is less than this called drift
    rows: Annotated[int, Field(ge=10)] = 1000  # of a side that tests are drawn from, at most
    quarantined_share: Share = 0.2  # a batch with more bad rows waits for a person
    enough_rows: Annotated[int, Field(ge=1)] = 500  # waiting ones that start it without drift


class ComputeConfig(Section):
    """Where and with how many threads; never part of what a result depends on."""

    device: Device = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    # That share each batch of stage `train`, on one machine.
    processes: Annotated[int, Field(ge=1)] = 1
    shards: ShardsConfig | None = None
    # What decoding one file may cost before its process is stopped and the row quarantined.
    decode_s: Annotated[float, Field(gt=0)] = 60.0
    decode_megabytes: Annotated[int, Field(ge=256)] = 1024

    def count_threads(self) -> int:
        """Give `threads`, by default one a core."""
        return self.threads or os.cpu_count() or 1


class Config(Section):
    """The whole of `params.yaml`."""

    version: Literal[2]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    modalities: Annotated[dict[Name, ModalityConfig], Field(min_length=1)]
    targets: Annotated[dict[Name, TargetConfig], Field(min_length=1)]
    # By column of the raw table, or `MODALITY.measurement`: expectations in Great Expectations' terms.
    expectations: dict[str, list[ExpectationConfig]] = {}
    augment: AugmentConfig = AugmentConfig()
    fusion: FusionConfig = FusionConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    gates: GatesConfig = GatesConfig()
    promotion: PromotionConfig = PromotionConfig()
    search: SearchConfig = SearchConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    alerts: AlertsConfig = AlertsConfig()
    drift: DriftConfig = DriftConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Config:
        for name in self.modalities.keys() & self.targets.keys():
            raise ValueError(f"{name!r} names both a modality and a target; rename one")
        for name in (self.modalities.keys() | self.targets.keys()) & set(RESERVED):
            raise ValueError(
                f"{name!r} is reserved ({', '.join(RESERVED)}); rename the modality or target"
            )
        return self

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> Config:
        owners: dict[str, str] = {}
        named = [
            ("data.id", self.data.id),
            ("data.group", self.data.group),
            ("data.order", self.data.order),
            ("data.split", self.data.split),
        ]
        named += [
            (f"modalities.{key}.{source}", column)
            for key, m in self.modalities.items()
            for source, column in m.sources.items()
        ]
        named += [(f"targets.{key}.column", t.column) for key, t in self.targets.items()]
        for owner, column in named:
            if column is None or (owner == "data.group" and column == self.data.id):
                continue
            if column in owners and not self._read_differently(owners[column], owner):
                raise ValueError(f"column {column!r} is named by both {owners[column]} and {owner}")
            owners[column] = owner
        return self

    def _read_differently(self, *owners: str) -> bool:
        """Tell whether two modalities of different kinds read a column, as a video and its sound."""
        kinds = {
            key: m.kind
            for key, m in self.modalities.items()
            if f"modalities.{key}.column" in owners
        }
        return len(set(kinds.values())) == len(owners)


def read_config(path: Path) -> Config:
    """Read and validate `params.yaml`.

    Args:
        path: The YAML file.

    Returns:
        The frozen configuration; kinds, encoders and fusions are not looked up yet.

    Raises:
        ConfigError: The file is absent or no YAML mapping, or a key is unknown, missing, of the
            wrong type or out of range. The message names the key, what was expected, what came.
    """
    return parse_config(_read_mapping(path), name=path.name)


def read_section(path: Path, model: type[Model], key: str) -> Model:
    """Read one section of `params.yaml`, whatever the others hold; its defaults where it is absent.

    Args:
        path: The YAML file.
        model: What the section is.
        key: Its name.

    Raises:
        ConfigError: The file is absent or no YAML mapping, or a key of the section is wrong.
    """
    return validate_options(model, _read_mapping(path).get(key) or {}, where=key)


def _read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file's mapping.

    Raises:
        ConfigError: The file is absent or no YAML mapping.
    """
    text = read_text(path)
    try:
        # YAML 1.2, as DVC reads it: `1e-3` is a number and `no` a word.
        raw = YAML(typ="safe").load(text)
    except YAMLError as error:
        cause = (
            "; it is indented with a tab, and YAML takes spaces alone"
            if "'\\t'" in str(error)
            else ""
        )
        raise ConfigError(f"{path.name} is not valid YAML{cause}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name} must hold a mapping of sections, got {type(raw).__name__}")
    return raw


def read_text(path: Path) -> str:
    """Read the text of `params.yaml`.

    Raises:
        ConfigError: The file is absent or no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path.name} not found in {path.parent.resolve()}; run the command from the project's "
            "root, or write one with `mm use sample`"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name} must be UTF-8 text: {error}") from None


def parse_config(raw: dict[str, Any], *, name: str = "params.yaml") -> Config:
    """Validate the mapping that `params.yaml` holds.

    Raises:
        ConfigError: As `read_config`.
    """
    version = raw.get("version")
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        advice = "install the newer release" if newer else "`mm upgrade` rewrites an older file"
        raise ConfigError(
            f"{name}: `version` must be {SCHEMA_VERSION} (the schema this release reads), got "
            f"{version!r}; {advice}"
        )
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(explain_validation(error, name=name, model=Config)) from None


def validate_options(model: type[Model], raw: dict[str, Any], *, where: str) -> Model:
    """Validate one owner's options, naming keys from the root of `params.yaml`.

    Args:
        model: The owner's pydantic model.
        raw: The mapping from `params.yaml`.
        where: Its place, such as ``modalities.text.encoder``.

    Raises:
        ConfigError: An option is unknown, of the wrong type or out of range.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(
            explain_validation(error, name="params.yaml", model=model, where=where)
        ) from None


def explain_validation(
    error: ValidationError, *, name: str, model: type[BaseModel], where: str = ""
) -> str:
    """Turn a pydantic error into lines that name the key, what was expected and what came."""
    lines = []
    for item in error.errors():
        keys = [str(part) for part in item["loc"] if part != "[key]"]
        key = ".".join([where, *keys] if where else keys) or "(top level)"
        if item["type"] == "extra_forbidden":
            known = _known_keys(model, item["loc"][:-1])
            close = difflib.get_close_matches(keys[-1], known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            lines.append(
                f"`{key}` is not a known key{hint} (known here: {', '.join(sorted(known)) or 'none'})"
            )
        elif item["type"] == "missing":
            lines.append(f"`{key}` is missing")
        else:
            message = PLAIN.get(item["type"], item["msg"]).removeprefix("Value error, ")
            came = item["input"]
            shown = "" if isinstance(came, dict) else f", got {came!r} ({type(came).__name__})"
            lines.append(f"`{key}`: {message[0].lower()}{message[1:]}{shown}")
    head = f"{name} has {len(lines)} problem{'s' if len(lines) > 1 else ''}:"
    return "\n  ".join([head, *lines])


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """List the fields of the section that `location` points to."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:  # a mapping of named sections: step into its value type
            current = getattr(current, "__args__", (None, None))[-1]
        if isinstance(current, UnionType):  # a section that may be null
            current = current.__args__[0]
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return []
