"""A kernel model on dense features: strong on small and middle-sized tables, and on simple image and sound features."""

from thrifty.automl.candidates.candidate import CLASSICAL, Candidate, Prior, feature_seconds, shortened, simple_blocks
from thrifty.automl.facts import Facts
from thrifty.recipe import Kernel, Preparation, Recipe


def blocks_of(facts: Facts) -> tuple[str, ...]:
    return tuple(b for b in simple_blocks(facts) if b not in ("tfidf", "text_statistics"))


def num_centers(facts: Facts) -> int:
    """More landmarks where the features are few, so that a row stays cheap."""
    most = 6000 if not facts.num_images and not facts.num_audios else 3000
    return min(most, facts.num_rows)


def recipe(facts: Facts) -> Recipe:
    return Recipe(Preparation(blocks_of(facts)), Kernel(num_centers=num_centers(facts)))


def prior(facts: Facts) -> Prior:
    centers = num_centers(facts)
    fit = facts.num_fits * (2.5e-11 * facts.num_rows * centers**2 + 6e-11 * centers**3)
    is_narrow = not facts.num_images and not facts.num_audios and facts.num_rows >= 250  # then axes are learned
    if centers >= 2000 and facts.num_fits == 1:
        fit += 3.0 if is_narrow else 1.5  # a pilot
    else:
        fit *= 9.0 if centers < 2000 and facts.num_fits > 1 and is_narrow else 3.0  # length scales, by sets of axes
    skill = 0.4 if facts.num_texts else 0.7
    seconds = 0.5 + feature_seconds(facts, blocks_of(facts)) + fit
    return Prior(seconds, skill=skill, spread=0.15, least_seconds=shortened(seconds, fit))


CANDIDATE = Candidate(
    name="kernel",
    engine=CLASSICAL,
    unfit=lambda facts: None if blocks_of(facts) else "no column that it can use (it takes no text)",
    recipe=recipe,
    prior=prior,
)
