"""Contract suites to inherit and fakes to test with, one file per seam: executors, policies, stores.

A plug-in's author inherits a suite in a test class and says how the plug-in is made. Imports no test framework.
"""
