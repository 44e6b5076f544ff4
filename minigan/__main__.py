"""`python -m minigan` is the command `minigan`."""

from minigan.cli import main

if __name__ == "__main__":
    main()
