"""`python -m demo` is `make demo`."""

from __future__ import annotations

from demo.run import main

if __name__ == "__main__":
    main()
