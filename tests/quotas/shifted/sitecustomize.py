"""Put on PYTHONPATH of a gateway, sets its wall clock: SHIFT_FILE holds the moment it is now."""

import os
import sys
from datetime import datetime
from pathlib import Path

if "SHIFT_FILE" in os.environ:
    sys.path.insert(0, os.getcwd())
    from bsod.lib import clock

    clock.now = lambda: datetime.fromisoformat(Path(os.environ["SHIFT_FILE"]).read_text())
