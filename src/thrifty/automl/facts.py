"""What the plan needs to know of the data and the machine, measured once on a small sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thrifty.core.seeds import generator
from thrifty.data.column import Meaning, Task
from thrifty.data.dataset import Dataset
from thrifty.execution.resources import fast_bfloat16, product_speed, usable_cores

SAMPLE_ROWS = 256
PRODUCT_SPEED = 1.2e11  # of a core of the machine that the candidates' seconds are of, which has AVX-512 and bfloat16
MOST_SLOWNESS = 2.0  # what is more may be what else runs at the moment
WITHOUT_BFLOAT16 = {"convolutions": 3.0, "transformers": 2.0}  # times the seconds that these take to train
PACKAGED_MB = {"image": 19.0, "text": 91.0, "speech": 1.4}


@dataclass(frozen=True)
class Facts:
    """Counts are of rows that models may learn from; sizes are medians or high percentiles of a sample.

    image_side: the 75th percentile of the longer side in pixels; image_channels: 1 when the sample is grey, else 3.
    audio_seconds: the 95th percentile. text_chars: the mean over rows of all text columns together.
    weights: kinds of pretrained weights that were found, of `image`, `text`, `speech`.
    symmetries: changes of images that were seen to keep labels, as a recipe names them.
    slowness: what the seconds of a prior are multiplied by for this machine, 1 to 2; convolution_slowness and
    transformer_slowness: and those of training these once more.
    backbones: of those that were named and can be trained on, the megabytes (10^6 bytes) of their weights.
    """

    task: Task
    num_rows: int
    num_outputs: int
    num_fits: int
    num_numbers: int
    num_categories: int
    num_timestamps: int
    num_texts: int
    num_images: int
    num_audios: int
    text_chars: float
    image_side: int
    image_channels: int
    audio_seconds: float
    weights: frozenset[str]
    cores: int
    slowness: float = 1.0
    convolution_slowness: float = 1.0
    transformer_slowness: float = 1.0
    backbones: Mapping[str, float] = field(default_factory=dict)
    symmetries: str = ""

    @property
    def num_modalities(self) -> int:
        table = self.num_numbers + self.num_categories + self.num_timestamps
        return sum(n > 0 for n in (table, self.num_texts, self.num_images, self.num_audios))

    def dearness(self, kind: str) -> float:
        """How many times the weights that a package carries those that were named are, 1 without any named."""
        return max(0.2, self.backbones[kind] / PACKAGED_MB[kind]) if kind in self.backbones else 1.0


def gather(
    dataset: Dataset, weights: frozenset[str], seed: int = 0, backbones: Mapping[str, float] | None = None
) -> Facts:
    """Measures the facts on a sample of the development rows."""
    schema, rows = dataset.schema, dataset.splits.development_rows
    count = {meaning: len(schema.names_of(meaning)) for meaning in Meaning}
    sample = np.sort(generator(seed, "facts").permutation(rows)[:SAMPLE_ROWS])
    cells = dataset.columns(sample)
    texts = [cells[name] for name in schema.names_of(Meaning.TEXT)]
    side, channels = _image_facts(_values(cells, schema.names_of(Meaning.IMAGE)))
    rounds = len(dataset.splits.rounds())
    return Facts(
        task=schema.task,
        num_rows=len(rows),
        num_outputs=len(schema.classes) or 1,
        num_fits=rounds + (rounds > 1),
        num_numbers=count[Meaning.NUMBER],
        num_categories=count[Meaning.CATEGORY],
        num_timestamps=count[Meaning.TIMESTAMP],
        num_texts=count[Meaning.TEXT],
        num_images=count[Meaning.IMAGE],
        num_audios=count[Meaning.AUDIO],
        text_chars=float(np.mean([sum(len(str(c or "")) for c in row) for row in zip(*texts)])) if texts else 0.0,
        image_side=side,
        image_channels=channels,
        audio_seconds=_audio_seconds(_values(cells, schema.names_of(Meaning.AUDIO))),
        weights=weights,
        cores=usable_cores(),
        slowness=min(MOST_SLOWNESS, max(1.0, PRODUCT_SPEED / product_speed())),
        convolution_slowness=1.0 if fast_bfloat16() else WITHOUT_BFLOAT16["convolutions"],
        transformer_slowness=1.0 if fast_bfloat16() else WITHOUT_BFLOAT16["transformers"],
        backbones=backbones or {},
    )


def _values(cells: dict[str, list[Any]], names: Sequence[str], most: int = 64) -> list[Any]:
    return [v for name in names for v in cells[name] if v is not None][:most]


def _image_facts(values: list[Any]) -> tuple[int, int]:
    """(longer side in pixels, channels) from the headers of some images."""
    if not values:
        return 0, 0
    import io

    from PIL import Image

    sides, grey = [], True
    for value in values:
        with Image.open(io.BytesIO(value) if isinstance(value, bytes) else value) as image:
            sides.append(max(image.size))
            grey = grey and image.mode in ("1", "L", "LA", "I", "F", "I;16", "I;16B")
    return int(np.percentile(sides, 75)), 1 if grey else 3


def _audio_seconds(values: list[Any]) -> float:
    if not values:
        return 0.0
    import io

    import soundfile

    found = []
    for value in values:
        info = soundfile.info(io.BytesIO(value) if isinstance(value, bytes) else str(value))
        found.append(info.frames / max(info.samplerate, 1))
    return float(np.percentile(found, 95))
