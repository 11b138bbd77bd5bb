"""Every setting, read from the environment. `SITE_URL` with https:// means production.

A value `NAME` may also come from the file named by `NAME_FILE` (secrets mounted by an
orchestrator). On a first run without production secrets, random ones are made and kept in
`DATA_DIR/secrets.json`, readable by the owner alone.
"""

import base64
import json
import os
import secrets
from pathlib import Path
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


def env(name: str, default: str = "") -> str:
    """`NAME`, else what the file `NAME_FILE` holds, else the default."""
    path = os.environ.get(f"{name}_FILE")
    if path and not os.environ.get(name):
        return Path(path).read_text(encoding="utf-8").strip()
    return os.environ.get(name) or default


def env_list(name: str) -> list[str]:
    return [part.strip() for part in env(name).split(",") if part.strip()]


def env_int(name: str, default: int) -> int:
    text = env(name, str(default))
    if not text.isdigit():
        raise ImproperlyConfigured(f"{name} must be a whole number, not {text!r}")
    return int(text)


def env_float(name: str, default: float) -> float:
    try:
        return float(env(name, str(default)))
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a number") from None


def env_flag(name: str, default: bool) -> bool:
    text = env(name, "on" if default else "off").lower()
    if text not in ("on", "off", "true", "false", "1", "0", "yes", "no"):
        raise ImproperlyConfigured(f"{name} must be on or off, not {text!r}")
    return text in ("on", "true", "1", "yes")


# ---- where it runs

HOST = env("HOST", "127.0.0.1")
PORT = env_int("PORT", 8000)
SITE_URL = env("SITE_URL", f"http://{'127.0.0.1' if HOST == '0.0.0.0' else HOST}:{PORT}").rstrip(
    "/"
)
_site = urlsplit(SITE_URL)
if _site.scheme not in ("http", "https") or not _site.hostname:
    raise ImproperlyConfigured("SITE_URL must look like https://api.example.org")
PRODUCTION = _site.scheme == "https"
DATA_DIR = Path(env("DATA_DIR", str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
TRUSTED_PROXIES = env_int("TRUSTED_PROXIES", 0)
ALLOWED_HOSTS = sorted(
    {_site.hostname, HOST, "127.0.0.1", "localhost", "[::1]", *env_list("ALLOWED_HOSTS")}
    - {"0.0.0.0", "::"}
)
DEBUG = False

# ---- secrets


def _first_run_secrets() -> dict[str, str]:
    """Secrets made once and kept in DATA_DIR (mode 0600); production must set its own."""
    path = DATA_DIR / "secrets.json"
    made = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "VAULT_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    temporary = path.with_name(f"secrets.{os.getpid()}.tmp")
    try:
        if not path.exists():
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(made, file)
                file.flush()
                os.fsync(file.fileno())
            # A link fails when the file is there: two first runs at once agree on one.
            os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def _secret(name: str) -> str:
    given = env(name)
    if given:
        return given
    if PRODUCTION:
        raise ImproperlyConfigured(
            f"{name} must be set when SITE_URL is https:// (or {name}_FILE); see README.md"
        )
    return _first_run_secrets()[name]


SECRET_KEY = _secret("SECRET_KEY")
VAULT_KEYS = [part.strip() for part in _secret("VAULT_KEYS").split(",") if part.strip()]
if PRODUCTION and (len(SECRET_KEY) < 32 or "insecure" in SECRET_KEY):
    raise ImproperlyConfigured("SECRET_KEY must be random and at least 32 characters long")

# ---- applications

INSTALLED_APPS = [
    "bsod.apps.SiteConfig",
    "accounts",
    "accounts.keys",
    "quotas",
    "proxy",
    "rest_framework",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "bsod.urls"
ASGI_APPLICATION = "bsod.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# ---- stores

_database: dict[str, object] = dict(
    environ.Env.db_url_config(env("DATABASE_URL", f"sqlite:///{DATA_DIR / 'bsod.sqlite3'}"))
)
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["OPTIONS"] = {
        "timeout": 5,
        "transaction_mode": "IMMEDIATE",
        # FULL: an answered call must survive a power cut (DESIGN §3).
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "PRAGMA cache_size=-16000; PRAGMA mmap_size=268435456;",
    }
    _database["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
elif _database["ENGINE"] == "django.db.backends.postgresql":
    # A socket's folder is a quoted host: postgres://user@%2Frun%2Fpostgresql/name
    _database["HOST"] = unquote(str(_database.get("HOST") or ""))
    _database["CONN_MAX_AGE"] = 60
    _database["CONN_HEALTH_CHECKS"] = True
    _options = dict(_database.get("OPTIONS") or {})  # type: ignore[call-overload]  # parsed URL
    _database["OPTIONS"] = {
        "connect_timeout": 5,
        "options": "-c lock_timeout=5s -c statement_timeout=30s",
    } | _options
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "bsod.lib.counters.CounterCache",
        "LOCATION": str(DATA_DIR / "counters.sqlite3"),
    }
}
if env("CACHE_URL"):
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": env("CACHE_URL"),
    }
# Django's own RedisCache counts atomically, but is not on django-ratelimit's list of backends.
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.W001"]

# ---- people

AUTH_USER_MODEL = "accounts.Account"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "/admin/login/"
KEY_PREFIXES = [*env_list("KEY_PREFIXES"), "bsod"] if env("KEY_PREFIXES") else ["bsod"]
CHARGE_FIELD = env("CHARGE_FIELD", "yout")

# ---- pages

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ru", "Русский")]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)
WHITENOISE_USE_FINDERS = True

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = PRODUCTION
SESSION_COOKIE_NAME = "__Host-session" if PRODUCTION else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if PRODUCTION else "csrf"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
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
FIRST_PROBE = env_float("FIRST_PROBE", 5.0)

# ---- processes

WEB_CONCURRENCY = env_int("WEB_CONCURRENCY", max(1, min(4, os.cpu_count() or 1)))
LOCAL_MODEL = env_flag("LOCAL_MODEL", True)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env("LOG_LEVEL", "INFO")},
    "loggers": {"django.security.DisallowedHost": {"handlers": [], "propagate": False}},
}
