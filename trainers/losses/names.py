"""The list of GAN losses: what `plan.loss` may name. No torch, for plans are checked without it."""

# The name, which is also that of its file here, and its class there.
LOSSES: dict[str, str] = {
    "non_saturating": "NonSaturating",
    "least_squares": "LeastSquares",
    "wasserstein": "Wasserstein",
    "wasserstein_gp": "WassersteinGp",
    "hinge": "Hinge",
    "rotation": "Rotation",
    "infomax": "Infomax",
}
