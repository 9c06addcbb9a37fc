# SPDX-License-Identifier: GPL-2.0-only
"""Makes the lab importable for the tests of the lab itself."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "lab"))
