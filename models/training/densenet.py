"""torchxrayvision's DenseNet-121 rebuilt from torchvision's, whose tensors have the same names."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import densenet121

from models.training.export_onnx import OPSET
from models.training.records import TrainingError


class ServedDenseNet(nn.Module):
    """(B, 1, 224, 224) in [0, 1] → logits and class activation maps of the chosen outputs."""

    def __init__(self, tensors: dict[str, Tensor], outputs: list[int]) -> None:
        super().__init__()
        if "classifier.weight" not in tensors:
            raise TrainingError("these tensors are no DenseNet-121: classifier.weight is missing")
        network = densenet121(weights=None, num_classes=len(tensors["classifier.weight"]))
        network.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        own = network.state_dict()
        unfit = [k for k, v in own.items() if k not in tensors or tensors[k].shape != v.shape]
        if unfit:
            raise TrainingError(
                f"these tensors are no DenseNet-121 of torchxrayvision: {len(unfit)} are missing "
                f"or of another shape (first: {unfit[0]})"
            )
        network.load_state_dict({key: tensors[key] for key in own})
        self.features = network.features
        self.weight = nn.Parameter(network.classifier.weight[outputs].clone())
        self.bias = nn.Parameter(network.classifier.bias[outputs].clone())

    def forward(self, films: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.relu(self.features((2.0 * films - 1.0) * 1024.0))
        cam = nn.functional.conv2d(maps, self.weight[:, :, None, None], self.bias)
        # the mean of a linear map is the linear map of the mean: these are the network's logits
        return cam.mean(dim=(2, 3)), cam


def export_densenet(
    tensors: dict[str, Tensor], outputs: list[int], size_px: int, path: Path
) -> None:
    """Write the chosen outputs as ONNX: input film, outputs logits and cam."""
    network = ServedDenseNet(tensors, outputs).eval()
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, size_px, size_px),),
            stream,
            input_names=["film"],
            output_names=["logits", "cam"],
            opset_version=OPSET,
            dynamo=False,
        )
    path.write_bytes(stream.getvalue())
