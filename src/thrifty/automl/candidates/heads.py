"""Small networks on dense features that need no pretrained weights."""

from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior, feature_seconds, width_of
from thrifty.automl.candidates.kernel import blocks_of
from thrifty.automl.facts import Facts
from thrifty.recipe import Heads, Preparation, Recipe, Training

EPOCHS = 60


def recipe(facts: Facts) -> Recipe:
    return Recipe(Preparation(blocks_of(facts)), Heads(), head_training(facts))


def head_training(facts: Facts) -> Training:
    return Training(epochs=EPOCHS, batch_size=batch_size(facts), augmentation=0.0, patience=10)


def batch_size(facts: Facts) -> int:
    return 256 if facts.num_rows >= 4000 else 64 if facts.num_rows >= 500 else 32


def head_seconds(facts: Facts, blocks: tuple[str, ...]) -> float:
    """Seconds on one core for all heads at once: a step's own, those of its rows, and of the weights to update."""
    steps = facts.num_fits * EPOCHS * max(1, facts.num_rows // batch_size(facts))
    return 1.0 + steps * (2.5e-3 + 2e-5 * batch_size(facts) + 8e-6 * width_of(facts, blocks))


def prior(facts: Facts) -> Prior:
    blocks = blocks_of(facts)
    seconds = 0.5 + feature_seconds(facts, blocks) + head_seconds(facts, blocks)
    return Prior(seconds, skill=0.6, spread=0.15)


CANDIDATE = Candidate(
    name="heads",
    engine=PYTORCH,
    unfit=lambda facts: None if blocks_of(facts) else "no column that it can use (it takes no text)",
    recipe=recipe,
    prior=prior,
)
