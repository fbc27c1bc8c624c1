"""The report of a study: report.json's content, and report.html from it.

Takes a study and where it is kept; gives a dict and a page. Shares markup, charts and style with the page of a run.
"""
