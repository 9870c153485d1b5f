"""The programs here import clients that a test generates first; pytest itself has nothing to collect."""

collect_ignore_glob = ["*.py"]
