"""Settings of each network, and what it asks of a problem; the networks themselves are loaded when they are built."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from datagen.geometry import resolution_text
from datagen.registry import Entry, Registry
from kitipde.config.data import PerAxis
from kitipde.config.residual import ResidualConfig
from kitipde.config.section import Count, Section
from kitipde.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from kitipde.problem.problem import Problem

__all__ = ["NETWORKS", "AirfoilOFormerConfig", "FNOConfig", "NetworkConfig", "OFormerConfig", "settings_of"]

NETWORKS: Registry[Any] = Registry(
    "kitipde.models",
    "network",
    (
        Entry("fno", "kitipde.config.networks:FNOConfig", "Fourier neural operator, on grids of one to three axes."),
        Entry("oformer", "kitipde.config.networks:OFormerConfig", "Operator transformer, on grids."),
        Entry(
            "oformer-airfoil",
            "kitipde.config.networks:AirfoilOFormerConfig",
            "Operator transformer on the nodes of a mesh, marched in time.",
        ),
    ),
)
"""The settings of each network by its name; other packages add theirs by the entry point `kitipde.models`."""


def settings_of(name: str) -> "type[NetworkConfig]":
    """The settings of a network.

    Raises:
        InputError: there is none of this name, or what its package brings are no settings.
    """
    found = NETWORKS.load(name)
    if not (isinstance(found, type) and issubclass(found, NetworkConfig)):
        raise InputError(f"network {name} of {NETWORKS[name].package}: {NETWORKS[name].target} is no NetworkConfig")
    return found


class NetworkConfig(Section):
    """What the settings of every network have; a network of another package is a subclass in one file.

    Attributes:
        name: of the network.
        builder: `module:function`, which takes these settings, the residual's and a problem and gives a network: a
            module from channels [batch, problem.channels, *space] to [batch, target, *space]. One that `marches` takes
            the number of steps too, and gives [batch, step, target, *space]. It may have methods `place(geometry)`,
            called with the geometry of the fields before training, and `errors(prediction, target)`, what training
            minimises in place of the relative L2 error.
        works_on: the kind of geometry that it is for.
    """

    name: str
    builder: ClassVar[str] = ""
    works_on: ClassVar[Literal["grid", "mesh"]] = "grid"

    def build(self, residual: ResidualConfig, problem: "Problem") -> "nn.Module":
        """The network, freshly initialised from torch's default generator."""
        module, _, function = self.builder.partition(":")
        return getattr(import_module(module), function)(self, residual, problem)

    @property
    def marches(self) -> bool:
        """Whether the network predicts many frames at once; otherwise it is applied to its own predictions."""
        return False

    @property
    def one_scale(self) -> bool:
        """Whether a field is standardised alike as input and as target, by all its frames; else each by its own."""
        return False

    @property
    def relative_loss(self) -> bool:
        """Whether training minimises the relative L2 error, of which 1 is that of predicting nothing."""
        return True

    @property
    def residual_channels(self) -> tuple[int, ...]:
        """Channels of the feature maps that its residuals join; none for a network without residuals."""
        return ()

    def resolved(self, problem: "Problem") -> "NetworkConfig":
        """The settings with everything that they leave to the problem."""
        return self

    def check(self, problem: "Problem") -> None:
        """Whether the network can be used on a problem.

        Raises:
            InputError: naming what does not fit, and what would.
        """

    def check_run(self, config: Any) -> None:
        """Whether it can be trained with the other settings of a run.

        Raises:
            InputError: naming what does not fit, and what would.
        """


def _on_grids(config: NetworkConfig, problem: "Problem") -> None:
    if problem.domain.kind == "grid" and not problem.domain.uniform:
        raise InputError(
            f"model.name={config.name} needs a grid of equally spaced points along each axis, which this one is not"
        )
    if problem.domain.kind != "grid":
        raise InputError(
            f"model.name={config.name} works on grids, and these data are on a mesh; there use "
            "model.name=oformer-airfoil"
        )


class FNOConfig(NetworkConfig):
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

    name: Literal["fno"] = "fno"  # pyright: ignore[reportIncompatibleVariableOverride]
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

    builder: ClassVar[str] = "kitipde.models.fno:build"

    @property
    def residual_channels(self) -> tuple[int, ...]:
        return (self.width,)

    def modes_on(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """Modes along each axis of a grid."""
        if self.modes == "auto":
            return tuple(max(1, min(_MODES[len(grid)], points // 2)) for points in grid)
        return tuple(self.modes) * len(grid) if len(self.modes) == 1 else tuple(self.modes)

    def resolved(self, problem: "Problem") -> "FNOConfig":
        modes = self.modes_on(problem.domain.shape)
        return self.model_copy(update={"modes": modes[:1] if len(set(modes)) == 1 else modes})

    def check(self, problem: "Problem") -> None:
        """Whether the grid to train on has the modes that are kept, and the harmonics of the coordinates.

        Weights of modes beyond it would never be trained, and act on a finer grid as the random numbers they began as.

        Raises:
            InputError: naming the most that the grid allows, or axes that a Fourier transform is not for.
        """
        _on_grids(self, problem)
        grid = problem.domain.shape
        modes = self.modes_on(grid)
        if len(modes) != len(grid):
            raise InputError(f"model.modes={resolution_text(modes)}: the grid has {len(grid)} axes")
        for kept, points in zip(modes, grid, strict=True):
            if kept > max(points // 2, 1):
                raise InputError(
                    f"model.modes={resolution_text(modes)}: a grid of {points} points has {points // 2} modes to train "
                    f"(give model.modes={points // 2} or less, or a finer data.resolution)"
                )
        harmonics = self.harmonics if self.coordinates == "harmonics" else 0
        if 2 * harmonics >= min(grid):
            raise InputError(
                f"model.harmonics={harmonics}: a grid of {min(grid)} points cannot tell so many waves apart (give "
                f"model.harmonics={(min(grid) - 1) // 2} or less, or a finer data.resolution)"
            )


class OFormerConfig(NetworkConfig):
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

    name: Literal["oformer"] = "oformer"  # pyright: ignore[reportIncompatibleVariableOverride]
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

    builder: ClassVar[str] = "kitipde.models.oformer:build"

    @property
    def marches(self) -> bool:
        return self.marching == "propagator"

    @property
    def residual_channels(self) -> tuple[int, ...]:
        return self.width, self.latent_width

    def check(self, problem: "Problem") -> None:
        """Whether the channels can be turned with the coordinates: in pairs, as many with each.

        Raises:
            InputError: naming sizes that can.
        """
        _on_grids(self, problem)
        dimension = problem.domain.dimension
        unit = 2 * dimension
        for name in ("width", "latent_width"):
            size = getattr(self, name)
            if size % unit:
                below = size - size % unit
                allowed = f"{below} or {below + unit}" if below else f"{unit}"
                raise InputError(
                    f"model.{name}={size}: in {dimension}-D rotary encoding turns {unit} channels at a time "
                    f"(allowed: multiples of {unit}, for example {allowed})"
                )


class AirfoilOFormerConfig(NetworkConfig):
    """Operator transformer on the nodes of a mesh, marched in the latent space, by default in its published sizes.

    Training minimises, for each sample and frame, with z the standardised fields,

        ⟨Σ_c (ẑ_c − z_c)²⟩ over all nodes + w Σ_(a, b) ½⟨(ẑ_a ẑ_b − z_a z_b)²⟩ over the region of interest

    Attributes:
        width: channels of the stream that the residuals join.
        latent_width: channels of the latent field that is marched.
        rope_scales: of the rotary positions, one encoder block each.
        query_scale: of those of the decoder.
        cross_heads: heads of the cross-attention.
        dropout: probability with which an element of the encoding is dropped while training.
        region: ends of the region of interest along x and y, in metres: the airfoil of chord 1 and its neighbourhood.
        region_weight: w.
        region_products: the fields a and b of each product, for example the velocity's components and the density.
    """

    name: Literal["oformer-airfoil"] = "oformer-airfoil"  # pyright: ignore[reportIncompatibleVariableOverride]
    width: Count = 128
    latent_width: Count = 256
    rope_scales: tuple[PositiveFloat, ...] = Field(default=(32.0, 16.0, 16.0, 1.0), min_length=1)
    query_scale: PositiveFloat = 32.0
    cross_heads: Count = 4
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    region: tuple[tuple[float, float], ...] = ((-0.1, 1.4), (-1.2, 1.2))
    region_weight: NonNegativeFloat = 2.0
    region_products: tuple[tuple[str, str], ...] = (("velocity_x", "density"), ("velocity_y", "density"))

    builder: ClassVar[str] = "kitipde.models.oformer_airfoil:build"
    works_on: ClassVar[Literal["grid", "mesh"]] = "mesh"

    def check_run(self, config: Any) -> None:
        """Whether fields of unlike units are standardised, and places keep their digits.

        Raises:
            InputError: if not.
        """
        if config.data.normalize != "standard":
            raise InputError(
                f"data.normalize={config.data.normalize}: pascals and metres per second cannot be learnt side by side; "
                "on a mesh it is standard"
            )
        if config.training.precision == "bf16":
            raise InputError(
                "training.precision=bf16 cannot tell the nodes near the airfoil apart: positions of tens of metres "
                "would be rounded to 0.25 m; allowed on a mesh: float32, tf32"
            )

    @property
    def one_scale(self) -> bool:
        return True

    @property
    def relative_loss(self) -> bool:
        return False

    @property
    def marches(self) -> bool:
        return True

    @property
    def residual_channels(self) -> tuple[int, ...]:
        return (self.width,)

    def check(self, problem: "Problem") -> None:
        """Whether the problem is on a mesh and has the fields whose products count.

        Raises:
            InputError: if not.
        """
        if problem.domain.kind != "mesh":
            raise InputError(
                f"model.name={self.name} works on the nodes of a mesh, and these data are on a grid (airfoil data are "
                "on a mesh)"
            )
        if problem.inputs != problem.targets:
            raise InputError(f"model.name={self.name} predicts the fields that it is given: name the same in both")
        missing = [name for pair in self.region_products for name in pair if name not in problem.targets]
        if self.region_weight and missing:
            raise InputError(
                f"model.region_products names {missing[0]}, which is not predicted "
                f"(allowed: {', '.join(problem.targets)}; or model.region_weight=0)"
            )


_MODES = {1: 16, 2: 12, 3: 8}
"""Default modes for each number of axes."""
