"""What the user's wishes leave of the candidates, and what tells what augmentation brings."""

import dataclasses

import pytest

from thrifty.automl import plan
from thrifty.automl.facts import Facts
from thrifty.core.errors import UsageError
from thrifty.data.column import Task

IMAGES = Facts(
    task=Task.MULTICLASS, num_rows=5000, num_outputs=3, num_fits=1, num_numbers=0, num_categories=0, num_timestamps=0,
    num_texts=0, num_images=1, num_audios=0, text_chars=0.0, image_side=32, image_channels=3, audio_seconds=0.0,
    weights=frozenset(), cores=2, symmetries="left-right",
)  # fmt: skip


def contrast(wishes: dict[str, object]) -> dict[str, object]:
    made = plan.make(IMAGES, plan.parse_wishes(wishes), ())
    return next(dict(arm.contrast) for arm in plan.arms(made, IMAGES) if arm.name == "image_network")


def test_augmentation_is_switched_off_with_its_flips() -> None:
    assert contrast({}) == {"training.augmentation": 0.0, "training.mixing": 0.0, "training.symmetries": ""}


def test_flips_that_the_user_named_stay() -> None:
    assert "training.symmetries" not in contrast({"training": {"symmetries": "up-down"}})


@pytest.mark.parametrize("wish", [{"low": 0.1, "high": 1.0, "log": True}, [0.3, 0.6], 0.5])
def test_nothing_is_switched_off_that_the_user_wants_on(wish: object) -> None:
    assert contrast({"training": {"augmentation": wish}}) == {}


def test_an_unknown_flip_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'mirror'; it may have left-right"):
        plan.make(IMAGES, {"training.symmetries": "left-right mirror"}, ())


def test_mixing_needs_images() -> None:
    numbers = dataclasses.replace(IMAGES, num_images=0, num_numbers=4, symmetries="")
    with pytest.raises(UsageError, match=r"training\.mixing"):
        plan.make(numbers, {"training.mixing": 0.5}, ())


def test_a_size_out_of_its_bounds_is_refused_before_anything_is_tried_also_as_one_of_several() -> None:
    for wish in (600, [32, 600], {"low": 16, "high": 600}):
        with pytest.raises(UsageError, match=r"preparation\.image_size is 600; it must be 8 to 512"):
            plan.make(IMAGES, plan.parse_wishes({"preparation": {"image_size": wish}}), ())


def test_a_size_that_one_candidate_takes_leaves_out_those_that_do_not() -> None:
    made = plan.make(TEXTS, {"model.max_tokens": 1000}, ())
    assert "text_network" in made.planned
    assert made.skipped["text_finetune"] == "model.max_tokens is 1000; it must be 8 to 512"
    made = plan.make(TEXTS, {"model.max_tokens": 1000, "model.kind": "text_network"}, ())
    assert made.skipped["text_finetune"] == "the recipe asks for text_network"


def test_flips_need_images() -> None:
    numbers = dataclasses.replace(IMAGES, num_images=0, num_numbers=4, symmetries="")
    with pytest.raises(UsageError, match=r"training\.symmetries"):
        plan.make(numbers, {"training.symmetries": "left-right"}, ())


def test_labels_that_are_numbers_are_not_smoothed() -> None:
    spaces = [
        plan.make(dataclasses.replace(IMAGES, task=task), {}, ()).planned["image_network"].space
        for task in (Task.MULTICLASS, Task.REGRESSION)
    ]
    assert ["training.label_smoothing" in space for space in spaces] == [True, False]


MIXTURE = dataclasses.replace(IMAGES, num_numbers=4)


@pytest.mark.parametrize(
    ("facts", "wishes", "takes"),
    [
        (IMAGES, {}, True),
        (IMAGES, {"model.kind": "trees"}, False),
        (IMAGES, {"training.symmetries": "left-right"}, False),
        (MIXTURE, {"model.kind": "fusion_network"}, True),
        (MIXTURE, {"model.kind": "fusion_network", "model.convolutions": 16}, True),
        (MIXTURE, {"model.kind": "fusion_network", "model.convolutions": 0}, False),
    ],
)
def test_flips_are_tried_for_candidates_that_may_use_them_alone(facts: Facts, wishes: dict, takes: bool) -> None:
    made = plan.make(facts, wishes, ())
    assert any(map(plan.takes_symmetries, made.planned.values())) is takes


def test_a_fusion_network_without_convolutions_names_no_flips() -> None:
    made = plan.make(MIXTURE, {}, ())
    of = {n: plan.recipe_of(made, {"candidate": "fusion_network", "model.convolutions": n}, 0) for n in (0, 16)}
    assert {n: recipe.training.symmetries for n, recipe in of.items()} == {0: "", 16: "left-right"}


TEXTS = dataclasses.replace(
    IMAGES, num_images=0, num_texts=1, text_chars=100.0, weights=frozenset({"text"}), symmetries=""
)


def test_seconds_are_those_of_a_slower_machine_and_convolutions_take_longer_still() -> None:
    made = plan.make(IMAGES, {}, ())
    usual = {arm.name: arm.seconds for arm in plan.arms(made, IMAGES)}
    slow = dataclasses.replace(IMAGES, slowness=1.5, convolution_slowness=3.0)
    found = {arm.name: arm.seconds / usual[arm.name] for arm in plan.arms(made, slow)}
    assert found.pop("image_network") > 4.0
    assert list(found.values()) == pytest.approx([1.5] * len(found))


def test_without_bfloat16_a_text_encoder_takes_longer_to_train() -> None:
    made = plan.make(TEXTS, {}, ())
    slow = dataclasses.replace(TEXTS, transformer_slowness=2.0)
    usual, found = ({arm.name: arm.seconds for arm in plan.arms(made, facts)} for facts in (TEXTS, slow))
    assert usual["text_finetune"] < found.pop("text_finetune") < 2.0 * usual.pop("text_finetune")
    assert found == usual


def test_arms_share_the_frozen_features_that_their_seconds_hold() -> None:
    arms = {arm.name: arm for arm in plan.arms(plan.make(TEXTS, {}, ()), TEXTS)}
    sharing = {name for name, arm in arms.items() if arm.shared}
    assert sharing == {"linear_pretrained", "heads_pretrained"}
    assert all(0 < arms[name].shared["text_embedding"] < arms[name].seconds for name in sharing)
    wishes = plan.parse_wishes({"preparation": {"blocks": ["text_embedding"]}})
    assert not any(arm.shared for arm in plan.arms(plan.make(TEXTS, wishes, ()), TEXTS))
