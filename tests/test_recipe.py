import json
import math
from typing import Any

import pytest

from thrifty import recipe as recipes
from thrifty.core.errors import UsageError
from thrifty.recipe import MODELS, Preparation, Recipe, TableNetwork, Training

TABLE = Recipe(Preparation(("numbers",)), TableNetwork(), Training())


@pytest.mark.parametrize("kind", MODELS)
def test_a_recipe_of_any_kind_goes_to_json_and_back(kind: str):
    recipe = Recipe(Preparation(("numbers", "tfidf")), MODELS[kind](), Training(seconds=3.5), seed=7)
    assert recipes.from_json(json.loads(json.dumps(recipes.to_json(recipe)))) == recipe


def test_values_take_the_place_of_the_recipes_own_as_their_fields_types():
    changed = recipes.override(TABLE, {"model.width": 48.0, "training.epochs": 3, "training.seconds": 2, "seed": 1})
    assert (changed.model.width, changed.training.epochs, changed.training.seconds, changed.seed) == (48, 3, 2.0, 1)
    assert type(changed.model.width) is int


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.width", math.nan), ("model.width", math.inf), ("model.width", 1.5), ("model.width", "48"),
        ("model.width", True), ("training.learning_rate", math.inf), ("training.learning_rate", math.nan),
        ("training.seconds", math.nan), ("model.no", 1), ("training.symmetries", 3),
        ("preparation.image_size", 7), ("preparation.audio_seconds", 61.0),
    ],
)  # fmt: skip
def test_a_value_that_a_field_cannot_have_is_an_error_that_names_it(path: str, value: Any):
    with pytest.raises(UsageError, match=path.split(".")[1]):
        recipes.override(TABLE, {path: value})
