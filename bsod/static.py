"""Static files of `make run`: WhiteNoise, with answers that fit an event loop.

WhiteNoise streams a file with a synchronous iterator, which Django reads to its end before it
sends anything, and complains about. These files are small: they are handed over whole.
"""

from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # WhiteNoise has no types
    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        streamed = WhiteNoiseMiddleware.serve(static_file, request)
        try:
            headers = dict(streamed.items())
            return HttpResponse(b"".join(streamed), status=streamed.status_code, headers=headers)
        finally:
            streamed.close()
