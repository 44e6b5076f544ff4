"""Every measure has its sentence, and the pages say the same as the program."""

import numpy as np
import pytest
from tiny import ROOT

from minigan.metrics.drawings_coverage import scores as drawings
from minigan.metrics.measures import MEASURES, Origin
from minigan.metrics.protocols import PROTOCOLS
from minigan.views import readings


def test_every_score_has_its_sentence():
    names = {name for protocol in PROTOCOLS.values() for name in protocol.scores} | {
        name for of in MEASURES for name in of} | {"accuracy of D", "gap of D"}
    names |= {one.name for one in drawings(np.zeros((2, 16, 16, 3), np.uint8), np.zeros(2, int), Origin())}
    assert names == readings.OF_SCORES.keys()


@pytest.mark.parametrize("name, known", [
    ("FID", "FID"), ("FID sn-gan, 0123abcd", "FID"), ("intra-FID sn-gan", "intra-FID"), ("gap of D", "gap of D"),
    ("MS-SSIM ms-ssim", "MS-SSIM"), ("colour fits class", "colour fits class")])
def test_a_score_is_known_with_its_protocol_too(name, known):
    assert readings.of_score(name) == readings.of_log(f"scores/{name}") == readings.OF_SCORES[known]


def test_what_is_not_known_has_none():
    assert readings.of_score("FIDx") == readings.of_log("seconds") == readings.of_log("scores") == ""
    assert readings.lines(["FID", "x", "FID"]) == [f"FID: {readings.OF_SCORES['FID']}"]


@pytest.mark.parametrize("page, table", [("look.md", readings.OF_LOGS), ("look.md", readings.OF_DIAGNOSES),
                                         ("scores.md", readings.OF_SCORES)])
def test_the_pages_say_the_same(page, table):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").replace("&#124;", "|")
    for name, sentence in table.items():
        assert f"| {sentence} |" in text and f"{name}" in text


def test_sentences_are_short():
    for table in (readings.OF_LOGS, readings.OF_DIAGNOSES, readings.OF_LAYERS, readings.OF_SCORES):
        assert all(20 < len(text) < 125 and text.endswith(".") for text in table.values())
