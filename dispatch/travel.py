"""Where things are and how long an ambulance needs between them.

Pure geometry on the sphere: the answer is an estimate and says so (TravelSource). No router is
asked (road_times.py), no traffic feed read, no emergency room known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EARTH_RADIUS_KM = 6371.0088  # mean radius R1, IUGG
# Roads are longer than the straight line: about 1.4 on average over 66,000 trips to hospitals
# (Boscoe, Henry, Zdeb 2012, PMC3835347). Rivers and hills make single trips worse.
ROAD_FACTOR = 1.4
# Door-to-door means in a large city, signals and turns included. Assumptions, not measurements:
# replace them by a region's own run times.
SPEED_LIGHTS_AND_SIREN_KMH = 36.0
SPEED_ORDINARY_KMH = 24.0


class TravelSource(StrEnum):
    """How a travel time was found; screens show it."""

    STRAIGHT_LINE = "straight_line"  # great circle x road factor / speed: an estimate
    ROAD = "road"  # a road service worked it out


@dataclass(frozen=True)
class Position:
    """WGS 84 degrees; ValueError naming the field unless it is a usable point on Earth.

    0, 0 is refused: it is what a receiver without a fix reports.
    """

    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        for name, value, limit in (
            ("latitude", self.latitude, 90),
            ("longitude", self.longitude, 180),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name}: {value!r} is not a number of degrees")
            if not -limit <= value <= limit:  # also catches NaN
                raise ValueError(f"{name}: {value} is outside -{limit} to {limit} degrees")
        if self.latitude == 0 and self.longitude == 0:
            raise ValueError("latitude, longitude: 0, 0 means that the receiver has no fix")


@dataclass(frozen=True)
class Travel:
    """distance_km along the road and eta_min from now, with where they come from."""

    distance_km: float
    eta_min: float
    source: TravelSource


def great_circle_km(start: Position, end: Position) -> float:
    """Great-circle distance in km (haversine)."""
    phi_1, phi_2 = math.radians(start.latitude), math.radians(end.latitude)
    half_phi = (phi_2 - phi_1) / 2
    half_lambda = math.radians(end.longitude - start.longitude) / 2
    h = math.sin(half_phi) ** 2 + math.cos(phi_1) * math.cos(phi_2) * math.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))  # min: rounding at antipodes


def estimate(start: Position, end: Position, *, lights_and_siren: bool = True) -> Travel:
    """Road distance and travel time estimated from the straight line."""
    distance_km = great_circle_km(start, end) * ROAD_FACTOR
    speed_kmh = SPEED_LIGHTS_AND_SIREN_KMH if lights_and_siren else SPEED_ORDINARY_KMH
    return Travel(distance_km, distance_km / speed_kmh * 60, TravelSource.STRAIGHT_LINE)


def estimate_many(start: Position, latitude: Floats, longitude: Floats) -> tuple[Floats, Floats]:
    """estimate() to many places at once: distances in km and minutes, NaN where a place is NaN."""
    phi = np.radians(latitude)
    half_phi = (phi - math.radians(start.latitude)) / 2
    half_lambda = np.radians(longitude - start.longitude) / 2
    h = np.sin(half_phi) ** 2 + math.cos(math.radians(start.latitude)) * np.cos(phi) * (
        np.sin(half_lambda) ** 2
    )
    distance_km = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, np.sqrt(h))) * ROAD_FACTOR
    return distance_km, distance_km / SPEED_LIGHTS_AND_SIREN_KMH * 60


def position_or_none(latitude: float | None, longitude: float | None) -> Position | None:
    """The position, or None when it is missing or no usable point (NaN, out of range, 0, 0)."""
    try:
        return Position(latitude, longitude)  # type: ignore[arg-type]  # it refuses None
    except ValueError:
        return None
