"""A recipe: one frozen, concrete description of a model and how it is made.

Preparation (which features), model (a union by kind), training (networks alone), and a seed. The domains that a search
may vary are metadata of the fields: `space_of` reads them. Recipes go to JSON and back without loss.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from thrifty.core.errors import UsageError
from thrifty.core.space import Choice, Domain, Float, Int


def tunable(default: Any, domain: Domain) -> Any:
    """A dataclass field with a default and the domain that a search may vary it over."""
    return field(default=default, metadata={"domain": domain})


def bounded(default: Any, low: float, high: float) -> Any:
    """A dataclass field with a default, which is not searched and must be within the bounds."""
    return field(default=default, metadata={"bounds": (low, high)})


@dataclass(frozen=True)
class Preparation:
    """Which features are computed, each only where the schema has columns for it.

    blocks: names of feature blocks, of `numbers`, `categories`, `timestamps`, `tfidf`, `text_statistics`,
        `image_statistics`, `log_mel_statistics`, `image_embedding`, `text_embedding`, `speech_embedding`.
    image_size: side in pixels to which images are resized, 8 to 512.
    audio_seconds: longer sounds are cut to their middle, shorter ones padded, 0.1 to 60.
    text_backbone, image_backbone, speech_backbone: folders of pretrained weights, as `--set backbone.text=...` names
        them; none for those of an installed package.
    """

    blocks: tuple[str, ...] = ()
    image_size: int = bounded(32, 8, 512)
    audio_seconds: float = bounded(1.0, 0.1, 60)
    text_backbone: str | None = None
    image_backbone: str | None = None
    speech_backbone: str | None = None

    def backbone(self, kind: str) -> str | None:
        """The folder of pretrained weights for `text`, `image` or `speech` columns, where one was named."""
        folder: str | None = getattr(self, f"{kind}_backbone")
        return folder


@dataclass(frozen=True)
class Baseline:
    """The class shares, or the mean."""

    kind: ClassVar[str] = "baseline"


@dataclass(frozen=True)
class Linear:
    """A linear model: logistic regression for classes, ridge for numbers.

    regularization: L2 strength relative to the mean loss; larger is simpler; others around it are tried too.
    max_features: the TF-IDF terms kept, most frequent first.
    """

    kind: ClassVar[str] = "linear"
    regularization: float = 1e-4
    word_ngrams: int = tunable(2, Int(1, 3))
    char_ngrams: int = tunable(5, Int(3, 6))
    max_features: int = tunable(100_000, Int(5_000, 400_000, log=True))


@dataclass(frozen=True)
class Kernel:
    """A radial-basis-function kernel model on `num_centers` landmarks (Nyström), fitted by regularised least squares.

    length_scale: multiplies the median distance between rows; twice and four times it are tried too. Of up to 256
    columns distances are also tried along axes learned from the rows (https://arxiv.org/abs/2212.13881).
    regularization: L2 strength relative to the mean loss; larger is simpler; others around it are tried too.
    """

    kind: ClassVar[str] = "kernel"
    length_scale: float = 0.5
    regularization: float = 1e-4
    num_centers: int = 3000


@dataclass(frozen=True)
class Trees:
    """Gradient-boosted trees (LightGBM), the number of trees by early stopping on validation."""

    kind: ClassVar[str] = "trees"
    learning_rate: float = tunable(0.1, Float(0.02, 0.3, log=True))
    num_leaves: int = tunable(31, Int(4, 255, log=True))
    min_rows_per_leaf: int = tunable(20, Int(2, 100, log=True))
    feature_fraction: float = tunable(0.8, Float(0.3, 1.0))
    row_fraction: float = tunable(0.9, Float(0.4, 1.0))
    l2: float = tunable(1.0, Float(1e-3, 30.0, log=True))
    max_trees: int = 2000


@dataclass(frozen=True)
class Heads:
    """Many heads (linear, and networks of one hidden layer) trained at once on the same features; the best is kept."""

    kind: ClassVar[str] = "heads"
    num_heads: int = 12
    hidden: int = tunable(256, Int(32, 1024, log=True))
    dropout: float = tunable(0.3, Float(0.0, 0.6))


@dataclass(frozen=True)
class TableNetwork:
    """An ensemble of networks inside one on dense features, numbers with their place among bins (TabM)."""

    kind: ClassVar[str] = "table_network"
    width: int = tunable(256, Int(64, 768, log=True))
    num_layers: int = tunable(2, Int(1, 4))
    num_members: int = 8
    num_bins: int = tunable(8, Int(2, 32, log=True))
    dropout: float = tunable(0.1, Float(0.0, 0.5))


@dataclass(frozen=True)
class TextNetwork:
    """A small network trained from scratch on the tokens of a tokenizer trained on the same texts.

    num_layers: that each see a token's neighbours; without any the order of the tokens does not count.
    num_tokens: of the tokenizer at most, 257 or more. max_tokens: of a row that are read, 8 to 8192.
    """

    kind: ClassVar[str] = "text_network"
    width: int = tunable(128, Int(32, 512, log=True))
    num_layers: int = tunable(0, Int(0, 2))
    num_tokens: int = tunable(8000, Int(1000, 32_000, log=True))
    dropout: float = tunable(0.5, Float(0.0, 0.7))
    max_tokens: int = bounded(256, 8, 8192)


@dataclass(frozen=True)
class TextFinetune:
    """A pretrained text encoder that is trained on together with an output layer.

    tuned: `last` trains the uppermost layers, `lora` updates of low rank within these, `full` all there is.
    num_trained: layers, from the top, for `last` and `lora`. max_tokens: of a row that are read, 8 to 512.
    """

    kind: ClassVar[str] = "text_finetune"
    tuned: str = "last"
    num_trained: int = tunable(6, Int(1, 12))
    dropout: float = tunable(0.1, Float(0.0, 0.5))
    max_tokens: int = bounded(128, 8, 512)


@dataclass(frozen=True)
class ImageNetwork:
    """A small residual convolutional network trained from scratch on images."""

    kind: ClassVar[str] = "image_network"
    width: int = tunable(32, Int(8, 128, log=True))
    blocks_per_stage: int = tunable(1, Int(1, 3))
    dropout: float = tunable(0.1, Float(0.0, 0.5))


@dataclass(frozen=True)
class AudioNetwork:
    """A small convolutional network trained from scratch on log-mel spectrograms."""

    kind: ClassVar[str] = "audio_network"
    width: int = tunable(32, Int(8, 128, log=True))
    blocks_per_stage: int = tunable(1, Int(1, 3))
    dropout: float = tunable(0.2, Float(0.0, 0.5))


@dataclass(frozen=True)
class ImageFinetune:
    """A pretrained image network that is trained on together with an output layer.

    tuned: `last` trains the uppermost layers (stages of a convolutional network), `lora` updates of low rank within
        these, `full` all there is. num_trained: layers, from the top, for `last` and `lora`.
    """

    kind: ClassVar[str] = "image_finetune"
    tuned: str = "last"
    num_trained: int = tunable(5, Int(1, 12))
    dropout: float = tunable(0.2, Float(0.0, 0.5))


@dataclass(frozen=True)
class AudioFinetune:
    """A pretrained sound network (like Wav2Vec2, or Whisper's encoder) that is trained on with an output layer.

    tuned, num_trained: as for images.
    """

    kind: ClassVar[str] = "audio_finetune"
    tuned: str = "last"
    num_trained: int = tunable(4, Int(1, 12))
    dropout: float = tunable(0.1, Float(0.0, 0.5))


@dataclass(frozen=True)
class FusionNetwork:
    """For mixtures: a small network for each kind of columns, their vectors joined; kinds are left out in training.

    convolutions: channels of a convolutional network trained along on the one column of images or sounds; 0 for none.
    modality_dropout: share of the rows that a kind is left out of in training.
    image_size: side of the convolutions' images in pixels, 8 to 128.
    """

    kind: ClassVar[str] = "fusion_network"
    width: int = tunable(128, Int(32, 512, log=True))
    convolutions: int = tunable(0, Choice(0, 16, 32))
    dropout: float = tunable(0.3, Float(0.0, 0.6))
    modality_dropout: float = tunable(0.1, Float(0.0, 0.3))
    image_size: int = bounded(32, 8, 128)


Model = (
    Baseline
    | Linear
    | Kernel
    | Trees
    | Heads
    | TableNetwork
    | TextNetwork
    | TextFinetune
    | ImageNetwork
    | AudioNetwork
    | ImageFinetune
    | AudioFinetune
    | FusionNetwork
)


@dataclass(frozen=True)
class Training:
    """How a network is trained: warm-up then cosine, by AdamW, the kernels of convolutions by Muon.

    epochs: passes over the training rows at most; early stopping may end sooner.
    learning_rate, weight_decay: AdamW's; Muon takes 12 times the rate and a fifth of the decay.
    seconds: wall clock at most, None for no bound; the schedule is fitted to it.
    augmentation: strength of random changes to the inputs, 0 (none) to 1.
    mixing: share of the batches in which a patch of another image is put into each, 0 to 1; for networks of images.
    symmetries: of `left-right`, `up-down` and `quarter-turns`, with blanks between, those that keep the labels of
        images, which are then mirrored or turned at random.
    """

    epochs: int = 30
    batch_size: int = tunable(128, Int(16, 512, log=True))
    learning_rate: float = tunable(2e-3, Float(1e-4, 2e-2, log=True))
    weight_decay: float = tunable(0.05, Float(1e-4, 0.3, log=True))
    warmup_share: float = 0.1
    label_smoothing: float = tunable(0.1, Float(0.0, 0.2))
    augmentation: float = tunable(0.5, Float(0.0, 1.0))
    mixing: float = tunable(0.0, Float(0.0, 1.0))
    symmetries: str = ""
    patience: int = 8
    seconds: float | None = None


@dataclass(frozen=True)
class Recipe:
    """One concrete model: `preparation` says which features, `model` what is fitted on them, `training` how."""

    preparation: Preparation
    model: Model
    training: Training | None = None
    seed: int = 0


MODELS: Mapping[str, type] = {cls.kind: cls for cls in typing.get_args(Model)}


def to_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values; `model` carries its `kind`."""
    value = dataclasses.asdict(recipe)
    value["model"] = {"kind": recipe.model.kind, **value["model"]}
    value["preparation"]["blocks"] = list(recipe.preparation.blocks)
    return value


def from_json(value: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_json` wrote. Raises UsageError, naming the field, for anything else.

    A `text_network` that is `tuned` is one that a file calls so for a `text_finetune`.
    """
    given = dict(value)
    model = dict(given.get("model") or {})
    kind = model.pop("kind", None)
    if kind == "text_network" and "tuned" in model:
        kind = TextFinetune.kind
    if kind not in MODELS:
        raise UsageError(f"recipe.model.kind is {kind!r}; it must be one of {', '.join(MODELS)}")
    given["model"] = _build(MODELS[kind], model, "model")
    given["preparation"] = _build(Preparation, given.get("preparation") or {}, "preparation")
    if given.get("training") is not None:
        given["training"] = _build(Training, given["training"], "training")
    return typing.cast(Recipe, _build(Recipe, given, "recipe"))


def _build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            raise UsageError(f"{where} has no field {name!r}; its fields are {', '.join(names) or 'none'}")
    for f in dataclasses.fields(cls):
        low, high = f.metadata.get("bounds", (-math.inf, math.inf))
        value = values.get(f.name)
        if isinstance(value, (int, float)) and not low <= value <= high:
            raise UsageError(f"{where}.{f.name} is {value!r}; it must be {low:g} to {high:g}")
    return cls(**{name: _typed(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _typed(hint: Any, value: Any, where: str) -> Any:
    """Checks a plain JSON value against a field's type and returns it as that type."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if any(dataclasses.is_dataclass(o) for o in options):
        return value
    if value is None and type(None) in options:
        return None
    if typing.get_origin(options[0]) is tuple and isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        if float in options:
            return float(value)
        if int in options and value == int(value):
            return int(value)
    if str in options and isinstance(value, str):
        return value
    wanted = f"{hint if options[1:] else options[0].__name__}" + (" and finite" if isinstance(value, float) else "")
    raise UsageError(f"{where} is {value!r}; it must be of type {wanted}")


def space_of(recipe: Recipe) -> dict[str, Domain]:
    """The domains that a search may vary around `recipe`, by path (`model.learning_rate`, `training.epochs`)."""
    domains: dict[str, Domain] = {}
    for name in ("preparation", "model", "training"):
        part = getattr(recipe, name)
        for f in dataclasses.fields(part) if part is not None else ():
            if "domain" in f.metadata:
                domains[f"{name}.{f.name}"] = f.metadata["domain"]
    return domains


def override(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with the values at the given paths (`{"model.width": 48}`) in place of its own."""
    plain = to_json(recipe)
    for path, value in values.items():
        part, _, name = path.rpartition(".")
        if part not in ("preparation", "model", "training", "") or (part and plain.get(part) is None):
            raise UsageError(f"a {recipe.model.kind} recipe has no field {path!r}")
        (plain[part] if part else plain)[name] = value
    return from_json(plain)


__all__ = [
    "MODELS", "AudioFinetune", "AudioNetwork", "Baseline", "Choice", "FusionNetwork", "Heads", "ImageFinetune",
    "ImageNetwork", "Kernel", "Linear", "Model", "Preparation", "Recipe", "TableNetwork", "TextFinetune", "TextNetwork",
    "Training", "Trees", "from_json", "override", "space_of", "to_json", "tunable",
]  # fmt: skip
