"""One network a file, plain modules, and `build`. Read `skip`; for GANs `pair`, `dcgan`, `spectral`, `sngan`.

A site is the submodule of that name.
"""
