"""Follow jobs and logs from a login node until they are over.

Imports `attempt`, `submit` and `status`; what commands call, and `sweep`, may import it.
"""
