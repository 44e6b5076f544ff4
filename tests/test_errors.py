"""What messages say of what was given: never more than a line, at once, whatever it is."""

import time

import numpy as np
import pytest

from minigan.errors import WrongUse, brief, choose, printable


def nested(depth: int, twice: bool) -> object:
    value: object = ()
    for _ in range(depth):
        value = (value, value) if twice else [value]
    return value


VALUES = [nested(200, True), nested(100_000, False), 10**5000, -(10**5000), [10**5000], "a" * 10**7, b"\xff" * 10**7,
          [0] * 10**7, {i: i for i in range(10**5)}, "\x1b[31m\n\r\ud800\u202e", np.zeros((1000, 1000)),
          type("\x1b", (), {})()]


@pytest.mark.parametrize("value", VALUES, ids=lambda _: "")
def test_any_value_is_shown_at_once_in_one_printable_line(value):
    start = time.perf_counter()
    text = brief(value)
    assert time.perf_counter() - start < 0.1 and 0 < len(text) < 1000 and text.isprintable()


def test_what_is_short_is_shown_as_it_is():
    assert [brief(v) for v in ("abc", b"u1", 7, -0.5, None, True, (3, 4), [1], [], (1.5,))] == [
        "'abc'", "'u1'", "7", "-0.5", "None", "True", "(3, 4)", "[1]", "[]", "a tuple of 1"]
    with pytest.raises(WrongUse, match="unknown norm 'spn'; choose from: sn, wn"):
        choose("norm", "spn", ["wn", "sn"])


def test_control_characters_and_lone_surrogates_become_escapes():
    assert printable("a\x1b[2Jb\tc\ud800\x85é漢") == r"a\x1b[2Jb\tc\ud800\x85é漢"
