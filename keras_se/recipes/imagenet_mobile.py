"""SE-MobileNet on ImageNet: Section 5.1 and Table 3 (arXiv:1709.01507).

Batch 256, learning rate 0.1, little decay and larger crops, as ShuffleNet's authors use for small
networks. A cosine of 400 epochs replaces the paper's steps, taken when validation stagnates.

    keras-se train imagenet_mobile --set data_dir=/data/imagenet
    keras-se train imagenet_mobile --set data_dir=/data/imagenet --set model=SEShuffleNet

Hardware: eight GPUs with `--strategy mirrored`. Error in the paper: SE-MobileNet top-1 25.3 %,
top-5 7.7 % (plain 28.4 % and 9.4 %); SE-ShuffleNet 31.0 % and 11.1 %. Not trained here.
"""

from dataclasses import replace

from keras_se.recipes import imagenet

RECIPE = replace(
    imagenet.RECIPE,
    model="SEMobileNet",
    batch=256,
    epochs=400,
    learning_rate=0.1,
    learning_rate_batch=256,
    weight_decay=4e-5,
    schedule="cosine",
    drops=(),
    crop_area=(0.25, 1.0),
)
