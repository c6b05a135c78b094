"""Which unit names there are, and how a value in one unit becomes a value in another.

The units are those of pint; the alias table adds what devices write. A text is read by the small grammar here and
never handed to an expression parser: devices may send any unit they like. Logarithmic units (dB, pH) are compared by
name and not converted.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from functools import cache, lru_cache
from math import lcm
from typing import Final, NamedTuple, cast

import pint

LONGEST_UNIT: Final = 64
"""Characters of a text that may be a unit; longer ones are none."""

MOST_FACTORS: Final = 6

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "°C": ("degC",),
    "℃": ("degC",),
    "deg C": ("degC",),
    "centigrade": ("degC",),
    "C": ("degC", "coulomb"),
    "°F": ("degF",),
    "℉": ("degF",),
    "deg F": ("degF",),
    "F": ("degF", "farad"),
    "°K": ("kelvin",),
    "%": ("percent",),
    "pct": ("percent",),
    "%RH": ("percent",),
    "% RH": ("percent",),
    "RH%": ("percent",),
    "‰": ("permille",),
    "dimensionless": ("1",),
    "ratio": ("1",),
    "fraction": ("1",),
    "pcs": ("count",),
    "pieces": ("count",),
    "items": ("count",),
    "°": ("degree",),
    "kmh": ("km/h",),
    "kmph": ("km/h",),
    "lpm": ("liter/minute",),
    "gpm": ("gallon/minute",),
    "cfm": ("foot^3/minute",),
    "secs": ("second",),
    "mins": ("minute",),
    "hrs": ("hour",),
}
"""What devices write, and the units it may mean: of several the first that has the dimension that is asked for."""

BY_NAME: Final = {"ph": "pH", "db": "dB", "dba": "dBA", "dbm": "dBm", "ntu": "NTU", "aqi": "AQI"}
"""Units that no factor leads to: known, equal in any case of letters, and never converted."""

WORDS: Final = (
    "celsius",
    "fahrenheit",
    "kelvin",
    "percent",
    "ppm",
    "ppb",
    "hpa",
    "kpa",
    "mbar",
    "lux",
    "volt",
    "count",
)
"""Units whose case of letters does not matter: Celsius, PERCENT, KPA."""

_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUPERSCRIPT: Final = re.compile("[⁻⁰¹²³⁴-⁹]+")
_FACTOR: Final = re.compile(r"(?P<name>[A-Za-z°℃℉µμΩΩ%‰_][A-Za-z0-9°µμΩΩ_]{0,39}|1)(?:(?:\^|\*\*)(?P<power>-?[1-9]))?")
_TRAILING_POWER: Final = re.compile(r"(?P<name>.*[^0-9])(?P<power>[1-9])")
_BETWEEN: Final = re.compile(r"\s*([/·⋅]|(?<!\*)\*(?!\*)|\s)\s*")
_EXACT: Final = 2**53
_MOST_APART: Final = 10**150
"""Factor between two units beyond which nothing is converted: yottametres to the ninth are as good as no unit."""


class Conversion(NamedTuple):
    """``(value * factor + offset) / divisor`` is the value in the other unit.

    Three whole numbers wherever they fit a float: 212 °F is 100 °C then, and not 100.00000000000001.
    """

    factor: float
    offset: float
    divisor: float

    def apply(self, value: float) -> float:
        """The value in the other unit."""
        return (value * self.factor + self.offset) / self.divisor


SAME: Final = Conversion(1.0, 0.0, 1.0)


class _Root(NamedTuple):
    """``value * factor + zero`` in root units; their powers tell what can be converted into what.

    pint keeps radian, bit and count among its root units although they have no dimension. Comparing root units, and not
    dimensions, keeps a percent from becoming a number of degrees, and turns a minute from becoming hertz.
    """

    factor: Fraction
    zero: Fraction
    powers: tuple[tuple[str, Fraction], ...]


def is_unit(text: str) -> bool:
    """Say whether ``text`` is a unit that Weir knows; '' is none."""
    return text.lower() in BY_NAME or bool(_roots(text))


@lru_cache(maxsize=16_384)
def conversion(unit: str, base: str) -> Conversion | None:
    """Return how values in ``unit`` become values in ``base``; None when they cannot.

    The same text converts into itself, known or not. Takes up to a millisecond for a pair that was not asked before,
    and half a second once for loading the units.
    """
    if unit == base or _named(unit) == _named(base) != "":
        return SAME
    targets = _roots(base)
    for source in _roots(unit):
        for target in targets:
            if source.powers == target.powers:
                return _conversion(source, target)
    return None


def _named(text: str) -> str:
    return BY_NAME.get(text.lower(), "")


def _conversion(source: _Root, target: _Root) -> Conversion | None:
    factor, offset = source.factor / target.factor, (source.zero - target.zero) / target.factor
    divisor = lcm(factor.denominator, offset.denominator)
    whole = (int(factor * divisor), int(offset * divisor), divisor)
    if max(abs(each) for each in whole) < _EXACT:
        return Conversion(*(float(each) for each in whole))
    if not Fraction(1, _MOST_APART) < factor < _MOST_APART:
        return None
    return Conversion(float(factor), float(offset), 1.0)


def _roots(text: str) -> list[_Root]:
    """What ``text`` may mean, likeliest first."""
    if not 0 < len(text) <= LONGEST_UNIT or text.lower() in BY_NAME:
        return []
    plain = text.strip()
    if plain.lower() in WORDS:
        plain = {"hpa": "hPa", "kpa": "kPa"}.get(plain.lower(), plain.lower())
    found = [_product(meaning) for meaning in ALIASES.get(plain, (plain,))]
    return [each for each in found if each is not None]


def _product(text: str) -> _Root | None:
    """Multiply the factors of a text such as kg*m/s^2."""
    text = _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text)
    pieces = _BETWEEN.split(re.sub(r"\s+per\s+", "/", text))
    factors, signs = pieces[::2], [1, *(-1 if piece == "/" else 1 for piece in pieces[1::2])]
    if len(factors) > MOST_FACTORS:
        return None
    product, powers = Fraction(1), Counter[str]()
    for text_of_factor, sign in zip(factors, signs, strict=True):
        factor = _power(text_of_factor)
        if factor is None:
            return None
        root, power = factor
        if root.zero and len(factors) == 1 and power == 1:
            return root
        if root.zero:
            return None  # degrees of a scale with a zero of its own are no factor
        product *= root.factor ** (power * sign)
        for name, each in root.powers:
            powers[name] += each * power * sign  # type: ignore[assignment]  # fractions count as well
    return _Root(product, Fraction(0), tuple(sorted((name, Fraction(each)) for name, each in powers.items() if each)))


def _power(text: str) -> tuple[_Root, int] | None:
    """A factor and its power: m^3, m**3 or m3; a name that ends in a digit, such as cmH2O's, is tried first."""
    found = _FACTOR.fullmatch(text)
    if found is None:
        return None
    root = _one(found["name"])
    if root is not None:
        return root, int(found["power"] or 1)
    short = _TRAILING_POWER.fullmatch(found["name"])
    if short is None or found["power"]:
        return None
    root = _one(short["name"])
    return None if root is None else (root, int(short["power"]))


def _one(name: str) -> _Root | None:
    if name == "1":
        return _Root(Fraction(1), Fraction(0), ())
    meant = ALIASES.get(name, (name,))[0]
    try:
        canonical = _registry().get_name(meant)
    except pint.PintError:  # no unit, or a prefix before one with a zero of its own: m°C
        return None
    return _root(canonical)


@cache
def _root(name: str) -> _Root | None:
    """The root of one of pint's units, of which there are finitely many; None for one that is logarithmic."""
    units = _registry()
    root = units.get_root_units(name)[1]
    try:
        zero, one = (units.convert(Fraction(number), name, root) for number in (0, 1))
    except TypeError:  # pint takes a logarithm, which no Fraction has
        return None
    return _Root(one - zero, zero, tuple(sorted((unit, cast(Fraction, power)) for unit, power in root._units.items())))


@cache
def _registry() -> pint.UnitRegistry[Fraction]:
    """Exact numbers, so that a factor is rounded once."""
    registry: pint.UnitRegistry[Fraction] = pint.UnitRegistry(non_int_type=Fraction)
    registry.define("ppb = 1e-9")
    return registry
