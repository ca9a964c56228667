"""The setting of an image: time of day, weather, place, and the light that follows from them."""

from dataclasses import dataclass

import numpy as np

from toy_vehicles.painter import Light
from toy_vehicles.solids import Colour, Floats

PLACES = ("city", "suburb", "country", "field", "coast")

# time of day: probability, colour at the zenith, at the horizon, brightness of the sky, colour of the sun
_HOURS: dict[str, tuple[float, Colour, Colour, float, Colour]] = {
    "day": (0.34, (0.33, 0.62, 0.89), (0.84, 0.93, 0.98), 0.62, (0.62, 0.6, 0.55)),
    "bright": (0.16, (0.2, 0.52, 0.86), (0.7, 0.88, 0.97), 0.6, (0.75, 0.72, 0.64)),
    "overcast": (0.16, (0.62, 0.68, 0.73), (0.86, 0.88, 0.89), 0.82, (0.16, 0.16, 0.17)),
    "morning": (0.1, (0.55, 0.66, 0.87), (0.98, 0.86, 0.78), 0.6, (0.6, 0.5, 0.42)),
    "sunset": (0.1, (0.29, 0.33, 0.58), (0.98, 0.67, 0.43), 0.46, (0.68, 0.42, 0.24)),
    "night": (0.14, (0.05, 0.09, 0.23), (0.24, 0.3, 0.5), 0.42, (0.2, 0.22, 0.3)),
}
_TINTS: dict[str, Colour] = {
    "sunset": (0.98, 0.86, 0.9), "night": (0.72, 0.84, 1.2), "morning": (1.0, 0.96, 0.97),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """The surroundings of an image; snow, wet and night change several layers."""

    hour: str
    place: str
    weather: str  # clear | fog | rain | snow
    zenith: Floats
    horizon: Floats
    light: Light

    @property
    def night(self) -> bool:
        return self.hour == "night"

    @property
    def snowy(self) -> bool:
        return self.weather == "snow"


def choose_setting(rng: np.random.Generator, forward: Floats, right: Floats, easy: bool = False) -> Setting:
    """Choose a random setting; the sun is beside or behind the camera. easy: clear weather only."""
    chances = np.array([row[0] for row in _HOURS.values()])
    hour = str(rng.choice(list(_HOURS), p=chances / chances.sum()))
    weather = "clear" if easy else str(rng.choice(["clear", "fog", "rain", "snow"], p=[0.74, 0.08, 0.1, 0.08]))
    _, zenith, horizon, sky, sun = _HOURS[hour]
    vary = rng.normal(1, 0.04, 3)
    zenith_colour, horizon_colour = (np.clip(np.array(colour) * vary, 0, 1) for colour in (zenith, horizon))
    sky_light = sky * np.array(_TINTS.get(hour, (1.0, 1.0, 1.0)))
    sun_light = np.array(sun)
    if weather != "clear":
        grey = horizon_colour.mean() * np.array([0.95, 0.97, 1.0])
        mix = 0.75
        zenith_colour = zenith_colour * (1 - mix) + grey * 0.85 * mix
        horizon_colour = horizon_colour * (1 - mix) + grey * mix
        sun_light = sun_light * 0.25
        sky_light = sky_light * 1.2
    azimuth = np.radians(rng.uniform(-75, 75))
    direction = -forward * np.cos(azimuth) * 0.9 + right * np.sin(azimuth)
    sun_height = float(rng.uniform(0.25, 0.5) if hour in ("sunset", "morning") else rng.uniform(0.6, 1.4))
    direction = direction + np.array([0.0, 0.0, sun_height])
    haze = {"fog": rng.uniform(25, 60), "rain": 140.0, "snow": 120.0}.get(weather, rng.uniform(180, 500))
    light = Light(direction / np.linalg.norm(direction), sun_light, sky_light, horizon_colour, float(haze))
    return Setting(hour, str(rng.choice(PLACES)), weather, zenith_colour, horizon_colour, light)
