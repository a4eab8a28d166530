"""Fine-tuning a published set of weights on other data, which may be small.

Every layer is trained, with Nesterov momentum and a cosine, like Kornblith, Shlens and Le
(arXiv:1805.08974); the new classifier starts at zero, so that the trained layers do not change
before it does (Dosovitskiy et al., arXiv:2010.11929, Section 3.2). Size, crop, normalisation and
variant are those of the set.

    keras-se train finetune --set data=folder --set data_dir=flowers
    keras-se train finetune --set data=tfds:oxford_flowers102 --set data_dir=/data/tfds
    keras-se train finetune --set model=SEResNet20 --set weights=fashion_mnist \
        --set data=folder --set data_dir=digits --set flip=false --set crop_area=[0.6,1] \
        --set epochs=5

Hardware: one GPU for SE-ResNet-50 at 224 x 224; two processor cores for the last command. Measured
there, on scikit-learn's 1,797 digits as PNG files of 8 x 8 pixels: top-1 98.61 % on the held-out
fifth. The first two commands were not run.
"""

from keras_se.training.recipe import Recipe

RECIPE = Recipe(
    model="SEResNet50",
    weights="imagenet",
    new_head=True,
    data="folder",
    crop_area=(0.25, 1.0),
    crop=None,
    batch=32,
    epochs=20,
    learning_rate=0.01,
    learning_rate_batch=32,
    nesterov=True,
    weight_decay=1e-4,
    warmup_epochs=1,
    flip=True,
)
