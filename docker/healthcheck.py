"""The images' HEALTHCHECK: is a daemon's health page answered with 200?

Its rule: the standard library alone, one request, one sentence. Not here: what healthy means, which each daemon says.
"""

from __future__ import annotations

import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

__all__ = ["main"]

TIMEOUT_S = 4.0


def main(url: str, authority: str = "") -> int:
    """Ask once; 0 for healthy, 1 for not.

    Args:
        url: Of the page.
        authority: File of a fleet's authority; once it is there, the page is asked for over HTTPS.
    """
    context = None
    if authority and Path(authority).is_file():
        context = ssl.create_default_context(cafile=authority)
        url = url.replace("http://", "https://", 1)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310 - the Dockerfile names it
            said, status = answer.read(200).decode(errors="replace"), answer.status
    except (urllib.error.URLError, OSError) as error:
        said, status = str(error), 0
    sys.stdout.write(f"{said}\n")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
