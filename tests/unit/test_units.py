from __future__ import annotations

import pytest

from connectors.entities.units import ALIASES, BY_NAME, WORDS, conversion, is_unit


@pytest.mark.parametrize(
    ("value", "unit", "base", "expected"),
    [
        (212.0, "fahrenheit", "celsius", 100.0),
        (212.0, "°F", "°C", 100.0),
        (212.0, "degF", "C", 100.0),
        (-40.0, "F", "celsius", -40.0),
        (300.0, "kelvin", "celsius", 26.85),
        (26.85, "C", "K", 300.0),
        (101.325, "kPa", "hPa", 1013.25),
        (1013.25, "HPA", "kpa", 101.325),
        (45.0, "%", "1", 0.45),
        (45.0, "%RH", "percent", 45.0),
        (0.04, "percent", "ppm", 400.0),
        (400.0, "ppb", "ppm", 0.4),
        (3.6, "km/h", "m/s", 1.0),
        (3.6, "kilometer per hour", "m/s", 1.0),
        (6.0, "m³/h", "l/min", 100.0),
        (6.0, "m3/h", "l/min", 100.0),
        (6.0, "m^3 / h", "l/min", 100.0),
        (250.0, "µg/m³", "mg/m3", 0.25),
        (250.0, "ug/m**3", "mg/m^3", 0.25),
        (5.0, "kg·m·s⁻²", "newton", 5.0),
        (120.0, "count/min", "count/s", 2.0),
        (1.5, "revolution/minute", "rpm", 1.5),
        (2.0, "byte", "bit", 16.0),
        (10.0, "cmH2O", "Pa", 980.665),
        (1.0, "C", "coulomb", 1.0),
        (1.0, "mC", "C", 0.001),
        (1.0, "1/s", "Hz", 1.0),
    ],
)
def test_a_value_becomes_what_a_table_of_units_says(value: float, unit: str, base: str, expected: float) -> None:
    found = conversion(unit, base)
    assert found is not None
    assert found.apply(value) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("unit", ["celsius", "pH", "furlongs per fortnight", "raw", "°", "x" * 200])
def test_every_text_converts_into_itself(unit: str) -> None:
    found = conversion(unit, unit)
    assert found is not None
    assert found.apply(7.25) == 7.25


@pytest.mark.parametrize(
    ("unit", "base"),
    [
        ("furlong", "celsius"),
        ("", "celsius"),
        ("celsius", ""),
        ("nonsense", "celsius"),
        ("rpm", "Hz"),  # pint alone would call a turn a minute 0.1047 Hz
        ("degree", "percent"),
        ("count", "percent"),
        ("byte", "percent"),
        ("lumen", "candela"),
        ("dBm", "milliwatt"),
        ("pH", "henry"),  # nor is it a picohenry
        ("degF/min", "degC/min"),
        ("kg", "N"),
        ("1e400*m", "m"),
        ("10**10**10", "1"),
        ("(m)", "m"),
        ("m^99999", "m"),
        ("*".join(["m"] * 20), "m"),
        ("celsius" * 20, "celsius"),
        ("__class__", "m"),
        ("m\0", "m"),
        ("m;drop", "m"),
        ("m°C", "celsius"),  # the library raises for a prefix before a scale with a zero of its own
        ("kdegF", "celsius"),
        ("Ym^9*Ym^9/m^9/m^8", "m"),  # 10**432, which no float holds
        ("am^9*am^9/m^9/m^8", "m"),  # and 10**-324, which is none but 0
    ],
)
def test_what_does_not_convert_has_no_conversion(unit: str, base: str) -> None:
    assert conversion(unit, base) is None


def test_units_of_the_same_name_in_other_letters_are_the_same() -> None:
    assert conversion("PH", "pH") == (1.0, 0.0, 1.0)
    assert conversion("ntu", "NTU") == (1.0, 0.0, 1.0)


def test_letters_tell_milliwatts_from_megawatts() -> None:
    found = conversion("MW", "mW")
    assert found is not None
    assert found.apply(1.0) == 1e9


@pytest.mark.parametrize("unit", [*ALIASES, *BY_NAME, *BY_NAME.values(), *WORDS, *(each.upper() for each in WORDS)])
def test_every_spelling_in_the_tables_is_a_unit(unit: str) -> None:
    assert is_unit(unit)


@pytest.mark.parametrize("unit", ["", " ", "nonsense", "m//s", "m^", "²", "celsius;"])
def test_what_is_no_unit_is_told(unit: str) -> None:
    assert not is_unit(unit)
