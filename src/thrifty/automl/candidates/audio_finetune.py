"""A pretrained sound network that was named by --set backbone.audio, trained on with an output layer of its own."""

from thrifty.automl.candidates.candidate import PYTORCH, Candidate, Prior
from thrifty.automl.facts import Facts
from thrifty.core.space import Choice, Domain, Float, Int
from thrifty.recipe import AudioFinetune, Preparation, Recipe, Training

MIN_ROWS = 60
MAX_SECONDS = 10.0
PASS_SECONDS = 0.05  # of a second of sound, forward and back, on one core, for a file of 8 million weights


def unfit(facts: Facts) -> str | None:
    if facts.num_audios != 1:
        return "it needs exactly one audio column"
    if "speech" not in facts.backbones:
        return "no network for sounds that can be trained on; name one with --set backbone.audio=FOLDER"
    if facts.num_rows < MIN_ROWS:
        return f"it needs at least {MIN_ROWS} rows"
    return None


def recipe(facts: Facts) -> Recipe:
    seconds = round(min(MAX_SECONDS, max(0.5, facts.audio_seconds)), 2)
    training = Training(
        epochs=8, batch_size=16, learning_rate=2e-4, weight_decay=0.02, label_smoothing=0.05, augmentation=0.0,
        patience=3,
    )  # fmt: skip
    return Recipe(Preparation(audio_seconds=seconds), AudioFinetune(), training)


def prior(facts: Facts) -> Prior:
    seconds = min(MAX_SECONDS, max(0.5, facts.audio_seconds)) * PASS_SECONDS * facts.backbones["speech"] / 32
    epoch = facts.num_rows * facts.num_fits * seconds / facts.cores
    seconds = 6 + 4 * epoch * facts.convolution_slowness
    return Prior(seconds, skill=0.8 if facts.num_modalities == 1 else 0.35, spread=0.15, elastic=True)


DOMAINS: dict[str, Domain] = {
    "model.tuned": Choice("last", "lora", "full"),
    "training.learning_rate": Float(5e-5, 1e-3, log=True),
    "training.batch_size": Int(8, 32, log=True),
}

CANDIDATE = Candidate("audio_finetune", PYTORCH, unfit, recipe, prior, all_cores=True, domains=DOMAINS)
