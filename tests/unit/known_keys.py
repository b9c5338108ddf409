"""Every key of every part of a recipe: its default and its values, written down by hand."""

from tests.unit.allowed_values import (
    BATCH_SIZE,
    COUNT,
    COUNT_OR_NONE,
    FILTERS,
    FRACTION,
    INSIDE,
    MILESTONES,
    NOT_NEGATIVE,
    POOL_AFTER,
    POSITIVE,
    SIX_N_PLUS_TWO,
    TRUTH,
    WIDTHS,
    Key,
    Values,
    choice,
    integers,
    or_null,
    part,
    share,
)

Keys = dict[str, Key]

ACTIVATION = choice(
    *("relu", "elu", "gelu", "silu", "tanh"),
    says="'relu', 'elu', 'gelu', 'silu' or 'tanh'",
    comment="relu, elu, gelu, silu or tanh",
)
KERAS: Keys = {
    "learning_rate": Key(0.001, POSITIVE),
    "weight_decay": Key(None, or_null(NOT_NEGATIVE)),
}
ADAM: Keys = {
    "beta_1": Key(0.9, share("beta_1")),
    "beta_2": Key(0.999, share("beta_2")),
    "epsilon": Key(1e-7, POSITIVE),
}
ANY_OPTIMIZER: Keys = {"global_clipnorm": Key(None, or_null(POSITIVE))}
ANY_SCHEDULE: Keys = {"warmup_epochs": Key(0, COUNT_OR_NONE)}

# By kind and name.
PARTS: dict[str, dict[str, Keys]] = {
    "network": {
        "tutorial": {
            "filters": Key([64, 64, 64], FILTERS),
            "kernel_size": Key(3, integers(1, 32, "1 to 32")),
            "activation": Key("relu", ACTIVATION),
            "batch_norm": Key(True, TRUTH),
            "pool_after": Key([2, 3], POOL_AFTER),
            "dropout": Key(0.25, share("dropout")),
            "dense_units": Key(512, COUNT),
            "dense_dropout": Key(0.5, share("dense_dropout")),
        },
        "airbench": {
            "widths": Key([64, 256, 256], WIDTHS),
            "block_depth": Key(2, integers(2, 3, "2 to 3")),
            "whitening_images": Key(5000, integers(1, 50_000, "1 to 50000")),
            "whitening_epsilon": Key(5e-4, POSITIVE),
            "whitening_epochs": Key(3, COUNT_OR_NONE),
            "batch_norm_momentum": Key(0.6, FRACTION),
            "batch_norm_epsilon": Key(1e-12, POSITIVE),
        },
        "resnet": {"depth": Key(20, SIX_N_PLUS_TWO), "width": Key(16, COUNT)},
    },
    "optimizer": {
        "rmsprop": {
            **KERAS,
            **ANY_OPTIMIZER,
            "rho": Key(0.9, share("rho")),
            "momentum": Key(0.0, share("momentum")),
            "epsilon": Key(1e-7, POSITIVE),
        },
        "sgd": {
            **KERAS,
            **ANY_OPTIMIZER,
            "learning_rate": Key(0.01, POSITIVE),
            "momentum": Key(0.0, share("momentum")),
            "nesterov": Key(False, TRUTH),
        },
        "adam": KERAS | ADAM | ANY_OPTIMIZER,
        "adamw": KERAS | ADAM | ANY_OPTIMIZER,
        "muon": {
            "kernel_learning_rate": Key(0.05, POSITIVE),
            "kernel_momentum": Key(0.6, share("kernel_momentum")),
            "newton_schulz_steps": Key(3, integers(1, 20, "1 to 20")),
            "bias_learning_rate": Key(0.0005, POSITIVE),
            "head_learning_rate": Key(0.0005, POSITIVE),
            "sgd_momentum": Key(0.85, share("sgd_momentum")),
            "sgd_weight_decay": Key(2e-6, NOT_NEGATIVE),
            **ANY_OPTIMIZER,
        },
    },
    "schedule": {
        "constant": ANY_SCHEDULE,
        "linear": ANY_SCHEDULE | {"final_share": Key(0.0, FRACTION)},
        "cosine": ANY_SCHEDULE | {"final_share": Key(0.0, FRACTION)},
        "step": {
            **ANY_SCHEDULE,
            "milestones": Key([0.5, 0.75], MILESTONES),
            "factor": Key(0.1, INSIDE),
        },
    },
}
FLIP = choice(
    *("none", "random", "alternating"),
    says="'none', 'random' or 'alternating'",
    comment="none, random, or alternating",
)
BORDER = choice("mirrored", "zero", says="'mirrored' or 'zero'", comment="mirrored or zero")
AUGMENTATION: Keys = {
    "flip": Key("none", FLIP),
    "translation": Key(0, integers(0, 16, "0 to 16")),
    "border": Key("mirrored", BORDER),
    "cutout": Key(0, integers(0, 32, "0 to 32")),
    "brightness": Key(0.0, share("brightness")),
    "contrast": Key(0.0, share("contrast")),
    "noise": Key(0.0, share("noise")),
    "jpeg": Key(0.0, FRACTION),
    "low_resolution": Key(24, integers(1, 32, "1 to 32")),
    "low_resolution_share": Key(0.0, FRACTION),
}
KEEP = choice("last", "best", says="'last' or 'best'", comment="last or best")
PATIENCE = integers(0, 100_000, "0: never")
# The keys of the recipe itself; those without a default are never left out.
REQUIRED: dict[str, Values] = {"batch_size": BATCH_SIZE, "epochs": COUNT}
OWN: Keys = {
    "label_smoothing": Key(0.0, share("label_smoothing")),
    "temperature_scaling": Key(True, TRUTH),
    "ema_momentum": Key(0.0, share("ema_momentum")),
    "hardest_share": Key(1.0, part("hardest_share")),
    "proxy_width": Key(0.25, part("proxy_width")),
    "keep": Key("last", KEEP),
    "patience": Key(0, PATIENCE),
}


def defaults(keys: Keys) -> dict[str, object]:
    """Return the value that each key has where it is left out."""
    return {name: key.default for name, key in keys.items()}
