"""The report: from what a run found to statistics, claims, figures, tables, files and one page."""
