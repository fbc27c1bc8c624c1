"""A linear model on everything that costs little: numbers, categories, TF-IDF, simple image and sound features."""

from thrifty.automl.candidates.candidate import CLASSICAL, Candidate, Prior, feature_seconds, simple_blocks
from thrifty.automl.facts import Facts
from thrifty.recipe import Linear, Preparation, Recipe


def recipe(facts: Facts) -> Recipe:
    return Recipe(Preparation(simple_blocks(facts)), Linear())


def prior(facts: Facts) -> Prior:
    blocks = simple_blocks(facts)
    terms = 30 + 2.5 * facts.text_chars
    fit = 2e-8 * facts.num_rows * terms * facts.num_outputs * facts.num_fits
    skill = 0.7 if facts.num_texts else 0.5
    return Prior(seconds=0.5 + feature_seconds(facts, blocks) + fit, skill=skill, spread=0.15)


CANDIDATE = Candidate(
    name="linear",
    engine=CLASSICAL,
    unfit=lambda facts: None if simple_blocks(facts) else "no column that it can use",
    recipe=recipe,
    prior=prior,
)
