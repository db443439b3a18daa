"""The suite's own commands."""
