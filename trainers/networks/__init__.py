"""One network a file, plain modules; `skip` first. A site is the submodule of that name."""
