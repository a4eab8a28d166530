"""How far apart colours are, also to those who do not see all of them."""

import numpy as np

# Linear RGB as it is seen with all three kinds of cones, or without one of them: Machado, Oliveira,
# Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency (2009).
VISIONS = {
    "all cones": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
    "tritanopia": np.array([
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]),
}  # fmt: skip
# sRGB to XYZ, and the white point D65 (IEC 61966-2-1).
XYZ = np.array([
    [0.4124, 0.3576, 0.1805],
    [0.2126, 0.7152, 0.0722],
    [0.0193, 0.1192, 0.9505],
])  # fmt: skip
WHITE = XYZ.sum(1)


def lab(colour, vision="all cones"):
    """CIELAB of a colour `"#rrggbb"`."""
    values = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(VISIONS[vision] @ linear, 0, 1) / WHITE
    cubes = [v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z)]
    return np.array([
        116 * cubes[1] - 16, 500 * (cubes[0] - cubes[1]), 200 * (cubes[1] - cubes[2])
    ])  # fmt: skip


def difference(one, other, vision="all cones"):
    """Delta E (CIE 1976): about 2 is just seen side by side."""
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))
