"""One network a file, plain modules (read `skip`; a site is the submodule of that name), and `build`."""
