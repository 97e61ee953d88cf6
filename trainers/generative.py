"""What trainings of generators share: the pictures, the averaged weights, and the score of what is drawn."""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from trainers import datasets
from trainers import scores as scoring
from trainers.drawing import Drawing, at_once, estimate_norms
from trainers.memory import exhausted
from trainers.networks.pair import Generator, PictureForm
from trainers.picture_options import GenerativeOptions
from trainers.pictures import batch, load, load_anew, same_pictures
from trainers.plan import Plan
from trainers.ramp import Ramp
from trainers.settings import generators
from trainers.sparsity import Attached, attach
from trainers.training import Metrics, Pictures, Training, find_device, restore, same_device, streams

T = TypeVar("T")


def prepare_pictures(plan: Plan, check: Callable[[PictureForm], dict[str, str]]) -> dict[str, str]:
    """Make, once for all trainings of the plan, what scores them; remember the pictures.

    {name: SHA-256}: the prepared files of `trainers.scores.prepare`, the pictures under the name `data`, and
    what `check` returns: it is called with the form of the pictures and raises a Mistake where the networks
    do not suit them. A Mistake also says what is wrong with the pictures, the limit, or the features.
    """
    options = GenerativeOptions.model_validate(plan.options)
    if "fid" in options.distances():  # what is missing is better said before a data set is fetched
        from trainers.pretrained import find_inception  # seconds to import, and seldom needed

        find_inception()
    whole = load_anew(options)
    datasets.limited(whole, options.limit, generator=np.random.default_rng(0), batch=options.batch)
    found = check(PictureForm(options.size, whole.images.shape[1], whole.classes))
    return {"data": whole.fingerprint(), **found, **scoring.prepare(options, whole)}


class GenerativeTraining(Training):
    """A training of a generator, by whatever a subclass does in a `step`.

    What is scored is a copy of the generator, of its weights as they stand or of their average w̄: after step
    t, w̄ ← d·w̄ + (1 − d)·w with d = min(average, (1 + t) / (10 + t)). Its BatchNorm is estimated anew from the
    latents that it draws from. These are fixed: they come from the evaluation stream of the seed, once, and
    so do their classes, each equally likely. Data sets by name are balanced, or nearly; where a folder's
    classes are not, a generator that reads classes is scored for what it draws of each alike, and one that
    draws each perfectly is still at a distance from the data.

    LOSSES: names of what the last step minimised, penalties included; a step writes them to `losses`, and
    ends with `stepped`.
    """

    LOSSES: ClassVar[tuple[str, ...]]
    options: GenerativeOptions

    @abstractmethod
    def build(self, form: PictureForm, generator: torch.Generator) -> Generator:
        """Make all modules, for such pictures and drawn from `generator`; return the one that draws."""

    @abstractmethod
    def modules(self) -> Sequence[nn.Module]:
        """All that `build` has made, the generator first."""

    @abstractmethod
    def optimizers_of(self, plan: Plan) -> list[torch.optim.Adam]:
        """Of all parameters; asked once, when these lie on their device."""

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        data, training, evaluation = streams(seed)
        first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
        self.steps, self.device = plan.steps, find_device(device)
        self.average = plan.value("average")
        self.most = at_once(self.options.sites())  # pictures of an evaluation at once
        self.parts = dict.fromkeys(("norms", "drawn", "looked"), self.most)
        self._take_pictures(plan, np.random.default_rng(data))

        form = PictureForm(self.options.size, self.images.shape[1], self.classes)
        self.generator = self.build(form, torch.Generator().manual_seed(first))
        for module in self.modules():
            module.to(self.device)
        self.ramp = Ramp(plan, self.device)
        self.attached = attach(
            self.generator.bare,
            generators(plan.settings),
            names=self.generator.names,
            observe=self.generator.sites,
            ramp=self.ramp.strength,
        )
        self.weights = list(self.generator.parameters())
        self.averaged = [weight.detach().clone() for weight in self.weights]
        self.exported = {name: value.clone() for name, value in self.generator.bare.state_dict().items()}
        self.draw = torch.Generator(self.device).manual_seed(steps)
        self._fix_latents(int(evaluation.generate_state(1, np.uint64)[0]) >> 1)

        self.optimizers = self.optimizers_of(plan)
        self.count = torch.zeros((), device=self.device)
        self.losses = torch.zeros(len(self.LOSSES), device=self.device)

    def _take_pictures(self, plan: Plan, generator: np.random.Generator) -> None:
        options = self.options
        whole = load(options)
        plan.refuse_another({"data": whole.fingerprint()})
        self.scores = scoring.scores(options, whole, self.device)
        plan.refuse_another(scoring.files(self.scores))
        mine = datasets.limited(whole, options.limit, generator=generator, batch=options.batch)
        self.data, self.classes = mine.fingerprint(), mine.classes
        self.images, self.labels = mine.images.to(self.device), mine.labels.to(self.device)

    def _fix_latents(self, seed: int) -> None:
        """What evaluations draw from; drawn on the CPU, so that it is the same on every device."""
        fixed, samples = torch.Generator().manual_seed(seed), self.options.samples
        latents = torch.randn((samples, self.generator.latent), generator=fixed)
        labels = torch.randint(self.classes, (samples,), generator=fixed)
        self.fixed = latents.to(self.device), labels.to(self.device)

    def drawn_pictures(self) -> tuple[Tensor, Tensor]:
        """A batch of the pictures: N×C×S×S in [-1, 1], and their classes N."""
        return batch(self.images, self.labels, self.options.batch, self.draw)

    def stepped(self) -> None:
        """Count the step, and let the averaged weights follow."""
        self.count.add_(1)
        if self.average:
            decay = ((1 + self.count) / (10 + self.count)).clamp(max=self.average)
            with torch.no_grad():
                for mean, weight in zip(self.averaged, self.weights, strict=True):
                    mean.lerp_(weight, 1 - decay)

    def evaluate(self) -> tuple[Metrics, Pictures]:
        scored, seen = self.to_score()
        self._with_less("norms", lambda part: self.settle(scored, part))
        self.exported = scored.bare.state_dict()
        drawing, metrics = self._with_less("drawn", lambda part: self._measured(scored, part))
        if not drawing.finite:  # a training that diverged
            metrics = dict.fromkeys(metrics, math.nan)
        losses = dict(zip(self.LOSSES, self.losses.tolist(), strict=True))
        sparsity = self._with_less("looked", lambda part: self.sparsity(scored, seen, part))
        return metrics | losses | sparsity, {"samples": drawing.shown}

    def settle(self, scored: Generator, part: int) -> None:
        """Before it is scored: estimate its BatchNorm's statistics anew, so many pictures at once."""
        estimate_norms(scored, *self.fixed, part)

    @torch.no_grad()
    def sparsity(self, scored: Generator, seen: Attached, part: int) -> Metrics:
        """How sparse what is scored is at its sites, in a pass in evaluation mode over so many pictures."""
        scored(*(values[:part] for values in self.fixed))
        return seen.metrics()

    def _measured(self, scored: Generator, part: int) -> tuple[Drawing, Metrics]:
        drawing = Drawing(scored, *self.fixed, part)
        return drawing, scoring.measure(self.scores, drawing)

    def _with_less(self, of: str, compute: Callable[[int], T]) -> T:
        """Compute that in parts; where memory is exhausted, again with half the pictures a part from here on.

        Only once: then it is the machine's fault. The latents stay the same. So a distance is the same up to
        round-off where pictures are drawn in smaller parts; only where BatchNorm cannot be estimated from
        whole ones either is the network that is scored a slightly other one.
        """
        part = self.parts[of]
        try:
            return compute(part)
        except Exception as error:
            if part < self.most or not exhausted(error):
                raise
            told = str(error).partition("\n")[0]
        self.parts[of] = max(2, part // 2)
        scoring.halve(self.scores)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # after the `except`: the error held what had been computed
        print(f"the evaluation ran out of memory ({told}): again with {self.parts[of]} pictures at once")
        return compute(self.parts[of])

    def to_score(self) -> tuple[Generator, Attached]:
        """A copy of the generator with its regularizers, of averaged weights where the plan asks for them."""
        # Of what a forward pass leaves in a module, a weight under spectral norm say, the value is enough:
        # torch does not copy the graph behind it.
        left = (value for module in self.generator.modules() for value in vars(module).values())
        values = {
            id(one): one.detach().clone() for one in left if isinstance(one, Tensor) and not one.is_leaf
        }
        scored, seen = copy.deepcopy((self.generator, self.attached), values)
        scored.requires_grad_(False)
        if self.average:
            for weight, mean in zip(scored.parameters(), self.averaged, strict=True):
                weight.copy_(mean)
        return scored, seen

    def state_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "device": self.device.type,
            "network": self.exported,  # what was scored last, for those who export it
            "modules": [module.state_dict() for module in self.modules()],
            "averaged": self.averaged,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "draw": self.draw.get_state(),
            "count": self.count,
            "losses": self.losses,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        same_pictures(state["data"], self.data)
        same_device(state["device"], self.device)
        self.exported = {name: value.to(self.device) for name, value in state["network"].items()}
        for module, saved in zip(self.modules(), state["modules"], strict=True):
            module.load_state_dict(saved)
        for mean, saved in zip(self.averaged, state["averaged"], strict=True):
            mean.copy_(saved)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            restore(optimizer, saved, self.device)
        self.draw.set_state(state["draw"])
        self.count.copy_(state["count"])
        self.ramp.at(self.count)
        self.losses.copy_(state["losses"])
