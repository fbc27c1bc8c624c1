"""Policies, one a file: each takes a study and decides what to buy next. They know nothing of who runs it."""
