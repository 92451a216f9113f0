"""The healthy chest that models/phantom.py draws findings into: outlines, anatomy, drawing tools.

numpy and Pillow draw; all lengths are shares of the film, so that a size is chosen once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from models.film import Pixels

Floats = npt.NDArray[np.float32]
Points = Sequence[tuple[float, float]]

# Outlines in shares of width and height. The patient's right lung is on the left of the picture.
_RIGHT_LUNG: Points = (
    (0.345, 0.105),
    (0.405, 0.160),
    (0.430, 0.260),
    (0.435, 0.400),
    (0.425, 0.560),
    (0.410, 0.690),
    (0.345, 0.672),
    (0.265, 0.675),
    (0.190, 0.710),
    (0.128, 0.800),
    (0.110, 0.680),
    (0.118, 0.520),
    (0.148, 0.350),
    (0.205, 0.200),
    (0.275, 0.125),
)
_LEFT_LUNG: Points = (
    (0.655, 0.105),
    (0.595, 0.160),
    (0.565, 0.260),
    (0.560, 0.400),
    (0.570, 0.560),
    (0.585, 0.725),
    (0.660, 0.708),
    (0.740, 0.710),
    (0.815, 0.745),
    (0.872, 0.825),
    (0.890, 0.690),
    (0.882, 0.520),
    (0.852, 0.350),
    (0.795, 0.200),
    (0.725, 0.125),
)
_HEART: Points = (
    (0.430, 0.420),
    (0.500, 0.330),
    (0.575, 0.350),
    (0.605, 0.460),
    (0.665, 0.570),
    (0.715, 0.680),
    (0.700, 0.745),
    (0.600, 0.770),
    (0.470, 0.760),
    (0.405, 0.700),
    (0.395, 0.600),
    (0.410, 0.500),
)
_BODY: Points = (
    (0.430, -0.100),
    (0.420, 0.010),
    (0.340, 0.045),
    (0.160, 0.090),
    (0.020, 0.170),
    (-0.060, 0.300),
    (-0.060, 0.420),
    (0.030, 0.470),
    (0.045, 0.700),
    (0.030, 1.100),
    (0.970, 1.100),
    (0.955, 0.700),
    (0.970, 0.470),
    (1.060, 0.420),
    (1.060, 0.300),
    (0.980, 0.170),
    (0.840, 0.090),
    (0.660, 0.045),
    (0.580, 0.010),
    (0.570, -0.100),
)


class Chest:
    """The anatomy while it is being drawn; `density` grows, `air` masks say where a lung is."""

    def __init__(self, rng: np.random.Generator, size: int, labels: tuple[str, ...]) -> None:
        self.rng, self.size = rng, size
        wide = 1.0 + rng.uniform(-0.03, 0.03)
        tall = 1.0 + rng.uniform(-0.04, 0.03)
        flat = 0.55 if "Emphysema" in labels else 0.0  # over-inflation flattens the diaphragm
        self.place = (wide, tall * (1.06 if flat else 1.0), rng.uniform(-0.012, 0.012))
        self.right = self.mask(self._jittered(_RIGHT_LUNG, flat), 0.003)
        self.left = self.mask(self._jittered(_LEFT_LUNG, flat), 0.003)
        swell = rng.uniform(1.30, 1.45) if "Cardiomegaly" in labels else rng.uniform(0.90, 1.02)
        self.heart = self.mask(self._swollen(_HEART, swell), 0.006)
        self.lungs = np.maximum(self.right, self.left)
        self.body = self.mask(self._jittered(_BODY, 0), 0.004)
        self.vessels_hidden: Floats = np.zeros((size, size), np.float32)
        self.findings: Floats = np.zeros((size, size), np.float32)
        self.inflated = "Emphysema" in labels

    def _jittered(self, outline: Points, flat: float) -> Points:
        noise = self.rng.normal(0, 0.004, (len(outline), 2))
        points = np.asarray(outline) + noise
        if flat:  # the four points of the dome, towards a line
            points[5:9, 1] = (1 - flat) * points[5:9, 1] + flat * (points[9, 1] - 0.01)
        return self.placed(points)

    def _swollen(self, outline: Points, swell: float) -> Points:
        points = np.asarray(outline) + self.rng.normal(0, 0.004, (len(outline), 2))
        centre = np.array([0.53, 0.62])
        return self.placed(centre + (points - centre) * [swell, 1 + (swell - 1) * 0.45])

    def placed(self, points: npt.NDArray[np.float64]) -> Points:
        """Shares of the film of points in this patient's own proportions."""
        wide, tall, shift = self.place
        moved = np.stack(
            [0.5 + shift + (points[:, 0] - 0.5) * wide, 0.45 + (points[:, 1] - 0.45) * tall], axis=1
        )
        return [(float(x), float(y)) for x, y in moved]

    # --- drawing tools, all in shares of the film -----------------------------------------------

    def mask(self, outline: Points, blur: float) -> Floats:
        """0..1 inside a smooth closed outline."""
        canvas = Image.new("L", (self.size, self.size))
        ImageDraw.Draw(canvas).polygon(self._pixels(smooth(outline)), fill=255)
        return self.blurred(canvas, blur)

    def stroke(self, points: Points, width: float, blur: float) -> Floats:
        """0..1 along a smooth open line."""
        canvas = Image.new("L", (self.size, self.size))
        self.line(ImageDraw.Draw(canvas), smooth(points, closed=False), width, 255)
        return self.blurred(canvas, blur)

    def line(self, pen: ImageDraw.ImageDraw, points: Points, width: float, fill: int) -> None:
        pen.line(self._pixels(points), fill, max(1, round(width * self.size)), joint="curve")

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [(x * self.size, y * self.size) for x, y in points]

    def blurred(self, canvas: Image.Image, blur: float) -> Floats:
        soft = canvas.filter(ImageFilter.GaussianBlur(blur * self.size)) if blur else canvas
        return np.asarray(soft, np.float32) / np.float32(255)

    def blur(self, field: Floats, radius: float) -> Floats:
        canvas = Image.fromarray((np.clip(field, 0, 1) * 255).astype(np.uint8))
        return self.blurred(canvas, radius)

    def clouds(self, grain: float) -> Floats:
        """Smooth noise 0..1 whose lumps are `grain` of the film wide."""
        cells = max(3, round(1 / grain))
        coarse = self.rng.random((cells, cells), np.float32)
        canvas = Image.fromarray(coarse).resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.clip(np.asarray(canvas, np.float32), 0, 1)

    def grid(self) -> tuple[Floats, Floats]:
        """x and y of every pixel in shares of the film."""
        axis = (np.arange(self.size, dtype=np.float32) + np.float32(0.5)) / np.float32(self.size)
        return axis[None, :], axis[:, None]

    def disc(self, x: float, y: float, rx: float, ry: float, *, lumpy: float = 0.0) -> Floats:
        """0..1 inside an ellipse whose edge wobbles by the share `lumpy`."""
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        reach = 1 + lumpy * self.rng.uniform(-1, 1, len(angles))
        xs, ys = x + rx * reach * np.cos(angles), y + ry * reach * np.sin(angles)
        return self.mask(list(zip(xs.tolist(), ys.tolist(), strict=True)), 0.004)

    def side(self) -> tuple[Floats, float]:
        """A lung by chance, and +1 if it is the one on the right of the picture, else -1."""
        return (self.left, 1.0) if self.rng.random() < 0.5 else (self.right, -1.0)

    def spot(self, side: float, low: float, high: float) -> tuple[float, float]:
        """A point well inside that lung, between these heights."""
        y = self.rng.uniform(low, high)
        x = 0.5 + side * self.rng.uniform(0.17, 0.27)
        return self.placed(np.array([[x, y]]))[0]

    # --- normal anatomy -------------------------------------------------------------------------

    def developed(self) -> Pixels:
        """The finished film: 8-bit, grain included."""
        x, y = self.grid()
        soft = self.blur(self.body, 0.09)
        density = self.body * (0.34 + 0.34 * soft**2 + 0.06 * np.clip(y - 0.2, 0, 1))
        depth = 0.45 + 0.55 * self.blur(self.lungs, 0.035)
        density -= self.lungs * depth * (0.53 if self.inflated else 0.44)
        belly = self._belly(x, y)
        density += 0.13 * belly * self.body * (0.85 + 0.3 * self.clouds(0.15))
        heart = self.heart * (1 - 0.8 * belly)
        density += 0.24 * heart * (0.55 + 0.45 * self.blur(self.heart, 0.03))
        density += self._mediastinum(x, y)
        density += self._bones()
        vessels = self._vessels() * self.lungs * (1 - self.vessels_hidden)
        density += (0.06 if self.inflated else 0.14) * vessels
        density += self.findings
        density += 0.07 * (self.clouds(0.12) - 0.5) + 0.05 * (self.clouds(0.035) - 0.5)
        # Film curve: dense parts saturate softly, the background stays nearly black.
        film = 1 - np.exp(-1.85 * np.clip(density, 0.015, None))
        film = np.clip(film, 0, 1) ** 0.92
        grain = self.rng.normal(0, 1, film.shape).astype(np.float32)
        film += 0.018 * grain * (1.15 - film)
        marked = Image.fromarray((np.clip(film * 1.12, 0, 1) * 250).astype(np.uint8))
        self._marker(ImageDraw.Draw(marked))
        return np.array(marked)

    def _marker(self, pen: ImageDraw.ImageDraw) -> None:
        """The lead letter L on the patient's left."""
        at, step = np.array([0.92, 0.05]) * self.size, 0.03 * self.size
        (x, y), width = at, max(2, self.size // 150)
        pen.line([(x, y), (x, y + step), (x + 0.6 * step, y + step)], fill=245, width=width)

    def _belly(self, x: Floats, y: Floats) -> Floats:
        """0..1 below the diaphragm, which ends in the gas of the stomach on the left."""
        below = np.maximum.accumulate(self.lungs, axis=0) * (1 - self.lungs)
        ever = 1 / (1 + np.exp(np.clip(-(y - 0.74) / 0.012, -40, 40)))
        gas = self.blur(self.disc(*self.placed(np.array([[0.70, 0.80]]))[0], 0.07, 0.045), 0.012)
        return np.asarray(np.maximum(below * (y > 0.5), ever) * (1 - 0.7 * gas), np.float32)

    def _mediastinum(self, x: Floats, y: Floats) -> Floats:
        middle = 0.5 + self.place[2]
        spine = np.exp(-(((x - middle) / 0.043) ** 4)) * np.ones_like(y)
        discs = 0.5 + 0.5 * np.cos(2 * np.pi * y / 0.055)
        vessels = np.exp(-(((x - middle) / 0.072) ** 4)) * np.exp(-((y / 0.68) ** 10))
        windpipe = np.exp(-(((x - middle + 0.008) / 0.018) ** 4)) * np.exp(-((y / 0.33) ** 8))
        knob = self.disc(*self.placed(np.array([[0.572, 0.275]]))[0], 0.034, 0.040)
        found = 0.13 * spine + 0.03 * spine * discs + 0.14 * vessels - 0.09 * windpipe
        return np.asarray((found + 0.11 * knob) * self.body, np.float32)

    def _bones(self) -> Floats:
        """Ribs behind and in front, collar bones, shoulder blades: bright rims, fainter inside."""
        size = self.size
        full, inner = Image.new("L", (size, size)), Image.new("L", (size, size))
        front = Image.new("L", (size, size))
        pens = [ImageDraw.Draw(canvas) for canvas in (full, inner, front)]
        for side in (-1.0, 1.0):
            for number in range(10):
                drop = 0.105 + number * 0.066
                reach = 0.235 + 0.17 * np.sin(np.pi * min(number + 1.6, 8) / 13)
                behind = [
                    (0.5 + side * 0.035, drop),
                    (0.5 + side * (0.06 + 0.35 * reach), drop - 0.012 + 0.003 * number),
                    (0.5 + side * (0.03 + 0.72 * reach), drop + 0.030 + 0.006 * number),
                    (0.5 + side * reach, drop + 0.110 + 0.010 * number),
                ]
                ahead = [
                    (0.5 + side * reach, drop + 0.110 + 0.010 * number),
                    (0.5 + side * reach * 0.86, drop + 0.185 + 0.008 * number),
                    (0.5 + side * reach * 0.60, drop + 0.215 + 0.006 * number),
                    (0.5 + side * reach * 0.42, drop + 0.210),
                ]
                rib = smooth(self.placed(np.asarray(behind)), closed=False)
                self.line(pens[0], rib, 0.026, 150)
                self.line(pens[1], rib, 0.017, 150)
                if 1 <= number <= 6:
                    path = smooth(self.placed(np.asarray(ahead)), closed=False)
                    self.line(pens[2], path, 0.028, 110)
            for points, width, level in (
                ([(0.055, 0.155), (0.18, 0.115), (0.32, 0.120), (0.42, 0.085)], 0.030, 220),
                ([(0.245, 0.45), (0.30, 0.33), (0.345, 0.20), (0.40, 0.12)], 0.008, 70),
            ):
                path = self.placed(np.array([(0.5 + side * x, y) for x, y in points]))
                self.line(pens[0], smooth(path, closed=False), width, level)
                self.line(pens[1], smooth(path, closed=False), width * 0.6, level)
        rims = 0.17 * self.blurred(full, 0.0022) - 0.085 * self.blurred(inner, 0.0035)
        return np.asarray((rims + 0.055 * self.blurred(front, 0.003)) * self.body, np.float32)

    def _vessels(self) -> Floats:
        """Branches from either hilum that thin out towards the chest wall."""
        canvas = Image.new("L", (self.size, self.size))
        pen = ImageDraw.Draw(canvas)
        for side in (-1.0, 1.0):
            hilum = np.array([0.5 + side * 0.085, 0.43])
            for angle in np.linspace(-1.25, 1.35, 9) + self.rng.normal(0, 0.08, 9):
                heading = np.array([side * np.cos(angle), np.sin(angle)])
                self.branch(pen, hilum, heading, 0.011, 5)
        root = self.blurred(canvas, 0.0024)
        glow = self.blurred(canvas, 0.014)
        return np.asarray(root + 0.9 * glow, np.float32)

    def branch(
        self,
        pen: ImageDraw.ImageDraw,
        start: npt.NDArray[np.float64],
        heading: npt.NDArray[np.float64],
        width: float,
        left: int,
    ) -> None:
        end = start + heading * self.rng.uniform(0.035, 0.065)
        path = self.placed(np.stack([start, end]))
        self.line(pen, path, width, int(90 + 120 * min(width / 0.011, 1)))
        if left == 0:
            return
        for turn in self.rng.normal(0, 0.30, 1 if self.rng.random() < 0.45 else 2):
            cos, sin = np.cos(turn), np.sin(turn)
            turned = np.array([[cos, -sin], [sin, cos]]) @ heading
            self.branch(pen, end, turned, width * 0.72, left - 1)


def smooth(points: Points, *, closed: bool = True, steps: int = 8) -> Points:
    """A Catmull-Rom curve through the points."""
    given = np.asarray(points, np.float64)
    around = (
        np.concatenate([given[-1:], given, given[:2]])
        if closed
        else np.concatenate([given[:1], given, given[-1:]])
    )
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = []
    for p0, p1, p2, p3 in zip(around, around[1:], around[2:], around[3:], strict=False):
        curve.append(
            0.5
            * (
                2 * p1
                + (p2 - p0) * t
                + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
                + (3 * p1 - p0 - 3 * p2 + p3) * t**3
            )
        )
    if not closed:
        curve.append(given[-1:])
    return [(float(x), float(y)) for x, y in np.concatenate(curve)]
