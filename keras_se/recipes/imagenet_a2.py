"""SE-ResNet-50 on ImageNet, modern recipe: procedure A2 of ResNet strikes back (arXiv:2110.00476).

Its Table 2: 300 epochs at 224 pixels, LAMB with learning rate 0.005 and weight decay 0.02, five
epochs of warm-up and a cosine, three repeats of each picture, RandAugment 7/0.5, mixup 0.1 and
CutMix 1.0, stochastic depth 0.05, no label smoothing, test crop 95 %. Mixed pictures are
multi-label (Section 3): binary cross-entropy with a target of one for each class whose share is
above 0.2.

    keras-se train imagenet_a2 --set data_dir=/data/imagenet

The folder has `train` and `val` with one folder of pictures per class.

The batch is 2040, since 2048 is not a multiple of three; eight GPUs share it evenly, and the
learning rate scales with it. These follow the defaults of timm, with which the paper trained: the
strides and the stem's pool, the zero scale of each branch's last BatchNorm, and two operations of
RandAugment, each applied with probability one half; the threshold is that of its users' A2. The
operations are the fourteen of the RandAugment paper, not timm's fifteen; crops are resized
bilinearly.

Hardware: eight GPUs with `--strategy mirrored`. Error in the paper: top-1 19.90 % (plain 20.17 %).
Not trained here.
"""

from dataclasses import replace

from keras_se.recipes import imagenet

RECIPE = replace(
    imagenet.RECIPE,
    variant={
        "stem_pool": "pad1",
        "stride_on": "3x3",
        "stochastic_depth": 0.05,
        "zero_last_gamma": True,
    },
    batch=2040,
    epochs=300,
    optimizer="lamb",
    learning_rate=0.005,
    learning_rate_batch=2048,
    weight_decay=0.02,
    schedule="cosine",
    drops=(),
    warmup_epochs=5,
    loss="sigmoid",
    target_threshold=0.2,
    repeats=3,
    rand_augment=2,
    rand_augment_magnitude=7.0,
    rand_augment_deviation=0.5,
    rand_augment_probability=0.5,
    mixup=0.1,
    cutmix=1.0,
    crop=0.95,
)
