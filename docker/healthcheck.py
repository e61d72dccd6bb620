"""The images' HEALTHCHECK: is a daemon's health page answered with 200?

Its rule: the standard library alone, one request, one sentence. Not here: what healthy means, which each daemon says.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

__all__ = ["main"]

TIMEOUT_S = 4.0


def main(url: str) -> int:
    """Ask once; 0 for healthy, 1 for not."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the Dockerfile names the page
            said, status = answer.read(200).decode(errors="replace"), answer.status
    except (urllib.error.URLError, OSError) as error:
        said, status = str(error), 0
    sys.stdout.write(f"{said}\n")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
