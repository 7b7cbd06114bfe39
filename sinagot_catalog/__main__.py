"""Entry point of `python -m sinagot_catalog`: runs the command line."""

from sinagot_catalog.cli import main

if __name__ == "__main__":
    main()
