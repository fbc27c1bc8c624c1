import pytest

from thrifty.core.errors import UsageError
from thrifty.models import catalogue
from thrifty.models.weights import KINDS


def test_every_kind_has_models_smallest_first_and_each_says_all_that_a_choice_needs() -> None:
    classes = ["small", "medium", "large"]
    for kind in KINDS:
        some = [entry for entry in catalogue.entries() if entry.kind == kind]
        assert len(some) >= 3
        for languages in {entry.languages for entry in some}:
            sizes = [entry.millions for entry in some if entry.languages == languages]
            assert sizes == sorted(sizes)
    for entry in catalogue.entries():
        assert entry.name.count("/") == 1
        assert entry.cost in classes
        assert entry.licence in ("apache-2.0", "mit")
        assert 3.5 < entry.megabytes / entry.millions < 4.5  # float32


def test_a_model_is_chosen_by_kind_and_language() -> None:
    assert catalogue.choose("text", "catalogue:en").name == "sentence-transformers/all-MiniLM-L6-v2"
    assert catalogue.choose("text", "catalogue").languages == ("*",)
    assert catalogue.choose("text", "catalogue:uk").languages == ("*",)
    assert catalogue.choose("speech", "catalogue:fr").name == "openai/whisper-tiny"
    assert catalogue.choose("image", "catalogue").kind == "image"
    assert not catalogue.asked("owner/catalogue")


def test_a_kind_without_models_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "entries", tuple)
    with pytest.raises(UsageError, match="the catalogue has no model"):
        catalogue.choose("text", "catalogue")
