"""What a run shows while it goes on, where there is no terminal."""

from thrifty.automl.progress import Progress


def test_lines_tell_when_a_candidate_starts_and_what_came_of_each_trial(capsys):
    at = {"metric": "accuracy", "budget_seconds": 60.0}
    with Progress(to_stderr=True) as progress:
        progress.show({"kind": "said", "text": "label: binary"})
        for number, score in enumerate(("0.9", "0.8")):
            progress.show({"kind": "trial_started", "candidate": "trees", "elapsed_seconds": number + 1.0, **at})
            progress.show(
                {
                    "kind": "trial_finished", "candidate": "trees", "elapsed_seconds": number + 1.5, "score": score,
                    "seconds": 0.5, "is_best": not number, "best": "0.9", "best_candidate": "trees", **at,
                }
            )  # fmt: skip
        progress.show({"kind": "trial_failed", "candidate": "heads", "why": "it crashed", "elapsed_seconds": 3.0, **at})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "label: binary",
        "   1.0 s  trees: started",
        "   1.5 s  trees: accuracy 0.9 in 0.5 s  best so far",
        "   2.5 s  trees: accuracy 0.8 in 0.5 s",
        "   3.0 s  heads: failed: it crashed",
    ]
