"""SE-ResNet-20 on Fashion-MNIST, 28 x 28: the package's own small task.

CIFAR-10 settings of He et al. (arXiv:1512.03385), Section 4, which the SE paper adopts
(arXiv:1709.01507, Section 5.1), with a cosine instead of the steps and a shorter run.

    keras-se train fashion_mnist

Hardware: two processor cores, about 100 seconds per epoch.
"""

from keras_se.training.recipe import Recipe

RECIPE = Recipe(
    model="SEResNet20",
    data="fashion_mnist",
    held_out=5000,
    batch=128,
    epochs=30,
    learning_rate=0.1,
    learning_rate_batch=128,
    nesterov=True,
    weight_decay=5e-4,
    warmup_epochs=1,
    shift=2,
    flip=True,
    cutout=8,
    cutout_probability=0.5,
)
