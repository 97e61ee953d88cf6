"""One GAN loss a file. Read `loss`, the contract; `hinge`, one that keeps it; `names`, the list; `build`."""
