"""What int8 changes, put on outputs of models that had not seen the rows."""

import numpy as np
import pytest

from thrifty.automl.compression import moved
from thrifty.evaluation.decisions import probabilities_of


def test_what_int8_changes_of_sure_answers_moves_unsure_ones_by_as_much():
    sure = np.array([[9.0, 0.0], [0.0, 9.0]])
    small = sure + np.array([[0.0, 1.0], [0.0, 0.0]])
    held_out = np.array([[0.5, 0.0], [0.2, 0.0]])
    found = moved("multiclass", *(probabilities_of("multiclass", z) for z in (held_out, sure, small)))
    assert found == pytest.approx(probabilities_of("multiclass", held_out + small - sure), abs=1e-9)
    assert found.argmax(axis=1).tolist() == [1, 0]


def test_labels_and_values_are_moved_too():
    found = moved("multilabel", *(probabilities_of("multilabel", np.array([[z]])) for z in (0.5, 3.0, 2.0)))
    assert found == pytest.approx(probabilities_of("multilabel", np.array([[-0.5]])))
    assert moved("regression", *(np.array([z]) for z in (10.0, 3.0, 2.5))) == pytest.approx([9.5])
