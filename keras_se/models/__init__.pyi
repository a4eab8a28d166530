from ._residual import ResidualNetwork as ResidualNetwork
from .cifar import SEPreResNet110 as SEPreResNet110
from .cifar import SEPreResNet164 as SEPreResNet164
from .cifar import SEResNet20 as SEResNet20
from .cifar import SEResNet32 as SEResNet32
from .cifar import SEResNet44 as SEResNet44
from .cifar import SEResNet56 as SEResNet56
from .cifar import SEResNet110 as SEResNet110
from .cifar import SEWRN16x8 as SEWRN16x8
from .imagenet import SENet154 as SENet154
from .imagenet import SEResNet18 as SEResNet18
from .imagenet import SEResNet34 as SEResNet34
from .imagenet import SEResNet50 as SEResNet50
from .imagenet import SEResNet101 as SEResNet101
from .imagenet import SEResNet152 as SEResNet152
from .imagenet import SEResNeXt50 as SEResNeXt50
from .imagenet import SEResNeXt101 as SEResNeXt101

def list_models() -> list[str]: ...
