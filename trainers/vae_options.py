"""The keys of task `vae`: the network, and how it trains. No torch."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainers.own_options import from_name, kind_of
from trainers.pair_options import DcganNetwork, Sites
from trainers.picture_options import GenerativeOptions
from trainers.plan import Frozen


class VaeNetwork(Frozen):
    """Strided convolutions encode, dcgan's generator decodes; the sites are the decoder's."""

    kind: Literal["vae"] = "vae"
    width: int = Field(default=64, ge=1, description="channels at full size; doubled with each halving")
    blocks: int = Field(default=3, ge=1, le=6, description="how often the first map is doubled")
    latent: int = Field(default=128, ge=1, description="length of the latent vector")

    @property
    def decoder(self) -> DcganNetwork:
        """The network whose generator the decoder is."""
        return DcganNetwork(width=self.width, blocks=self.blocks, latent=self.latent)

    def sites(self, size: int) -> Sites:
        """The decoder's sites with their (C, H, W) in order of execution, for pictures of this side."""
        return self.decoder.sites(size)


def _ours(network: Any) -> Any:
    """A generator alone, as a user's own is, has no encoder."""
    named = from_name(network)
    kind_of(named, (VaeNetwork,), "vae", "plan.network", own=False)
    return named


class VaeOptions(GenerativeOptions):
    """The keys of task `vae`.

    The reconstruction has no weight to set by hand (σ-VAE, arXiv 2006.13202), so beta = 1, the likelihood's
    own bound (arXiv 1312.6114), is a choice that suits all pictures; beta > 1 is that of β-VAE (arXiv
    1804.03599). The rate is Adam's own default, as there.
    """

    network: Annotated[VaeNetwork, BeforeValidator(_ours)] = Field(
        default=VaeNetwork(), description="encoder and decoder"
    )
    lr: float = Field(default=1e-3, gt=0, description="Adam's learning rate")
    beta: float = Field(
        default=1.0, gt=0, description="weight of the KL divergence; 1: the evidence lower bound"
    )

    @model_validator(mode="after")
    def _suits(self) -> "VaeOptions":
        """The network draws pictures of that size; said without the data."""
        self.sites()
        return self

    def sites(self) -> Sites:
        return self.network.sites(self.size)
