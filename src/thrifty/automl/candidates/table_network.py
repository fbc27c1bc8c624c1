"""An ensemble of networks inside one, on the columns of a table together with frozen features of all others."""

from thrifty.automl.candidates import heads_pretrained
from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior, feature_seconds, width_of
from thrifty.automl.facts import Facts
from thrifty.recipe import Recipe, TableNetwork, Training

MIN_ROWS = 50
MOST_NUMBERS = 200_000_000  # of all rows' features: 0.8 GB


def unfit(facts: Facts) -> str | None:
    if not facts.num_numbers + facts.num_categories + facts.num_timestamps:
        return "no column of a table"
    if facts.num_rows < MIN_ROWS:
        return f"it needs at least {MIN_ROWS} rows"
    if facts.num_rows * width(facts) > MOST_NUMBERS:
        return "too many rows and columns to hold in memory"
    return None


def width(facts: Facts) -> float:
    return width_of(facts, heads_pretrained.blocks_of(facts))


def recipe(facts: Facts) -> Recipe:
    batch = 256 if facts.num_rows >= 50_000 else 128 if facts.num_rows >= 4000 else 64 if facts.num_rows >= 1000 else 32
    training = Training(
        epochs=40, batch_size=batch, learning_rate=4e-3, weight_decay=0.03, label_smoothing=0.0, augmentation=0.0,
        patience=12,
    )  # fmt: skip
    return Recipe(heads_pretrained.preparation(facts, heads_pretrained.blocks_of(facts)), TableNetwork(), training)


def prior(facts: Facts) -> Prior:
    products = 8 * (width(facts) * 256 + 256 * 256 + 256 * facts.num_outputs) * 6  # of a row, forward and back
    epoch = facts.num_rows * facts.num_fits * products / (4e10 * facts.cores) + 2e-3
    seconds = 3 + feature_seconds(facts, heads_pretrained.blocks_of(facts)) / facts.cores + 30 * epoch
    return Prior(seconds, skill=0.75, spread=0.15, elastic=True)


CANDIDATE = Candidate("table_network", PYTORCH, unfit, recipe, prior, all_cores=True)
