import os

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Hello from Django, process {os.getpid()}\n", content_type="text/plain")


def health(request: HttpRequest) -> JsonResponse:
    connection.ensure_connection()
    return JsonResponse({"status": "ok"})


urlpatterns = [path("", hello), path("health", health)]
