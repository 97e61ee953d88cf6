"""The residual classifier whose BatchNorm and ReLU stand before convolutions (arXiv 1603.05027)."""

from torch import Tensor, nn

from trainers.classifier_options import ClassifierNetwork
from trainers.networks.pair import PictureForm
from trainers.networks.sited import Sited


class Classifier(Sited):
    """N×channels×size×size in [-1, 1] → N×classes, logits.

    A 3×3 convolution, then blocks that add conv3×3(ReLU(BN(conv3×3(e)))) to their shortcut, where e is
    ReLU(BN(x)); the inner ReLU is the site `h{i}`. Where a block changes the map, its first convolution has
    stride 2 and its shortcut is a 1×1 convolution of e; elsewhere the shortcut is x. After the last block
    BatchNorm and ReLU make `code`, whose mean over positions a linear layer reads. PyTorch's default
    initialisation everywhere. A size that cannot be halved so often raises `Mistake`.

    >>> import torch
    >>> form = PictureForm(size=32, channels=3, classes=10)
    >>> Classifier(ClassifierNetwork(width=4, blocks=1), form)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, config: ClassifierNetwork, form: PictureForm) -> None:
        super().__init__()
        maps = config.maps(form.size)
        self.from_picture = nn.Conv2d(form.channels, config.width, 3, padding=1, bias=False)
        self.blocks = tuple(f"h{i}" for i in range(len(maps)))
        channels, side = config.width, form.size
        for site, (outputs, smaller, _) in zip(self.blocks, maps, strict=True):
            stride = 1 if smaller == side else 2
            self.add_module(f"enter_{site}", nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()))
            self.add_module(
                f"to_{site}", nn.Sequential(_conv(channels, outputs, stride), nn.BatchNorm2d(outputs))
            )
            self.add_module(site, nn.ReLU())
            self.add_module(f"from_{site}", _conv(outputs, outputs))
            if (channels, side) != (outputs, smaller):
                self.add_module(f"shortcut_{site}", nn.Conv2d(channels, outputs, 1, stride, bias=False))
            channels, side = outputs, smaller
        self.to_code, self.code = nn.BatchNorm2d(channels), nn.ReLU()
        self.to_logits = nn.Linear(channels, form.classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.from_picture(images)
        for site in self.blocks:
            entered = self.get_submodule(f"enter_{site}")(x)
            h = self.get_submodule(site)(self.get_submodule(f"to_{site}")(entered))
            shortcut = self._modules.get(f"shortcut_{site}")
            x = self.get_submodule(f"from_{site}")(h) + (x if shortcut is None else shortcut(entered))
        code = self.code(self.to_code(x))
        logits: Tensor = self.to_logits(code.mean((2, 3)))
        return logits


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
