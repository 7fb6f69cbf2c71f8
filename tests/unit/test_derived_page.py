"""The example of docs/derived-streams.md: its contract, its function, its configuration."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from headrace.config import check, load
from headrace.contracts import files, lint
from headrace.contracts.model import parse
from headrace.transforms import derive
from headrace.transforms.code import Code
from headrace.transforms.run import Transform
from headrace.transforms.sample import sample
from headrace.transforms.table import fields_of
from tests.stack import ROOT

PAGE = (ROOT / "docs/derived-streams.md").read_text()


def block(language: str) -> str:
    """The page's first block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_its_configuration_is_good(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "transforms").mkdir()
    (tmp_path / "schemas/vibration_features.avsc").write_text(block("json"))
    (tmp_path / "transforms/features.py").write_text(block("python"))
    path = tmp_path / "my.yaml"
    path.write_text(block("yaml"))
    config = load(path, {})
    check.require(config, path=path)
    assert config.derived == ("vibration_features",)
    assert config.group_of("vibration_features") in PAGE
    assert list(lint.lint(files.find("vibration_features", config.contracts))) == []


def test_a_sine_has_the_rms_and_peak_of_a_sine() -> None:
    given, wanted = files.find("vibration"), parse("vibration_features", block("json"))
    transform = Transform(Code(block("python"), "features.py"))
    times = np.arange(12_000) / 12_000
    waveform = (3.0 + 4.5 * np.sqrt(2) * np.sin(2 * np.pi * 100 * times)).astype(np.float32).tolist()
    columns = {**sample(given, 1), "samples": [waveform], "sampling_rate": [12_000.0]}
    found = derive.derive(transform, fields_of(given), fields_of(wanted), columns)
    assert found.failures == {}
    rows = found.rows[0]
    assert len(rows) == 10
    assert [row["rms"] for row in rows] == pytest.approx([4.5] * 10, rel=1e-5)
    assert [row["peak"] for row in rows] == pytest.approx([4.5 * np.sqrt(2)] * 10, rel=1e-5)
    assert np.diff([row["event_time"] for row in rows]).tolist() == [100_000] * 9
    assert {row["device_id"] for row in rows} == set(columns["device_id"])


def test_it_is_row_wise_on_whatever_the_contract_allows() -> None:
    given, wanted = files.find("vibration"), parse("vibration_features", block("json"))
    transform = Transform(Code(block("python"), "features.py"))
    columns = sample(given, 100)
    derive.check(transform, fields_of(given), fields_of(wanted), columns)
    assert derive.derive(transform, fields_of(given), fields_of(wanted), columns).failures == {}
    assert json.loads(block("json"))["name"] == "vibration_features"
