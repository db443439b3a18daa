#!/usr/bin/env python
"""A server of the suite's project, with its static files, that prints its port first.

It is a process of its own: no test that forks has its threads beside it.
"""

import os

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "suite.browser_settings")
    django.setup()
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers.basehttp import ThreadedWSGIServer
    from django.core.signals import request_started
    from django.core.wsgi import get_wsgi_application
    from django.test.testcases import QuietWSGIRequestHandler

    def forget(**_: object) -> None:
        """A test that ends empties the tables, and content types get new ids."""
        ContentType.objects.clear_cache()

    request_started.connect(forget)
    server = ThreadedWSGIServer(("127.0.0.1", 0), QuietWSGIRequestHandler)
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    print(server.server_port, flush=True)
    server.serve_forever()
