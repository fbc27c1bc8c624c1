"""A linear model on TF-IDF and frozen pretrained text features together, joint with all other columns."""

from thrifty.automl.candidates import heads_pretrained
from thrifty.automl.candidates.candidate import (
    CLASSICAL,
    Candidate,
    Prior,
    embedding_blocks,
    feature_seconds,
    simple_blocks,
)
from thrifty.automl.facts import Facts
from thrifty.recipe import Linear, Recipe


def blocks_of(facts: Facts) -> tuple[str, ...]:
    return simple_blocks(facts) + embedding_blocks(facts)


def recipe(facts: Facts) -> Recipe:
    return Recipe(heads_pretrained.preparation(facts, blocks_of(facts)), Linear())


def prior(facts: Facts) -> Prior:
    fit = 2e-8 * facts.num_rows * (500 + 2.5 * facts.text_chars) * facts.num_outputs * facts.num_fits
    seconds = 1.0 + feature_seconds(facts, blocks_of(facts)) / facts.cores + fit
    return Prior(seconds, skill=0.75 if facts.num_texts else 0.65, spread=0.1)


CANDIDATE = Candidate("linear_pretrained", CLASSICAL, heads_pretrained.unfit, recipe, prior, all_cores=True)
