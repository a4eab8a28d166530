"""SE-ResNet-164 (pre-activation) on CIFAR-100: Section 5.1, Table 5 (arXiv:1709.01507).

The recipe `cifar10` with 100 classes and bottlenecks.

    keras-se train cifar100
    keras-se train cifar100 --set model=SEShakeShake29 --set epochs=1800 --set schedule=cosine \
        --set batch=32 --set learning_rate=0.025 --set learning_rate_batch=32 \
        --set weight_decay=5e-4 --set cutout=8

Hardware: one GPU. Error in the paper: 21.31 % (plain 24.33 %); SE-Shake-Shake-29 15.41 %.
Not trained here.
"""

from dataclasses import replace

from keras_se.recipes import cifar10

RECIPE = replace(cifar10.RECIPE, model="SEPreResNet164", data="cifar100")
