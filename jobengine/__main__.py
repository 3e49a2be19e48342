"""`python -m jobengine` is the `jobengine` command."""

from jobengine.cli import main

if __name__ == "__main__":
    main(prog_name="jobengine")
