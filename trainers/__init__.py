"""Train one network, with or without sparse activations; needs torch, never Ray, Optuna or MLflow.

Read `settings` (what a regularizer is, as data), `sparsity` (what it does), `plan` (what one training
needs), `training` (the contract and the loop), `dip` (one way of training), then `tasks` (the list).

The other way, a GAN: `gan_options` (its keys), `datasets` over `sources` (the pictures), `networks` and
`losses` (a file for each), `gan` (the step), `drawing` (what an evaluation draws); then how that is scored:
`scores` over `features` with `learned` and `pretrained`, `frechet` (the distances), and `prepared` (what is
made once for all trainings).
"""
