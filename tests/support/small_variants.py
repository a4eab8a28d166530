"""A small network of every family that has one: the fields of its description and the head."""

from keras_se import SEConfig

# The variant, and other arguments of the builder.
SMALL = {
    "SEResNet50": {"variant": {"blocks": (1, 1, 1, 1), "widths": (16, 16, 16, 32)}},
    "SEResNeXt50": {
        "variant": {"blocks": (1, 1), "widths": (16, 32), "base_width": 16, "groups": 4}
    },
    "SENet154": {
        "variant": {
            "blocks": (1, 1), "widths": (16, 32), "base_width": 16, "groups": 4,
            "stem_widths": (8, 8, 16),
        }
    },
    "SEResNetRS50": {"variant": {"blocks": (1, 1), "widths": (16, 32), "stem_widths": (8, 8, 16)}},
    "SEResNet20": {"variant": {"blocks": (1, 1, 1)}},
    "SEPreResNet110": {"variant": {"blocks": (1, 1, 1)}},
    "SEPreResNet164": {"variant": {"blocks": (1, 1, 1)}},
    "SEWRN16x8": {"variant": {"blocks": (1, 1, 1), "widths": (16, 16, 32)}},
    "SEShakeShake26": {"variant": {"blocks": (1, 1, 1), "widths": (8, 16, 32)}},
    "SEShakeShake29": {
        "variant": {"blocks": (1, 1, 1), "stem_width": 16, "widths": (16, 16, 32), "groups": 4}
    },
    "SEDenseNet121": {"variant": {"blocks": (1, 2, 1), "growth_rate": 8, "stem_width": 16}},
    # Each gate about halves the maps; thirteen leave nothing of the input.
    "SEMobileNet": {"alpha": 0.25, "se": SEConfig(stages=(1, 5))},
    "SEShuffleNet": {"groups": 2, "scale": 0.24},
    "SEVGG16": {"variant": {"blocks": (1, 2), "widths": (16, 16), "fully_connected": (16,)}},
}  # fmt: skip
