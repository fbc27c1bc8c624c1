"""The plan of a run: which candidates fit, what the user's wishes leave of their spaces, and what to reserve."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thrifty.automl.candidates import candidate as registry
from thrifty.automl.candidates.candidate import Candidate
from thrifty.automl.facts import Facts
from thrifty.automl.symmetries import CHANGES
from thrifty.core.domain import domain_from_json
from thrifty.core.errors import UsageError
from thrifty.core.space import Choice, Domain, Float, Int
from thrifty.data.column import Task
from thrifty.recipe import (
    MODELS,
    FusionNetwork,
    Preparation,
    Recipe,
    TextFinetune,
    Training,
    override,
    space_of,
    to_json,
)
from thrifty.tuning.policies.ladder import Arm

TEXT_FIELDS = ("model.word_ngrams", "model.char_ngrams", "model.max_features")  # that change nothing without text
AUGMENTATION: Mapping[str, Any] = {"training.augmentation": 0.0, "training.mixing": 0.0, "training.symmetries": ""}
IMAGE_NETWORKS = ("image_network", "image_finetune")  # whose images are mixed
NETWORK_OVERHEAD_SECONDS = 2.5  # opening, export and writing around an elastic trial


@dataclass(frozen=True)
class Planned:
    """A candidate that takes part: its first recipe with the user's wishes in it, and what is left to search."""

    candidate: Candidate
    recipe: Recipe
    space: Mapping[str, Domain]
    wished: frozenset[str] = frozenset()  # the paths that the user set or narrowed


@dataclass(frozen=True)
class Plan:
    """planned: the candidates that take part; skipped: the others, each with the reason.

    single: one recipe is trained, once, in as much of the time as it takes.
    """

    planned: Mapping[str, Planned]
    skipped: Mapping[str, str]
    single: bool = False


def make(facts: Facts, wishes: Mapping[str, Any], excluded: Sequence[str], single: bool = False) -> Plan:
    """Fits the ladder to the data and the user's wishes.

    wishes: {path: value or domain}, as `parse_wishes` gives them. single: with the candidate alone that is believed
    best, for training one recipe. Raises UsageError for an unknown candidate, a path
    that no candidate has, or when nothing is left.
    """
    registry.check_names(excluded)
    kind = wishes.get("model.kind")
    for kind_, count in (("text", facts.num_texts), ("image", facts.num_images), ("speech", facts.num_audios)):
        if wishes.get(f"preparation.{kind_}_backbone") is not None and not count:
            name = "audio" if kind_ == "speech" else kind_
            raise UsageError(f"backbone.{name} was set and the data has no column of that kind")
    used: set[str] = set()
    refused: list[UsageError] = []
    planned: dict[str, Planned] = {}
    skipped: dict[str, str] = {}
    for name in registry.NAMES:
        candidate = registry.load(name)
        reason = "excluded" if name in excluded else candidate.unfit(facts)
        if reason is not None:
            skipped[name] = reason
            continue
        first = candidate.recipe(facts)
        if kind is not None and first.model.kind != kind and name != "baseline":
            skipped[name] = f"the recipe asks for {kind}"
            continue
        try:
            recipe, space, applied = _apply(first, candidate.domains, wishes, facts.task)
        except UsageError as error:  # another candidate's field may have other bounds
            refused.append(error)
            skipped[name] = str(error)
            continue
        used |= applied
        planned[name] = Planned(candidate, recipe, space, frozenset(applied))
    for path in wishes:
        if path not in used and path != "model.kind":
            if refused:
                raise refused[0]
            raise UsageError(f"no candidate that fits this data has a field {path!r}; see docs/recipes.md")
    if not planned or (set(planned) == {"baseline"} and "baseline" not in (kind, *excluded) and kind is not None):
        raise UsageError("no candidate is left: " + "; ".join(f"{k}: {v}" for k, v in skipped.items()))
    plan = Plan(planned, skipped)
    return _only_one(plan, facts) if single else plan


def check_wishes(wishes: Mapping[str, Any]) -> None:
    """Raises UsageError for a kind of model that there is not, or a field that no such recipe has."""
    kind = wishes.get("model.kind")
    if isinstance(kind, (Float, Int, Choice)):
        raise UsageError("model.kind is one kind of model; to leave candidates out, --exclude them")
    if kind is not None and kind not in MODELS:
        raise UsageError(f"there is no model.kind {kind!r}{_meant(kind, MODELS)}; there are {', '.join(MODELS)}")
    models = tuple(MODELS.values()) if kind is None else (MODELS[kind],)
    parts = {"preparation": (Preparation,), "model": models, "training": (Training,)}
    fields = {f"{part}.{f.name}" for part, classes in parts.items() for cls in classes for f in dataclasses.fields(cls)}
    fields.add("model.kind")
    for path, wish in wishes.items():
        if "." not in path:
            raise UsageError(f"recipe part {path!r} must be fields like {{kind: trees}}, not {wish!r}")
        if path not in fields:
            what = "no recipe" if kind is None else f"no recipe of {kind}"
            part, _, name = path.partition(".")
            near = _meant(name, [f.partition(".")[2] for f in fields if f.startswith(f"{part}.")])
            raise UsageError(f"{what} has a field {path!r}{near}; see docs/recipes.md")


def _meant(word: Any, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), sorted(words), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def takes_symmetries(planned: Planned) -> bool:
    """Whether a candidate may mirror or turn images in training, and which of that keeps labels is to be found."""
    if "training.symmetries" in planned.wished:
        return False
    model = planned.recipe.model
    if isinstance(model, FusionNetwork):
        return bool(model.convolutions) or "model.convolutions" in planned.space
    return model.kind in IMAGE_NETWORKS


def _apply(
    recipe: Recipe, domains: Mapping[str, Domain], wishes: Mapping[str, Any], task: Task
) -> tuple[Recipe, dict[str, Domain], set[str]]:
    """The recipe and space with the wishes that concern it, and which those are."""
    plain = to_json(recipe)
    space = {**space_of(recipe), **domains}
    if "tfidf" not in recipe.preparation.blocks:
        space = {path: domain for path, domain in space.items() if path not in TEXT_FIELDS}
    if recipe.model.kind not in IMAGE_NETWORKS:
        space.pop("training.mixing", None)
    if task == Task.REGRESSION:
        space.pop("training.label_smoothing", None)
    applied: set[str] = set()
    for path, wish in wishes.items():
        part, _, name = path.partition(".")
        if path == "model.kind" or not isinstance(plain.get(part), dict) or name not in plain[part]:
            continue
        if path == "training.mixing" and recipe.model.kind not in IMAGE_NETWORKS and wish != 0.0:
            continue
        if path == "training.symmetries":
            _check_symmetries(wish)
            if wish and recipe.model.kind not in (*IMAGE_NETWORKS, FusionNetwork.kind):
                continue
        applied.add(path)
        if isinstance(wish, (Float, Int, Choice)):
            for end in wish.options if isinstance(wish, Choice) else (wish.low, wish.high):
                override(recipe, {path: end})
            space[path] = wish
            if not wish.contains(plain[part][name]):
                recipe = override(recipe, {path: wish.from_unit(0.5 if not isinstance(wish, Choice) else 0)})
        else:
            space.pop(path, None)
            recipe = override(recipe, {path: wish})
    return recipe, space, applied


def _check_symmetries(wish: Any) -> None:
    for value in wish.options if isinstance(wish, Choice) else (wish,):
        unknown = [name for name in str(value).split() if name not in CHANGES]
        if unknown:
            raise UsageError(f"training.symmetries has {unknown[0]!r}; it may have {', '.join(CHANGES)}")


def parse_wishes(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a nested recipe into {path: value or domain}.

    A list or {options} narrows a field to a choice; {low, high, log} to a range. Raises UsageError for anything else
    nested deeper.
    """
    wishes: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and ({"low", "high"} <= set(value) or "options" in value):
            wishes[path] = domain_from_json(value)
        elif isinstance(value, Mapping):
            if prefix:
                raise UsageError(f"recipe field {path!r} is nested too deep; fields are PART.NAME")
            wishes |= parse_wishes(value, f"{path}.")
        elif isinstance(value, list) and path != "preparation.blocks":
            wishes[path] = Choice(*value)
        else:
            wishes[path] = value
    if wishes.get("model.kind") == "text_network" and "model.tuned" in wishes:
        wishes["model.kind"] = TextFinetune.kind  # as files of the name's earlier meaning say
    return wishes


def arms(plan: Plan, facts: Facts) -> list[Arm]:
    """What the ladder policy needs to know of each planned candidate."""
    found = []
    for name, planned in plan.planned.items():
        prior = planned.candidate.prior(facts)
        fixed_seconds = planned.recipe.training is not None and planned.recipe.training.seconds is not None
        found.append(
            Arm(
                name=name,
                space=planned.space,
                seconds=0.0 if plan.single else facts.slowness * prior.seconds,
                skill=prior.skill,
                spread=prior.spread,
                first={path: _value_at(planned.recipe, path) for path in planned.space},
                cores=facts.cores if planned.candidate.all_cores else 1,
                elastic=prior.elastic and not fixed_seconds and not plan.single,
                least_seconds=None if prior.least_seconds is None else facts.slowness * prior.least_seconds,
                overhead_seconds=NETWORK_OVERHEAD_SECONDS if prior.elastic else 0.0,
                contrast=_contrast(planned),
                shared=_shared(planned, facts),
            )
        )
    return found


def _shared(planned: Planned, facts: Facts) -> dict[str, float]:
    """Seconds for each block of frozen features, which the cache has for the other candidates then.

    None of blocks that the user chose: the candidates' seconds are not of these.
    """
    if "preparation.blocks" in planned.wished:
        return {}
    threads = facts.cores if planned.candidate.all_cores else 1
    blocks = set(planned.recipe.preparation.blocks) & set(registry.embedding_blocks(facts))
    return {b: facts.slowness * registry.feature_seconds(facts, (b,)) / threads for b in sorted(blocks)}


def _contrast(planned: Planned) -> dict[str, Any]:
    """What switches the augmentation of a candidate off, empty where the user does not allow that."""
    searched = {path: off for path, off in AUGMENTATION.items() if path in planned.space}
    if "training.augmentation" not in searched or not all(planned.space[p].contains(v) for p, v in searched.items()):
        return {}
    flips = planned.recipe.training is not None and planned.recipe.training.symmetries
    if flips and "training.symmetries" not in planned.wished:
        searched["training.symmetries"] = AUGMENTATION["training.symmetries"]
    return searched


def _value_at(recipe: Recipe, path: str) -> Any:
    part, _, name = path.partition(".")
    return to_json(recipe)[part][name]


def recipe_of(plan: Plan, config: Mapping[str, Any], seed: int) -> Recipe:
    """The concrete recipe of a trial's configuration."""
    planned = plan.planned[config["candidate"]]
    values = {path: value for path, value in config.items() if path != "candidate"}
    recipe = dataclasses.replace(override(planned.recipe, values), seed=seed)
    if isinstance(recipe.model, FusionNetwork) and not recipe.model.convolutions:  # it sees no pixels
        recipe = override(recipe, {"training.symmetries": ""})
    return recipe


def _only_one(plan: Plan, facts: Facts) -> Plan:
    """The plan with the one candidate that is believed best, for training a single recipe."""
    names = [name for name in plan.planned if name != "baseline"] or list(plan.planned)
    best = max(names, key=lambda name: plan.planned[name].candidate.prior(facts).skill)
    others = {name: "one recipe was asked for" for name in plan.planned if name != best}
    planned = plan.planned[best]
    return Plan({best: Planned(planned.candidate, planned.recipe, {})}, {**plan.skipped, **others}, single=True)
