"""`manage.py make_admin`: a user who may see the admin of this demo."""

import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

NAME = "demo"


class Command(BaseCommand):
    """Make the user, or give the one who is there a new password; print both."""

    help = "Make an admin user for the demo, with a new password each time, and print the login."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the user and print the login."""
        password = secrets.token_urlsafe(6)
        user, _ = get_user_model().objects.get_or_create(
            username=NAME, defaults={"is_staff": True, "is_superuser": True}
        )
        user.set_password(password)
        user.save()
        self.stdout.write(f"user {NAME}, password {password}")
