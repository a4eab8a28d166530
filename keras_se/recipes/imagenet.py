"""SE-ResNet-50 on ImageNet: Section 5.1 and Table 2 (arXiv:1709.01507).

Batch 1024, learning rate 0.6, divided by 10 every 30 of 100 epochs, He initialisation; random crops
of 8 to 100 % of the area, flips. The paper has no warm-up; five epochs are added. The weight decay
is from the authors: 1e-4, for SE-BN-Inception 2e-4.

    keras-se train imagenet --set data_dir=/data/imagenet

The folder has `train` and `val` with one folder of pictures per class.

Hardware: eight GPUs with `--strategy mirrored`. Error in the paper: top-1 23.29 %, top-5 6.62 %
(plain 24.80 % and 7.48 %). Not trained here.
"""

from keras_se.training.recipe import Recipe

RECIPE = Recipe(
    model="SEResNet50",
    data="folder",
    image_size=224,
    batch=1024,
    epochs=100,
    learning_rate=0.6,
    learning_rate_batch=1024,
    weight_decay=1e-4,
    schedule="step",
    drops=(30, 60, 90),
    warmup_epochs=5,
    flip=True,
)
