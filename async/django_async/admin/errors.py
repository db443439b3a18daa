"""Errors: the attempts that did not end in an executed job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from django_async.admin.kinds import Kinds
from django_async.admin.pages import BoundedPaginator
from django_async.admin.readonly import ReadOnly
from django_async.models import Error

if TYPE_CHECKING:
    ErrorBase = admin.ModelAdmin[Error]
else:
    ErrorBase = admin.ModelAdmin


@admin.register(Error)
class ErrorAdmin(Kinds, ReadOnly, ErrorBase):
    list_display = ("id", "executed", "exception", "job_id")
    show_full_result_count = False
    paginator = BoundedPaginator
