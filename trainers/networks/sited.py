"""What trainings ask of any network that they search over, ours or a user's own."""

from collections.abc import Mapping

from torch import nn


class Sited(nn.Module):
    """A network with sites, each of which is the submodule of `bare` of that name.

    names: {site: module of `bare`} for the sites that are called otherwise.
    """

    names: Mapping[str, str] = {}

    @property
    def bare(self) -> nn.Module:
        """The network as its maker knows it: regularizers are attached to it, its weights are exported."""
        return self
