import subprocess
import sys

import pytest

from thrifty.core.errors import UsageError
from thrifty.testing.policies import MIXED, answer
from thrifty.tuning.policies.named import SAMPLERS, SCHEDULERS, policy_of
from thrifty.tuning.study import Study


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if "-" not in name])
def test_any_scheduler_takes_any_sampler(scheduler: str, sampler: str) -> None:
    study = Study(MIXED, metric="loss", max_epochs=9, policy=f"{scheduler}+{sampler}")
    for _ in range(20):
        answer(study, study.ask())
    assert next(e for e in study.events() if e.kind == "trial_started").payload["why"] == sampler
    assert MIXED.validate(study.trials[-1].config) == study.trials[-1].config


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sobol+asha", "asha\\+sobol"),
        ("tpe", "one of auto, random"),
        ("asha+tpe", "after the \\+ comes one of random"),
        ("asha+", "after the \\+"),
        ("freeze-thaw+random", "before the \\+ comes one of hyperband"),
        ("asha+random+sobol", "after the \\+"),
    ],
)
def test_a_name_that_is_none_is_refused_with_what_there_is(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        policy_of(name, 9)


@pytest.mark.parametrize("name", ["asha", "median+sobol", "hyperband", "freeze-thaw"])
def test_policies_of_epochs_need_them(name: str) -> None:
    with pytest.raises(UsageError, match="max_epochs"):
        policy_of(name, None)


def test_no_library_is_imported_before_its_policy_is_used() -> None:
    code = "import thrifty.tuning.study, sys; print({'optuna', 'hyperopt', 'torch', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
