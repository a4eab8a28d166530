"""What a user of the package writes, for `mypy --strict` (tox -e lint); it is not executed."""

import numpy as np

import keras_se

alpha = keras_se.SEMobileNet(weights=None, alpha=0.5, classes=3)
groups = keras_se.SEShuffleNet(weights=None, groups=4, scale=0.5)
deep = keras_se.models.SEResNet50(weights=None, se=keras_se.SEConfig(ratio=8), pooling="avg")
wrong = keras_se.SEResNet50(weights=None, alpha=0.5)  # type: ignore[call-arg]
other = keras_se.SEMobileNet(weights=None, groups=4)  # type: ignore[call-arg]
typo = keras_se.SEShuffleNet(weights=None, groups="4")  # type: ignore[arg-type]

block = keras_se.SqueezeExcite(ratio=8, squeeze="max", gate="hard_sigmoid")
named = keras_se.SqueezeExcite(squeeze="mean")  # type: ignore[arg-type]
found: keras_se.Excitations = keras_se.excitations(alpha, np.zeros((3, 8, 8, 3)), [0, 1, 2])
counts: dict[str, int] = {name: int(n) for name, n in zip(found.classes, found.counts, strict=True)}
multiply_adds: int = keras_se.cost(keras_se.fuse(deep)).macs
smaller = keras_se.prune(keras_se.add_squeeze_excite(groups), found, keep=0.5)
