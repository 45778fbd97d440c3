"""`python -m gacheck`."""

from gacheck.cli import main

if __name__ == "__main__":
    main()
