"""A pretrained text encoder, trained on with an output layer of its own."""

from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior
from thrifty.automl.facts import Facts
from thrifty.core.space import Domain, Float, Int
from thrifty.recipe import Preparation, Recipe, TextFinetune, Training

MIN_ROWS = 100
CHARS_PER_TOKEN = 4.5
SPEED = 2e11  # products a second on a core
PRODUCTS = 6.4e7  # of one token through all layers, forward and back, for MiniLM's 10.6 million weights


def unfit(facts: Facts) -> str | None:
    if not facts.num_texts:
        return "no column of texts"
    if "text" not in facts.weights:
        return "no pretrained weights for text"
    if facts.num_rows < MIN_ROWS:
        return f"it needs at least {MIN_ROWS} rows"
    return None


def recipe(facts: Facts) -> Recipe:
    training = Training(
        epochs=4 if facts.num_rows >= 2000 else 8, batch_size=32 if facts.num_rows >= 1000 else 16,
        learning_rate=1.5e-4, weight_decay=0.02, label_smoothing=0.05, augmentation=0.0, patience=3,
    )  # fmt: skip
    return Recipe(Preparation(), TextFinetune(), training)


def prior(facts: Facts) -> Prior:
    tokens = min(TextFinetune().max_tokens, facts.text_chars / CHARS_PER_TOKEN + 2)
    epoch = facts.num_rows * facts.num_fits * tokens * PRODUCTS * facts.dearness("text") / (SPEED * facts.cores)
    alone = facts.num_modalities == 1
    return Prior(6 + 2.5 * epoch * facts.transformer_slowness, skill=0.8 if alone else 0.4, spread=0.12, elastic=True)


DOMAINS: dict[str, Domain] = {
    "training.learning_rate": Float(4e-5, 6e-4, log=True),
    "training.batch_size": Int(16, 64, log=True),
}

CANDIDATE = Candidate("text_finetune", PYTORCH, unfit, recipe, prior, all_cores=True, domains=DOMAINS)
