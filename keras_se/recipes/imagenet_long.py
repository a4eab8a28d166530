"""SE-ResNet-50 on ImageNet for 270 epochs: Section 6 and its footnote (arXiv:1709.01507).

Like `imagenet`, but batch 256, learning rate 0.1, divided by 10 after 125, 200 and 250 epochs, and
label smoothing of 0.1, as in Inception-v3: the paper gives no value.

    keras-se train imagenet_long --set data_dir=/data/imagenet --set se.ratio=8

Hardware: eight GPUs with `--strategy mirrored`. Error in the paper for the ablations' SE-ResNet-50:
top-1 22.28 %, top-5 6.03 %. Not trained here.
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
