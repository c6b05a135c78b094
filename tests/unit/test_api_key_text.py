from __future__ import annotations

import re

import pytest

from connectors.entities.api_key_text import ApiKeyText, new_key_text, parse_key_text

PREFIX = "a1B2c3D4e5F6"
SECRET = "0123456789abcdefghijABCDEFGHIJzZ"


def test_a_new_key_is_read_back_in_its_two_parts() -> None:
    made = new_key_text()
    assert re.fullmatch(r"wr_[A-Za-z0-9]{12}_[A-Za-z0-9]{32}", str(made))
    assert parse_key_text(str(made)) == made


def test_the_parts_stand_where_people_look_for_them() -> None:
    assert parse_key_text(f"wr_{PREFIX}_{SECRET}") == ApiKeyText(PREFIX, SECRET)


def test_no_two_keys_of_ten_thousand_share_a_prefix_or_a_secret() -> None:
    made = [new_key_text() for _ in range(10_000)]
    assert len({key.prefix for key in made}) == len({key.secret for key in made}) == 10_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wr_",
        f"wr_{PREFIX}",
        f"wr_{PREFIX}_",
        f"wr_{PREFIX}_{SECRET[:-1]}",
        f"wr_{PREFIX}_{SECRET}x",
        f"wr_{PREFIX[:-1]}_{SECRET}",
        f"WR_{PREFIX}_{SECRET}",
        f"wr_{PREFIX}_{SECRET}\n",
        f" wr_{PREFIX}_{SECRET}",
        f"wr_{PREFIX}_{SECRET[:-1]}'",
        f"wr_{PREFIX}_{SECRET[:-1]}\x00",
        f"wr_{PREFIX[:-1]}%_{SECRET}",
        f"wr_{PREFIX[:-1]}é_{SECRET}",
        f"wr_{PREFIX[:-1]}٣_{SECRET}",  # a digit to Python, not to us
    ],
)
def test_what_is_no_key_is_not_looked_up(text: str) -> None:
    assert parse_key_text(text) is None


def test_a_key_that_is_printed_by_accident_keeps_its_secret() -> None:
    made = new_key_text()
    assert made.secret not in repr(made)
    assert made.secret not in f"{[made]}"
