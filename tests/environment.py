"""Settings of the suite, in place before Django reads any: the plugin `-p tests.environment`.

Waits are short so that what takes a minute in production takes a second here; nothing else
differs. `tests/run.py` gives each database a DATA_DIR of its own.
"""

import os
import tempfile

SHORT = {
    "LOCAL_MODEL": "off",
    "LEDGER_BEAT": "0.3",
    "LEDGER_DEAD_AFTER": "3",
    "CLOSE_PATIENCE": "3",
    "STREAM_SILENCE": "3",
    "CALL_SILENCE": "3",
    "KEEPALIVE_EVERY": "1",
    "DRAIN_SECONDS": "2",
    "PROBE_EVERY": "0.1",
    "FIRST_PROBE": "0.3",
    "STATS_EVERY": "0.3",
    "WARM_UP": "off",
    "KEY_PREFIXES": "yout",
    "LOG_LEVEL": "WARNING",
}

if "DATA_DIR" not in os.environ:
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="bsod-tests-")
# Mails lie in a folder, where tests read them.
os.environ.setdefault("EMAIL_URL", f"filemail://{os.environ['DATA_DIR']}/mail")
for _name, _value in SHORT.items():
    os.environ.setdefault(_name, _value)
for _name in [name for name in os.environ if name.endswith("_API_KEY")]:
    del os.environ[_name]
