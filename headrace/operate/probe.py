"""A health check for containers without a shell and curl: `python -m headrace.operate.probe URL`.

Exit code 0 when the URL answers 200 in time, else 1. Prints the answer on one line. Uses the standard library only.
"""

import http.client
import sys
from urllib.parse import urlsplit

SECONDS = 4.0
LONGEST = 2000  # bytes of an answer to show


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    if len(argv) != 1:
        print("usage: python -m headrace.operate.probe http://127.0.0.1:8080/readyz", file=sys.stderr)
        return 1
    url = urlsplit(argv[0])
    if url.scheme != "http" or not url.hostname:
        print(f"{argv[0]}: expected a URL that begins with http://", file=sys.stderr)
        return 1
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=SECONDS)
    try:
        connection.request("GET", f"{url.path or '/'}{f'?{url.query}' if url.query else ''}")
        answer = connection.getresponse()
        body = answer.read(LONGEST).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as e:
        print(f"{argv[0]}: {e or type(e).__name__}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(f"{answer.status} {body}")
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
