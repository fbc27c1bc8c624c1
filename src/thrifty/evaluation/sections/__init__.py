"""The sections of report.html, and what they are drawn with: markup, charts, ranges, the style sheet.

Takes the content of report.json and, where there are some, examples; gives markup. Plain HTML, CSS and SVG, no script.
Knows nothing of how anything was measured.
"""
