"""One GAN loss a file. Read `loss`, the contract; `hinge`, one that keeps it; `build`, the list."""
