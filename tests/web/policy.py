"""What pages of the site may use: their own files alone. A header tells browsers."""

POLICY = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"


def strict(get_response):
    """Middleware that forbids inline scripts and styles, and whatever lies elsewhere."""

    def respond(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return respond
