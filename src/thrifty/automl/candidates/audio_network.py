"""A convolutional network trained from scratch on log-mel spectrograms, sized to the data."""

from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior
from thrifty.automl.facts import Facts
from thrifty.recipe import AudioNetwork, Preparation, Recipe, Training

MIN_ROWS = 100
MAX_SECONDS = 10.0


def unfit(facts: Facts) -> str | None:
    if facts.num_audios != 1:
        return "it needs exactly one audio column"
    if facts.num_rows < MIN_ROWS:
        return f"it needs at least {MIN_ROWS} rows"
    return None


def recipe(facts: Facts) -> Recipe:
    seconds = round(min(MAX_SECONDS, max(0.5, facts.audio_seconds)), 2)
    training = Training(epochs=80, batch_size=64 if facts.num_rows >= 1000 else 32)
    return Recipe(Preparation(("audio",), audio_seconds=seconds), AudioNetwork(), training)


def prior(facts: Facts) -> Prior:
    epoch = facts.num_rows * facts.num_fits * max(0.5, min(MAX_SECONDS, facts.audio_seconds)) * 2e-3 * 2 / facts.cores
    alone = facts.num_modalities == 1
    return Prior(4 + 30 * epoch * facts.convolution_slowness, skill=0.8 if alone else 0.35, spread=0.12, elastic=True)


CANDIDATE = Candidate("audio_network", PYTORCH, unfit, recipe, prior, all_cores=True)
