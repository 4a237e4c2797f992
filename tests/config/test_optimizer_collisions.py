"""Settings of KO: what does not belong together is refused."""

import pytest

from kitipde.config.optimizer_collisions import OptimizerCollisionsConfig


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "hard", "coll_coef": 2.0},
        {"kind": "soft", "target_rate": 0.1},
        {"kind": "hard", "target_rate": 0.1, "noise": "gaussian"},
        {"kind": "hard", "noise": "gaussian"},
        {"kind": "hard", "target_rate": 0.1, "coll_coef": 0.5},
        {"kind": "soft", "layers": ()},
        {"coll_coef": 0.5},
        {"target_rate": 0.5},
        {"kind": "soft", "noise": "gaussian"},
        {"kind": "hard", "self_similarity": True},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValueError, match=r"kind|noise|both"):
        OptimizerCollisionsConfig.model_validate(settings)
