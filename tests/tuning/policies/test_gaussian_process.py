import time

import numpy as np
import pytest

from thrifty.core.space import Choice, Float, Int, Space, When
from thrifty.testing.policies import MIXED, PolicyContract, answer
from thrifty.tuning.policies.gaussian_process import Bayesian
from thrifty.tuning.policies.random import Random
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study


class TestBayesian(PolicyContract):
    max_epochs = None

    def make(self) -> Policy:
        return Bayesian()


class TestBayesianWithEpochs(PolicyContract):
    def make(self) -> Policy:
        return Bayesian()
