"""A pretrained image network, trained on with an output layer of its own."""

from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior
from thrifty.automl.facts import Facts
from thrifty.core.space import Choice, Domain, Float, Int
from thrifty.recipe import ImageFinetune, Preparation, Recipe, Training

MIN_ROWS = 40
SMALLEST, LARGEST = 64, 128  # sides in pixels: below, little is left of a map; above, a pass costs too much
PASS_SECONDS = 1.4e-2  # of an image of 64 pixels a side, forward and back, on one core


def size(facts: Facts) -> int:
    """The side that images are resized to: their own within bounds, less where there are many of them."""
    largest = LARGEST if facts.num_rows < 5000 else 96
    return max(SMALLEST, min(largest, facts.image_side // 32 * 32))


def unfit(facts: Facts) -> str | None:
    if facts.num_images != 1:
        return "it needs exactly one image column"
    if "image" not in facts.weights:
        return "no pretrained weights for images"
    if facts.num_rows < MIN_ROWS:
        return f"it needs at least {MIN_ROWS} rows"
    return None


def recipe(facts: Facts) -> Recipe:
    training = Training(
        epochs=8 if facts.num_rows >= 5000 else 16, batch_size=32 if facts.num_rows >= 500 else 16,
        learning_rate=1e-3, weight_decay=0.02, label_smoothing=0.05, augmentation=0.3, patience=4,
        symmetries=facts.symmetries,
    )  # fmt: skip
    return Recipe(Preparation(image_size=size(facts)), ImageFinetune(), training)


def prior(facts: Facts) -> Prior:
    a_pass = PASS_SECONDS * (size(facts) / 64) ** 2 * facts.dearness("image")
    epoch = facts.num_rows * facts.num_fits * a_pass / facts.cores
    skill = 0.8 if facts.image_side >= 48 else 0.6  # it was pretrained on photographs, which small images are not
    seconds = 5 + 5 * epoch * facts.convolution_slowness
    return Prior(seconds, skill=skill if facts.num_modalities == 1 else 0.35, spread=0.12, elastic=True)


DOMAINS: dict[str, Domain] = {
    "model.tuned": Choice("last", "full"),
    "model.num_trained": Int(2, 9),
    "training.learning_rate": Float(2e-4, 4e-3, log=True),
    "training.batch_size": Int(16, 64, log=True),
}

CANDIDATE = Candidate("image_finetune", PYTORCH, unfit, recipe, prior, all_cores=True, domains=DOMAINS)
