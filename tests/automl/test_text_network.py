"""When a text network is offered, and recipe files that name one."""

import dataclasses

from thrifty.automl import plan
from thrifty.automl.facts import Facts
from thrifty.data.column import Task
from thrifty.recipe import TextFinetune, TextNetwork, from_json, to_json

FACTS = Facts(
    task=Task.BINARY, num_rows=5000, num_outputs=2, num_fits=1, num_numbers=0, num_categories=0, num_timestamps=0,
    num_texts=1, num_images=0, num_audios=0, text_chars=60.0, image_side=0, image_channels=0, audio_seconds=0.0,
    weights=frozenset(), cores=2,
)  # fmt: skip


def test_the_network_from_scratch_needs_texts_and_rows_but_no_weights() -> None:
    made = plan.make(FACTS, {}, ())
    assert "text_network" in made.planned
    assert "text_finetune" in made.skipped
    few = plan.make(dataclasses.replace(FACTS, num_rows=300), {}, ()).skipped["text_network"]
    assert "rows" in few
    none = plan.make(dataclasses.replace(FACTS, num_texts=0, num_numbers=3), {}, ()).skipped["text_network"]
    assert "no column of texts" in none


def test_there_are_more_tokens_and_seconds_where_there_is_more_text() -> None:
    candidate = plan.registry.load("text_network")
    large = dataclasses.replace(FACTS, num_rows=200_000)
    sizes = [candidate.recipe(facts).model.num_tokens for facts in (FACTS, large)]
    assert sizes == [2000, 16_000]
    assert candidate.prior(large).seconds > 5 * candidate.prior(FACTS).seconds


def test_recipes_of_both_kinds_are_read_back_and_a_tuned_text_network_as_the_finetune_it_is() -> None:
    for name, kind in (("text_network", TextNetwork), ("text_finetune", TextFinetune)):
        recipe = plan.registry.load(name).recipe(FACTS)
        assert isinstance(recipe.model, kind)
        assert from_json(to_json(recipe)) == recipe
    old = to_json(recipe)
    old["model"]["kind"] = "text_network"
    assert from_json(old) == recipe
    pretrained = dataclasses.replace(FACTS, weights=frozenset({"text"}))
    assert set(plan.make(pretrained, plan.parse_wishes({"model": old["model"]}), ()).planned) == {
        "baseline",
        "text_finetune",
    }
