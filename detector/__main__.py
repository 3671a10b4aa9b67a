"""`python -m detector` is the command line."""

from detector.cli import entry

if __name__ == "__main__":
    entry()
