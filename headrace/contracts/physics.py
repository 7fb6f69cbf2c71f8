"""Physical identities that rules across fields may use by name, each a formula of the same language with its source."""

from typing import NamedTuple


class Identity(NamedTuple):
    """What a quantity must be, given others: `formula` gives `result` in `unit`, from `arguments` by name and unit."""

    result: str
    unit: str
    arguments: dict[str, str]
    formula: str
    source: str
    name: str = ""

    @property
    def signature(self) -> str:
        """As it is written in an expression."""
        return f"{self.name}({', '.join(self.arguments)})"


_MAGNUS = "WMO-No. 8 (2018), annex 4.B: Magnus formula over water, -45 to 60 Cel"
_AIR = {"temperature": "Cel", "humidity": "%"}

IDENTITIES: dict[str, Identity] = {
    name: it._replace(name=name)
    for name, it in {
        "saturation_vapour_pressure": Identity(
            "pressure of water vapour in saturated air", "hPa", {"temperature": "Cel"},
            "6.112 * exp(17.62 * temperature / (243.12 + temperature))", _MAGNUS,
        ),
        "vapour_pressure": Identity(
            "pressure of water vapour in air", "hPa", _AIR,
            "humidity / 100 * saturation_vapour_pressure(temperature)", _MAGNUS,
        ),
        "dew_point": Identity(
            "dew point", "Cel", _AIR,
            "243.12 * log(vapour_pressure(temperature, humidity) / 6.112)"
            " / (17.62 - log(vapour_pressure(temperature, humidity) / 6.112))", _MAGNUS,
        ),
        "relative_humidity": Identity(
            "relative humidity", "%", {"temperature": "Cel", "dew_point": "Cel"},
            "100 * saturation_vapour_pressure(dew_point) / saturation_vapour_pressure(temperature)", _MAGNUS,
        ),
        "absolute_humidity": Identity(
            "mass of water vapour in a volume of air", "g/m3", _AIR,
            "216.68 * vapour_pressure(temperature, humidity) / (temperature + 273.15)",
            "ideal gas law with R / M of water 461.5 J/(kg K); " + _MAGNUS,
        ),
        "sea_level_pressure": Identity(
            "air pressure reduced to sea level", "hPa", {"pressure": "hPa", "temperature": "Cel", "altitude": "m"},
            "pressure * exp(9.80665 * altitude / (287.05 * (temperature + 273.15 + 0.00325 * altitude)))",
            "hydrostatic equation for dry air, the mean temperature of the column with 0.0065 K/m (ISO 2533)",
        ),
    }.items()
}  # fmt: skip
