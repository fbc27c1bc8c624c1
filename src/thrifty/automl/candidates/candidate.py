"""The seam that a new candidate fills, and the registry of those that ship."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from thrifty.automl.facts import Facts
from thrifty.core.errors import UsageError
from thrifty.core.space import Domain
from thrifty.recipe import Recipe

CLASSICAL = ("thrifty.engines.classical:fit", ("thrifty.engines.classical",))
PYTORCH = ("thrifty.engines.pytorch:fit", ("thrifty.engines.pytorch",))

NAMES = (
    "baseline", "linear", "trees", "kernel", "heads", "linear_pretrained", "heads_pretrained", "trees_pretrained",
    "table_network", "text_network", "text_finetune", "image_network", "image_finetune", "audio_network",
    "audio_finetune", "fusion_network",
)  # fmt: skip

WIDTH = {  # features of a block, or of each column of one, bins included
    "numbers": 10, "timestamps": 12, "categories": 10, "text_statistics": 10, "image_statistics": 900,
    "log_mel_statistics": 900, "image_embedding": 1280, "text_embedding": 384, "speech_embedding": 192,
}  # fmt: skip

LEAST_FIT = 0.08  # of a fit that can be cut short


@dataclass(frozen=True)
class Prior:
    """What is believed before the first trial.

    seconds: wall clock of one trial with its `cores` cores, on a processor with AVX-512 and bfloat16; that others are
        slower is known (`Facts.slowness`).
    skill, spread: mean and standard deviation of (score - baseline) / (perfect - baseline).
    elastic: the cost follows what is allotted (a network whose schedule is fitted to the seconds given).
    least_seconds: what is worth a trial that fits less (fewer trees, fewer landmarks), as there is no time for more;
        None where it cannot.
    """

    seconds: float
    skill: float
    spread: float
    elastic: bool = False
    least_seconds: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One rung of the ladder.

    unfit: why it does not fit the data, or None when it does.
    recipe: its first recipe for the data. prior: what one trial will cost and bring.
    domains: what it searches over where that is not what the recipe's fields say.
    """

    name: str
    engine: tuple[str, tuple[str, ...]]
    unfit: Callable[[Facts], str | None]
    recipe: Callable[[Facts], Recipe]
    prior: Callable[[Facts], Prior]
    all_cores: bool = False
    domains: Mapping[str, Domain] = field(default_factory=dict)


def shortened(seconds: float, fit_seconds: float) -> float:
    """What a trial of which `fit_seconds` are the fit takes with the least that is worth fitting."""
    return seconds - (1.0 - LEAST_FIT) * fit_seconds


def check_names(names: Sequence[str]) -> None:
    """Raises UsageError for a name that no candidate has."""
    for name in names:
        if name not in NAMES:
            raise UsageError(f"there is no candidate {name!r}; there are {', '.join(NAMES)}")


def load(name: str) -> Candidate:
    """The candidate that `automl/candidates/NAME.py` defines."""
    candidate: Candidate = importlib.import_module(f"thrifty.automl.candidates.{name}").CANDIDATE
    return candidate


def simple_blocks(facts: Facts) -> tuple[str, ...]:
    """The feature blocks that need no pretrained weights, for the columns that are there."""
    blocks = []
    if facts.num_numbers:
        blocks.append("numbers")
    if facts.num_categories:
        blocks.append("categories")
    if facts.num_timestamps:
        blocks.append("timestamps")
    if facts.num_texts:
        blocks += ["tfidf", "text_statistics"]
    if facts.num_images:
        blocks.append("image_statistics")
    if facts.num_audios:
        blocks.append("log_mel_statistics")
    return tuple(blocks)


def embedding_blocks(facts: Facts) -> tuple[str, ...]:
    """The blocks of frozen pretrained features whose columns and weights are both there."""
    counts = {"image": facts.num_images, "text": facts.num_texts, "speech": facts.num_audios}
    return tuple(f"{kind}_embedding" for kind, count in counts.items() if count and kind in facts.weights)


def feature_seconds(facts: Facts, blocks: tuple[str, ...]) -> float:
    """Seconds to compute the blocks for all rows on one core the first time (they are cached after)."""
    per_row = {
        "tfidf": 4e-7 * facts.text_chars + 5e-5,
        "text_statistics": 2e-5,
        "image_statistics": (4e-4 + 2e-9 * facts.image_side**2) * facts.num_images,
        "log_mel_statistics": (1.5e-3 * facts.audio_seconds + 5e-4) * facts.num_audios,
        "image_embedding": 8e-3 * facts.num_images * facts.dearness("image"),
        "text_embedding": (6e-5 * min(facts.text_chars, 1000 * facts.num_texts) + 1e-3) * facts.dearness("text"),
        "speech_embedding": 6e-3 * facts.audio_seconds * facts.num_audios * facts.dearness("speech"),
    }
    return facts.num_rows * sum(per_row.get(block, 2e-6) for block in blocks)


def width_of(facts: Facts, blocks: tuple[str, ...]) -> float:
    """About how many features the blocks give."""
    counts = {"numbers": facts.num_numbers, "timestamps": facts.num_timestamps, "categories": facts.num_categories}
    return sum(counts.get(block, 1) * WIDTH.get(block, 0) for block in blocks)
