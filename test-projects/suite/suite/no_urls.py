"""No addresses at all, not even the admin's."""

urlpatterns: list[object] = []
