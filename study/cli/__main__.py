"""`python -m study.cli`."""

from study.cli.app import main

main()
