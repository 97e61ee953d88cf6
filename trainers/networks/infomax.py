"""InfoMax-GAN (arXiv 2007.04589) at 32×32: SNGAN's networks.

What it adds to them are two projections, which belong to the loss `infomax`.
"""

from trainers.networks.sngan import Discriminator as Discriminator
from trainers.networks.sngan import Generator as Generator
