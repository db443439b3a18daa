"""Kills, cuts and freezes the queue in every way there is, and counts what is lost or doubled."""
