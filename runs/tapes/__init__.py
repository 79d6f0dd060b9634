"""Recorded order flow of real exchanges, read from installed packages and never copied."""
