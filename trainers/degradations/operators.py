"""The operators of degradations, for the device: torch is imported here, and when something trains."""

import torch
from torch import Tensor, nn

from trainers.degradations.separable import Matrix


class Separable(nn.Module):
    """rows · x · columnsᵀ for each channel: N×C×H×W → N×C×h×w; rows is h×H, columns w×W."""

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: Matrix, columns: Matrix) -> None:
        super().__init__()
        self.register_buffer("rows", torch.tensor(rows, dtype=torch.float32))
        self.register_buffer("columns", torch.tensor(columns.T, dtype=torch.float32).contiguous())

    def forward(self, pictures: Tensor) -> Tensor:
        return self.rows @ pictures @ self.columns
