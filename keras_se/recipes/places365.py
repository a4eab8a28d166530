"""SE-ResNet-152 on Places365-Challenge: Section 5.2 and Table 6 (arXiv:1709.01507).

The settings of `imagenet` with fewer epochs, for eight million pictures; the paper says only that
there are more steps.

    keras-se train places365 --set data_dir=/data/places365

The folder has `train` and `val` with one folder of pictures per class.

Hardware: eight GPUs with `--strategy mirrored`. Error in the paper: top-1 40.37 %, top-5 11.01 %
(plain 41.15 % and 11.61 %). Not trained here.
"""

from dataclasses import replace

from keras_se.recipes import imagenet

RECIPE = replace(
    imagenet.RECIPE, model="SEResNet152", epochs=40, drops=(12, 24, 36), warmup_epochs=2
)
