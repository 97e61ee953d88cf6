"""What sparsity-tuner needs to know of this project to search it."""

import torch

from digit_restorer.model import autoencoder, held_out, noisy, training
from trainers.tasks import Task


class Restoring:
    """One training, step by step: it is saved, and goes on exactly where it was."""

    def __init__(self, plan, *, seed, device="cpu"):
        torch.manual_seed(seed)
        self.network = autoencoder(plan.options.width)
        self.attached = plan.attach(self.network, names={"h0": "1", "h1": "3", "code": "5"})
        self.adam = torch.optim.Adam(self.network.parameters(), lr=plan.value("lr"))
        self.draw = torch.Generator().manual_seed(seed)

    def step(self):
        clean = training[torch.randint(len(training), (64,), generator=self.draw)]
        loss = (self.network(noisy(clean, self.draw)) - clean).square().mean()
        self.adam.zero_grad()
        (loss + self.attached.penalty()).backward()
        self.adam.step()

    def evaluate(self):
        with torch.no_grad():
            restored = self.network(noisy(held_out, torch.Generator().manual_seed(0)))
        return {"error": float((restored - held_out).square().mean())} | self.attached.metrics()

    def state_dict(self):
        return {
            "network": self.network.state_dict(),
            "adam": self.adam.state_dict(),
            "draw": self.draw.get_state(),
        }

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.adam.load_state_dict(state["adam"])
        self.draw.set_state(state["draw"])


TASK = Task(
    "digit-restorer",
    metric="error",
    direction="minimize",
    train=Restoring,
    sites={"h0": (8, 4, 4), "h1": (16, 2, 2), "code": (8, 4, 4)},
    options={"width": 8, "lr": 2e-3},
)
