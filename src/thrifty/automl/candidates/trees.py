"""Gradient-boosted trees on numbers, categories, reduced TF-IDF and simple image and sound features."""

from thrifty.automl.candidates.candidate import CLASSICAL, Candidate, Prior, feature_seconds, shortened, simple_blocks
from thrifty.automl.facts import Facts
from thrifty.recipe import Preparation, Recipe, Trees

NUM_REDUCED = {"tfidf": 64, "text_statistics": 10, "image_statistics": 200, "log_mel_statistics": 300,
               "image_embedding": 1280, "text_embedding": 384, "speech_embedding": 192}  # fmt: skip


def recipe(facts: Facts) -> Recipe:
    smallest_leaf = max(2, min(20, facts.num_rows // 50))
    leaves = 31 if facts.num_rows >= 1000 else 8
    rate = 0.1 if facts.num_rows >= 1000 else 0.05
    model = Trees(min_rows_per_leaf=smallest_leaf, num_leaves=leaves, learning_rate=rate)
    return Recipe(Preparation(simple_blocks(facts)), model)


def fit_seconds(facts: Facts, blocks: tuple[str, ...]) -> float:
    """Seconds on one core for some 300 rounds of boosting."""
    columns = facts.num_numbers + facts.num_categories + 10 * facts.num_timestamps
    columns += sum(NUM_REDUCED.get(block, 0) for block in blocks)
    trees = 300 * (facts.num_outputs if facts.num_outputs > 2 else 1)
    return trees * facts.num_fits * (1e-3 + 4e-9 * facts.num_rows * (columns + 5))


def prior(facts: Facts) -> Prior:
    blocks = simple_blocks(facts)
    alone = facts.num_modalities == 1
    tabular = alone and not (facts.num_texts or facts.num_images or facts.num_audios)
    fit = fit_seconds(facts, blocks)
    seconds = 0.5 + feature_seconds(facts, blocks) + fit
    skill = 0.75 if tabular else 0.45 if alone and facts.num_texts else 0.55
    return Prior(seconds, skill=skill, spread=0.15, least_seconds=shortened(seconds, fit))


CANDIDATE = Candidate(
    name="trees",
    engine=CLASSICAL,
    unfit=lambda facts: None if simple_blocks(facts) else "no column that it can use",
    recipe=recipe,
    prior=prior,
)
