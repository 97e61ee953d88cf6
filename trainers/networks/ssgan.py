"""The self-supervised GAN (arXiv 1811.11212) at 32×32: SNGAN's networks.

What it adds to them is a head, which belongs to the loss `rotation`.
"""

from trainers.networks.sngan import Discriminator as Discriminator
from trainers.networks.sngan import Generator as Generator
