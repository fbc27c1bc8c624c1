from thrifty.testing.policies import PolicyContract
from thrifty.tuning.policies.median import Median
from thrifty.tuning.policies.sobol import Sobol
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State


class TestMedian(PolicyContract):
    def make(self) -> Policy:
        return Median()


class TestMedianOfSobol(PolicyContract):
    max_epochs = 50

    def make(self) -> Policy:
        return Median(Sobol())


class TestMedianOfOneEpoch(PolicyContract):
    max_epochs = 1

    def make(self) -> Policy:
        return Median()


def test_what_is_worse_than_the_median_stops_and_the_others_run_to_the_end() -> None:
    study = Study({"x": list(range(1000))}, metric="accuracy", max_epochs=20, policy="median", seed=2)
    for _ in range(300):
        proposal = study.ask()
        study.tell(proposal.trial, [proposal.config["x"]] * (proposal.until_epoch - proposal.from_epoch))
    done = [t.config["x"] for t in study.trials[:-1] if t.state is State.DONE]
    stopped = [t.config["x"] for t in study.trials[:-1] if t.state is State.PAUSED]
    assert len(stopped) > 0.3 * study.num_trials
    assert len(done) > 0.15 * study.num_trials
    assert sum(done) / len(done) > 1.5 * sum(stopped) / len(stopped)
