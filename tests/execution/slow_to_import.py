"""Stands in for a framework: its import takes a while."""

import time

time.sleep(0.6)
