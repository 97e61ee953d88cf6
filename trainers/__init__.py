"""Train one network, with or without sparse activations; needs torch, never Ray, Optuna or MLflow.

Read `settings` (what a regularizer is, as data), `sparsity` (what it does), `plan` (what one training
needs), `training` (the contract and the loop), `dip` (one way of training), then `tasks` (the list).

What trains on a set of pictures: `picture_options` (the keys that all of it has), `datasets` over `sources`
(the pictures) with `pictures` (a batch of them), `networks` (a file for each), `generative` (what generators
share) and `drawing` (what an evaluation draws). A GAN adds `gan_options`, `losses` and `gan` (the step), a
variational autoencoder `vae_options` and `vae`, denoising diffusion `ddpm_options`, `diffusion` (noise, and
what it becomes) and `ddpm`, a classifier `classifier_options`, `held_out` (which pictures score it) and
`classifier`. How what is drawn is scored: `scores` over `features` with `learned` and `pretrained`, `frechet`
(the distances), and `prepared` (what is made once for all trainings).
"""
