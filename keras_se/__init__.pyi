from . import layers as layers
from . import models as models
from .config import SEConfig as SEConfig
from .labels import decode_predictions as decode_predictions
from .layers import SqueezeExcite as SqueezeExcite
from .models import SENet154 as SENet154
from .models import SEPreResNet110 as SEPreResNet110
from .models import SEPreResNet164 as SEPreResNet164
from .models import SEResNet18 as SEResNet18
from .models import SEResNet20 as SEResNet20
from .models import SEResNet32 as SEResNet32
from .models import SEResNet34 as SEResNet34
from .models import SEResNet44 as SEResNet44
from .models import SEResNet50 as SEResNet50
from .models import SEResNet56 as SEResNet56
from .models import SEResNet101 as SEResNet101
from .models import SEResNet110 as SEResNet110
from .models import SEResNet152 as SEResNet152
from .models import SEResNeXt50 as SEResNeXt50
from .models import SEResNeXt101 as SEResNeXt101
from .models import SEWRN16x8 as SEWRN16x8
from .models import list_models as list_models
from .pictures import load_image as load_image
from .pictures import preprocess_input as preprocess_input
from .weights.entries import Weights as Weights
from .weights.entries import list_weights as list_weights

__version__: str
