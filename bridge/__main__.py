"""`python -m bridge` is `ringback`."""

from bridge.cli import main

if __name__ == "__main__":
    main()
