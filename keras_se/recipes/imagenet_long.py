"""SE-ResNet-50 on ImageNet for 270 epochs: Section 6 and its footnote (arXiv:1709.01507).

As `imagenet`, but batch 256 and learning rate 0.1, a tenth of it after 125, 200 and 250 epochs, and
label smoothing, whose share of 0.1 is Inception-v3's: the paper names none.

    keras-se train imagenet_long --set data_dir=/data/imagenet --set se.ratio=8

Hardware: eight GPUs with `--strategy mirrored`. Error that the paper claims for the ablations'
SE-ResNet-50: top-1 22.28 %, top-5 6.03 %. Not trained here.
"""

from dataclasses import replace

from keras_se.recipes import imagenet

RECIPE = replace(
    imagenet.RECIPE,
    batch=256,
    epochs=270,
    learning_rate=0.1,
    learning_rate_batch=256,
    drops=(125, 200, 250),
    label_smoothing=0.1,
)
