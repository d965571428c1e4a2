"""Settings of the shop; what differs from run to run comes from the environment."""

from os import environ

DATABASES = {
    "default": {
        # The one line that changes; stock Django has "django.db.backends.postgresql" here.
        "ENGINE": environ.get("SHOP_ENGINE", "carpool.postgresql"),
        "NAME": environ.get("SHOP_DB_NAME", "shop"),
        "USER": environ.get("SHOP_DB_USER", ""),
        "PASSWORD": environ.get("SHOP_DB_PASSWORD", ""),
        "HOST": environ.get("SHOP_DB_HOST", ""),
        "PORT": environ.get("SHOP_DB_PORT", ""),
        "CONN_MAX_AGE": int(environ.get("SHOP_CONN_MAX_AGE", "0")),
    }
}

SECRET_KEY = environ.get("SHOP_SECRET_KEY", "only for looking at the shop on your own machine")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DEBUG = False

INSTALLED_APPS = [
    "examples.shop",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
if DATABASES["default"]["ENGINE"].startswith("carpool."):
    # `manage.py carpool status`, and a page about the pools in the admin.
    INSTALLED_APPS += ["carpool", "carpool.web"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "examples.shop.urls"
WSGI_APPLICATION = "examples.shop.wsgi.application"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

# Without DEBUG Django only mails its errors: here they go to the log of the web server.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"log": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["log"], "level": "ERROR", "propagate": False}},
}
