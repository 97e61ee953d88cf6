"""How regularizers are attached to a network, and how sparse it is; torch, and the two files beside this one.

What each does stands in `regularizers.py`. Nothing here waits for the device but `measure` and
`Attached.sparsity`, so a training step can be captured in a CUDA graph.
"""

import math
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .regularizers import REGULARIZERS, Mistake, Penalty, Projection, Regularizer
from .settings import SettingsFile, is_discriminators, load

MEASURES = ("density", "removed_energy", "mean_abs", "hoyer", "small")


def measure(before: Tensor, after: Tensor) -> dict[str, float]:
    """How sparse an activation is after its projection (`before` is the same tensor where there is none).

    Both are N × C × H × W (or N × any shape), floating. The names are those of `MEASURES`: `density` is the
    fraction of non-zeros; `removed_energy` is ‖before − after‖² / ‖before‖²; `mean_abs` is mean|h|; `hoyer`
    is (√n − ‖h‖₁ / ‖h‖₂) / (√n − 1) over the n entries of a sample, from 0 (all equal) to 1 (a single one,
    or none at all), averaged over samples (Hoyer, JMLR 5, 2004); `small` is the fraction not above 0.01 · rms
    of its sample. Waits for the device.

    >>> measure(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 4.0]]))["density"]
    0.5
    """
    dtype = torch.promote_types(after.dtype, torch.float32)
    given, h = before.detach().flatten(1).to(dtype), after.detach().flatten(1).to(dtype)
    n = h.shape[1]
    energy, norm = given.square().sum(), h.square().sum(dim=1, keepdim=True).sqrt()
    removed = (given - h).square().sum() / energy
    hoyer = (math.sqrt(n) - h.abs().sum(dim=1, keepdim=True) / norm) / max(math.sqrt(n) - 1, 1e-12)
    values = (
        (h != 0).to(dtype).mean(),
        torch.where(energy == 0, 0.0, removed),
        h.abs().mean(),
        torch.where(norm == 0, 1.0, hoyer.clamp(0, 1)).mean(),
        (h.abs() <= 0.01 * norm / math.sqrt(n)).to(dtype).mean(),
    )
    return dict(zip(MEASURES, torch.stack(values).tolist(), strict=True))


class Attached:
    """What `attach` returns: reads the network's last forward pass, and takes the regularizers off again."""

    def __init__(self, network: nn.Module, sites: dict[nn.Module, "_Site"], forward: "_Forward") -> None:
        self._network = network
        self._forward = forward
        self._handles: list[RemovableHandle] = []
        if sites:  # the end comes after the sites, one of which may be the network itself
            self._handles.append(network.register_forward_pre_hook(forward.begin))
            self._handles.extend(module.register_forward_hook(site) for module, site in sites.items())
            self._handles.append(network.register_forward_hook(forward.end, always_call=True))

    def penalty(self) -> Tensor:
        """The penalties' costs, at each use of their sites in the last forward pass; add it to the loss.

        A tensor without dimensions on the network's device; 0 where no site has a penalty, where the network
        was not in training mode, and after `detach`. RuntimeError before any forward pass, and where its
        gradient would be lost (reentrant checkpointing, replicas of DataParallel).
        """
        penalties = [penalty for site in self._forward.seen() for penalty in site.penalties()]
        if penalties:
            return torch.stack(penalties).sum() if len(penalties) > 1 else penalties[0]
        parameter = next(self._network.parameters(), None)
        return torch.zeros((), device=None if parameter is None else parameter.device)

    def sparsity(self) -> dict[str, dict[str, float]]:
        """`measure` at each site in the last forward pass (averaged where a site was used several times).

        Waits for the device, so call it at evaluations only. RuntimeError where a site had no part in the
        pass.
        """
        return {site.name: site.measures() for site in self._forward.seen()}

    def metrics(self) -> dict[str, float]:
        """`sparsity` with flat names, as an evaluation's metrics have them: {"up0.density": …}."""
        found = self.sparsity().items()
        return {f"{site}.{name}": value for site, values in found for name, value in values.items()}

    def detach(self) -> None:
        """Take everything off the network, which then computes what it did before `attach`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._forward.sites.clear()


def attach(
    network: nn.Module,
    settings: Mapping[str, Regularizer] | str | os.PathLike[str],
    names: Mapping[str, str] | None = None,
    observe: Iterable[str] = (),
    ramp: Tensor | None = None,
) -> Attached:
    """Put regularizers at the sites of any network: the outputs of the modules of those names.

    `settings` maps sites to regularizers, or is the path of an exported file. A site is the module of that
    name unless `names` gives another ("layers.5", as in `network.named_modules()`). Sites of `observe` are
    measured and left as they are. Projections act in training and at inference, penalties in training mode,
    through `Attached.penalty`. The state dict does not change; empty settings change nothing at all.

    `ramp` is a tensor r without dimensions, in [0, 1], on the network's device, which the caller may write to
    in place while training goes on: penalties cost r times as much, and h + r · (projected - h) takes the
    place of h. So at 0 nothing acts, and at 1 all does, as without it.

    A module has to return one floating tensor, N × C × …, or a tuple, namedtuple or list that begins with
    one: the rest passes through. Anything else raises `Mistake` in the forward pass. An unknown site, two
    sites at one module and a network that carries regularizers already (attaching twice) raise `Mistake`.
    Where an exported number was out of another number of channels or entries, and where a site takes no part
    in a forward pass of the network, a warning says so once.

    A deep copy (an averaged generator, say) or an unpickled network computes what its original computed,
    projections included; `copy.deepcopy((network, attached))` copies the handle with it. Inside
    `torch.func.vmap` call `penalty` in the mapped function; `sparsity` needs a pass outside it.

    >>> from trainers.regularizers import L0Inf
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
    >>> attached = attach(network, {"code": L0Inf(k=2)}, names={"code": "1"})
    >>> picture = network(torch.rand(1, 3, 16, 16))
    >>> attached.sparsity()["code"]["density"] <= 2 / 8
    True
    >>> attached.detach()
    """
    if isinstance(settings, str | os.PathLike):
        settings = load(settings)
    if not isinstance(settings, Mapping):
        raise Mistake(
            f"settings are {settings!r}, but they have to map sites to regularizers, or be a file's path"
        )
    of = settings.of if isinstance(settings, SettingsFile) else {}
    modules = _modules_without_regularizers(network)
    forward = _Forward()
    # A later layer that works in place would overwrite what is kept here, so it gets a copy.
    copied = any(getattr(module, "inplace", False) is True for module in modules.values())
    sites: dict[nn.Module, _Site] = {}
    for name in dict.fromkeys([*settings, *observe]):
        module = _find(modules, name, (names or {}).get(name, name))
        if module in sites:
            raise Mistake(f"the sites {sites[module].name!r} and {name!r} are one module; keep one of them")
        if name in settings and not isinstance(settings[name], Penalty | Projection):
            raise Mistake(
                f"the regularizer at {name!r} is {settings[name]!r}; use one of {', '.join(REGULARIZERS)}, "
                "L0(keep=0.2) say"
            )
        sites[module] = _Site(name, settings.get(name), of.get(name), forward.last, copied=copied, ramp=ramp)
    forward.sites.extend(sites.values())
    return Attached(network, sites, forward)


def _modules_without_regularizers(network: nn.Module) -> dict[str, nn.Module]:
    if not isinstance(network, nn.Module):
        raise Mistake(f"the network is a {type(network).__name__}, but it has to be a torch.nn.Module")
    modules = dict(network.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        if any(isinstance(hook, _Site) for hook in module._forward_hooks.values()):
            raise Mistake(
                f"the network carries regularizers already (at its module {name or 'itself'!r}); "
                "call detach() on what attach returned before, or attach all sites at once"
            )
    return modules


def _find(modules: dict[str, nn.Module], site: str, target: str) -> nn.Module:
    if target not in modules:
        listed = ", ".join(name for name in modules if name) or "none"
        way = f"say which one it is with names={{{site!r}: …}} out of its modules {listed}"
        if target == site and is_discriminators(site):
            way += "; of settings for both of a GAN's networks take generators(…) or discriminators(…)"
        raise Mistake(f"the site {site!r} would be the module {target!r}, which the network lacks; {way}")
    return modules[target]


class _Pass:
    """The last forward pass of the whole network, as far as its sites have to know it.

    Apart from `_Forward`, which knows the sites: in a circle of references, activations would stay in a GPU's
    memory until Python next looks for circles.
    """

    def __init__(self) -> None:
        self.inside = self.training = self.any = False

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"inside": False, "any": False}  # a copied network starts without a pass


class _Forward:
    """Sees when a forward pass of the whole network begins and ends, so that uses are counted a pass."""

    def __init__(self) -> None:
        self.sites: list[_Site] = []
        self.last = _Pass()
        self.warned = False

    def begin(self, network: nn.Module, inputs: object) -> None:
        # Replicas of DataParallel run at once, in threads, and share these hooks: none begins a pass.
        if not getattr(network, "_is_replica", False) and not _in_backward():
            self.last.inside, self.last.training, self.last.any = True, network.training, True
            for site in self.sites:
                site.uses.clear()

    def end(self, network: nn.Module, inputs: object, output: object) -> None:
        unused = [site.name for site in self.sites if not site.uses]
        if unused and self.last.inside and output is not None and not self.warned:  # None: the pass failed
            self.warned = True
            warnings.warn(
                f"the site {unused[0]!r} took no part in a forward pass: the network left it out, or "
                "torch.compile reused code of a network without regularizers, which "
                "torch._dynamo.config.skip_nnmodule_hook_guards = False prevents",
                stacklevel=2,
            )
        self.last.inside = False

    def seen(self) -> list["_Site"]:
        if self.sites and not self.last.any:
            raise RuntimeError("no forward pass has run since attach; call the network first")
        return self.sites


def _in_backward() -> bool:
    """While gradients are taken, gradient checkpointing computes again what has been counted."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


class _Use(NamedTuple):
    """One pass of an activation through a site: before and after the projection, and whether it costs."""

    before: Tensor
    after: Tensor
    penalised: bool
    has_gradients: bool
    versions: list[int] | None


def _versions(*tensors: Tensor) -> list[int] | None:
    """How often each was written to; a compiled step writes nothing in place and has no versions."""
    if torch.compiler.is_compiling():
        return None
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


class _Site:
    """The forward hook at one site."""

    def __init__(
        self,
        name: str,
        regularizer: Regularizer | None,
        of: int | None,
        last: _Pass,
        *,
        copied: bool,
        ramp: Tensor | None,
    ) -> None:
        self.name, self.regularizer, self.of = name, regularizer, of
        self.last, self.copied, self.ramp = last, copied, ramp
        self.uses: list[_Use | None] = []  # None: a replica's, which nothing can be kept of

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"uses": []}  # graphs cannot be copied

    def __call__(self, module: nn.Module, inputs: object, output: Any) -> Any:
        h = self._checked(output[0] if isinstance(output, tuple | list) and output else output)
        after = self._projected(h)
        if not _in_backward():
            self._record(module, h, after)
        if self.copied:
            after = after.clone()
        return output if after is h else _replaced(output, after)

    def _projected(self, h: Tensor) -> Tensor:
        if not isinstance(self.regularizer, Projection):
            return h
        after = self.regularizer.project(h)
        return after if self.ramp is None else torch.lerp(h, after, self.ramp.type(h.dtype))

    def _checked(self, h: object) -> Tensor:
        if not isinstance(h, Tensor) or not h.is_floating_point() or h.dim() < 2:
            told = f"{h.dtype} of shape {list(h.shape)}" if isinstance(h, Tensor) else f"a {type(h).__name__}"
            raise Mistake(
                f"the module at the site {self.name!r} returns {told}, and a site is one floating tensor "
                "N × C × …, alone or first in a tuple; name the module within it that makes the activation"
            )
        if self.regularizer is not None and self.of is not None:
            here = self.regularizer.out_of(h.shape[1:])
            if here is not None and here != self.of:
                warnings.warn(
                    f"at {self.name!r} the settings have {self.regularizer} out of {self.of}, and here it is "
                    f"out of {here}: that it carries over is an assumption",
                    stacklevel=2,
                )
            self.of = None  # once is enough
        return h

    def _record(self, module: nn.Module, h: Tensor, after: Tensor) -> None:
        training = self.last.training if self.last.inside else module.training
        if not self.last.inside:  # a part of the network was called by itself: that is a pass of its own
            self.last.any = True
            self.uses.clear()
        if getattr(module, "_is_replica", False):
            self.uses.append(None)
            return
        penalised = training and isinstance(self.regularizer, Penalty)
        before, after = h if penalised else h.detach(), after.detach()
        versions = _versions(before, after)
        self.uses.append(_Use(before, after, penalised, torch.is_grad_enabled(), versions))

    def _kept(self) -> list[_Use]:
        kept = [use for use in self.uses if use is not None]
        if len(kept) < len(self.uses):
            raise RuntimeError(
                f"the replicas of DataParallel keep nothing of the site {self.name!r}; train with "
                "DistributedDataParallel, and measure after a pass of the network itself"
            )
        for use in kept:
            now = _versions(use.before, use.after)
            if now is not None and use.versions is not None and now != use.versions:
                raise RuntimeError(
                    f"a later operation wrote over the activation at {self.name!r} in place; let it return a "
                    "new tensor, or name the module after it as the site"
                )
        return kept

    def penalties(self) -> list[Tensor]:
        if not isinstance(self.regularizer, Penalty):
            return []
        penalised = [use for use in self._kept() if use.penalised]
        if torch.is_grad_enabled() and not all(use.has_gradients for use in penalised):
            raise RuntimeError(
                f"the penalty at {self.name!r} has no gradient, for its forward pass ran without: checkpoint "
                "with use_reentrant=False, or call penalty under torch.no_grad()"
            )
        costs = [self.regularizer.cost(use.before) for use in penalised]
        return costs if self.ramp is None else [self.ramp * cost for cost in costs]

    def measures(self) -> dict[str, float]:
        measured = [measure(use.before, use.after) for use in self._kept()]
        if not measured:
            raise RuntimeError(f"the site {self.name!r} had no part in the last forward pass of the network")
        return {name: math.fsum(one[name] for one in measured) / len(measured) for name in MEASURES}


def _replaced(output: Any, h: Tensor) -> Any:
    """What a module returned, with `h` as its activation."""
    if hasattr(output, "_fields"):  # a namedtuple
        return output._replace(**{output._fields[0]: h})
    return h if isinstance(output, Tensor) else type(output)([h, *output[1:]])
