"""An operator between fields in physical units, around a network between standardised ones."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Normalised"]


class Normalised(nn.Module):
    """A network N between standardised fields, used in physical units: û = σ_out · N((a - μ_in)/σ_in) + μ_out.

    Predictions have the dtype of the input. The four numbers are float64 buffers, and so are the sums and products with
    them: a field that varies by a millionth of its mean keeps its digits if it is given in float64. They are saved with
    the weights, so that no one can apply a model with the statistics of other data. Without normalisation they are 0
    and 1.

    Training and rollouts stay in standardised units: `standardised` and `physical` lead in and out, `standard` is the
    network, `feedback` makes its prediction an input.

    Args:
        network: maps [batch, frames, *grid] to [batch, channels, *grid].
    """

    precisions = (torch.float32, torch.float64)
    """Of inputs that it takes, whatever that of its weights."""

    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for name, value in (("input_mean", 0.0), ("input_std", 1.0), ("output_mean", 0.0), ("output_std", 1.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def fit(self, inputs: tuple[float, float], targets: tuple[float, float]) -> None:
        """Take mean and standard deviation of the inputs, and of the targets, of the training split."""
        for name, (mean, deviation) in (("input", inputs), ("output", targets)):
            getattr(self, f"{name}_mean").fill_(mean)
            getattr(self, f"{name}_std").fill_(deviation)

    @property
    def marches(self) -> bool:
        """Whether the network predicts many frames at once."""
        return bool(getattr(self.network, "marches", False))

    def forward(self, a: Float[Tensor, "batch frames *grid"], *steps: int) -> Float[Tensor, "batch channels *grid"]:
        """Physical units in and out; the number of frames to predict is for a network that marches."""
        return self.physical(self.standard(self.standardised(a), *steps), a.dtype)

    def standardised(self, a: Float[Tensor, "batch frames *grid"]) -> Float[Tensor, "batch frames *grid"]:
        """(a - μ_in)/σ_in, computed in float64, in the dtype of the network."""
        weights = (parameter.dtype for parameter in self.network.parameters() if parameter.is_floating_point())
        return ((a.double() - self.input_mean) / self.input_std).to(next(weights, torch.float32))

    def standard(self, z: Float[Tensor, "batch frames *grid"], *steps: int) -> Float[Tensor, "batch channels *grid"]:
        """The network: standardised inputs to standardised predictions."""
        # A network in half precision predicts in half precision; frames that follow each other stay in that of z.
        return self.network(z, *steps).to(z.dtype)

    def feedback(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Scale and shift that make a standardised prediction a standardised input: σ_out/σ_in, (μ_out - μ_in)/σ_in."""
        scale, shift = self.output_std / self.input_std, (self.output_mean - self.input_mean) / self.input_std
        return scale.to(dtype), shift.to(dtype)

    def physical(self, z: Float[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """σ_out · z + μ_out, computed in float64."""
        return (z.double() * self.output_std + self.output_mean).to(dtype)
