"""A late-fusion network for mixtures, on frozen features and, where it pays, convolutions trained along."""

from thrifty.automl.candidates import heads_pretrained, image_network, table_network
from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior, feature_seconds
from thrifty.automl.facts import Facts
from thrifty.recipe import FusionNetwork, Recipe, Training

MIN_ROWS = 100


def unfit(facts: Facts) -> str | None:
    if facts.num_modalities < 2 or not (facts.num_texts or facts.num_images or facts.num_audios):
        return "it is for texts, images or sounds beside other columns"
    if facts.num_rows < MIN_ROWS:
        return f"it needs at least {MIN_ROWS} rows"
    if facts.num_rows * table_network.width(facts) > table_network.MOST_NUMBERS:
        return "too many rows and columns to hold in memory"
    return None


def blocks_of(facts: Facts) -> tuple[str, ...]:
    return heads_pretrained.blocks_of(facts) + (("tfidf",) if facts.num_texts else ())


def recipe(facts: Facts) -> Recipe:
    batch = 128 if facts.num_rows >= 10_000 else 64 if facts.num_rows >= 1000 else 32
    training = Training(
        epochs=15, batch_size=batch, learning_rate=2e-3, weight_decay=0.05, label_smoothing=0.05, augmentation=0.3,
        patience=6, symmetries=facts.symmetries,
    )  # fmt: skip
    blocks = blocks_of(facts)
    model = FusionNetwork(image_size=image_network.size(facts) if facts.num_images else 32)
    return Recipe(heads_pretrained.preparation(facts, blocks), model, training)


def prior(facts: Facts) -> Prior:
    blocks = blocks_of(facts)
    row = 3e-5 + 6 * 128 * table_network.width(facts) / 4e10 * 2 / facts.cores
    seconds = 4 + feature_seconds(facts, blocks) / facts.cores + 30 * facts.num_rows * facts.num_fits * row
    return Prior(seconds, skill=0.8, spread=0.12, elastic=True)


CANDIDATE = Candidate("fusion_network", PYTORCH, unfit, recipe, prior, all_cores=True)
