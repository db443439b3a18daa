"""Rows that test jobs write, so that tests can see which effects were kept."""

from __future__ import annotations

from django.db import models


class Note(models.Model):
    """An effect: what a job wrote."""

    text = models.TextField()

    def __str__(self) -> str:
        return self.text


class Account(models.Model):
    """A row that jobs compete for."""

    name = models.CharField(max_length=50, unique=True)
    balance = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.balance}"


class Entry(models.Model):
    """A row with a foreign key, whose check the database defers to the commit."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="entries")
    amount = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.amount} to {self.account_id}"
