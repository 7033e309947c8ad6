"""Updates of a policy and its critic: losses, and steps down them in this process or by several learners together."""

from marl_engine.responders.updates.data_parallel import learn_together
from marl_engine.responders.updates.ppo_update import Lesson, PPOUpdate

__all__ = ["Lesson", "PPOUpdate", "learn_together"]
