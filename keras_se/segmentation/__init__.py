"""Networks that answer for every pixel, on the package's networks as backbones."""
