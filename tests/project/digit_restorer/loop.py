"""The same training as a plain loop, which begins again after a death."""

from digit_restorer.searched import TASK, Restoring
from trainers.tasks import Task
from trainers.training import Evaluation


def restore(plan, *, seed, device="cpu", folder=None):
    restoring = Restoring(plan, seed=seed)
    for step in range(1, plan.steps + 1):
        restoring.step()
        if step in plan.evaluate_at:
            yield Evaluation(step, restoring.evaluate())


LOOP = Task("digit-restorer-loop", "error", "minimize", restore, sites=TASK.sites, options=TASK.options)
