"""What a run makes of the pretrained weights that it was told to use."""

import pytest

from thrifty.automl import backbones, plan
from thrifty.automl.facts import Facts
from thrifty.core.errors import ExternalError, UsageError
from thrifty.data.column import Task
from thrifty.models import hub


def facts(**more):
    counts = {f"num_{name}": 0 for name in ("numbers", "categories", "timestamps", "texts", "images", "audios")}
    given = {
        "task": Task.BINARY, "num_rows": 500, "num_outputs": 2, "num_fits": 1, **counts, "text_chars": 50.0,
        "image_side": 64, "image_channels": 3, "audio_seconds": 1.0, "weights": frozenset(), "cores": 2,
    }  # fmt: skip
    return Facts(**{**given, **more})


def folder(tmp_path, size=2_000_000):
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    (tmp_path / "model.safetensors").write_bytes(b"x" * size)
    return tmp_path


def test_a_named_folder_reaches_every_recipe_and_the_candidate_that_trains_it(tmp_path):
    wishes, named = backbones.resolve({"preparation.speech_backbone": str(folder(tmp_path))}, offline=True)
    assert backbones.sizes(named) == {"speech": 2.0}
    found = facts(num_audios=1, weights=frozenset(named), backbones=backbones.sizes(named))
    planned = plan.make(found, wishes, ()).planned
    assert {p.recipe.preparation.speech_backbone for p in planned.values()} == {str(tmp_path)}
    assert {"audio_finetune", "heads_pretrained"} <= set(planned)
    assert "audio_finetune" not in plan.make(facts(num_audios=1, weights=frozenset(["speech"])), {}, ()).planned


def test_larger_weights_are_believed_to_cost_more(tmp_path):
    candidate = plan.registry.load("text_finetune")
    small, large = (facts(num_texts=1, weights=frozenset(["text"]), backbones={"text": mb}) for mb in (91.0, 910.0))
    assert candidate.prior(large).seconds > 5 * (candidate.prior(small).seconds - 6) + 6


def test_a_model_of_the_hub_becomes_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "folder_of", lambda name, offline: folder(tmp_path))
    wishes, named = backbones.resolve({"preparation.speech_backbone": "owner/name"}, offline=False)
    assert wishes["preparation.speech_backbone"] == str(tmp_path)
    assert named["speech"].path == tmp_path / "model.safetensors"


def test_a_name_that_may_not_be_asked_for_ends_the_run_with_a_reason(monkeypatch):
    monkeypatch.setattr(hub, "_kept", lambda name: None)
    with pytest.raises(ExternalError, match="forbids to ask"):
        backbones.resolve({"preparation.text_backbone": "owner/name"}, offline=True)


def test_a_backbone_without_a_column_for_it_is_refused():
    with pytest.raises(UsageError, match="no column of that kind"):
        plan.make(facts(num_numbers=2), {"preparation.text_backbone": "somewhere"}, ())


def test_the_catalogue_is_asked_for_by_its_word(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "folder_of", lambda name, offline: asked.append(name) or folder(tmp_path))
    backbones.resolve({"preparation.speech_backbone": "catalogue:fr"}, offline=False)
    assert asked == ["openai/whisper-tiny"]
