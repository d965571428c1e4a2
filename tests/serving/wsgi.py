"""The site for WSGI servers. Where a test wants it, a query comes before anything is forked."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if settings.PARAMS["early"]:
    from tests.serving.models import Token

    Token.objects.count()  # and the connection is never closed, as is usual in `ready`
