"""Boosted trees on frozen pretrained features together with all other columns, for mixtures."""

from thrifty.automl.candidates import heads_pretrained, trees
from thrifty.automl.candidates.candidate import CLASSICAL, Candidate, Prior, feature_seconds, shortened
from thrifty.automl.candidates.linear_pretrained import blocks_of
from thrifty.automl.facts import Facts
from thrifty.recipe import Recipe


def unfit(facts: Facts) -> str | None:
    if facts.num_modalities < 2:
        return "it is for texts, images or sounds beside other columns"
    return heads_pretrained.unfit(facts)


def recipe(facts: Facts) -> Recipe:
    return Recipe(heads_pretrained.preparation(facts, blocks_of(facts)), trees.recipe(facts).model)


def prior(facts: Facts) -> Prior:
    blocks = blocks_of(facts)
    fit = trees.fit_seconds(facts, blocks) / facts.cores
    seconds = 1.0 + feature_seconds(facts, blocks) / facts.cores + fit
    return Prior(seconds, skill=0.75, spread=0.15, least_seconds=shortened(seconds, fit))


CANDIDATE = Candidate("trees_pretrained", CLASSICAL, unfit, recipe, prior, all_cores=True)
