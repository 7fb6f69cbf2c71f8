"""tests/page.py: what a page says is told from what it does not say."""

import pytest

from tests.page import Step, steps

PAGE = """
```sh
headrace up --detach
```

```text
...
Headrace is ready after 24.5 s.
```

```sh
headrace query 'select 1'
headrace dlq list
```

```json
{}
```

```sh
headrace contracts diff pump    # exit code 1
```
"""


def test_commands_go_with_the_text_that_follows_them() -> None:
    up, look, diff = steps(PAGE)
    assert up.commands == "headrace up --detach\n"
    assert up.prints == "...\nHeadrace is ready after 24.5 s.\n"
    assert (look.prints, diff.prints) == ("", "")
    assert (up.reads, look.reads, diff.reads) == (False, True, False)
    assert (up.code, look.code, diff.code) == (0, 0, 1)


@pytest.mark.parametrize(
    ("prints", "output", "good"),
    [
        ("", "anything", True),
        (" a   b \n ─── ", "a b\n\n──────\n", True),
        ("a b", "a c", False),
        ("a b", "a b\nmore", False),
        ("a\n...", "a\nmore\nand more", True),
        ("...\nb\n...\nd", "a\nb\nc\nd", True),
        ("...\nb\n...\nd", "a\nd\nb", False),
        ("ready after 24.5 s", "ready after 7 s", True),
        ("key 7e72d9e2960a9ca3ce2afa1c94f79997", "key c0eb0af3b35617079d0922bdd8ff6c21", True),
        ("at 2026-11-27 16:39:06", "at 2027-01-02 03:04:05", True),
        ("at 2026-11-23 10:00:00", "at 2026-11-23 10:00:01", False),
        ("16.0 (x)", "16.0 (x)", True),
        ("16.0", "16x0", False),
        ("-h 127.0.0.1 -p 1883 -u", "-h 127.0.0.1 -p 20817 -u", True),
    ],
)
def test_all_but_what_differs_each_time_must_be_as_the_page_says(prints: str, output: str, good: bool) -> None:
    assert Step("", prints).matches(output) is good
