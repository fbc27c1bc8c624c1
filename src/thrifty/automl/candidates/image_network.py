"""A convolutional network trained from scratch on the images, sized to the data."""

from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior
from thrifty.automl.facts import Facts
from thrifty.recipe import ImageNetwork, Preparation, Recipe, Training

MIN_ROWS = 200


def size(facts: Facts) -> int:
    """The side that images are resized to: their own when small, at most 64 pixels."""
    return max(16, min(64, facts.image_side))


def unfit(facts: Facts) -> str | None:
    if facts.num_images != 1:
        return "it needs exactly one image column"
    if facts.num_rows < MIN_ROWS:
        return f"it needs at least {MIN_ROWS} rows"
    return None


def recipe(facts: Facts) -> Recipe:
    batch = 128 if facts.num_rows >= 5000 else 64 if facts.num_rows >= 1000 else 32
    training = Training(epochs=60 if facts.num_rows >= 5000 else 100, batch_size=batch, symmetries=facts.symmetries)
    return Recipe(Preparation(("image",), image_size=size(facts)), ImageNetwork(), training)


def prior(facts: Facts) -> Prior:
    epoch = facts.num_rows * facts.num_fits * (size(facts) / 28) ** 2 * 2.5e-4 * 2 / facts.cores
    alone = facts.num_modalities == 1
    few = facts.num_rows < 2000
    seconds = 4 + 30 * epoch * facts.convolution_slowness
    return Prior(seconds, skill=(0.65 if few else 0.85) if alone else 0.35, spread=0.12, elastic=True)


CANDIDATE = Candidate("image_network", PYTORCH, unfit, recipe, prior, all_cores=True)
