"""Small networks on dense features that need no pretrained weights."""

from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior, feature_seconds
from thrifty.automl.candidates.kernel import blocks_of
from thrifty.automl.facts import Facts
from thrifty.recipe import Heads, Preparation, Recipe, Training


def recipe(facts: Facts) -> Recipe:
    return Recipe(Preparation(blocks_of(facts)), Heads(), head_training(facts))


def head_training(facts: Facts) -> Training:
    batch = 256 if facts.num_rows >= 4000 else 64 if facts.num_rows >= 500 else 32
    return Training(epochs=60, batch_size=batch, augmentation=0.0, patience=10)


def head_seconds(facts: Facts) -> float:
    """Seconds on one core for all heads at once."""
    return 1.0 + facts.num_fits * 60 * facts.num_rows * 3e-5


def prior(facts: Facts) -> Prior:
    blocks = blocks_of(facts)
    return Prior(0.5 + feature_seconds(facts, blocks) + head_seconds(facts), skill=0.6, spread=0.15)


CANDIDATE = Candidate(
    name="heads",
    engine=PYTORCH,
    unfit=lambda facts: None if blocks_of(facts) else "no column that it can use (it takes no text)",
    recipe=recipe,
    prior=prior,
)
