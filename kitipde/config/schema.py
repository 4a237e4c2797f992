"""Every setting of a run, its range and its default."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat

from kitipde.config.data import DataConfig, PerAxis
from kitipde.config.residual import ResidualConfig
from kitipde.config.section import Count, Section
from kitipde.config.training import OptimizerConfig, ScheduleConfig, TrainingConfig

__all__ = [
    "AirfoilOFormerConfig",
    "DataConfig",
    "FNOConfig",
    "ModelConfig",
    "OFormerConfig",
    "OptimizerConfig",
    "ResidualConfig",
    "RunConfig",
    "ScheduleConfig",
    "TrainingConfig",
]


class FNOConfig(Section):
    """Fourier neural operator, in the original paper's terms.

    Attributes:
        modes: Fourier modes kept per axis and sign, as in the FNO paper (16 in 1-D, 12 in 2-D): one number, or one for
            each axis, `12x16`; `auto` for 16, 12 or 8 in 1-, 2- or 3-D, as far as the grid to train on has them.
        width: channels of the hidden layers.
        layers: Fourier layers.
        activation: applied once after each Fourier layer but the last, and in the projection.
        projection_width: hidden channels of the projection.
        coordinates: what the network is given of the place x beside its input, for each axis of n points of length L.
            `published`: j/n at point j, on every grid; `interpolated`: the same on the grid of the training, on others
            the trigonometric interpolant of what it was there; `harmonics`: sin(2πkx/L) and cos(2πkx/L) for k = 1 … K;
            `none`: nothing.
        harmonics: K of these; fewer than half of the points to train on.
        padding: share of each bounded axis that is added behind its end before the Fourier layers, and cut off after
            them, so that what leaves the domain there does not come in at the other end.
        grid_endpoint: whether `published` and `interpolated` count j/(n − 1), as in the original code.
        initialisation: `original` draws spectral weights uniformly from [0, 1/width²), `library` as neuraloperator.
    """

    name: Literal["fno"] = "fno"
    modes: PerAxis | Literal["auto"] = "auto"
    width: Count = 64
    layers: Count = 4
    activation: Literal["relu", "gelu"] = "gelu"
    projection_width: Count = 128
    coordinates: Literal["interpolated", "published", "harmonics", "none"] = "interpolated"
    harmonics: Count = 4
    padding: float = Field(default=0.125, ge=0.0, le=1.0)
    grid_endpoint: bool = False
    initialisation: Literal["original", "library"] = "original"

    @property
    def marches(self) -> bool:
        """Whether the network predicts many frames at once; otherwise it is applied to its own predictions."""
        return False


class OFormerConfig(Section):
    """Operator transformer on a grid: an encoder of linear attention, a decoder that is asked at any points.

    Attributes:
        attention: which of query, key and value are normalised (Galerkin: k, v; Fourier: q, k).
        layer_norm: whether the encoder's blocks normalise the stream.
        width: channels of the encoder.
        rope_scales: of the rotary positions, one encoder block each.
        rope_min_frequency: of the rotary positions.
        latent_width: channels of the decoder.
        cross_heads: heads of the cross-attention, each latent_width wide.
        query_scale: deviation of the frequencies that describe the points asked for.
        marching: `pointwise` maps the latent field to one frame by residual MLPs; `propagator` marches it in time.
        marching_width: channels of the latent field in the propagator.
    """

    name: Literal["oformer"] = "oformer"
    attention: Literal["galerkin", "fourier"] = "galerkin"
    layer_norm: bool = True
    width: Count = 96
    rope_scales: tuple[PositiveFloat, ...] = Field(default=(32.0, 16.0, 8.0, 8.0, 1.0), min_length=1)
    rope_min_frequency: PositiveFloat = 1.0 / 64.0
    latent_width: Count = 192
    cross_heads: Count = 4
    query_scale: PositiveFloat = 8.0
    marching: Literal["pointwise", "propagator"] = "propagator"
    marching_width: Count = 384

    @property
    def marches(self) -> bool:
        """Whether the network predicts many frames at once; otherwise it is applied to its own predictions."""
        return self.marching == "propagator"


class AirfoilOFormerConfig(Section):
    """Operator transformer on the nodes of a mesh round an airfoil, in its published sizes.

    Attributes:
        dropout: probability with which an element of the encoding is dropped while training.
        region_weight: of the error in the region of interest beside that on all nodes.
    """

    name: Literal["oformer-airfoil"] = "oformer-airfoil"
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    region_weight: NonNegativeFloat = 2.0

    @property
    def marches(self) -> bool:
        """Whether the network predicts many frames at once."""
        return True


def _named(given: Any) -> Any:
    """Settings of a model without its name are the FNO's."""
    return {"name": "fno", **given} if isinstance(given, dict) else given


ModelConfig = Annotated[
    FNOConfig | OFormerConfig | AirfoilOFormerConfig, Field(discriminator="name"), BeforeValidator(_named)
]


class RunConfig(Section):
    """Everything a training run depends on; saved with the run."""

    model: ModelConfig = FNOConfig()
    residual: ResidualConfig = ResidualConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
