"""What may vary; needs neither torch nor Optuna to import.

Read `sparsity` (which sites, which regularizer, how strong), `ranges` (how strong at most), `extras` (a
learning rate and the like), then the presets.
"""
