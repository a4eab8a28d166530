"""SE-ResNet-110 (pre-activation) on CIFAR-10: Section 5.1, Table 4 (arXiv:1709.01507).

Settings of He et al. (arXiv:1603.05027), Appendix: batch 128, learning rate 0.1, divided by 10
after 32,000 and 48,000 of 64,000 steps, flips and crops of the padded picture. The warm-up is one
epoch from zero instead of 400 steps at 0.01.

    keras-se train cifar10
    keras-se train cifar10 --set model=SEWRN16x8 --set epochs=200 --set drops=[60,120,160] \
        --set drop_factor=0.2 --set nesterov=true --set weight_decay=5e-4
    keras-se train cifar10 --set model=SEShakeShake26 --set epochs=1800 --set schedule=cosine \
        --set learning_rate=0.2 --set cutout=16

Hardware: one GPU. Error in the paper: 5.21 % (plain 6.37 %); SE-WRN-16-8 3.88 %,
SE-Shake-Shake-26 2.12 %. Not trained here.
"""

from keras_se.training.recipe import Recipe

RECIPE = Recipe(
    model="SEPreResNet110",
    data="cifar10",
    batch=128,
    epochs=164,
    learning_rate=0.1,
    learning_rate_batch=128,
    weight_decay=1e-4,
    schedule="step",
    drops=(82, 123),
    warmup_epochs=1,
    shift=4,
    flip=True,
)
