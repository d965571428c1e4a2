"""A project with two tenants; PARAMS brings its database and what else a test wants of it."""

import json
import os

PARAMS = json.loads(os.environ["PARAMS"])

SECRET_KEY = "nothing to hide"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
DEBUG_PROPAGATE_EXCEPTIONS = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.engines.tenancy.urls"
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware"]

ORIGINAL_BACKEND = "carpool.postgresql"
DATABASES = {"default": {**PARAMS["database"], "ENGINE": "django_tenants.postgresql_backend"}}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "tests.engines.tenancy.shared"]
TENANT_APPS = ["tests.engines.tenancy.own"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "shared.Client"
TENANT_DOMAIN_MODEL = "shared.Domain"
TENANT_LIMIT_SET_CALLS = PARAMS["limit_set_calls"]
