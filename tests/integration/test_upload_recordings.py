"""All recordings uploaded by the profiles that ship: every value in the lake is the one that pandas reads in the file.

Skipped without the recordings. Set RECORDINGS to their folder; ../shared/data beside the checkout is found without it.
"""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import headrace
from headrace.readers.source import Source
from headrace.uploads import profile as profiles
from headrace.uploads.evidence import identify
from headrace.uploads.profile import Profile
from tests.stack import ROOT, Stack, turn

RECORDINGS = Path(os.environ.get("RECORDINGS", ROOT.parent / "shared" / "data"))
EXAMPLES = ROOT / "examples" / "uploads"
pytestmark = [pytest.mark.integration, pytest.mark.recordings, pytest.mark.long]
# By profile: the files, and how pandas is to read them.
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "har": ("IMU-sp-sw-har/DATA.tar.xz", {}),
    "skab": ("SKAB/data/*/[0-9]*.csv", {"sep": ";"}),
    "skab-free": ("SKAB/data/anomaly-free/anomaly-free.csv", {"sep": ";"}),
    "nab": ("NAB/data/*/*.csv", {}),
    "beijing": ("ENV-Beijing-MultiSite/PRSA_Data_*.csv.gz", {}),
    "uci": ("ENV-UCI-AirQuality/AirQualityUCI.csv", {}),
    "cmapss": ("PDM-CMAPSS-FD001/t*_FD001.txt.gz", {"sep": r"\s+", "header": None}),
    "ai4i": ("PDM-AI4I2020/ai4i2020.csv", {}),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the streams of the examples: those of uploads are one in a Kafka."""
    it = Stack(tmp_path_factory.mktemp("uploads") / "state")
    with turn():
        it.run("up", "--detach", "--auto-ports", "--config", str(EXAMPLES / "headrace.yaml"), timeout=600)
    try:
        yield it
    finally:
        it.down()


def there(name: str, folder: Path) -> list[Path]:
    pattern, _ = FILES[name]
    found = sorted(RECORDINGS.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {RECORDINGS}: set RECORDINGS to the folder that has it")
    if not pattern.endswith(".tar.xz"):
        return found
    with tarfile.open(found[0]) as tar:
        tar.extractall(folder, filter="data")
    return sorted(folder.rglob("*.csv"))


@pytest.mark.parametrize("name", FILES)
def test_every_value_in_the_lake_is_that_of_the_file(name: str, own: Stack, tmp_path: Path) -> None:
    files = {identify(Source(path)).id: path for path in there(name, tmp_path)}  # names occur in several folders
    how = EXAMPLES / f"{name}.yaml"
    profile = profiles.load(how)
    asked = ("upload", *map(str, there(name, tmp_path)), "--profile", str(how), "--yes", "--json")
    report = own.json(*asked, timeout=1200)
    ids = ", ".join(f"'{it['upload']}'" for it in report["uploads"])
    lake = headrace.query(f"select * from {profile.stream}_files where _upload in ({ids})", config=own.config())
    by_upload = dict(list(lake.groupby("_upload")))
    for it in report["uploads"]:
        assert (it["good"], it["refused"], it["copies"]) == (True, 0, 0), it
        theirs = pd.read_csv(files[it["recording"]], **FILES[name][1])
        ours = by_upload[it["upload"]].sort_values("_row")
        assert len(ours) == it["stored"]
        _compare(ours, theirs, profile)
    again = own.json(*asked, timeout=600)
    assert again["uploads"] == []
    assert len(report["uploads"]) == len(again["known"])


def _compare(ours: pd.DataFrame, theirs: pd.DataFrame, profile: Profile) -> None:
    """Each column of the rows that are there; NaN where there is none. A sentinel, or another unit, is left out."""
    rows = ours["_row"].to_numpy()
    for field, source in profile.fields.items():
        if source.unit or source.value is not None:
            continue
        column = source.column
        at = int(column.removeprefix("column ")) - 1 if column.startswith("column ") else column
        told, kept = theirs[at].to_numpy()[rows], ours[field].to_numpy()
        if told.dtype == object:
            assert [x if isinstance(x, str) else None for x in told] == [
                x if isinstance(x, str) else None for x in kept
            ]
            continue
        same = told.astype(float) == kept.astype(float)
        gone = pd.isna(kept) | ours["_quality"].fillna("").str.contains(rf"(?:^|;){field}:").to_numpy()
        assert (same | gone).all(), field
        lost = gone & ~pd.isna(told) & ~ours["_quality"].fillna("").str.contains(rf"(?:^|;){field}:").to_numpy()
        assert not lost.any(), field
    assert np.all(np.diff(rows) > 0)


def _texts(column: Any) -> list[str | None]:
    return [x if isinstance(x, str) else None for x in column]
