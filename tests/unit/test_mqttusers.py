import base64
import hashlib
from pathlib import Path

import pytest

from headrace.operate.mqttusers import main


def test_the_file_has_a_hash_of_each_password_and_no_password(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("hush\n")
    (tmp_path / "two").write_text("mouse")
    target = tmp_path / "users"
    target.write_text("of the first start")
    assert main([str(target), f"headrace={tmp_path / 'one'}", f"device={tmp_path / 'two'}"]) == 0
    assert target.stat().st_mode & 0o777 == 0o600
    lines = target.read_text().splitlines()
    for line, (user, password) in zip(lines, (("headrace", "hush"), ("device", "mouse")), strict=True):
        name, _, rest = line.partition(":")
        _, kind, rounds, salt, digest = rest.split("$")
        made = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(rounds))
        assert (name, kind, base64.b64decode(digest)) == (user, "7", made)


@pytest.mark.parametrize("user", ["", "headrace", "a:b=/x", "=/x"])
def test_what_names_no_user_and_file_is_refused(tmp_path: Path, user: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "users"), user]) == 2
    assert "USER=PASSWORD_FILE" in capsys.readouterr().err
    assert not (tmp_path / "users").exists()


def test_an_empty_or_missing_password_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").write_text("\n")
    assert main([str(tmp_path / "users"), f"a={tmp_path / 'empty'}"]) == 2
    assert main([str(tmp_path / "users"), f"a={tmp_path / 'none'}"]) == 2
    told = capsys.readouterr().err
    assert "empty" in told
    assert "no such file" in told
