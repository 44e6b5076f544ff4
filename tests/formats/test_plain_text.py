"""Tables for people: a reader finds every column again."""

import pytest

from minigan.formats.plain_text import columns, markdown, short

ROWS = [("layer", "shape", "sigma"), ("conv1", "", "1.5"), ("block1/conv2", "3 x 3", "12.25"), ("dense", "10", "-")]


def test_columns_begin_or_end_in_one_place_and_overlap_nowhere():
    lines = columns(ROWS, right=(2,))
    assert [line.split() for line in lines] == [" ".join(row).split() for row in ROWS]
    shape, end = lines[0].index("shape"), len(lines[0])
    assert [line[shape:shape + 5].rstrip() for line in lines] == [row[1] for row in ROWS]
    assert all(line[shape - 2:shape] == "  " for line in lines)  # two spaces, after the widest name, too
    assert [len(line) for line in lines] == [end] * len(ROWS)  # numbers end in one place
    assert shape == len("block1/conv2") + 2


def test_no_line_ends_with_spaces_and_rows_of_different_lengths_are_refused():
    assert columns([("a", "bb"), ("ccc", "")]) == ["a    bb", "ccc"]
    with pytest.raises(ValueError):
        columns([("a", "b"), ("c",)])


def test_a_table_in_markdown_is_aligned_for_a_reader_of_the_text_too():
    assert markdown([("run", "FID"), ("sn", "9.25"), ("wgan-gp", "-")], right=(1,)) == [
        "| run     |  FID |", "| ------- | ---: |", "| sn      | 9.25 |", "| wgan-gp |    - |"]


@pytest.mark.parametrize("value, text", [
    (0.123456, "0.123"), (12345.6, "1.23e+04"), (3, "3"), (None, "-"), (True, "-"), ("3", "-"), ([1.0], "-"),
    (10 ** 400, "-"), (float("nan"), "-"), (float("-inf"), "-")])
def test_what_is_no_finite_number_is_a_dash(value, text):
    assert short(value) == text
