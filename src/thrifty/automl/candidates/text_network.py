"""A small network trained from scratch on texts, over a tokenizer trained on them too: no pretrained weights."""

from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior
from thrifty.automl.facts import Facts
from thrifty.core.space import Domain, Float, Int
from thrifty.recipe import Preparation, Recipe, TextNetwork, Training

MIN_ROWS = 1000
CHARS_PER_TOKEN = 4.0
EPOCHS = 8


def num_tokens(facts: Facts) -> int:
    """Tokens worth learning: about one for every 35 of the text, 2,000 to 16,000."""
    seen = facts.num_rows * facts.text_chars / CHARS_PER_TOKEN
    return max(2000, min(16_000, 1000 * round(seen / 35_000)))


def unfit(facts: Facts) -> str | None:
    if not facts.num_texts:
        return "no column of texts"
    if facts.num_rows < MIN_ROWS:
        return f"it needs at least {MIN_ROWS} rows"
    return None


def recipe(facts: Facts) -> Recipe:
    training = Training(
        epochs=EPOCHS, batch_size=64 if facts.num_rows >= 5000 else 32, learning_rate=1e-2, weight_decay=0.5,
        label_smoothing=0.05, augmentation=0.7, patience=3,
    )  # fmt: skip
    return Recipe(Preparation(), TextNetwork(num_tokens=num_tokens(facts)), training)


def prior(facts: Facts) -> Prior:
    tokens = min(TextNetwork().max_tokens, facts.text_chars / CHARS_PER_TOKEN)
    epoch = facts.num_rows * facts.num_fits * (1.6e-5 + 1.6e-6 * tokens) / facts.cores
    alone = facts.num_modalities == 1
    return Prior(1.5 + EPOCHS * epoch, skill=0.65 if alone else 0.35, spread=0.12, elastic=True)


DOMAINS: dict[str, Domain] = {
    "training.learning_rate": Float(3e-3, 3e-2, log=True),
    "training.batch_size": Int(16, 128, log=True),
    "training.weight_decay": Float(0.1, 2.0, log=True),
}

CANDIDATE = Candidate("text_network", PYTORCH, unfit, recipe, prior, all_cores=True, domains=DOMAINS)
