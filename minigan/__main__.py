"""`python -m minigan` is the command `minigan`."""

from minigan.cli.main import main

if __name__ == "__main__":
    main()
