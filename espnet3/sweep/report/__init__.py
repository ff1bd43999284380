"""The report on a sweep: CSV, JSON, a page that works offline, and a picture."""
