"""The class shares, or the mean: what any model must beat."""

from thrifty.automl.candidates.candidate import CLASSICAL, Candidate, Prior
from thrifty.recipe import Baseline, Preparation, Recipe

CANDIDATE = Candidate(
    name="baseline",
    engine=CLASSICAL,
    unfit=lambda facts: None,
    recipe=lambda facts: Recipe(Preparation(), Baseline()),
    prior=lambda facts: Prior(seconds=0.05, skill=0.0, spread=0.01),
)
