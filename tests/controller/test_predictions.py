"""Times of units among their neighbours."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tiny_models import tiny_graph

