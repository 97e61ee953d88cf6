"""One network a file, plain modules, and `build`. Read `skip`; for GANs `pair`, `dcgan`, `spectral`, `sngan`.

A site is the submodule of that name. `own` dresses a network that a user brings; `layers` of the folder above
finds its sites.
"""
