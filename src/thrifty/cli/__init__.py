"""The command line: turns words into typed requests, and what happens into what a person reads.

Takes arguments; gives output and an exit code. Knows no data, no model: it calls `thrifty.api` and draws.
"""
