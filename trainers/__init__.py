"""Train one network, with or without sparse activations; needs torch, never Ray, Optuna or MLflow.

Read `settings` (what a regularizer is, as data), `sparsity` (what it does), `plan` (what one training
needs), `training` (the contract and the loop), `dip` (one way of training), then `tasks` (the list).
"""
