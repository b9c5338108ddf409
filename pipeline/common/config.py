"""Everything that params.yaml may hold: each key once, with its range, its default and its meaning.

The comments in params.yaml say the same to whoever edits that file. A key with a default may be
left out there. Each part of a recipe (network, optimizer, schedule) has a class of its own here and
is built from it by the module of the same name: `pipeline.networks`, `pipeline.training`.
"""

import difflib
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.common.shell import one_line


def increasing(numbers: list[Any]) -> list[Any]:
    """Return the numbers; raise a ValueError where one does not exceed the one before."""
    if numbers != sorted(set(numbers)):
        raise ValueError("each should be greater than the one before")
    return numbers


def distinct(names: list[str]) -> list[str]:
    """Return the names; raise a ValueError where one comes twice."""
    if len(set(names)) < len(names):
        raise ValueError("each should be there once")
    return names


# Above these, TensorFlow and Python themselves end in errors of their own.
Count = Annotated[int, Field(ge=1, le=100_000)]
CountOrZero = Annotated[int, Field(ge=0, le=100_000)]
Images = Annotated[int, Field(ge=1, le=10_000_000)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
NotNegative = Annotated[float, Field(ge=0, le=1e30)]
ZeroToOne = Annotated[float, Field(ge=0, le=1)]
ZeroToBelowOne = Annotated[float, Field(ge=0, lt=1)]
AboveZeroToOne = Annotated[float, Field(gt=0, le=1)]
BetweenZeroAndOne = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Base of every section: no unknown key, no silent conversion, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def keys_are_known(cls, given: Any) -> Any:
        """Raise a ValueError where a key is not; pydantic would not say which may be meant."""
        known = ", ".join(cls.model_fields)
        for key in given if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                meant = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                hint = f"did you mean {meant[0]}? " if meant else ""
                problem = f"{one_line(key)} = {given[key]!r}: unknown key"
                raise ValueError(f"{problem}; {hint}allowed are {known}")
        return given


# --- networks -------------------------------------------------------------------------------------


class Tutorial(Section):
    name: Literal["tutorial"]
    filters: list[Count] = Field([64, 64, 64], min_length=1, max_length=100)
    kernel_size: Annotated[int, Field(ge=1, le=32)] = 3
    activation: Literal["relu", "elu", "gelu", "silu", "tanh"] = "relu"
    batch_norm: bool = True
    # Convolutions followed by max-pooling, from 1. Five of them leave one pixel of 32.
    pool_after: Annotated[list[Count], AfterValidator(increasing)] = Field([2, 3], max_length=5)
    dropout: ZeroToBelowOne = 0.25
    dense_units: Count = 512
    dense_dropout: ZeroToBelowOne = 0.5

    @model_validator(mode="after")
    def pools_after_its_convolutions(self) -> Self:
        """Raise a ValueError where a pooling follows no convolution."""
        if max(self.pool_after, default=0) > len(self.filters):
            raise ValueError(
                f"pool_after = {self.pool_after}: allowed are numbers up to {len(self.filters)}, "
                "that of the last convolution"
            )
        return self


class Airbench(Section):
    name: Literal["airbench"]
    widths: list[Count] = Field([64, 256, 256], min_length=3, max_length=3)
    block_depth: Annotated[int, Field(ge=2, le=3)] = 2
    whitening_images: Images = 5000
    whitening_epsilon: Positive = 5e-4
    whitening_epochs: CountOrZero = 3
    batch_norm_momentum: ZeroToOne = 0.6
    batch_norm_epsilon: Positive = 1e-12

    # Smaller images leave nothing for the last pooling.
    smallest_side: ClassVar[int] = 9


class ResNet(Section):
    name: Literal["resnet"]
    # 6 n + 2: three equal groups of pairs. Keras goes through a network by recursion, which ends at
    # a thousand layers of all kinds.
    depth: Literal[tuple(range(8, 201, 6))] = 20  # type: ignore[valid-type]
    width: Count = 16

    smallest_side: ClassVar[int] = 1


# --- optimizers, by Keras's names and with Keras's defaults ---------------------------------------


class RMSprop(Section):
    name: Literal["rmsprop"]
    learning_rate: Positive = 0.001
    rho: ZeroToBelowOne = 0.9
    momentum: ZeroToBelowOne = 0.0
    epsilon: Positive = 1e-7
    weight_decay: NotNegative | None = None
    global_clipnorm: Positive | None = None


class SGD(Section):
    name: Literal["sgd"]
    learning_rate: Positive = 0.01
    momentum: ZeroToBelowOne = 0.0
    nesterov: bool = False
    weight_decay: NotNegative | None = None
    global_clipnorm: Positive | None = None


class Adam(Section):
    name: Literal["adam"]
    learning_rate: Positive = 0.001
    beta_1: ZeroToBelowOne = 0.9
    beta_2: ZeroToBelowOne = 0.999
    epsilon: Positive = 1e-7
    weight_decay: NotNegative | None = None
    global_clipnorm: Positive | None = None


class AdamW(Adam):
    name: Literal["adamw"]  # type: ignore[assignment]


class Muon(Section):
    """Muon for kernels, SGD for the rest; SGD's rates and decay are for an image of a batch."""

    name: Literal["muon"]
    kernel_learning_rate: Positive = 0.05
    kernel_momentum: ZeroToBelowOne = 0.6
    newton_schulz_steps: Annotated[int, Field(ge=1, le=20)] = 3
    bias_learning_rate: Positive = 0.0005
    head_learning_rate: Positive = 0.0005
    sgd_momentum: ZeroToBelowOne = 0.85
    sgd_weight_decay: NotNegative = 2e-6
    global_clipnorm: Positive | None = None


# --- schedules of the learning rate ---------------------------------------------------------------


class Constant(Section):
    name: Literal["constant"]
    warmup_epochs: CountOrZero = 0


class Linear(Section):
    name: Literal["linear"]
    # Of the highest rate.
    final_fraction: ZeroToOne = 0.0
    warmup_epochs: CountOrZero = 0


class Cosine(Section):
    name: Literal["cosine"]
    final_fraction: ZeroToOne = 0.0
    warmup_epochs: CountOrZero = 0


class Step(Section):
    name: Literal["step"]
    # Fractions of the training.
    milestones: Annotated[list[BetweenZeroAndOne], AfterValidator(increasing)] = Field(
        [0.5, 0.75], min_length=1, max_length=100
    )
    factor: BetweenZeroAndOne = 0.1
    warmup_epochs: CountOrZero = 0


# --- the data -------------------------------------------------------------------------------------

Location = Annotated[str, Field(min_length=1)]
# A label takes one byte.
Classes = Annotated[
    list[Location],
    Field(min_length=2, max_length=256, json_schema_extra={"uniqueItems": True}),
    AfterValidator(distinct),
]


class Cifar10(Section):
    name: Literal["cifar10"]
    # Where the stage fetch puts it.
    path: Literal["data/raw"] = "data/raw"
    # In the order of their labels; None: all, as they are published.
    classes: Classes | None = None


class Folder(Section):
    name: Literal["folder"]
    # A folder of class folders, or an archive of one; perhaps with train and test above these.
    path: Location
    # Of the square images that the pictures become, in pixels.
    image_size: Annotated[int, Field(ge=16, le=128)] = 32
    test_split: BetweenZeroAndOne = 0.2
    # In the order of their labels; None: all, sorted.
    classes: Classes | None = None


# --- recipes --------------------------------------------------------------------------------------


class Augmentation(Section):
    flip: Literal["none", "random", "alternating"] = "none"
    # In pixels, as `cutout` and `small_image_size`.
    translation: Annotated[int, Field(ge=0, le=16)] = 0
    padding_mode: Literal["reflect", "zeros"] = "reflect"
    cutout: Annotated[int, Field(ge=0, le=128)] = 0
    # The largest change, of pixels in [0, 1].
    brightness: ZeroToBelowOne = 0.0
    contrast: ZeroToBelowOne = 0.0
    noise: ZeroToBelowOne = 0.0
    jpeg_fraction: ZeroToOne = 0.0
    small_image_size: Annotated[int, Field(ge=1, le=128)] = 24
    small_image_fraction: ZeroToOne = 0.0
    # Both parameters of the beta distribution that the shares are drawn from; 0: no mixing.
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0

    def small_image_epochs(self, epochs: int) -> int:
        """Return how many first epochs train on smaller images; the last epoch never does."""
        return min(round(self.small_image_fraction * epochs), epochs - 1)


Network = Tutorial | Airbench | ResNet
Optimizer = RMSprop | SGD | Adam | AdamW | Muon
Schedule = Constant | Linear | Cosine | Step
Dataset = Cifar10 | Folder
# What a recipe is made of, and what else is one of several, each by its name.
PARTS = {"network": Network, "optimizer": Optimizer, "schedule": Schedule}
CHOICES: dict[str, Any] = PARTS | {"dataset": Dataset}


def part_classes(kind: str) -> dict[str, type[Section]]:
    """Return the parts of a kind, for example `optimizer`, by their names."""
    return {get_args(c.model_fields["name"].annotation)[0]: c for c in get_args(CHOICES[kind])}


def unused_keys(kind: str, value: Any) -> list[str]:
    """Return the keys of a part that only others of its kind have."""
    parts = part_classes(kind)
    if not isinstance(value, dict) or value.get("name") not in [*parts]:
        return []
    known = {key for part in parts.values() for key in part.model_fields}
    return [key for key in value if key in known - parts[value["name"]].model_fields.keys()]


def without_keys_of_others(value: Any, info: ValidationInfo) -> Any:
    """Return a part without the keys of others of its kind, so `name` alone switches it."""
    unused = unused_keys(str(info.field_name), value)
    return {k: v for k, v in value.items() if k not in unused} if unused else value


class Recipe(Section):
    network: Network = Field(discriminator="name")
    optimizer: Optimizer = Field(discriminator="name")
    schedule: Schedule = Field(discriminator="name")
    augmentation: Augmentation = Augmentation()
    label_smoothing: ZeroToBelowOne = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    temperature_scaling: bool = True
    ema_momentum: ZeroToBelowOne = 0.0
    hard_example_fraction: AboveZeroToOne = 1.0
    proxy_width: AboveZeroToOne = 0.25
    batch_size: Annotated[int, Field(ge=1, le=50_000)]
    epochs: Count
    restore_best_weights: bool = False
    patience: CountOrZero = 0

    def hard_examples(self, images: int) -> int:
        """Return how many images of a batch are trained on, at least one."""
        return max(1, round(self.hard_example_fraction * images))

    own_keys = field_validator(*PARTS, mode="before")(without_keys_of_others)

    @model_validator(mode="after")
    def parts_fit(self) -> Self:
        """Raise a ValueError where two parts do not fit each other."""
        # A network that names no smallest side takes images of one size only.
        smallest = getattr(self.network, "smallest_side", None)
        side = self.augmentation.small_image_size
        if self.augmentation.small_image_epochs(self.epochs) and side < (smallest or side + 1):
            allowed = f"at least {smallest} x {smallest} pixels" if smallest else "one size only"
            raise ValueError(
                f"augmentation.small_image_size = {side}: network {self.network.name} takes "
                f"images of {allowed}; small_image_fraction 0 switches smaller ones off"
            )
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs = {self.schedule.warmup_epochs}: "
                f"should be less than epochs, {self.epochs}"
            )
        return self


# --- the other stages -----------------------------------------------------------------------------


def listed(source: Any) -> Any:
    """Return what a source of one file stands for, a list of one."""
    return [source] if isinstance(source, str) else source


# Of a source.
Files = Annotated[list[Location], Field(min_length=1)]
Source = Annotated[Files, BeforeValidator(listed, json_schema_input_type=Location | Files)]


class Fetch(Section):
    # Tried in this order.
    sources: Annotated[list[Source], Field(min_length=1)]
    attempts: Annotated[int, Field(ge=1, le=20)]
    stall_seconds: Annotated[float, Field(gt=0, le=600)]
    # In bytes a second, over `stall_seconds`.
    minimum_rate: Annotated[int, Field(ge=1)]
    maximum_bytes: Annotated[int, Field(ge=1)]


class Preprocess(Section):
    # None: all that there are.
    train_size: Images | None
    test_size: Images | None
    validation_split: ZeroToBelowOne


Views = Literal["none", "flip", "flip_translate"]
# "unsure": of the quarter of the images with the lowest confidence.
TestTimeAugmentation = Literal[Views, "flip_translate_unsure"]
Corruption = Literal[
    "noise_8",
    "noise_20",
    "jpeg_90",
    "jpeg_75",
    "jpeg_50",
    "blur_0.6",
    "blur_1",
    "brightness_40",
    "contrast_50",
    "pixelation_16",
]


class Evaluate(Section):
    batch_size: Annotated[int, Field(ge=1, le=10_000)]
    test_time_augmentation: TestTimeAugmentation
    calibration_bins: Annotated[int, Field(ge=1, le=100)]
    corruptions: Annotated[
        list[Corruption], AfterValidator(distinct), Field(json_schema_extra={"uniqueItems": True})
    ]
    corruption_size: Images


class Plots(Section):
    columns: Annotated[int, Field(ge=3, le=12)]
    rows: Annotated[int, Field(ge=1, le=12)]
    dpi: Annotated[int, Field(ge=50, le=400)]


Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "float32", "bfloat16"]
# A dot would separate keys for DVC.
RecipeName = Annotated[str, Field(pattern=r"^[\w-]+$")]


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: Device
    precision: Precision
    recipe: RecipeName
    recipes: dict[RecipeName, Recipe]
    start_from: Location
    dataset: Dataset = Field(discriminator="name")
    fetch: Fetch
    preprocess: Preprocess
    evaluate: Evaluate
    plots: Plots

    own_keys = field_validator("dataset", mode="before")(without_keys_of_others)

    @model_validator(mode="after")
    def recipe_is_there(self) -> Self:
        """Raise a ValueError where `recipe` names none."""
        if self.recipe not in self.recipes:
            allowed = ", ".join(self.recipes)
            raise ValueError(f"recipe = {self.recipe!r}: allowed are those of recipes: {allowed}")
        return self
