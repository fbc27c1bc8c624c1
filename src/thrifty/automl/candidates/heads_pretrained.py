"""Small networks on frozen pretrained features, joint with all other dense columns."""

from thrifty.automl.candidates.candidate import (
    PYTORCH,
    Candidate,
    Prior,
    embedding_blocks,
    feature_seconds,
    simple_blocks,
)
from thrifty.automl.candidates.heads import head_seconds, head_training
from thrifty.automl.facts import Facts
from thrifty.recipe import Heads, Preparation, Recipe

IMAGE_SIZE = 128


def blocks_of(facts: Facts) -> tuple[str, ...]:
    return embedding_blocks(facts) + tuple(b for b in simple_blocks(facts) if b != "tfidf")


def preparation(facts: Facts, blocks: tuple[str, ...]) -> Preparation:
    """Frozen features see images at 128 pixels and sounds whole up to ten seconds."""
    return Preparation(blocks, image_size=IMAGE_SIZE, audio_seconds=min(10.0, max(1.0, facts.audio_seconds)))


def unfit(facts: Facts) -> str | None:
    return None if embedding_blocks(facts) else "no pretrained weights for these columns"


def recipe(facts: Facts) -> Recipe:
    return Recipe(preparation(facts, blocks_of(facts)), Heads(), head_training(facts))


def prior(facts: Facts) -> Prior:
    blocks = blocks_of(facts)
    seconds = 1.0 + feature_seconds(facts, blocks) / facts.cores + head_seconds(facts, blocks)
    if facts.num_modalities == 1 and facts.num_texts:  # linear_pretrained has the words too
        return Prior(seconds, skill=0.68, spread=0.08)
    return Prior(seconds, skill=0.7 if facts.num_modalities == 1 else 0.75, spread=0.15)


CANDIDATE = Candidate("heads_pretrained", PYTORCH, unfit, recipe, prior, all_cores=True)
