"""Every setting, read from the environment. `SITE_URL` with https:// means production.

A value `NAME` may also come from the file named by `NAME_FILE` (secrets mounted by an
orchestrator). On a first run without production secrets, random ones are made and kept in
`DATA_DIR/secrets.json`, readable by the owner alone.
"""

import base64
import binascii
import ipaddress
import math
import os
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from bsod import logs, secretfile, signin
from bsod.backstage import look

BASE_DIR = Path(__file__).resolve().parent.parent


def env(name: str, default: str = "") -> str:
    """`NAME`, else what the file `NAME_FILE` holds, else the default."""
    path = os.environ.get(f"{name}_FILE")
    if path and not os.environ.get(name):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error}") from None
    return os.environ.get(name) or default


def env_list(name: str) -> list[str]:
    return [part.strip() for part in env(name).split(",") if part.strip()]


def env_int(name: str, default: int, least: int = 0, most: int = 2**31) -> int:
    text = env(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ImproperlyConfigured(
            f"{name} must be a whole number from {least} to {most}, not {text!r}"
        )
    return int(text)


def env_float(name: str, default: float) -> float:
    text = env(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ImproperlyConfigured(f"{name} must be a number of seconds, not {text!r}")
    return number


def env_flag(name: str, default: bool) -> bool:
    text = env(name, "on" if default else "off").lower()
    if text not in ("on", "off", "true", "false", "1", "0", "yes", "no"):
        raise ImproperlyConfigured(f"{name} must be on or off, not {text!r}")
    return text in ("on", "true", "1", "yes")


def env_word(name: str, default: str, *others: str) -> str:
    """One of a few words; the first is the default."""
    text = env(name, default)
    if text not in (default, *others):
        known = ", ".join((default, *others))
        raise ImproperlyConfigured(f"{name} must be one of {known}, not {text!r}")
    return text


# ---- where it runs


def _bracketed(host: str) -> str:
    """A host as URLs and Host headers spell it."""
    return f"[{host}]" if ":" in host else host


def _split_site(url: str) -> SplitResult:
    site = urlsplit(url)
    try:
        whole = f"{site.scheme}://{site.netloc}" == url and site.port != 0
    except ValueError:  # the port is no number
        whole = False
    if site.scheme not in ("http", "https") or not site.hostname or "@" in url or not whole:
        raise ImproperlyConfigured(f"SITE_URL must look like https://api.example.org, not {url!r}")
    return site


def _private(host: str) -> bool:
    """Whether a host can only be near: http:// shows keys to everybody on the way."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        near = (".localhost", ".local", ".lan", ".internal", ".home.arpa", ".test")
        return "." not in host or host.endswith(near)


HOST = env("HOST", "127.0.0.1")
PORT = env_int("PORT", 8000, least=1, most=65_535)
_loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
SITE_URL = env("SITE_URL", f"http://{_bracketed(_loopback.get(HOST, HOST))}:{PORT}").rstrip("/")
_site = _split_site(SITE_URL)
_site_host = str(_site.hostname)
PRODUCTION = _site.scheme == "https"
if not PRODUCTION and not _private(_site_host):
    raise ImproperlyConfigured(f"SITE_URL must be https:// for the public host {_site_host}")
DATA_DIR = Path(env("DATA_DIR", str(BASE_DIR / "var"))).resolve()
try:
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as error:
    raise ImproperlyConfigured(f"DATA_DIR cannot be made: {error}") from None
TRUSTED_PROXIES = env_int("TRUSTED_PROXIES", 0)
ALLOWED_HOSTS = sorted(
    {_bracketed(_site_host), "127.0.0.1", "localhost", "[::1]", *env_list("ALLOWED_HOSTS")}
    | ({_bracketed(HOST)} - {"0.0.0.0", "[::]"})
)
DEBUG = False

# ---- secrets


def _secret(name: str) -> str:
    given = env(name)
    if given:
        return given
    if PRODUCTION:
        raise ImproperlyConfigured(
            f"{name} must be set when SITE_URL is https:// (or {name}_FILE); see README.md"
        )
    return secretfile.read(DATA_DIR / "secrets.json")[name]


SECRET_KEY = _secret("SECRET_KEY")
VAULT_KEYS = [part.strip() for part in _secret("VAULT_KEYS").split(",") if part.strip()]
# Fifty characters, five of them different, is also what `check --deploy` asks for.
if PRODUCTION and (len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5 or "insecure" in SECRET_KEY):
    raise ImproperlyConfigured("SECRET_KEY must be random and at least 50 characters long")


def _opens(key: str) -> bool:
    """Whether a text is a key of the vault: 32 bytes in base64url."""
    try:
        return len(base64.urlsafe_b64decode(key)) == 32
    except (ValueError, binascii.Error):
        return False


if not VAULT_KEYS or not all(map(_opens, VAULT_KEYS)):
    raise ImproperlyConfigured("VAULT_KEYS must be 32 random bytes in base64url; see README.md")

# ---- applications

INSTALLED_APPS = [
    "bsod.apps.SiteConfig",
    "accounts",
    "accounts.keys",
    "quotas",
    "promos",
    "proxy",
    "proxy.donations.apps.DonationsConfig",
    "bsod.notices",
    "bsod.incidents",
    "rest_framework",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "bsod.apps.Backstage",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "bsod.static.StaticFiles",
    "bsod.console.policy.ContentPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "bsod.console.doors.Doors",
]
ROOT_URLCONF = "bsod.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "bsod.console.shell.shell",
            ]
        },
    }
]

# ---- stores


def _database_of(url: str) -> dict[str, object]:
    if url.partition("://")[0] not in ("sqlite", "postgres", "postgresql"):
        # The rest of it may be a password.
        raise ImproperlyConfigured("DATABASE_URL must begin with postgres:// or sqlite:///")
    try:
        found = dict(environ.Env.db_url_config(url))
    except ValueError:
        raise ImproperlyConfigured("DATABASE_URL is malformed: quote what is special") from None
    if found["NAME"] in ("", ":memory:"):
        raise ImproperlyConfigured("DATABASE_URL must end in a database's name, or a file's")
    return found


_database = _database_of(env("DATABASE_URL", f"sqlite:///{DATA_DIR / 'bsod.sqlite3'}"))
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["ENGINE"] = "bsod.lib.sqlite"
    try:
        # Made by us, so that nobody else can read it, whatever the folder's mode.
        Path(str(_database["NAME"])).touch(mode=0o600)
    except OSError as error:
        raise ImproperlyConfigured(f"the SQLite database cannot be made: {error}") from None
    _database["OPTIONS"] = {
        # Our own writers queue before they come here; only a stranger can be in the way.
        "timeout": 1,
        # FULL: an answered call must survive a power cut (DESIGN §3).
        # A balance is written at every call: copied back less often, it is copied once for many.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "PRAGMA cache_size=-8000; PRAGMA wal_autocheckpoint=4000;",
    }
    _database["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
elif _database["ENGINE"] == "django.db.backends.postgresql":
    # A socket's folder is a quoted host: postgres://user@%2Frun%2Fpostgresql/name
    _database["HOST"] = unquote(str(_database.get("HOST") or ""))
    # Under ASGI each request has a thread of its own: a connection kept would be kept by nobody.
    # The ledger thread, which lives outside requests, keeps one all the same.
    _database["CONN_MAX_AGE"] = 0
    _options = dict(_database.get("OPTIONS") or {})  # type: ignore[call-overload]  # parsed URL
    _database["OPTIONS"] = {
        "connect_timeout": 5,
        "options": "-c lock_timeout=5s -c statement_timeout=30s "
        # A process that is stopped or cut off must not keep its accounts locked.
        "-c idle_in_transaction_session_timeout=10s",
    } | _options
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES: dict[str, dict[str, object]] = {
    "default": {
        "BACKEND": "bsod.lib.counters.CounterCache",
        "LOCATION": str(DATA_DIR / "counters.sqlite3"),
    }
}
CACHE_URL = env("CACHE_URL")
if CACHE_URL:
    if CACHE_URL.partition("://")[0] not in ("redis", "rediss", "unix"):
        raise ImproperlyConfigured("CACHE_URL must begin with redis://, rediss:// or unix://")
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": "bsod",
        # A store that does not answer must not hold a form for minutes.
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},
    }
# Django's own RedisCache counts atomically, but is not on django-ratelimit's list of backends.
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.W001"]
RATELIMIT_IP_META_KEY = "bsod.throttle.address"

# ---- people

AUTH_USER_MODEL = "accounts.Account"
LOGIN_URL, LOGIN_REDIRECT_URL = "/login/", "/"
AUTHENTICATION_BACKENDS = ["accounts.backend.Backend"]
PASSWORD_RESET_TIMEOUT = 3600
TERMS_URL, PRIVACY_URL = env("TERMS_URL"), env("PRIVACY_URL")
globals().update(signin.PASSWORDS | signin.ALLAUTH)
globals().update(signin.mail(env("EMAIL_URL", "consolemail://")))
STAFF_SECOND_FACTOR = env_flag("STAFF_SECOND_FACTOR", True)
UNFOLD = look.UNFOLD
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not PRODUCTION
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env("EMAIL_FROM", f"BSOD <noreply@{_site_host}>")
TELEGRAM_BOT_TOKEN, ADMIN_TELEGRAM_CHAT = env("TELEGRAM_BOT_TOKEN"), env("ADMIN_TELEGRAM_CHAT")
TELEGRAM_API_BASE = env("TELEGRAM_API_BASE", "https://api.telegram.org").rstrip("/")
DONATIONS = env_flag("DONATIONS", True)
KEY_PREFIXES = [*env_list("KEY_PREFIXES"), "bsod"] if env("KEY_PREFIXES") else ["bsod"]
CHARGE_FIELD = env("CHARGE_FIELD", "yout")

# ---- pages

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ru", "Русский")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["bsod.formats"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "bsod.static.Versioned"},
}

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
# Only a proxy that is trusted tells how the client came; without one a redirect would never end.
SECURE_SSL_REDIRECT = PRODUCTION and TRUSTED_PROXIES > 0
# Prometheus stands beside us, and asks without TLS.
SECURE_REDIRECT_EXEMPT = ["^metrics/$"]
CSRF_TRUSTED_ORIGINS = [SITE_URL]
SESSION_COOKIE_NAME = "__Host-session" if PRODUCTION else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if PRODUCTION else "csrf"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
CSRF_FAILURE_VIEW = "bsod.console.errors.csrf_failure"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "bsod.api.handle_exception",
}

# ---- the ledger and the relay (seconds). Tests set these short; nothing else should.

LEDGER_BEAT = env_float("LEDGER_BEAT", 5.0)
LEDGER_DEAD_AFTER = env_float("LEDGER_DEAD_AFTER", 30.0)
LEDGER_PATIENCE = env_float("LEDGER_PATIENCE", 5.0)
CLOSE_PATIENCE = env_float("CLOSE_PATIENCE", 60.0)
CONNECT_TIMEOUT = env_float("CONNECT_TIMEOUT", 5.0)
STREAM_SILENCE = env_float("STREAM_SILENCE", 60.0)
CALL_SILENCE = env_float("CALL_SILENCE", 600.0)
STREAM_LONGEST = env_float("STREAM_LONGEST", 7200.0)
KEEPALIVE_EVERY = env_float("KEEPALIVE_EVERY", 15.0)
DRAIN_SECONDS = env_float("DRAIN_SECONDS", 60.0)
PROBE_EVERY = env_float("PROBE_EVERY", 1.0)
JOB_POLL_EVERY = env_float("JOB_POLL_EVERY", 1.0)
FIRST_PROBE = env_float("FIRST_PROBE", 5.0)
STATS_EVERY = env_float("STATS_EVERY", 5.0)
WARM_UP = env_flag("WARM_UP", True)

# ---- processes

WEB_CONCURRENCY = env_int("WEB_CONCURRENCY", max(1, min(4, os.cpu_count() or 1)), least=1)
LOCAL_MODEL = env_flag("LOCAL_MODEL", True)

# ---- what can be seen of it

METRICS_TOKEN = env("METRICS_TOKEN")
if METRICS_TOKEN and len(METRICS_TOKEN) < 16:
    raise ImproperlyConfigured("METRICS_TOKEN must be at least 16 characters long")
ACCESS_LOG = env_word("ACCESS_LOG", "errors", "off", "all")
LOG_FORMAT = env_word("LOG_FORMAT", "text", "json")
LOG_LEVEL = env_word("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL")
LOGGING = logs.settings_of(LOG_LEVEL, LOG_FORMAT, KEY_PREFIXES)
